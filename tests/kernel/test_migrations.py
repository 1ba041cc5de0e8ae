"""Migrations: each applied once, in order, under one lock, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.kernel import migrations
from tests.support.databases import Databases
from tests.support.waiting import eventually

FIRST = "CREATE TABLE things (name text PRIMARY KEY);\nINSERT INTO things VALUES ('one');\n"
SECOND = "INSERT INTO things VALUES ('two');\n"


@pytest.fixture
async def dsn(databases: Databases) -> AsyncIterator[str]:
    """Lends an empty database."""
    async with databases.empty() as name:
        yield databases.dsn(name, "postgres")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Gives a folder with one migration."""
    (tmp_path / "0001_pre_make_things.sql").write_text(FIRST)
    return tmp_path


async def migrate(dsn: str, folder: Path) -> list[str]:
    """Applies what is missing."""
    return await migrations.migrate(dsn, folder, role="test_service")


async def rows(dsn: str, query: str) -> list[str]:
    """Reads one column."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_migrate_applies_each_once(dsn: str, folder: Path) -> None:
    """What is missing is applied in the order of the names and told, and a second run does nothing."""
    (folder / "0002_post_add_two.sql").write_text(SECOND)

    assert await migrate(dsn, folder) == ["0001_pre_make_things.sql", "0002_post_add_two.sql"]
    assert await migrate(dsn, folder) == []
    assert await rows(dsn, "SELECT name FROM things ORDER BY name") == ["one", "two"]


async def test_migrate_applies_what_came_later(dsn: str, folder: Path) -> None:
    """A file that is added later is applied alone."""
    await migrate(dsn, folder)
    (folder / "0002_post_add_two.sql").write_text(SECOND)

    assert await migrate(dsn, folder) == ["0002_post_add_two.sql"]


async def test_migrate_refuses_changed_file(dsn: str, folder: Path) -> None:
    """A file that was applied and has other content now is refused by name, and nothing behind it is applied."""
    await migrate(dsn, folder)
    (folder / "0001_pre_make_things.sql").write_text(FIRST + "-- Another thought.\n")
    (folder / "0002_post_add_two.sql").write_text(SECOND)

    with pytest.raises(migrations.MigrationChangedError, match="0001_pre_make_things"):
        await migrate(dsn, folder)
    assert await rows(dsn, "SELECT name FROM things") == ["one"]


async def test_migration_that_fails_leaves_nothing(dsn: str, folder: Path) -> None:
    """A file that fails in its middle leaves nothing behind; those before it stay, and mended it is applied."""
    (folder / "0002_pre_break.sql").write_text(SECOND + "SELECT 1 / 0;\n")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn, folder)
    assert await rows(dsn, "SELECT name FROM things") == ["one"]
    assert await rows(dsn, "SELECT name FROM schema_migrations") == ["0001_pre_make_things.sql"]

    (folder / "0002_pre_break.sql").write_text(SECOND)
    assert await migrate(dsn, folder) == ["0002_pre_break.sql"]


async def test_migrate_raced_applies_each_once(dsn: str, folder: Path) -> None:
    """Eight runs at once apply each file once between them, those that make indexes concurrently too."""
    (folder / "0002_pre_index.sql").write_text(
        "-- no transaction\nCREATE INDEX CONCURRENTLY things_by_name ON things (name);\n"
    )
    (folder / "0003_post_add_two.sql").write_text(SECOND)
    done = await asyncio.gather(*(migrate(dsn, folder) for _ in range(8)))

    assert sorted(name for names in done for name in names) == [
        "0001_pre_make_things.sql",
        "0002_pre_index.sql",
        "0003_post_add_two.sql",
    ]
    assert await rows(dsn, "SELECT name FROM things ORDER BY name") == ["one", "two"]
    assert await rows(dsn, "SELECT 'valid' FROM pg_index WHERE indexrelid = 'things_by_name'::regclass AND indisvalid")


async def test_migrate_waits_for_a_longer_one(dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run waits for one that is under way, for longer than any statement may take."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "20ms")
    other = await asyncpg.connect(dsn)
    await other.execute("SELECT pg_advisory_lock($1)", migrations.LOCK_KEY)
    waiting = asyncio.create_task(migrate(dsn, folder))
    await eventually(
        lambda: other.fetchval("SELECT count(*) > 1 FROM pg_stat_activity WHERE datname = current_database()")
    )
    await other.fetchval("SELECT pg_sleep(0.1)")
    await other.execute("SELECT pg_advisory_unlock($1)", migrations.LOCK_KEY)
    await other.close()

    assert await waiting == ["0001_pre_make_things.sql"]


async def test_statement_that_blocks_is_given_up(dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that would have to wait for a busy table gives up, so that it blocks nobody behind it."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "20ms")
    await migrate(dsn, folder)
    busy = await asyncpg.connect(dsn)
    transaction = busy.transaction()
    await transaction.start()
    await busy.execute("LOCK TABLE things")
    (folder / "0002_pre_alter.sql").write_text("ALTER TABLE things ADD COLUMN size integer;\n")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await migrate(dsn, folder)
    await transaction.rollback()
    await busy.close()

    assert await migrate(dsn, folder) == ["0002_pre_alter.sql"]


async def test_long_index_is_not_cut_short(dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs outside of a transaction blocks nobody, and may take longer than other statements."""
    monkeypatch.setattr(migrations, "STATEMENT_TIMEOUT", "50ms")
    (folder / "0002_pre_slow.sql").write_text("-- no transaction\nSELECT pg_sleep(0.1);\n")
    (folder / "0003_pre_slow.sql").write_text("SELECT pg_sleep(0.1);\n")

    with pytest.raises(asyncpg.QueryCanceledError):
        await migrate(dsn, folder)
    assert "0002_pre_slow.sql" in await rows(dsn, "SELECT name FROM schema_migrations")


async def test_migrate_makes_the_runtime_role(dsn: str, folder: Path) -> None:
    """The role that the files grant to is there before the first of them runs."""
    (folder / "0002_pre_grant.sql").write_text("GRANT SELECT ON things TO test_service;\n")

    assert len(await migrate(dsn, folder)) == 2
