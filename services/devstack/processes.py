"""Starts and ends child processes that never outlive this one."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.devstack.errors import CannotRunError

STUB = Path(__file__).with_name("stub.py")
POLL_S = 0.01
KILL_WAIT_S = 10.0  # even a process in the middle of a write to a slow disk ends within it
LOG_TAIL_BYTES = 8192
LOG_BYTES_MAX = 10_000_000  # of one log, looked at when its process starts
NOBODY_ID = 65534  # `nobody` where no user database says otherwise


@dataclass(frozen=True, slots=True)
class User:
    """Is the user that a child becomes, and the paths that it must reach as that user."""

    uid: int
    gid: int
    paths: tuple[Path, ...] = ()


def is_root() -> bool:
    """Says whether this process runs as root."""
    return os.geteuid() == 0


def ordinary_user(owned: Path) -> User | None:
    """Names the user for a program that refuses root: the owner of `owned`, else `nobody`; None if not root."""
    if not is_root():
        return None
    if owned.exists():
        owner = owned.stat()
        if owner.st_uid != 0:
            return User(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return User(NOBODY_ID, NOBODY_ID)
    return User(entry.pw_uid, entry.pw_gid)


def spawn(
    argv: Sequence[str | Path],
    *,
    log_path: Path,
    death_signal: signal.Signals = signal.SIGKILL,
    user: User | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, its output appended to `log_path`.

    It is sent `death_signal` when the calling thread ends (the kernel ties children to threads), so this is called from
    the main thread wherever the child is to live on.
    """
    with log_path.open("ab") as log:
        return subprocess.Popen(
            stub_argv(argv, death_signal=death_signal, user=user),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,  # Ctrl-C at the terminal is for us; children are told in their order
        )


def stub_argv(argv: Sequence[str | Path], *, death_signal: signal.Signals, user: User | None) -> list[str]:
    """Builds the command that becomes `argv` by way of the stub."""
    order = {
        "argv": [str(part) for part in argv],
        "parent": os.getpid(),
        "signal": int(death_signal),
        "user": [user.uid, user.gid] if user else None,
        "paths": [str(path) for path in user.paths] if user else [],
    }
    return [sys.executable, "-I", "-S", str(STUB), json.dumps(order)]


def end(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> int:
    """Sends signal after signal, each with the seconds it is given, then SIGKILL; returns the exit code."""
    for number, patience_s in signals:
        if process.poll() is not None:
            break
        process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue  # The next signal is stronger.
    if process.poll() is None:
        process.kill()
    return process.wait(KILL_WAIT_S)


def end_leftover(pid: int, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Ends a process that is not our child, as `end` does; the caller has made sure that it is ours to end."""
    for number, patience_s in (*signals, (signal.SIGKILL, KILL_WAIT_S)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_gone(pid, patience_s):
            return
    raise CannotRunError(f"process {pid}, left over from an earlier run, does not end")


def wait_gone(pid: int, patience_s: float) -> bool:
    """Waits until a process is gone or a zombie; says whether it is."""
    deadline = time.monotonic() + patience_s
    while alive(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def alive(pid: int) -> bool:
    """Says whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return start_time(pid) is not None


def start_time(pid: int) -> str | None:
    """Tells when a process started, which with its id names it for ever; None where it does not run."""
    if not Path("/proc/self/stat").exists():
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return asked.stdout.strip().replace(" ", "-") or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started


def remember(pid_path: Path, pid: int) -> None:
    """Writes down which process runs, for `remembered` in a later run."""
    pid_path.write_text(f"{pid} {start_time(pid)}\n")


def remembered(pid_path: Path) -> int | None:
    """Tells the id of the process that was written down, where that very process still runs."""
    pid, started = recorded(pid_path)
    return pid if pid and started and start_time(pid) == started else None


def recorded(pid_path: Path) -> tuple[int, str]:
    """Reads what `remember` wrote: the id and the start of a process; (0, "") where it is missing or torn."""
    try:
        pid, started = pid_path.read_text().split()
        return int(pid), started
    except (OSError, ValueError):
        return 0, ""


def rotate(log_path: Path) -> None:
    """Puts a log that has grown large aside, in the place of the one before."""
    if log_size(log_path) > LOG_BYTES_MAX:
        log_path.replace(log_path.with_name(log_path.name + ".1"))


def log_size(log_path: Path) -> int:
    """Tells where a log ends now, for `log_tail` later."""
    return log_path.stat().st_size if log_path.exists() else 0


def log_tail(log_path: Path, *, since: int = 0, levels: Sequence[str] = ()) -> str:
    """Gives the last line of a log written after `since`, one of `levels` before others, for use in a sentence."""
    try:
        with log_path.open("rb") as log:
            log.seek(max(since, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return "no log was written"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    severe = [line for line in lines if any(level in line for level in levels)]
    return (severe or lines or ["it said nothing"])[-1]
