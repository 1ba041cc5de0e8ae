"""Free TCP ports on loopback."""

import errno
import random
import socket
from collections.abc import Iterable, Mapping

from services.devstack.catalogue import LOOPBACK
from services.devstack.errors import CannotRunError

# Below the range from which systems take ports for outgoing connections, one of which could take ours first.
CANDIDATES = range(20_000, 32_000)
TRIES_MAX = 1000


def problem(port: int) -> str | None:
    """Tells why nobody can listen on a port now; None where it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not matter
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None


def pick(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Gives each name a free port: the one that it had, where that is free still."""
    picked: dict[str, int] = {}
    for name in names:
        had = remembered.get(name)
        if isinstance(had, int) and 0 < had < 65536 and had not in picked.values() and problem(had) is None:
            picked[name] = had
        else:
            picked[name] = pick_one(picked.values())
    return picked


def pick_one(taken: Iterable[int]) -> int:
    """Finds a free port."""
    taken = set(taken)
    for _ in range(TRIES_MAX):
        port = random.choice(CANDIDATES)
        if port not in taken and problem(port) is None:
            return port
    raise CannotRunError(f"no free port found on {LOOPBACK}")
