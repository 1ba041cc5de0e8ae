"""A caller goes away, is cut off or runs out of time while the ledger works: asking again tells what then stands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from prometheus_client import REGISTRY

from services.kernel import db, errors, interceptors, rpc
from tests.ledger.samples import assert_answered_once, every_kind, prepare
from tests.ledger.test_server import assert_sound
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import earn, spend
from tests.support.proxies import Proxy, run_proxy
from tests.support.refusals import refusal
from tests.support.waiting import PATIENCE_S, eventually

CALLERS = 64
CONTRACT = [ledger_service_pb2.DESCRIPTOR]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the ledger wait for locks for as long as a test may need."""
    monkeypatch.setattr(db, "LOCK_TIMEOUT", f"{PATIENCE_S:.0f}s")


@pytest.fixture
async def hold_up(databases: Databases, ledger_database: str) -> AsyncIterator["HoldUp"]:
    """Gives what holds up all that writes to the ledger, and lets it go on at the end at the latest."""
    admin = await databases.admin(ledger_database)
    held = HoldUp(admin)
    yield held
    await held.end()
    await admin.close()


class HoldUp:
    """Holds up what writes to the journal, in the middle of its transaction."""

    def __init__(self, admin: Any) -> None:
        self._admin = admin
        self._transaction: Any = None

    async def begin(self) -> None:
        """Holds up from now on."""
        self._transaction = self._admin.transaction()
        await self._transaction.start()
        await self._admin.execute("LOCK TABLE journal IN SHARE MODE")

    async def waits(self) -> bool:
        """Tells whether a batch is held up."""
        return bool(await self._admin.fetchval(WAITING))

    async def end(self) -> None:
        """Lets all go on."""
        if self._transaction is not None:
            await self._transaction.rollback()
        self._transaction = None


@asynccontextmanager
async def behind_proxy(ledger: LedgerHarness) -> AsyncIterator[tuple[str, Proxy]]:
    """Gives an address by which a ledger is reached, and the proxy that is there."""
    host, _, port = ledger.address.rpartition(":")
    async with run_proxy(lambda: asyncio.open_connection(host, int(port))) as proxy:
        yield f"{host}:{proxy.port}", proxy


async def post(
    channel: grpc.aio.Channel, *operations: ledger_pb2.Operation, timeout_s: float = PATIENCE_S
) -> list[ledger_pb2.OperationResult]:
    """Posts over a channel of the test's own."""
    stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
    request = ledger_service_pb2.PostOperationsRequest(operations=operations)
    response = await stub.PostOperations(request, metadata=credential("demo", LEDGER_SCOPES), timeout=timeout_s)
    return list(response.results)


async def test_call_that_is_cut_off_is_told_when_asked_again(ledger: LedgerHarness, hold_up: HoldUp) -> None:
    """A caller whose connection is cut while the batch runs is told the outcome of that very call under the same id."""
    account = await prepare(ledger)
    async with behind_proxy(ledger) as (address, proxy), rpc.channel(address) as channel:
        await hold_up.begin()
        calling = asyncio.create_task(refusal(post(channel, *every_kind())))
        await eventually(hold_up.waits)
        proxy.cut()
        found = await calling
        await hold_up.end()

    assert (found.code, found.reason) == (errors.Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert found.retry_after_s is not None
    await assert_answered_once(ledger, account, replayed=True)
    await assert_sound(ledger)


async def test_call_that_is_cut_off_is_repeated_as_contracted(ledger: LedgerHarness, hold_up: HoldUp) -> None:
    """A client that repeats what the contract allows is told the outcome without a word of the cut."""
    await ledger.post(earn("e1"))
    async with behind_proxy(ledger) as (address, proxy), rpc.channel(address, CONTRACT) as channel:
        await hold_up.begin()
        calling = asyncio.create_task(post(channel, spend("s1", amount=30)))
        await eventually(hold_up.waits)
        proxy.cut()
        await hold_up.end()
        [told] = await calling

    assert (told.posting.amount, told.replayed) == (30, True)
    assert (await ledger.balance("m1")).available == 70
    await assert_sound(ledger)


@pytest.mark.parametrize("whose", ["caller", "server"])
async def test_call_whose_time_is_over_is_told_when_asked_again(
    ledger: LedgerHarness, hold_up: HoldUp, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """A call whose deadline passes while its batch runs is refused as late, and its ids tell what became of it."""
    account = await prepare(ledger)
    await hold_up.begin()
    if whose == "server":
        monkeypatch.setattr(interceptors, "DEADLINE_MAX_S", 0.2)
    timeout_s = 0.2 if whose == "caller" else PATIENCE_S

    async def is_late() -> bool:
        found = await refusal(post(ledger.channel, *every_kind(), timeout_s=timeout_s))
        assert (found.code, found.reason) == (errors.Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        # What was not begun in time is dropped, and was too early for this.
        return await hold_up.waits()

    await eventually(is_late)
    monkeypatch.undo()
    await hold_up.end()

    await assert_answered_once(ledger, account, replayed=True)
    await assert_sound(ledger)


def accepted() -> float:
    """Counts the operations that ledgers of this process have taken into queues and batches."""
    names = {"batcher": "ledger"}
    waiting = REGISTRY.get_sample_value("plaudit_batch_queue_items", names)
    taken = REGISTRY.get_sample_value("plaudit_batch_items_sum", names)
    return (waiting or 0) + (taken or 0)


async def test_callers_who_leave_take_nothing_with_them(ledger: LedgerHarness, hold_up: HoldUp) -> None:
    """Of 64 callers in batches and queues half go away: the others are answered, and each id has one outcome."""
    await ledger.post(earn("e1", amount=CALLERS))
    before = accepted()
    await hold_up.begin()
    asked = [spend(f"s{number}", amount=1) for number in range(CALLERS)]
    calling = [asyncio.create_task(ledger.post(each)) for each in asked]
    await eventually(lambda: accepted() == before + CALLERS)
    await eventually(hold_up.waits)
    for task in calling[::2]:
        task.cancel()
    await eventually(lambda: all(task.done() for task in calling[::2]))
    await hold_up.end()

    assert [(await task)[0].posting.amount for task in calling[1::2]] == [1] * (CALLERS // 2)
    again = await ledger.post(*asked)
    assert [result.replayed for result in again[1::2]] == [True] * (CALLERS // 2)
    assert {result.posting.amount for result in again} == {1}
    assert (await ledger.balance("m1")).available == 0
    await assert_sound(ledger)
