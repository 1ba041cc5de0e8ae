"""Campaigns: rules that give promotional value out of a budget, and stop where the ledger says that it is used up."""

import asyncio
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.kernel import clock, due, ids
from services.program import checks
from services.program.operations.events import POST_EFFECTS
from tests.conftest import START
from tests.support.budgets import create_budget, get_budget
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import spend
from tests.support.program import ProgramHarness, event, run_program

KIND = "order.placed"


async def campaign(program: ProgramHarness, amount: int = 10, **values: Any) -> None:
    """Makes the rule of a campaign that pays out of the budget `spring-budget`."""
    wanted = {"promotional": True, "campaign_id": "spring", "budget_id": "spring-budget", **values}
    await program.rule("spring", event_type=KIND, amount=str(amount), **wanted)


async def fund(ledger: LedgerHarness, amount: int, request_id: str = "fund") -> None:
    """Puts points into the campaign's budget."""
    operation = ledger_pb2.Operation(
        request_id=request_id, fund_budget=ledger_pb2.FundBudget(budget_id="spring-budget", amount=amount)
    )
    [result] = await ledger.post(operation)
    assert result.HasField("posting")


async def budget(ledger: LedgerHarness, amount: int, **what: Any) -> None:
    """Makes the campaign's budget with so many points."""
    await create_budget(ledger, "spring-budget", **what)
    await fund(ledger, amount)


async def order(program: ProgramHarness, event_id: str, member_id: str = "m1") -> program_pb2.EventResult:
    """Records one order."""
    [result] = await program.record(event(event_id, KIND, member_id, at=START))
    return result


def told(results: list[program_pb2.EventResult]) -> list[list[str | int]]:
    """Tells of each event what was paid, and why not."""
    return [
        [*(each.amount for each in result.effects), *(each.reason for each in result.denials)] for result in results
    ]


async def assert_sound(program: ProgramHarness) -> None:
    """Compares all that must agree."""
    rows = await checks.check(program.context.pool)
    assert [problem for row in rows for problem in row.problems] == []


async def test_campaign_gives_promotional_value_out_of_its_budget(
    program: ProgramHarness, ledger: LedgerHarness
) -> None:
    """What a campaign's rule gives is promotional, names the campaign, and comes out of the budget."""
    await program.rule("plain", event_type="a.b", amount="10")
    await program.record(event("e0", "a.b", at=START))
    await budget(ledger, 100)
    await campaign(program)
    result = await order(program, "e1")
    [posted] = await ledger.post(spend("s1", amount=5))
    lots = {lot.origin.rule_id: lot for lot in await ledger.lots("m1")}

    assert told([result]) == [[10]]
    assert [(each, lots[each].promotional, lots[each].remaining) for each in ("plain", "spring")] == [
        ("plain", False, 10),
        ("spring", True, 5),
    ]
    assert [lots[each].origin.campaign_id for each in ("plain", "spring")] == ["", "spring"]
    assert (await get_budget(ledger, "spring-budget")).given == 10
    assert posted.HasField("posting")


async def test_rule_keeps_its_campaign(program: ProgramHarness) -> None:
    """A rule tells its campaign and its budget, a change keeps what it does not name, and a mask clears it."""
    await campaign(program)

    async def update(request_id: str, mask: str, **values: Any) -> program_pb2.Rule:
        rule = program_pb2.Rule(rule_id="spring", **values)
        request = program_service_pb2.UpdateRuleRequest(rule=rule, update_mask=mask, request_id=request_id)
        return (await program.stub.UpdateRule(request, metadata=program.metadata())).rule

    kept = await update("u1", "", amount="20")
    cleared = await update("u2", "promotional,budgetId", campaign_id="ignored")

    assert (kept.amount, kept.promotional, kept.campaign_id, kept.budget_id) == ("20", True, "spring", "spring-budget")
    assert (cleared.promotional, cleared.campaign_id, cleared.budget_id) == (False, "spring", "")


