"""The private directory that holds the unix sockets of one data directory."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from services.devstack.errors import CannotRunError

# The kernel takes 107 bytes for the path of a socket, which a deep data directory would pass. The longest name below
# the directory is "postgres/.s.PGSQL.5432.lock".
SOCKET_PATH_BYTES_MAX = 107
LONGEST_NAME_BYTES = 28


def runtime_dir(data_dir: Path) -> Path:
    """Names the directory for the sockets of `data_dir`: short, and the same at each start."""
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return socket_parent() / f"plaudit-{os.geteuid()}-{digest}"


def make_runtime_dir(data_dir: Path) -> Path:
    """Makes the directory for the sockets of `data_dir`, or verifies that it is ours alone.

    Raises CannotRunError where something else stands at its place.
    """
    path = runtime_dir(data_dir)
    # Root's PostgreSQL runs as another user who must pass through to a private directory of its own below.
    make_private(path, owner=os.geteuid(), mode=0o711 if os.geteuid() == 0 else 0o700)
    return path


def socket_parent() -> Path:
    """Finds a temporary directory whose path is short enough for sockets below it."""
    name_bytes = len(f"/plaudit-{os.geteuid()}-") + 16 + 1 + LONGEST_NAME_BYTES
    preferred = Path(tempfile.gettempdir())
    if len(os.fsencode(preferred)) + name_bytes <= SOCKET_PATH_BYTES_MAX:
        return preferred
    return Path("/tmp")  # noqa: S108 - the directory made in it is private and its owner is verified


def make_private(path: Path, *, owner: int, mode: int = 0o700) -> None:
    """Makes a directory for `owner`, or verifies that it is one already: no link, nobody else's, mode set.

    Raises CannotRunError where it is not.
    """
    try:
        path.mkdir(mode=0o700)
        made = True
    except FileExistsError:
        made = False
    except OSError as error:
        raise CannotRunError(f"cannot make the directory {path} for sockets: {error.strerror}") from error
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise CannotRunError(f"{path} should be a directory for sockets but is something else; remove it")
    if made and owner != found.st_uid:
        give(path, owner)
    elif owner != found.st_uid:
        raise CannotRunError(f"the directory {path} for sockets belongs to another user; remove it")
    path.chmod(mode)


def give(path: Path, owner: int) -> None:
    """Gives a directory that root has made to the user of a program that refuses to run as root."""
    try:
        os.chown(path, owner, -1)
    except OSError as error:
        path.rmdir()
        raise CannotRunError(
            f"root may not give files to another user here ({error.strerror}), and PostgreSQL refuses to run as root: "
            "start it as an ordinary user"
        ) from error


def remove_empty(*directories: Path) -> None:
    """Removes directories, the inner first, that hold nothing any more."""
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return  # it is in use, or gone already: either is fine
