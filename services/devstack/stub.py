"""Turns itself into the program it is told to run, tied to the life of its parent and without the power of root.

It is run by path (`python -I -S stub.py JSON`), so it knows nothing but the standard library. The JSON object holds:

- `argv`: the program and its arguments; this process becomes it, so that its process id is the one the parent knows,
- `parent`: the process id of the parent, and `signal`: what this process is sent when the parent dies (Linux only),
- `user`: `[uid, gid]` to become, or null. `paths` must be reachable for that user; where one is not (a checkout under a
  private home directory), the program keeps the one capability that passes such walls, CAP_DAC_OVERRIDE, and no other.
"""

import ctypes
import errno
import json
import os
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CAP_DAC_OVERRIDE = 1
CAP_SETPCAP = 8
CAPABILITY_VERSION_3 = 0x20080522
FAILED = 127


def call(name: str, *arguments: object) -> None:
    """Calls a function of the C library and raises OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def reachable(path: str) -> bool:
    """Says whether this process may use a path as its program and PostgreSQL need it."""
    return os.access(path, os.R_OK | os.X_OK)


def set_capabilities(mask: int) -> None:
    """Keeps exactly the capabilities in `mask` as effective, permitted and inheritable."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    call("capset", header, struct.pack("IIIIII", mask, mask, mask, 0, 0, 0))


def become(uid: int, gid: int, paths: list[str]) -> None:
    """Becomes an ordinary user who can reach `paths`."""
    linux = sys.platform == "linux"
    if linux:
        call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if not linux:
        return
    if all(reachable(path) for path in paths):
        set_capabilities(0)
        return
    # Without this access(2), by which initdb looks for its programs, would not see the capability.
    set_capabilities(1 << CAP_DAC_OVERRIDE | 1 << CAP_SETPCAP)
    call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    set_capabilities(1 << CAP_DAC_OVERRIDE)
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def tie_to_parent(parent: int, signal: int) -> None:
    """Has the kernel send `signal` here when the parent dies, even by `kill -9`."""
    if sys.platform != "linux":
        return
    # Becoming another user clears this, so it comes last.
    call("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(FAILED)


def main() -> None:
    """Becomes the program; says in one line on stderr why where that fails."""
    order = json.loads(sys.argv[1])
    argv = order["argv"]
    try:
        if order["user"]:
            uid, gid = order["user"]
            become(uid, gid, order["paths"])
        tie_to_parent(order["parent"], order["signal"])
        os.execv(argv[0], argv)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        reason = "it is not there" if error.errno == errno.ENOENT else error
        sys.stderr.write(f"cannot run {argv[0]}: {reason}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
