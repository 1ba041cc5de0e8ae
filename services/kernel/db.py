"""PostgreSQL: pools, transactions that are retried where that is safe, and queries kept in `.sql` files.

Only the kernel and each service's `store` know the driver. Whatever goes wrong between us and the database becomes
`DEPENDENCY_UNAVAILABLE`; what the database refuses by constraint, the store translates.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from services.kernel import errors, logs

# Quoted, since the driver's classes take a parameter for the checker only.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# A UUID like any, equal to Python's own and made in a twentieth of its time.
Uuid = asyncpg.pgproto.pgproto.UUID

Result = TypeVar("Result")

POOL_SIZE_MAX = 16
ACQUIRE_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
# Waiting longer for one wallet than this means that something is stuck; the caller retries under the same id.
LOCK_TIMEOUT = "5s"
ATTEMPTS_MAX = 6
BACKOFF_BASE_S = 0.01

# A transaction that ended so had no effect and may be run again from its start. Others stood in its way: where they do
# so again and again the caller comes back later.
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
# Likewise, but what clashes every time is a fault of ours.
CLASHES = (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError)
TRANSIENT = (*CONFLICTS, *CLASHES)
# The database is away, going away or out of something; nobody knows whether a commit in flight happened.
UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver says of a connection whose server ended it just before it was used.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    ConnectionError,
    TimeoutError,
    OSError,
)
# PostgreSQL has a code for a disk that is full, and none for a quota that is used up or a file that may not grow: those
# are internal errors of these files of its source.
STORAGE_SOURCES = ("md.c", "fd.c", "slru.c")

HEADER = re.compile(r"^-- (?P<name>[a-z_0-9]+) --\n-- (?P<sentence>.+)\n", re.MULTILINE)


class Queries:
    """Named queries of one service, by name; each has one sentence that says what it does."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        headers = list(HEADER.finditer(text))
        ends = [header.start() for header in headers[1:]] + [len(text)]
        self._sql = {
            header["name"]: text[header.end() : end].strip() for header, end in zip(headers, ends, strict=True)
        }
        assert len(self._sql) == len(headers), f"{path} has two queries of one name."

    def __getitem__(self, name: str) -> str:
        """Gives the text of a query."""
        return self._sql[name]

    def names(self) -> list[str]:
        """Lists the names."""
        return list(self._sql)


async def create_pool(dsn: str, *, service: str, size_max: int = POOL_SIZE_MAX) -> Pool:
    """Opens a pool; connections are made when they are first needed. Raises DEPENDENCY_UNAVAILABLE."""
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            max_inactive_connection_lifetime=300,
            init=_prepare_connection,
            reset=_leave_session,
            server_settings={
                "application_name": service,
                "timezone": "UTC",
                "lock_timeout": LOCK_TIMEOUT,
                "jit": "off",
                # A plan for one call at a time takes indexes for dearer than reading all of a table that is small yet:
                # 1,000 earns after the first 20,000 took four times as long so.
                "plan_cache_mode": "force_generic_plan",
            },
        )
    except UNAVAILABLE as error:
        if not _is_away(error):
            raise
        raise _unavailable(error) from error


async def _prepare_connection(connection: Connection) -> None:
    # In the binary format, which COPY needs: a version byte before the text.
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_dump_json, decoder=_load_json, format="binary"
    )


async def _leave_session(_: Connection) -> None:
    """Leaves a session as it is, which nothing here changes; a round trip fewer for each use of a connection.

    The driver itself ends a transaction that was left open.
    """


JSONB_VERSION = b"\x01"


def _dump_json(value: Any) -> bytes:
    return JSONB_VERSION + orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _load_json(value: bytes) -> Any:
    """Reads a document; raises ValueError for JSON's null, which nothing here writes and which would pass for NULL."""
    assert value[:1] == JSONB_VERSION, "PostgreSQL has one format of jsonb."
    loaded = orjson.loads(value[1:])
    if loaded is None:
        raise ValueError("what is absent is stored as NULL, and never as JSON's null")
    return loaded


async def transaction(pool: Pool, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs `work` in one transaction and commits it; runs it again from its start where the database asks for that.

    A unique violation is retried too: two transactions made the same thing, and the second try sees the first's.
    `work` must therefore have no effect but through its connection. Raises DEPENDENCY_UNAVAILABLE.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection, connection.transaction():
                return await work(connection)
        except TRANSIENT as error:
            if attempt == ATTEMPTS_MAX:
                if isinstance(error, CONFLICTS):
                    raise _unavailable(error) from error
                raise
            logs.get_logger().info("transaction_retried", attempt=attempt, cause=type(error).__name__)
            await asyncio.sleep(random.uniform(0, BACKOFF_BASE_S * 2**attempt))
        except UNAVAILABLE as error:
            if not _is_away(error):
                raise
            raise _unavailable(error) from error
    raise AssertionError("The last attempt returns or raises.")


async def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Adds many rows to a table in the caller's transaction, by COPY: the way for whatever is only ever added to.

    The journal rows and lots of 1,000 earns took 19 ms so and 23 ms by INSERT from arrays, and 7 ms of our own CPU
    instead of 11: the driver looks through arrays element by element.
    """
    await connection.copy_records_to_table(table, columns=columns, records=rows, timeout=COMMAND_TIMEOUT_S)


async def read(pool: Pool, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs `work` in one read-only transaction that sees one instant. Raises DEPENDENCY_UNAVAILABLE."""
    try:
        async with (
            pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await work(connection)
    except UNAVAILABLE as error:
        if not _is_away(error):
            raise
        raise _unavailable(error) from error


async def ask(pool: Pool, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs one statement, or some that need not see the same instant, each in a transaction of its own.

    Two round trips fewer than `read`. Raises DEPENDENCY_UNAVAILABLE.
    """
    try:
        async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            return await work(connection)
    except UNAVAILABLE as error:
        if not _is_away(error):
            raise
        raise _unavailable(error) from error


def _is_away(error: Exception) -> bool:
    """Tells whether it is the database that failed, and not what it was asked."""
    return not isinstance(error, asyncpg.InternalServerError) or error.server_source_filename in STORAGE_SOURCES


def _unavailable(error: Exception) -> errors.DomainError:
    logs.get_logger().warning("database_unavailable", error=type(error).__name__)
    return errors.dependency_unavailable("database")
