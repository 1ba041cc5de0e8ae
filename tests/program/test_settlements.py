"""Settlements: value that waits is confirmed or cancelled, and what was given is taken back; in any order, once."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.kernel import clock, db, due
from services.program import checks, model
from services.program.operations import settlements
from services.program.operations.events import POST_EFFECTS, earn_of
from services.program.operations.settlements import SETTLE_EVENT
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import confirm as ledger_confirm
from tests.support.ledger import spend
from tests.support.program import ProgramHarness, event, run_program
from tests.support.refusals import refusal

KIND = "referral.qualified"
HELD = program_pb2.EFFECT_STATE_HELD
POSTED = program_pb2.EFFECT_STATE_POSTED
TAKEN_BACK = program_pb2.EFFECT_STATE_TAKEN_BACK


@pytest.fixture
async def both_sides(program: ProgramHarness) -> ProgramHarness:
    """Has rules that give both sides of a referral value that waits."""
    await program.rule("referrer", event_type=KIND, amount="500", pending=True)
    await program.rule("referee", event_type=KIND, amount="200", pending=True, recipient="event.properties.referee_id")
    return program


async def qualify(program: ProgramHarness, event_id: str = "q1") -> program_pb2.EventResult:
    """Records that m2, whom m1 referred, has qualified."""
    [result] = await program.record(event(event_id, KIND, "m1", at=START, referee_id="m2"))
    return result


async def confirm(program: ProgramHarness, event_id: str = "q1") -> list[program_pb2.Effect]:
    """Confirms an event and gives its effects."""
    request = program_service_pb2.ConfirmEventRequest(event_id=event_id)
    return list((await program.stub.ConfirmEvent(request, metadata=program.metadata())).effects)


async def take_back(program: ProgramHarness, event_id: str = "q1", reason: str = "") -> list[program_pb2.Effect]:
    """Takes an event back and gives its effects."""
    request = program_service_pb2.TakeBackEventRequest(event_id=event_id, reason=reason)
    return list((await program.stub.TakeBackEvent(request, metadata=program.metadata())).effects)


async def stand(ledger: LedgerHarness) -> dict[str, tuple[int, int, int]]:
    """Tells what m1 and m2 can spend, what waits for them, and what they owe."""
    balances = {member_id: await ledger.balance(member_id) for member_id in ("m1", "m2")}
    return {member_id: (each.available, each.pending, each.debt) for member_id, each in balances.items()}


async def drain(program: ProgramHarness) -> None:
    """Works all that is due."""
    context = program.context
    await due.drain(context.pool, POST_EFFECTS, program.events.post_due, context.time)
    await due.drain(context.pool, SETTLE_EVENT, lambda item: settlements.settle_due(context, item), context.time)


async def reason_of(call: Awaitable[Any]) -> str:
    """Gives the reason of a refusal."""
    return (await refusal(call)).reason


async def test_value_waits_until_it_is_confirmed(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """What a pending rule gives both sides is held from the start, and theirs once the event is confirmed; once."""
    result = await qualify(both_sides)
    waiting = await stand(ledger)
    first = await confirm(both_sides)
    again = await confirm(both_sides)

    assert [(each.member_id, each.amount, each.state) for each in result.effects] == [
        ("m2", 200, HELD),
        ("m1", 500, HELD),
    ]
    assert waiting == {"m1": (0, 500, 0), "m2": (0, 200, 0)}
    assert [each.state for each in first] == [POSTED, POSTED]
    assert first == again
    assert await stand(ledger) == {"m1": (500, 0, 0), "m2": (200, 0, 0)}


async def test_what_waits_is_cancelled(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """What is taken back while it waits never was anybody's, cannot be confirmed any more, and says why."""
    await qualify(both_sides)
    effects = await take_back(both_sides, reason="self-referral")
    again = await take_back(both_sides, reason="another reason")
    request = program_service_pb2.GetEventRequest(event_id="q1")
    told = await both_sides.stub.GetEvent(request, metadata=both_sides.metadata())

    assert {each.state for each in effects} == {TAKEN_BACK}
    assert effects == again
    assert await reason_of(confirm(both_sides)) == "EVENT_TAKEN_BACK"
    assert await stand(ledger) == {"m1": (0, 0, 0), "m2": (0, 0, 0)}
    assert (told.take_back_reason, told.HasField("take_back_time")) == ("self-referral", True)
    assert not told.HasField("confirm_time")


