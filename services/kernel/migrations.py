"""Migrations: numbered files, each applied once, in order, under one lock.

A file is named `NNNN_pre_what.sql` (safe before the new code runs) or `NNNN_post_what.sql` (safe once the old code is
gone). Each runs in a transaction of its own, within a lock timeout of 4 s and a statement timeout of 5 s, so that it
never blocks a live service; a file whose first line is `-- no transaction` runs outside of one, for indexes that are
made concurrently: one statement a file, and as long as it takes.
"""

import asyncio
import hashlib
from pathlib import Path

import asyncpg

from services.kernel import logs

LOCK_KEY = 0x706C6175646974  # "plaudit" in ASCII: one migration run at a time in a database.
NO_TRANSACTION = "-- no transaction"
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "5s"
# What is made concurrently blocks nobody, and takes as long as its table is large.
CONCURRENT_TIMEOUT = "1h"
# How long a run waits for another one, and how often it looks. It must not wait in a statement: an index that is made
# concurrently waits for all statements of others, and would wait for that one for ever.
RUN_WAIT_S = 3600.0
RUN_POLL_S = 0.1

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationChangedError(Exception):
    """A migration that was applied has other content now; migrations never change, a new one follows."""


async def migrate(dsn: str, folder: Path, *, role: str) -> list[str]:
    """Applies what is missing and tells the names. `role` is the group that the service's runtime role is in.

    Raises MigrationChangedError, TimeoutError where another run does not end, and whatever the database refuses; a
    refused file leaves nothing behind.
    """
    texts = _read(folder)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'; SET timezone = 'UTC'")
        await _wait_for_others(connection)
        await _ensure_role(connection, role)
        await connection.execute(CREATE_TABLE)
        rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
        applied = {row["name"]: row["checksum"] for row in rows}
        done = []
        for name, text in texts.items():
            checksum = hashlib.sha256(text.encode()).hexdigest()
            if name not in applied:
                await _apply(connection, name, text, checksum)
                done.append(name)
            elif applied[name] != checksum:
                raise MigrationChangedError(f"{name} was applied with other content; add a new migration instead")
        return done
    finally:
        await connection.close()


def _read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.sql"))}


async def _wait_for_others(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    deadline = asyncio.get_running_loop().time() + RUN_WAIT_S
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"another migration of this database has been under way for {RUN_WAIT_S:.0f} s")
        await asyncio.sleep(RUN_POLL_S)


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    if not exists:
        # Roles belong to the cluster: without the right to make one, an operator makes it, as k8s/README.md says.
        await connection.execute(f'CREATE ROLE "{role}" NOLOGIN')


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", name: str, text: str, checksum: str) -> None:
    record = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
    is_concurrent = text.startswith(NO_TRANSACTION)
    timeout = CONCURRENT_TIMEOUT if is_concurrent else STATEMENT_TIMEOUT
    await connection.execute(f"SET statement_timeout = '{timeout}'")
    if is_concurrent:
        await connection.execute(text)
        await connection.execute(record, name, checksum)
    else:
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute(record, name, checksum)
    logs.get_logger().info("migration_applied", name=name)
