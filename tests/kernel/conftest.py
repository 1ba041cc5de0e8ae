"""What tests of the kernel share: a database with the tables of the feed, and one with those of due work."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.kernel import db
from tests.support import due, feeds
from tests.support.databases import Databases
from tests.support.waiting import PATIENCE_S


@pytest.fixture
async def feed_database(databases: Databases) -> AsyncIterator[str]:
    """Lends a database that publishes and follows, by name; handlers leave their effects in the table `seen`."""
    async with databases.copy("program") as name:
        admin = await databases.admin(name)
        await admin.execute(feeds.SEEN)
        await admin.close()
        yield name


@pytest.fixture
async def feed_pool(databases: Databases, feed_database: str) -> AsyncIterator[db.Pool]:
    """Opens a pool on it."""
    pool = await db.create_pool(databases.dsn(feed_database, "postgres"), service="test-feed", size_max=24)
    yield pool
    await _close(pool)


@pytest.fixture
async def due_dsn(databases: Databases) -> AsyncIterator[str]:
    """Lends a database with due work, for the role that a service has at run time."""
    async with databases.copy("program") as name:
        admin = await databases.admin(name)
        await admin.execute(due.WORKED)
        await admin.close()
        yield databases.dsn(name, "program")


@pytest.fixture
async def due_pool(due_dsn: str) -> AsyncIterator[db.Pool]:
    """Opens a pool on it."""
    pool = await db.create_pool(due_dsn, service="test-due", size_max=24)
    yield pool
    await _close(pool)


async def _close(pool: db.Pool) -> None:
    """Closes a pool, and fails rather than waits for ever for what a test left behind."""
    async with asyncio.timeout(PATIENCE_S):
        await pool.close()
