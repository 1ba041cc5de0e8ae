"""PostgreSQL says no, or nothing at all: callers are told so, may ask again, and are told what then stands, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.kernel import clock, db
from tests.ledger.callers import Callers
from tests.ledger.mixture import Mixture
from tests.ledger.samples import assert_answered_once, assert_refused, every_kind, prepare
from tests.ledger.test_server import assert_sound
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import earn, spend
from tests.support.proxies import Cut, Proxy, database_proxy, proxied_dsn, run_proxy
from tests.support.refusals import refusal
from tests.support.waiting import PATIENCE_S, eventually

LOCKED_ROWS = {
    "wallet": "SELECT FROM wallets WHERE member_id = 'm1' FOR UPDATE",
    "budget": "SELECT FROM budget_shards WHERE budget_id = 'b1' FOR UPDATE",
    "feed": "SELECT FROM feed_heads FOR UPDATE",
}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
ONE_MEMBER = "SELECT FROM wallets WHERE member_id = $1 FOR UPDATE"
CUTS_MIN = 30
CALLERS = 16


@asynccontextmanager
async def session(databases: Databases, database: str) -> AsyncIterator[Any]:
    """Connects to the ledger's database as somebody else who works there."""
    connection = await databases.admin(database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def admin(databases: Databases, ledger_database: str) -> AsyncIterator[Any]:
    """Gives such a session."""
    async with session(databases, ledger_database) as connection:
        yield connection


@asynccontextmanager
async def run_behind_proxy(
    databases: Databases, database: str, time: clock.Clock
) -> AsyncIterator[tuple[LedgerHarness, Proxy]]:
    """Runs a ledger that reaches its database by way of a proxy."""
    async with (
        run_proxy(database_proxy(databases.server)) as proxy,
        run_ledger(proxied_dsn(proxy, database, "ledger"), time) as ledger,
    ):
        yield ledger, proxy


@pytest.mark.parametrize("row", LOCKED_ROWS)
async def test_lock_held_too_long_is_refused_until_it_is_free(
    databases: Databases,
    ledger_database: str,
    time: clock.Clock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    admin: Any,
    row: str,
) -> None:
    """While another session holds a row that a call needs, the call is refused soon and whole, and happens after."""
    monkeypatch.setattr(db, "LOCK_TIMEOUT", "50ms")
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as ledger:
        account = await prepare(ledger)
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute(LOCKED_ROWS[row])
        for _ in range(2):
            assert_refused(await refusal(ledger.post(*every_kind())))
        await transaction.rollback()

        await assert_answered_once(ledger, account, replayed=False)
        await assert_sound(ledger)


async def test_deadlock_is_run_again(databases: Databases, ledger_database: str, time: clock.Clock, admin: Any) -> None:
    """A batch that another session deadlocks with is run again from its start, and answered as if nothing had been."""
    # The ledger notices it first, and so is the one that PostgreSQL ends.
    await admin.execute(f'ALTER DATABASE "{ledger_database}" SET deadlock_timeout = 20')
    async with (
        run_ledger(databases.dsn(ledger_database, "ledger"), time) as ledger,
        session(databases, ledger_database) as first,
        session(databases, ledger_database) as second,
    ):
        await ledger.post(earn("e1", "m1"), earn("e2", "m2"))
        await second.execute("SET deadlock_timeout = 60000")
        with capture_logs() as lines:
            # Who waits for the first row when it is freed: the ledger, then the one who has what it asks for next.
            async with second.transaction():
                async with first.transaction():
                    await first.execute(ONE_MEMBER, "m1")
                    await second.execute(ONE_MEMBER, "m2")
                    posting = asyncio.create_task(ledger.post(spend("s1", "m1", 10), spend("s2", "m2", 20)))
                    await eventually(lambda: waits(admin, 1))
                    crossing = asyncio.create_task(second.execute(ONE_MEMBER, "m1"))
                    await eventually(lambda: waits(admin, 2))
                await crossing
            results = await posting

        assert "DeadlockDetectedError" in {line.get("cause") for line in lines}
        assert [(result.posting.amount, result.replayed) for result in results] == [(10, False), (20, False)]
        assert [(await ledger.balance(member_id)).available for member_id in ("m1", "m2")] == [90, 80]
        await assert_sound(ledger)


async def waits(admin: Any, count: int) -> bool:
    """Tells whether so many sessions wait for a lock."""
    return bool(await admin.fetchval(WAITING) == count)


async def test_serialization_failure_is_run_again(
    databases: Databases, ledger_database: str, time: clock.Clock, admin: Any
) -> None:
    """Where transactions are serializable, two batches that stand in each other's way both happen, each once."""
    await admin.execute(f'ALTER DATABASE "{ledger_database}" SET default_transaction_isolation = serializable')
    dsn = databases.dsn(ledger_database, "ledger")
    async with run_ledger(dsn, time) as one, run_ledger(dsn, time) as other:
        await one.post(earn("e1", "m1"), earn("e2", "m2"))
        with capture_logs() as lines:
            async with admin.transaction(isolation="read_committed"):
                await admin.execute(LOCKED_ROWS["feed"])
                posting = [asyncio.create_task(one.post(spend("s1", "m1", 10)))]
                posting.append(asyncio.create_task(other.post(spend("s2", "m2", 20))))
                await eventually(lambda: waits(admin, 2))
            [[first], [second]] = await asyncio.gather(*posting)

        assert "SerializationError" in {line.get("cause") for line in lines}
        assert (first.posting.amount, second.posting.amount) == (10, 20)
        assert [(await one.balance(member_id)).available for member_id in ("m1", "m2")] == [90, 80]
        await assert_sound(one)


async def test_conflicts_that_stay_are_refused(
    databases: Databases, ledger_database: str, time: clock.Clock, monkeypatch: pytest.MonkeyPatch, *, admin: Any
) -> None:
    """Callers whose batches stand in each other's way too often are told to come back, and then what stands."""
    monkeypatch.setattr(db, "ATTEMPTS_MAX", 1)
    await admin.execute(f'ALTER DATABASE "{ledger_database}" SET default_transaction_isolation = serializable')
    dsn = databases.dsn(ledger_database, "ledger")
    async with run_ledger(dsn, time) as one, run_ledger(dsn, time) as other:
        mixture = Mixture(Random(1))
        callers = Callers(one.channel, mixture)
        others = Callers(other.channel, mixture, callers.account)
        await callers.prepare()
        async with asyncio.TaskGroup() as running:
            for number in range(CALLERS):
                running.create_task((callers, others)[number % 2].run(number))
            await eventually(lambda: len(callers.account.results) >= 50 * CALLERS)
            callers.stopped = others.stopped = True
        assert callers.asked_again > 0
        await callers.assert_told()
        await assert_sound(one)


@pytest.mark.parametrize("cut", Cut)
async def test_cut_connection_leaves_all_or_nothing(
    databases: Databases, ledger_database: str, time: clock.Clock, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    """A connection cut around the commit fails the call as one to ask again, which then tells whether it happened."""
    monkeypatch.setattr(db, "COMMAND_TIMEOUT_S", 0.5 if cut is Cut.SILENT else PATIENCE_S)
    async with run_behind_proxy(databases, ledger_database, time) as (ledger, proxy):
        account = await prepare(ledger)
        proxy.cut_next(cut)
        assert_refused(await refusal(ledger.post(*every_kind())))

        assert proxy.cuts == [cut]
        await assert_answered_once(ledger, account, replayed=cut is not Cut.BEFORE_COMMIT)
        await assert_sound(ledger)


async def test_cut_connections_lose_nothing(databases: Databases, ledger_database: str, time: clock.Clock) -> None:
    """Callers whose ledger loses its connections all the time, before commits and after, are told what then stands."""
    async with run_behind_proxy(databases, ledger_database, time) as (ledger, proxy):
        callers = Callers(ledger.channel, Mixture(Random(2)))
        await callers.prepare()
        fate = Random(3)
        proxy.choose = lambda: fate.choice((None, None, None, Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT))
        async with asyncio.TaskGroup() as running:
            for number in range(CALLERS):
                running.create_task(callers.run(number))
            await eventually(lambda: len(proxy.cuts) >= CUTS_MIN)
            callers.stopped = True
        proxy.choose = lambda: None

        assert set(proxy.cuts) == {Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT}
        assert callers.told_late > 0
        await callers.assert_told()
        await assert_sound(ledger)
