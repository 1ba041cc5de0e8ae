"""PostgreSQL has no space: callers are told to come back, nothing is half-written, all happens once there is some."""

from collections.abc import AsyncIterator

import grpc
import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.devstack import postgres
from services.devstack.postgres import EmbeddedPostgres
from services.kernel import clock, errors, interceptors, migrations
from tests.ledger.samples import assert_adds_up, assert_answered_once, assert_refused, prepare
from tests.ledger.test_server import assert_sound
from tests.support.accounts import Account
from tests.support.databases import SERVICES
from tests.support.disks import SEGMENT_BYTES, SEGMENT_OPTION, full_table, limit_files
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import earn
from tests.support.refusals import refusal
from tests.support.waiting import eventually

# More than fills a table of one segment.
CALLS_MAX = 50
EARNS_PER_CALL = 500
MEMBERS = 9


@pytest.fixture
async def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedPostgres]:
    """Runs a PostgreSQL of its own, which keeps what it was told through a crash, with a ledger's database."""
    monkeypatch.setattr(postgres, "INITDB_OPTIONS", (*postgres.INITDB_OPTIONS, SEGMENT_OPTION))
    with EmbeddedPostgres(tmp_path_factory.mktemp("disk") / "data") as running:
        running.create_databases(["ledger"])
        folder = SERVICES / "ledger" / "sql" / "migrations"
        await migrations.migrate(running.dsn("ledger", "ledger_owner"), folder, role="ledger_service")
        yield running


@pytest.fixture
async def filling(server: EmbeddedPostgres, time: clock.Clock) -> AsyncIterator[LedgerHarness]:
    """Runs a ledger over it."""
    async with run_ledger(server.dsn("ledger", "ledger"), time) as ledger:
        yield ledger


async def fill(ledger: LedgerHarness, account: Account) -> tuple[list[ledger_pb2.Operation], errors.DomainError]:
    """Earns until there is no space for more; gives the operations of the call that was refused, and its refusal."""
    for call in range(CALLS_MAX):
        operations = [earn(f"fill-{call}.{number}", f"f{number % MEMBERS}", 1) for number in range(EARNS_PER_CALL)]
        try:
            account.add(operations, await ledger.post(*operations))
        except grpc.aio.AioRpcError as error:
            return operations, interceptors.from_error(error, dependency="ledger")
    raise AssertionError("There is always space for more.")


async def is_back(ledger: LedgerHarness) -> bool:
    """Tells whether a ledger has its database again."""
    try:
        await ledger.balance("m1")
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_full_disk_is_refused_until_there_is_space(server: EmbeddedPostgres, filling: LedgerHarness) -> None:
    """A call that finds no space is refused whole, others go on, and the same ids happen once there is space."""
    async with full_table(server, "ledger", "allocations"):
        await filling.post(earn("e0", "m2", 5))
        for _ in range(2):
            assert_refused(await refusal(prepare(filling)))
        [balance] = [await filling.balance("m2")]
        assert (balance.available, balance.lifetime_earned) == (5, 5)
        await assert_sound(filling)
    await eventually(lambda: is_back(filling))

    account = await prepare(filling)
    assert {result.replayed for result in await filling.post(*account.operations.values())} == {True}
    account.add([earn("e0", "m2", 5)], await filling.post(earn("e0", "m2", 5)))
    await assert_answered_once(filling, account, replayed=False)
    await assert_sound(filling)


async def test_used_up_quota_is_refused_until_there_is_space(server: EmbeddedPostgres, filling: LedgerHarness) -> None:
    """A call whose table may not grow is refused whole, what is there is told, and it happens once it may."""
    account = await prepare(filling)
    limit_files(server, str(SEGMENT_BYTES))
    operations, first = await fill(filling, account)
    assert_refused(first)
    assert_refused(await refusal(filling.post(*operations)))
    await assert_adds_up(filling, account)
    await assert_sound(filling)
    limit_files(server, "unlimited")

    results = await filling.post(*operations)
    assert {(result.posting.amount, result.replayed) for result in results} == {(1, False)}
    account.add(operations, results)
    await assert_answered_once(filling, account, replayed=False)
    await assert_sound(filling)


async def test_full_log_is_refused_until_there_is_space(server: EmbeddedPostgres, filling: LedgerHarness) -> None:
    """Where PostgreSQL dies since its log has no space, calls are refused, and are told what stands when it is back."""
    account = await prepare(filling)
    limit_files(server, str(SEGMENT_BYTES // 2))
    operations, first = await fill(filling, account)
    assert_refused(first)
    server.kill()
    assert_refused(await refusal(filling.post(*operations)))
    await server.start_async()
    await eventually(lambda: is_back(filling))

    results = await filling.post(*operations)
    assert len({(result.posting.amount, result.replayed) for result in results}) == 1
    account.add(operations, results)
    await assert_answered_once(filling, account, replayed=False)
    await assert_sound(filling)