async def test_what_was_confirmed_is_clawed_back(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """What was confirmed is taken back from both sides; what one of them spent is owed."""
    await qualify(both_sides)
    await confirm(both_sides)
    await ledger.post(spend("s1", "m1", 450))
    await take_back(both_sides)

    assert await stand(ledger) == {"m1": (0, 0, 450), "m2": (0, 0, 0)}
    rows = await checks.check(both_sides.context.pool)
    assert [problem for row in rows for problem in row.problems] == []


async def test_purchase_is_taken_back(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """What a purchase gave is clawed back where it was refunded; caps and claims stay used."""
    await program.rule("first", event_type="purchase.completed", amount="50", once_per="'first'")
    await program.record(event("p1", at=START))
    [effect] = await take_back(program, "p1")
    [result] = await program.record(event("p2", at=START))

    assert effect.state == TAKEN_BACK
    assert [each.reason for each in result.denials] == ["ALREADY_PAID"]
    assert (await ledger.balance("m1")).available == 0


async def test_settling_unknown_event_is_refused(program: ProgramHarness) -> None:
    """There is nothing to settle of an event that the program does not have."""
    assert await reason_of(confirm(program, "nobody")) == "EVENT_NOT_FOUND"
    assert await reason_of(take_back(program, "nobody")) == "EVENT_NOT_FOUND"


async def test_confirming_and_taking_back_at_once(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """Of both at once one comes first: nobody keeps anything in the end, and nothing is booked twice."""
    for number in range(8):
        await qualify(both_sides, f"q{number}")
        calls = [confirm(both_sides, f"q{number}"), take_back(both_sides, f"q{number}")] * 4
        await asyncio.gather(*calls, return_exceptions=True)
        await take_back(both_sides, f"q{number}")

    assert await stand(ledger) == {"m1": (0, 0, 0), "m2": (0, 0, 0)}


async def test_settled_in_the_ledger_itself(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """What the staff confirmed in the ledger is clawed back, though the program knows it as waiting."""
    await qualify(both_sides)
    found = await both_sides.events.get("demo", "q1")
    earns = [earn_of(found[0].event, decision) for decision in found[0].decisions]
    await ledger.post(*(ledger_confirm(f"by-hand-{each.member_id}", each.request_id) for each in earns))
    confirmed = await stand(ledger)
    await take_back(both_sides)

    assert confirmed == {"m1": (500, 0, 0), "m2": (200, 0, 0)}
    assert await stand(ledger) == {"m1": (0, 0, 0), "m2": (0, 0, 0)}


async def test_worker_settles_what_the_ledger_missed(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """Events are recorded and settled while the ledger is away; on its return a worker brings both to it, once."""
    dsn = databases.dsn(program_database, "program")
    async with run_program(dsn, time, "127.0.0.1:1") as cut_off:
        await cut_off.create()
        await cut_off.rule("referrer", event_type=KIND, amount="500", pending=True)
        await qualify(cut_off)
        await confirm(cut_off)
        await qualify(cut_off, "q2")
        await take_back(cut_off, "q2")
        assert SETTLE_EVENT in cut_off.kicks
    async with run_program(dsn, time, ledger.address) as program:
        time.value += timedelta(seconds=11)
        for _ in range(3):
            await drain(program)

    assert await stand(ledger) == {"m1": (500, 0, 0), "m2": (0, 0, 0)}


async def test_follower_records_and_settles_in_its_own_transaction(
    both_sides: ProgramHarness, ledger: LedgerHarness
) -> None:
    """What a follower records and settles stands with its transaction or not at all, and is posted by the worker."""
    known = model.Event("f1", KIND, "m1", "", START, {"referee_id": "m2"}, depth=1)
    wanted = settlements.Wanted("f1", model.Settling.CONFIRM)

    async def record(connection: db.Connection) -> None:
        await both_sides.events.record_within(connection, "demo", [known])
        await settlements.settle_within(both_sides.context, connection, "demo", wanted)

    async def break_off(connection: db.Connection) -> None:
        await record(connection)
        raise ValueError("for once")

    with pytest.raises(ValueError, match="for once"):
        await db.transaction(both_sides.context.pool, break_off)
    await drain(both_sides)
    before = await stand(ledger)
    for _ in range(2):
        await db.transaction(both_sides.context.pool, record)
    await drain(both_sides)

    assert before == {"m1": (0, 0, 0), "m2": (0, 0, 0)}
    assert await stand(ledger) == {"m1": (500, 0, 0), "m2": (200, 0, 0)}
