"""What every test can have: one PostgreSQL and one Valkey a run, a fresh database a test, a clock turned by hand."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from services.devstack.postgres import EmbeddedPostgres
from services.devstack.redis import EmbeddedRedis
from services.kernel import clock
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.program import ProgramHarness, run_program

# What runs a whole stack comes first, package by package, so that none idles beside all that comes after.
STACKS = ("journeys", "devstack")
# Then what takes longest, so that no core has nothing left to do while another one works for minutes.
LONGEST = ("test_oracle.py", "test_crashes.py", "test_bench.py", "test_up.py")

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what takes longest; the order is by chance otherwise."""

    def rank(item: pytest.Item) -> tuple[int, bool]:
        package = item.path.parent.name
        return STACKS.index(package) if package in STACKS else len(STACKS), item.path.name not in LONGEST

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Shows logs of failed tests in plain lines; the pretty ones take longer than what they tell of."""
    add_level, tracebacks = structlog.processors.add_log_level, structlog.processors.format_exc_info
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_level,
            tracebacks,
            structlog.processors.KeyValueRenderer(),
        ]
    )


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Runs one PostgreSQL for the whole run; power loss is not what these tests are about."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    with EmbeddedPostgres(folder / "data", durable=False) as server:
        yield Databases(server)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """Runs one Valkey for the whole run."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture
def time() -> clock.ManualClock:
    """Gives a clock that stands still until it is turned."""
    return clock.ManualClock(START)


@pytest.fixture
async def ledger_database(databases: Databases) -> AsyncIterator[str]:
    """Lends a fresh ledger database, by name."""
    async with databases.copy("ledger") as name:
        yield name


@pytest.fixture
async def ledger(databases: Databases, ledger_database: str, time: clock.ManualClock) -> AsyncIterator[LedgerHarness]:
    """Runs a ledger of its own for the test."""
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as harness:
        yield harness


@pytest.fixture
async def program_database(databases: Databases) -> AsyncIterator[str]:
    """Lends a fresh program database, by name."""
    async with databases.copy("program") as name:
        yield name


@pytest.fixture
async def program(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> AsyncIterator[ProgramHarness]:
    """Runs a program of its own over the test's ledger, with the tenant `demo`."""
    async with run_program(databases.dsn(program_database, "program"), time, ledger.address) as harness:
        await harness.create()
        yield harness
