"""Every kind of operation asked again: by many at once, by its unary twin, later, and with other content."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, times
from tests.conftest import START
from tests.ledger.test_server import MICROSECOND, YEAR, assert_sound
from tests.support.budgets import create_budget, set_rate
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
    claw_back,
    close,
    confirm,
    earn,
    exchange,
    expire,
    fund,
    hold,
    release,
    reverse,
    spend,
    unexpire,
)
from tests.support.outcomes import happen, reasons
from tests.support.refusals import refusal
from tests.support.tables import dump
from tests.support.twins import RPCS, call
from tests.support.waiting import eventually

CALLERS = 64
THEN_DEBT = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT
WRITE_OFF = ledger_pb2.CLAW_BACK_POLICY_WRITE_OFF
# Of every action: an operation that happens after `prepare`, another content under its id, and the fields that differ.
CASES: dict[str, tuple[ledger_pb2.Operation, ledger_pb2.Operation, list[str]]] = {
    "earn": (earn("x", budget_id="b"), earn("x", "m2", 8, budget_id="b"), ["memberId", "amount"]),
    "hold": (hold("x", amount=9), hold("x", amount=9, timeout_s=60), ["timeoutS"]),
    "capture": (capture("x", "h1", 20), capture("x", "h1", 21), ["amount"]),
    "release": (release("x", "h1"), release("x", "h2"), ["holdRequestId"]),
    "reverse": (reverse("x", "s1", 5), reverse("x", "s2", 6), ["targetRequestId", "amount"]),
    "confirm_earn": (confirm("x", "p1"), confirm("x", "p2"), ["earnRequestId"]),
    "cancel_earn": (cancel("x", "p1"), cancel("x", "p2"), ["earnRequestId"]),
    "spend": (spend("x", amount=5), spend("x", amount=5, asset="miles"), ["asset"]),
    "claw_back": (
        claw_back("x", "e1", 99, THEN_DEBT),
        claw_back("x", "e1", 98, WRITE_OFF),
        ["amount", "policy"],
    ),
    "adjust": (adjust("x", change=-5), adjust("x", change=5, asset="miles"), ["asset", "change"]),
    "exchange": (exchange("x", amount=19), exchange("x", amount=19, target="miles"), ["toAsset"]),
    "expire": (expire("x"), expire("x", earn_id="e1"), ["earnRequestId"]),
    "unexpire": (
        unexpire("x", since=START, until=START + YEAR, asset="miles"),
        unexpire("x", since=START, until=START + MICROSECOND, asset="miles"),
        ["expiredUntilTime"],
    ),
    "fund_budget": (fund("x", "b", 7), fund("x", "b", 8), ["amount"]),
    "close_budget": (close("x", "b"), close("x", "b2"), ["budgetId"]),
}
ACTIONS = pytest.mark.parametrize("action", CASES)


async def prepare(ledger: LedgerHarness) -> None:
    """Makes what every operation of `CASES` needs."""
    await create_budget(ledger, shard_count=4)
    await set_rate(ledger, 1, 10)
    await happen(
        ledger,
        fund("f", "b", 1000),
        earn("e1", amount=100),
        spend("s1", amount=20),
        hold("h1", amount=30),
        earn("p1", pending=True, budget_id="b"),
        earn("gone", amount=9, asset="miles"),
        expire("end", asset="miles"),
    )


def test_every_action_is_repeated_here() -> None:
    """No kind of operation that the contract knows is left out, nor is its twin."""
    actions = [field.name for field in ledger_pb2.Operation.DESCRIPTOR.oneofs_by_name["action"].fields]

    assert sorted(actions) == sorted(CASES) == sorted(RPCS)
    assert len(actions) == 15
    assert {name: operation.WhichOneof("action") for name, (operation, _, _) in CASES.items()} == {
        name: name for name in CASES
    }


@ACTIONS
async def test_operation_raced_by_64_callers_happens_once(ledger: LedgerHarness, action: str) -> None:
    """64 callers, half of them by the unary twin, cause one effect and get equal answers; so does who comes later."""
    await prepare(ledger)
    operation = CASES[action][0]

    async def ask(number: int) -> tuple[bool, bytes]:
        if number % 2:
            response = await call(ledger, operation)
        else:
            [response] = await ledger.post(operation)
            assert response.HasField("posting"), response
        return response.replayed, response.posting.SerializeToString(deterministic=True)

    answers = await asyncio.gather(*map(ask, range(CALLERS)))
    before = await dump(ledger.ledger.pool)
    answers += [await ask(0), await ask(1)]
    # Beside another operation, and twice in one call.
    [_, first, second] = await ledger.post(earn("other", "m9", 1), operation, operation)

    assert sum(not replayed for replayed, _ in answers) == 1
    assert len({posting for _, posting in answers}) == 1
    assert {each.posting.SerializeToString(deterministic=True) for each in (first, second)} == {answers[0][1]}
    after = await dump(ledger.ledger.pool)
    assert [name for name in after if after[name] != before[name]] == ["feed_heads", "journal", "lots", "wallets"]
    assert len(after["journal"]) == len(before["journal"]) + 1
    await assert_sound(ledger)


@ACTIONS
async def test_operation_twice_in_one_call_happens_once(ledger: LedgerHarness, action: str) -> None:
    """The second one of the same call is answered as the first one, and as is who asks when it is stored."""
    await prepare(ledger)
    operation = CASES[action][0]
    [first, second] = await ledger.post(operation, operation)
    [stored] = await ledger.post(operation)

    assert (first.replayed, second.replayed, stored.replayed) == (False, True, True)
    assert first.posting.amount > 0
    assert first.posting == second.posting == stored.posting
    await assert_sound(ledger)


async def test_operation_with_other_content_names_fields(ledger: LedgerHarness) -> None:
    """Whatever kind it is, other content under its id is refused with the fields that differ, and nothing happens."""
    await prepare(ledger)
    for action, (operation, _, _) in CASES.items():
        await ledger.post(renamed(operation, action))
    before = await dump(ledger.ledger.pool)
    for action, (operation, other, fields) in CASES.items():
        later = renamed(operation, action)
        later.occur_time.CopyFrom(times.to_proto(START))
        because = renamed(operation, action)
        because.cause.event_id = "event"
        [reused, dated, caused] = await ledger.post(renamed(other, action), later, because)
        assert [(each.refusal.reason, list(each.refusal.fields)) for each in (reused, dated, caused)] == [
            ("REQUEST_ID_REUSED", fields),
            ("REQUEST_ID_REUSED", ["occurTime"]),
            ("REQUEST_ID_REUSED", ["cause"]),
        ]
        by_twin = await refusal(call(ledger, renamed(other, action)))
        assert [violation.field for violation in by_twin.violations] == fields
    assert await dump(ledger.ledger.pool) == before


def renamed(operation: ledger_pb2.Operation, request_id: str) -> ledger_pb2.Operation:
    """Gives the same operation under another id."""
    other = copy.deepcopy(operation)
    other.request_id = request_id
    return other


async def test_operation_of_another_kind_is_other_content(ledger: LedgerHarness) -> None:
    """An id that stands for one kind of operation is refused for every other kind."""
    await prepare(ledger)
    await happen(ledger, CASES["earn"][0])
    results = await ledger.post(*(operation for name, (operation, _, _) in CASES.items() if name != "earn"))

    assert set(reasons(results)) == {"REQUEST_ID_REUSED"}
    assert all("kind" in result.refusal.fields for result in results)


async def test_refusal_raced_is_one_outcome(ledger: LedgerHarness) -> None:
    """64 callers who are refused get equal answers, by whichever rpc they ask, and one row of the journal tells it."""
    operation = claw_back("x", "none")

    async def ask(number: int) -> tuple[str, str]:
        if number % 2:
            refused = await refusal(call(ledger, operation))
            return refused.reason, refused.message
        [result] = await ledger.post(operation)
        return result.refusal.reason, result.refusal.message

    answers = set(await asyncio.gather(*map(ask, range(CALLERS))))
    assert {reason for reason, _ in answers} == {"EARN_NOT_FOUND"}
    assert len(answers) == 1
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal") == 1


@pytest.fixture
async def locked(ledger: LedgerHarness) -> Any:
    """Lets a test hold up all that writes to the wallet of m1, and wait until so many wait for it."""
    await happen(ledger, earn("first", amount=1))
    async with ledger.ledger.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT 1 FROM wallets WHERE member_id = 'm1' FOR UPDATE")

        async def waiting(count: int) -> None:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            # Not in this transaction, which would be told the same for ever.
            await eventually(lambda: _is(ledger.ledger.pool.fetchval(query), count))

        yield waiting, transaction.rollback


async def _is(value: Awaitable[Any], expected: Any) -> bool:
    return bool(await value == expected)


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (earn("x"), claw_back("k", "x")),
        (earn("x", pending=True), confirm("k", "x")),
        (hold("x", amount=1), capture("k", "x")),
        (spend("x", amount=1), reverse("k", "x")),
    ],
    ids=["earn", "pending", "hold", "spend"],
)
async def test_operation_is_known_to_what_follows_its_replay(
    ledger: LedgerHarness,
    databases: Databases,
    ledger_database: str,
    time: clock.ManualClock,
    locked: tuple[Callable[[int], Awaitable[None]], Callable[[], Awaitable[None]]],
    *,
    made: ledger_pb2.Operation,
    about: ledger_pb2.Operation,
) -> None:
    """Who repeats an operation that another server is about to commit can refer to it in the same call."""
    waiting, unlock = locked
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        first = asyncio.create_task(other.post(made))
        await waiting(1)
        second = asyncio.create_task(ledger.post(made, about))
        await waiting(2)
        await unlock()
        results = [*await first, *await second]

    assert reasons(results) == ["", "", ""]
    assert [result.replayed for result in results] == [False, True, False]
    await assert_sound(ledger)
