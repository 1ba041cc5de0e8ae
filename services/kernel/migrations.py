"""Migrations: numbered files, each applied once, in order, under one lock.

A file is named `NNNN_pre_what.sql` (safe before the new code runs) or `NNNN_post_what.sql` (safe once the old code is
gone). Each runs in a transaction of its own, within a lock timeout of 4 s and a statement timeout of 5 s, so that it
never blocks a live service; a file whose first line is `-- no transaction` runs outside of one, for indexes that are
made concurrently.
"""

import hashlib
from pathlib import Path

import asyncpg

from services.kernel import logs

LOCK_KEY = 0x706C6175646974  # "plaudit" in ASCII: one migration run at a time in a database.
NO_TRANSACTION = "-- no transaction"

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

    Raises MigrationChangedError, and whatever the database refuses; a refused file leaves nothing behind.
    """
    texts = _read(folder)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SET lock_timeout = '4s'; SET statement_timeout = '5s'; SET timezone = 'UTC'")
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
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


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    if not exists:
        # Roles belong to the cluster: without the right to make one, an operator makes it, as k8s/README.md says.
        await connection.execute(f'CREATE ROLE "{role}" NOLOGIN')


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", name: str, text: str, checksum: str) -> None:
    record = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
    if text.startswith(NO_TRANSACTION):
        await connection.execute(text)
        await connection.execute(record, name, checksum)
    else:
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute(record, name, checksum)
    logs.get_logger().info("migration_applied", name=name)
