"""PostgreSQL: transactions that are retried where that is safe, and a database that may go away at any moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.devstack.postgres import EmbeddedPostgres
from services.kernel import db, errors
from tests.support.databases import Databases
from tests.support.waiting import PATIENCE_S, eventually


@pytest.fixture
async def dsn(databases: Databases) -> AsyncIterator[str]:
    """Lends a database of its own, with a table of counters."""
    async with databases.empty() as name:
        connection = await databases.admin(name)
        await connection.execute("CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)")
        await connection.execute("INSERT INTO counters VALUES ('a', 0), ('b', 0)")
        await connection.close()
        yield databases.dsn(name, "postgres")


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[db.Pool]:
    """Opens a pool on it."""
    opened = await db.create_pool(dsn, service="test")
    yield opened
    await opened.close()


async def value_of(pool: db.Pool, name: str) -> int:
    """Reads a counter."""
    value = await db.read(pool, lambda c: c.fetchval("SELECT value FROM counters WHERE name = $1", name))
    assert isinstance(value, int)
    return value


async def add(connection: db.Connection, name: str) -> None:
    """Counts one more."""
    await connection.execute("UPDATE counters SET value = value + 1 WHERE name = $1", name)


async def test_transaction_is_whole_or_nothing(pool: db.Pool) -> None:
    """What a transaction did is there when it ends well, and gone when it raises, which is passed on."""

    async def breaks(connection: db.Connection) -> None:
        await add(connection, "a")
        raise ValueError("for once")

    await db.transaction(pool, lambda connection: add(connection, "a"))
    with pytest.raises(ValueError, match="for once"):
        await db.transaction(pool, breaks)

    assert await value_of(pool, "a") == 1


async def test_deadlock_is_run_again(pool: db.Pool) -> None:
    """Two transactions that wait for each other both happen, each exactly once."""
    met = asyncio.Barrier(2)
    tries = {"a": 0, "b": 0}

    async def crosswise(connection: db.Connection, first: str, second: str) -> None:
        tries[first] += 1
        await add(connection, first)
        if tries[first] == 1:
            await met.wait()
        await add(connection, second)

    await asyncio.gather(
        db.transaction(pool, lambda c: crosswise(c, "a", "b")), db.transaction(pool, lambda c: crosswise(c, "b", "a"))
    )

    assert (await value_of(pool, "a"), await value_of(pool, "b")) == (2, 2)
    assert sum(tries.values()) > 2


async def test_serialization_failure_is_run_again(pool: db.Pool) -> None:
    """A transaction that PostgreSQL cannot serialise is run again from its start and then happens once."""
    met = asyncio.Barrier(2)
    tries = []

    async def count(connection: db.Connection) -> None:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        value = await connection.fetchval("SELECT sum(value) FROM counters")
        tries.append(value)
        if len(tries) <= 2:
            await met.wait()
        await connection.execute("UPDATE counters SET value = $1 WHERE name = 'a'", int(value) + 1)

    await asyncio.gather(db.transaction(pool, count), db.transaction(pool, count))

    assert await value_of(pool, "a") == 2
    assert len(tries) > 2


async def test_unique_violation_is_run_again(pool: db.Pool) -> None:
    """Where two make the same thing, the second finds the first's on its second try."""
    met = asyncio.Barrier(2)
    found = []

    async def make(connection: db.Connection) -> None:
        exists = await connection.fetchval("SELECT 1 FROM counters WHERE name = 'new'")
        found.append(exists)
        if len(found) <= 2:
            await met.wait()
        if not exists:
            await connection.execute("INSERT INTO counters VALUES ('new', 7)")

    await asyncio.gather(db.transaction(pool, make), db.transaction(pool, make))

    assert found == [None, None, 1]


