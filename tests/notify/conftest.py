"""A notify of its own for each test, with feeds that the test writes."""

from collections.abc import AsyncIterator

import pytest

from services.kernel import clock
from tests.support.databases import Databases
from tests.support.notify import NotifyHarness, run_notify


@pytest.fixture
async def notify_database(databases: Databases) -> AsyncIterator[str]:
    """Lends a fresh notify database, by name."""
    async with databases.copy("notify") as name:
        yield name


@pytest.fixture
async def feeds(databases: Databases) -> AsyncIterator[dict[str, str]]:
    """Lends a database that holds the feeds of the program and of the ledger; each follower reads its own types."""
    async with databases.copy("program") as name:
        dsn = databases.dsn(name, "program")
        yield {"program": dsn, "ledger": dsn}


@pytest.fixture
async def notify(
    databases: Databases, notify_database: str, feeds: dict[str, str], time: clock.ManualClock
) -> AsyncIterator[NotifyHarness]:
    """Runs a notify of its own for the test."""
    async with run_notify(databases.dsn(notify_database, "notify"), time, feeds) as harness:
        yield harness
