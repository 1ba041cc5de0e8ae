"""Linked calls: all of their operations happen, or none, and each says so for ever."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.ledger import batch, convert, model
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.budgets import create_budget, get_budget
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
    cashback,
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
from tests.support.pure import make_state, post
from tests.support.refusals import refusal
from tests.support.tables import changed, dump

CALLERS = 64


async def link(ledger: LedgerHarness, *operations: ledger_pb2.Operation) -> list[ledger_pb2.OperationResult]:
    """Posts operations of which all happen or none."""
    request = ledger_service_pb2.PostOperationsRequest(operations=operations, linked=True)
    response = await ledger.stub.PostOperations(request, metadata=credential("demo", LEDGER_SCOPES))
    return list(response.results)


async def test_linked_operations_all_happen(ledger: LedgerHarness) -> None:
    """Where nothing is refused, a linked call is like any other, and its operations can build on each other."""
    results = await link(
        ledger, earn("e1"), hold("h1", amount=60), capture("c1", "h1", 40), reverse("r1", "c1", 10), earn("e2", "m2")
    )

    assert reasons(results) == [""] * 5
    assert (await ledger.balance("m1")).available == 70
    assert (await ledger.balance("m2")).available == 100
    await assert_sound(ledger)


@pytest.mark.parametrize("place", range(4))
async def test_linked_operations_none_happens_where_one_is_refused(ledger: LedgerHarness, place: int) -> None:
    """Wherever the refused one stands, nothing but the refusals is left: the one says why, the others name it."""
    await happen(ledger, earn("first"), earn("theirs", "m2"))
    before = await dump(ledger.ledger.pool)
    asked = [earn("e1"), spend("s1", "m2", 30), adjust("a1", change=7)]
    asked.insert(place, spend("too-much", amount=1000))
    results = await link(ledger, *asked)

    because = {"requestId": "too-much", "reason": "INSUFFICIENT_BALANCE"}
    for operation, result in zip(asked, results, strict=True):
        if operation.request_id == "too-much":
            assert result.refusal.reason == "INSUFFICIENT_BALANCE"
        else:
            assert (result.refusal.reason, dict(result.refusal.metadata)) == ("LINKED_REFUSED", because)
    differences = changed(before, await dump(ledger.ledger.pool))
    assert differences.keys() == {"feed_heads", "journal"}
    assert [len(rows) for rows in differences["journal"]] == [0, 4]
    await assert_sound(ledger)


async def test_linked_refusal_stays(ledger: LedgerHarness) -> None:
    """What was refused with others is refused for ever, alone and linked, when nothing stands in its way any more."""
    first = await link(ledger, earn("e1"), spend("s1", "m2", 30))
    await happen(ledger, earn("now", "m2"))
    alone = [*await ledger.post(earn("e1")), *await ledger.post(spend("s1", "m2", 30))]
    again = await link(ledger, earn("e1"), spend("s1", "m2", 30))

    assert reasons(first) == ["LINKED_REFUSED", "INSUFFICIENT_BALANCE"]
    for other in (alone, again):
        assert [each.replayed for each in other] == [True, True]
        assert [each.refusal for each in other] == [each.refusal for each in first]
    assert reasons(await link(ledger, earn("e2"), earn("e1"))) == ["LINKED_REFUSED", "LINKED_REFUSED"]
    assert (await ledger.balance("m2")).available == 100


async def test_linked_call_repeated_is_answered_again(ledger: LedgerHarness) -> None:
    """A linked call that 64 callers repeat happens once, and all are told the same."""
    answers = await asyncio.gather(*(link(ledger, earn("e1"), spend("s1", amount=30)) for _ in range(CALLERS)))

    assert {tuple(result.posting.amount for result in results) for results in answers} == {(100, 30)}
    assert sum(not results[0].replayed for results in answers) == 1
    assert (await ledger.balance("m1")).available == 70
    await assert_sound(ledger)


async def test_linked_call_keeps_what_happened_before_it(ledger: LedgerHarness) -> None:
    """An operation that stood before the call stays, whatever becomes of the others."""
    await happen(ledger, earn("e1"))
    results = await link(ledger, earn("e1"), spend("s1", amount=1000))

    assert (results[0].replayed, results[0].posting.amount) == (True, 100)
    assert results[1].refusal.reason == "INSUFFICIENT_BALANCE"
    assert (await ledger.balance("m1")).available == 100


async def test_linked_reused_id_refuses_all(ledger: LedgerHarness) -> None:
    """An id that stands for other content refuses the whole call, named by its fields, and keeps its own outcome."""
    await happen(ledger, earn("e1"))
    results = await link(ledger, earn("new"), earn("e1", amount=5))

    assert reasons(results) == ["LINKED_REFUSED", "REQUEST_ID_REUSED"]
    assert dict(results[0].refusal.metadata) == {"requestId": "e1", "reason": "REQUEST_ID_REUSED"}
    assert (await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal")) == 2
    assert (await ledger.post(earn("e1")))[0].posting.amount == 100


async def test_linked_call_with_malformed_operation_is_refused(ledger: LedgerHarness) -> None:
    """A malformed operation refuses a linked call as a whole, by its place and field, and nothing of it is kept."""
    refused = await refusal(link(ledger, earn("e1"), earn("e2", amount=0), earn("e3", member_id="")))

    assert (refused.reason, refused.violations[0].field) == ("FIELD_INVALID", "operations[1].earn.amount")
    assert reasons(await ledger.post(earn("e1"), earn("e2"))) == ["", ""]


async def test_linked_calls_stand_beside_others(ledger: LedgerHarness) -> None:
    """64 linked calls at once, half of them to fail, do each all or nothing, and leave their neighbours alone."""
    await create_budget(ledger, shard_count=8)
    await happen(ledger, fund("f", "b", CALLERS * 10))

    async def call(number: int) -> tuple[str, ...]:
        amount = 1000 if number % 2 else 10
        results = await link(
            ledger,
            earn(f"e{number}", f"m{number}", 10, budget_id="b"),
            spend(f"s{number}", f"m{number}", amount),
            earn(f"k{number}", "kept", 1),
        )
        return tuple(reasons(results))

    answers = await asyncio.gather(*map(call, range(CALLERS)))
    assert set(answers[::2]) == {("", "", "")}
    assert set(answers[1::2]) == {("LINKED_REFUSED", "INSUFFICIENT_BALANCE", "LINKED_REFUSED")}
    budget = await get_budget(ledger)
    assert (budget.given, budget.left) == (320, 320)
    assert (await ledger.balance("kept")).available == 32
    await assert_sound(ledger)


async def test_linked_call_of_1000_is_one_of_them(ledger: LedgerHarness) -> None:
    """As many operations as a call may have are linked, and are all undone by the last one."""
    earns = [earn(f"e{number}", f"m{number % 7}", 1) for number in range(999)]
    results = await link(ledger, *earns, spend("last", "m0", 10**6))

    assert reasons(results) == ["LINKED_REFUSED"] * 999 + ["INSUFFICIENT_BALANCE"]
    assert (await ledger.balance("m0")).available == 0
    await assert_sound(ledger)


def snapshot(state: Any) -> str:
    """Tells all that a state holds."""
    lots = {wallet_id: lots for wallet_id, lots in state.lots.items() if lots}
    parts = [state.wallets, lots, state.holds, state.takings, state.budgets, state.targets, state.prior]
    return repr([*parts, state.alert_marks, state.rows, state.allocations])


def choose(number: int, fate: random.Random) -> ledger_pb2.Operation:
    """Chooses an operation of any kind about anything that stood before."""
    name = f"n{number}"
    choices = [
        earn(name, amount=fate.randint(1, 50), budget_id="b", pending=fate.random() < 0.3),
        cashback(name, fate.randint(1, 90), 125),
        spend(name, amount=fate.randint(1, 80)),
        hold(name, amount=fate.randint(1, 40)),
        capture(name, "h1", fate.randint(0, 12)),
        release(name, "h1"),
        reverse(name, "s1", fate.randint(0, 15)),
        confirm(name, "p1"),
        cancel(name, "p1"),
        claw_back(name, "e1", fate.randint(0, 60), fate.randint(1, 4)),  # type: ignore[arg-type]
        adjust(name, change=fate.randint(-40, 40) or 1),
        exchange(name, amount=fate.randint(1, 50)),
        expire(name, earn_id=fate.choice(("", "e1"))),
        unexpire(name, since=START, until=START + YEAR),
        fund(name, "b", fate.randint(1, 9)),
        close(name, "b"),
    ]
    return fate.choice(choices)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_refused_link_leaves_no_trace(seed: int, count: int) -> None:
    """Whatever kinds of operations went before it in its call, a refused one brings back exactly what there was."""
    fate = random.Random(seed)
    state = make_state(("m1", "points"), ("m1", "credits"))
    state.budgets["b"] = model.Budget("b", "points", [model.Shard(0, 500, 0, 0, False)], is_whole=True)
    state.alert_marks["b"] = model.AlertMark("b", (4, 5, 8), told_percent=4, alert_count=1)
    state.rates["points", "credits"] = model.Rate("points", "credits", 1, 1, 3, START)
    for operation in (
        earn("e1", amount=100, expires=START + YEAR),
        spend("s1", amount=15),
        hold("h1", amount=12),
        earn("p1", amount=20, pending=True, budget_id="b"),
    ):
        post(state, operation)
    before = snapshot(state)
    rows = len(state.rows)
    chosen = [choose(number, fate) for number in range(count)]
    asked = tuple(map(convert.operation, [*chosen, spend("last", amount=10**9)]))
    outcomes = batch.Batch(state).post(model.Linked(asked))

    assert {outcome.refusal is not None for outcome in outcomes} == {True}
    assert [row.refusal is not None for row in state.rows[rows:]] == [True] * len(asked)
    del state.rows[rows:]
    for item in asked:
        state.prior.pop(item.key)
    assert snapshot(state) == before