@pytest.mark.parametrize("shards", [1, 8])
async def test_campaign_stops_exactly_at_its_budget(
    program: ProgramHarness, ledger: LedgerHarness, *, shards: int
) -> None:
    """64 events at once on a budget for 10 of them: 10 are paid, 54 are told that it is used up, nothing is left."""
    await budget(ledger, 100, shard_count=shards)
    await campaign(program)
    results = await asyncio.gather(*(order(program, f"e{n}", f"m{n % 16}") for n in range(64)))
    left = await get_budget(ledger, "spring-budget")
    given = [lot.amount for n in range(16) for lot in await ledger.lots(f"m{n}")]

    assert sorted(told(results), key=str) == [["BUDGET_EXHAUSTED"]] * 54 + [[10]] * 10
    assert (left.given, left.left) == (100, 0)
    assert given == [10] * 10
    await assert_sound(program)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"amount": 101}, "BUDGET_EXHAUSTED"),
        ({"budget_id": "summer-budget"}, "BUDGET_NOT_FOUND"),
        ({"asset": "credits"}, "BUDGET_NOT_FOUND"),
        ({"budget_id": "closed-budget"}, "BUDGET_CLOSED"),
    ],
)
async def test_refused_effect_tells_why(
    program: ProgramHarness, ledger: LedgerHarness, *, what: dict[str, Any], reason: str
) -> None:
    """What the budget refuses is denied with its reason, then and for ever, and other rules pay nevertheless."""
    await budget(ledger, 100)
    await create_budget(ledger, "closed-budget")
    close = ledger_pb2.CloseBudget(budget_id="closed-budget")
    await ledger.post(ledger_pb2.Operation(request_id="close", close_budget=close))
    await program.rule("plain", event_type=KIND, amount="3")
    await campaign(program, **what)
    first = await order(program, "e1")
    again = await order(program, "e1")
    request = program_service_pb2.GetEventRequest(event_id="e1")
    explained = await program.stub.GetEvent(request, metadata=program.metadata())

    assert told([first]) == told([again]) == [[3, reason]]
    assert [each.denial.reason for each in explained.decisions] == ["", reason]
    assert first.denials[0].message == again.denials[0].message == explained.decisions[1].denial.message
    assert (await get_budget(ledger, "spring-budget")).given == 0
    assert (await ledger.balance("m1")).available == 3


async def test_refused_effect_counts_in_no_cap(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """What the ledger refused leaves its room under every cap of the rule."""
    caps = [
        program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY, max_count=2),
        program_pb2.Cap(period=program_pb2.CAP_PERIOD_LIFETIME, max_amount=20),
    ]
    await budget(ledger, 10)
    await campaign(program, caps=caps)
    results = [await order(program, f"e{n}") for n in (1, 2, 3)]
    await fund(ledger, 100, "more")
    results += [await order(program, f"e{n}") for n in (4, 5)]

    assert told(results) == [[10], ["BUDGET_EXHAUSTED"], ["BUDGET_EXHAUSTED"], [10], ["CAP_REACHED"]]
    await assert_sound(program)


async def test_room_under_a_cap_is_exact_while_refusals_return_it(
    program: ProgramHarness, ledger: LedgerHarness
) -> None:
    """64 callers whose events are decided and refused at once leave all the room under a cap but what was paid."""
    cap = program_pb2.Cap(period=program_pb2.CAP_PERIOD_MONTH, max_count=300)
    await budget(ledger, 50)
    await campaign(program, caps=[cap])

    async def orders(caller: int) -> list[program_pb2.EventResult]:
        return [await order(program, f"a{caller}-{n}") for n in range(4)]

    before = [result for results in await asyncio.gather(*map(orders, range(64))) for result in results]
    await fund(ledger, 10_000, "more")
    after = await program.record(*(event(f"b{n}", KIND, at=START) for n in range(400)))

    assert [sum(each == [10] for each in told(results)) for results in (before, after)] == [5, 295]
    await assert_sound(program)


async def test_refused_effect_is_not_paid_once(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A value of `once_per` is used up by a payment and not by a refusal: one later event is paid for it."""
    await budget(ledger, 10)
    await program.rule("plain", event_type=KIND, amount="1", once_per="event.properties.season")
    await campaign(program, once_per="event.properties.season")
    sent = [event(f"e{n}", KIND, at=START, season="spring" if n else "winter") for n in range(20)]
    results = await program.record(*sent[:2])
    await fund(ledger, 1000, "more")
    results += [result for [result] in await asyncio.gather(*(program.record(each) for each in sent[2:]))]
    results += await program.record(event("e20", KIND, at=START, season="winter"))

    assert told(results[:2]) == [[1, 10], [1, "BUDGET_EXHAUSTED"]]
    assert sorted(told(results[2:]), key=str) == [["ALREADY_PAID"] * 2] * 18 + [[10, "ALREADY_PAID"]]
    assert (await ledger.balance("m1")).available == 22
    await assert_sound(program)


async def test_refusal_found_by_many_is_denied_once(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """What was pending while the ledger was away is denied once it refuses, and returned once to its cap."""
    dsn = databases.dsn(program_database, "program")
    async with run_program(dsn, time, "127.0.0.1:1") as alone:
        await alone.create()
        await campaign(alone, caps=[program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY, max_count=2)])
        pending = [await order(alone, f"e{n}") for n in (1, 2)]

    await budget(ledger, 10)
    async with run_program(dsn, time, ledger.address) as back:
        posting = due.DueItem("demo", POST_EFFECTS, ids.new_id(), {"event_ids": ["e1", "e2"]}, START)
        await asyncio.gather(*(back.events.post_due(posting) for _ in range(16)))
        posted = [await order(back, f"e{n}") for n in (1, 2)]
        await fund(ledger, 100, "more")
        later = [await order(back, f"e{n}") for n in (3, 4)]

    assert told(pending) == [[10], [10]]
    assert sorted(told(posted), key=str) == [["BUDGET_EXHAUSTED"], [10]]
    assert told(later) == [[10], ["CAP_REACHED"]]