async def test_violation_that_stays_is_passed_on(pool: db.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conflict that comes back every time is given up after so many tries, and passed on as what it is."""
    monkeypatch.setattr(db, "BACKOFF_BASE_S", 0)
    tries = []

    async def clash(connection: db.Connection) -> None:
        tries.append(1)
        await connection.execute("INSERT INTO counters VALUES ('a', 1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        await db.transaction(pool, clash)
    assert len(tries) == db.ATTEMPTS_MAX


@pytest.mark.parametrize("condition", ["serialization_failure", "deadlock_detected"])
async def test_conflict_that_stays_is_unavailable(
    pool: db.Pool, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    """A transaction that others stand in the way of every time is given up as something to try again later."""
    monkeypatch.setattr(db, "BACKOFF_BASE_S", 0)
    tries = []

    async def stand(connection: db.Connection) -> None:
        tries.append(1)
        await connection.execute(f"DO $$ BEGIN RAISE {condition}; END $$")

    with pytest.raises(errors.DomainError) as caught:
        await db.transaction(pool, stand)
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    assert len(tries) == db.ATTEMPTS_MAX


@pytest.mark.parametrize("run", [db.transaction, db.read, db.ask])
async def test_internal_error_is_passed_on(pool: db.Pool, run: Any) -> None:
    """An internal error of PostgreSQL that is not about the disk is a fault to look into, and none to wait out."""
    with pytest.raises(asyncpg.InternalServerError):
        await run(pool, lambda connection: connection.execute("DO $$ BEGIN RAISE internal_error; END $$"))


async def test_read_sees_one_instant_and_writes_nothing(pool: db.Pool) -> None:
    """A read sees what was there when it began however often it looks, and cannot change anything."""

    async def look(connection: db.Connection) -> tuple[Any, Any]:
        before = await connection.fetchval("SELECT sum(value) FROM counters")
        await db.transaction(pool, lambda other: add(other, "a"))
        return before, await connection.fetchval("SELECT sum(value) FROM counters")

    assert await db.read(pool, look) == (0, 0)
    with pytest.raises(errors.DomainError):
        await db.read(pool, lambda connection: add(connection, "a"))
    assert await value_of(pool, "a") == 1


async def test_asking_sees_each_time_what_is_there(pool: db.Pool) -> None:
    """Statements that are asked one by one each see what was committed before them, and each is committed at once."""

    async def look(connection: db.Connection) -> tuple[Any, Any]:
        await add(connection, "a")
        own = await value_of(pool, "a")
        await db.transaction(pool, lambda other: add(other, "a"))
        return own, await connection.fetchval("SELECT value FROM counters WHERE name = 'a'")

    assert await db.ask(pool, look) == (1, 2)


async def test_killed_connection_is_unavailable(pool: db.Pool, databases: Databases, dsn: str) -> None:
    """A connection that is killed in the middle fails that call as DEPENDENCY_UNAVAILABLE, and the next one works."""
    admin = await databases.admin()

    async def die(connection: db.Connection) -> None:
        await add(connection, "a")
        await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await add(connection, "a")

    with pytest.raises(errors.DomainError) as caught:
        await db.transaction(pool, die)
    await db.transaction(pool, lambda connection: add(connection, "b"))
    await admin.close()

    assert (caught.value.reason, caught.value.code) == ("DEPENDENCY_UNAVAILABLE", errors.Code.UNAVAILABLE)
    assert (await value_of(pool, "a"), await value_of(pool, "b")) == (0, 1)


async def test_idle_connections_killed_are_replaced(pool: db.Pool, databases: Databases) -> None:
    """Connections that are killed while nobody uses them fail calls as unavailable at worst, and are replaced."""
    await asyncio.gather(*(value_of(pool, "a") for _ in range(20)))
    # From another process, so that nothing here has seen the ends of the connections before they are used.
    databases.server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'test'"
    )
    refused = set()

    async def works() -> bool:
        try:
            return await value_of(pool, "a") == 0
        except errors.DomainError as error:
            refused.add(error.reason)
            return False

    await eventually(works)
    assert refused <= {"DEPENDENCY_UNAVAILABLE"}
    assert await asyncio.gather(*(value_of(pool, "b") for _ in range(20))) == [0] * 20


async def test_cancelled_statement_is_unavailable(pool: db.Pool, databases: Databases) -> None:
    """A statement that an operator cancels fails that call as DEPENDENCY_UNAVAILABLE, and has no effect."""
    admin = await databases.admin()

    async def stuck(connection: db.Connection) -> None:
        await add(connection, "a")
        cancelling = asyncio.create_task(cancel(admin, connection.get_server_pid()))
        await connection.execute("SELECT pg_sleep(60)")
        await cancelling

    with pytest.raises(errors.DomainError) as caught:
        await db.transaction(pool, stuck)
    await admin.close()

    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    assert await value_of(pool, "a") == 0


async def cancel(admin: Any, process_id: int) -> None:
    """Cancels what a connection sleeps in, once it does."""
    asleep = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"
    await eventually(lambda: admin.fetchval(asleep, process_id))
    await admin.execute("SELECT pg_cancel_backend($1)", process_id)


async def test_lock_that_is_not_given_is_unavailable(pool: db.Pool, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a lock ends long before a command would, and is told as something to try again."""
    monkeypatch.setattr(db, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(db, "COMMAND_TIMEOUT_S", 10 * PATIENCE_S)
    hasty = await db.create_pool(dsn, service="test-hasty", size_max=1)

    async def hold(connection: db.Connection) -> str:
        await add(connection, "a")
        with pytest.raises(errors.DomainError) as caught:
            await asyncio.wait_for(db.transaction(hasty, lambda other: add(other, "a")), PATIENCE_S)
        return caught.value.reason

    assert await db.transaction(pool, hold) == "DEPENDENCY_UNAVAILABLE"
    await hasty.close()


async def test_pool_without_free_connection_is_unavailable(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a connection ends, and is told as something to try again."""
    monkeypatch.setattr(db, "ACQUIRE_TIMEOUT_S", 0.05)
    small = await db.create_pool(dsn, service="test-small", size_max=1)

    async def hold(connection: db.Connection) -> str:
        await add(connection, "a")
        with pytest.raises(errors.DomainError) as caught:
            await value_of(small, "a")
        return caught.value.reason

    assert await db.transaction(small, hold) == "DEPENDENCY_UNAVAILABLE"
    assert await value_of(small, "a") == 1
    await small.close()


async def test_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    """Nobody can start without the database, and is told so as a refusal."""
    with pytest.raises(errors.DomainError) as caught:
        await db.create_pool(f"postgresql://nobody@/nothing?host={tmp_path}", service="test")
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_pool_recovers_after_restart(tmp_path_factory: pytest.TempPathFactory, way: str) -> None:
    """While PostgreSQL is away calls fail as DEPENDENCY_UNAVAILABLE, and once it is back the same pool works."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("restarted") / "data", durable=False) as server:
        server.execute("CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)")
        server.execute("INSERT INTO counters VALUES ('a', 0)")
        pool = await db.create_pool(server.dsn("postgres"), service="test")
        await db.transaction(pool, lambda connection: add(connection, "a"))
        server.execute("CHECKPOINT")
        getattr(server, way)()
        with pytest.raises(errors.DomainError) as caught:
            await value_of(pool, "a")
        await server.start_async()

        assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
        await db.transaction(pool, lambda connection: add(connection, "a"))
        assert await value_of(pool, "a") == 2
        await pool.close()


async def test_json_survives_the_way_there_and_back(pool: db.Pool) -> None:
    """What is stored as JSON comes back as it was."""
    value = {"text": 'é"\\', "list": [1, None, True, 1.5], "nested": {"big": 2**53}}

    assert await db.read(pool, lambda connection: connection.fetchval("SELECT $1::jsonb", value)) == value


async def test_null_of_json_is_not_taken_for_null(pool: db.Pool) -> None:
    """What is absent is written as NULL and read as None, and a null of JSON, which nothing here writes, is refused."""
    assert await db.ask(pool, lambda connection: connection.fetchval("SELECT $1::jsonb IS NULL", None)) is True
    assert await db.ask(pool, lambda connection: connection.fetchval("SELECT NULL::jsonb")) is None
    with pytest.raises(ValueError, match="never as JSON's null"):
        await db.ask(pool, lambda connection: connection.fetchval("SELECT 'null'::jsonb"))


def test_queries_are_found_by_name(tmp_path: Path) -> None:
    """Queries of a file are kept by name without their headers, and two of one name are refused."""
    path = tmp_path / "queries.sql"
    path.write_text("-- one --\n-- Does one thing.\nSELECT 1\nFROM x; -- why\n\n-- two --\n-- Does two.\nSELECT 2;\n")
    queries = db.Queries(path)

    assert queries.names() == ["one", "two"]
    assert (queries["one"], queries["two"]) == ("SELECT 1\nFROM x; -- why", "SELECT 2;")
    path.write_text(path.read_text().replace("two", "one"))
    with pytest.raises(AssertionError):
        db.Queries(path)


async def test_use_of_a_connection_leaves_nothing_open(dsn: str) -> None:
    """A transaction that was left open has ended without effect when the connection is next used."""
    pool = await db.create_pool(dsn, service="test", size_max=1)
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
        await add(connection, "a")
    async with pool.acquire() as connection:
        is_open = connection.is_in_transaction()

    assert not is_open
    assert await value_of(pool, "a") == 0
    await pool.close()
