"""Statements: what came and went within a time adds up, agrees with balances, and of what has passed never changes."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, ids, times
from services.ledger.model import Booking
from tests.conftest import START
from tests.ledger.histories import HOUR, MEMBERS, History
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import (
    adjust,
    cancel,
    claw_back,
    earn,
    exchange,
    expire,
    hold,
    reverse,
    spend,
    unexpire,
)
from tests.support.refusals import refusal
from tests.support.waiting import eventually

MICROSECOND = timedelta(microseconds=1)
CHANGES = ("earned", "spent", "expired", "adjusted", "exchanged", "clawed_back")


async def summary(
    ledger: LedgerHarness,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    member: str = "m1",
    program: str = "demo",
    asset: str = "",
) -> ledger_service_pb2.SummarizeStatementResponse:
    """Sums a statement up, and sees that it adds up."""
    request = ledger_service_pb2.SummarizeStatementRequest(
        member_id=member,
        asset=asset,
        start_time=times.to_proto(start) if start else None,
        end_time=times.to_proto(end) if end else None,
    )
    response = await ledger.stub.SummarizeStatement(request, metadata=credential(program, LEDGER_SCOPES))
    assert response.closing == response.opening + sum(getattr(response, name) for name in CHANGES)
    return response


def told(response: Any) -> dict[str, int]:
    """Gives what is not zero."""
    return {field.name: value for field, value in response.ListFields()}


async def set_rate(ledger: LedgerHarness, numerator: int, denominator: int) -> None:
    """Stores a rate from points to credits."""
    await ledger.ledger.pool.execute(
        "INSERT INTO exchange_rates VALUES ('demo', 'points', 'credits', 1, $1, $2, now(), gen_random_uuid(), '')",
        numerator,
        denominator,
    )


async def test_summary_tells_each_kind(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What was earned, spent, expired, adjusted, exchanged and taken back is told by its kind, over the whole time."""
    await set_rate(ledger, 1, 10)
    await ledger.post(
        earn("e1", amount=100),
        earn("e2", amount=30, expires=START + HOUR),
        earn("e3", amount=5, pending=True),
        cancel("x3", "e3"),
        spend("s1", amount=40),
        reverse("r1", "s1", 15),
        adjust("a1", change=9),
        adjust("a2", change=-2),
        exchange("x1", amount=20),
        claw_back("b1", "e1", 8),
    )
    time.value = START + 2 * HOUR
    await ledger.post(unexpire("u1", since=START, until=START + 2 * HOUR))
    whole = await summary(ledger)

    assert told(whole) == {
        "earned": 130,
        "spent": -25,
        "adjusted": 7,
        "exchanged": -20,
        "clawed_back": -8,
        "closing": 84,
    }
    assert told(await summary(ledger, asset="credits")) == {"exchanged": 2, "closing": 2}


async def test_summary_is_cut_at_both_ends(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What was posted before the time is the opening, what was posted at its end and later is not in it."""
    for hours, amount in enumerate((1, 2, 4, 8)):
        time.value = START + hours * HOUR
        await ledger.post(earn(f"e{hours}", amount=amount))

    assert told(await summary(ledger, START + HOUR, START + 3 * HOUR)) == {"opening": 1, "earned": 6, "closing": 7}
    assert told(await summary(ledger, start=START + 3 * HOUR)) == {"opening": 7, "earned": 8, "closing": 15}
    assert told(await summary(ledger, end=START + MICROSECOND)) == {"earned": 1, "closing": 1}
    assert told(await summary(ledger, end=START)) == {}
    assert told(await summary(ledger, end=START + 100 * HOUR)) == {"earned": 15, "closing": 15}


async def test_late_sweep_leaves_statement_as_it_is(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A statement of the time in which value ended is the same whether that was booked at once or long after."""
    window = (START, START + 3 * HOUR)
    for program in ("swept", "late"):
        await ledger.post(earn("e1", amount=30, expires=START + HOUR), earn("e2", amount=4), program=program)
        await ledger.post(hold("h1", amount=10, timeout_s=7200), program=program)
    for hours in range(5):
        time.value = START + hours * HOUR
        await ledger.ledger.writes.submit("swept", [Booking(("m1", "points"))])
    at_once = await summary(ledger, *window, program="swept")
    time.value = START + 100 * HOUR

    assert told(at_once) == {"earned": 34, "expired": -30, "closing": 4}
    assert await summary(ledger, *window, program="late") == at_once
    assert told(await summary(ledger, START, START + 2 * HOUR, program="late")) == {
        "earned": 34,
        "expired": -20,
        "closing": 14,
    }


async def test_back_dated_earn_counts_when_it_was_posted(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An earn of last month that is posted today is of today, though the balance of last month has it."""
    await ledger.post(earn("e1", amount=10, at=START - 30 * 24 * HOUR))
    yesterday = START - 24 * HOUR

    assert told(await summary(ledger, end=yesterday)) == {}
    assert told(await summary(ledger, start=yesterday)) == {"earned": 10, "closing": 10}
    assert (await ledger.balance("m1", yesterday)).available == 10


async def test_early_expiry_counts_when_it_was_decided(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What the staff ends early has expired then, and the statement says who and why."""
    await ledger.post(earn("e1", amount=10, expires=START + 9 * HOUR))
    time.value = START + HOUR
    await ledger.post(expire("x1"))
    time.value = START + 2 * HOUR

    assert told(await summary(ledger, end=START + HOUR)) == {"earned": 10, "closing": 10}
    assert told(await summary(ledger, start=START + HOUR)) == {"opening": 10, "expired": -10}
    [line, _] = await ledger.statement("m1")
    assert (line.kind, line.reason, line.actor) == (ledger_pb2.ENTRY_KIND_EXPIRY, "account closed", "staff-1")


async def test_adjustment_is_told_with_its_reason(ledger: LedgerHarness) -> None:
    """A line that the staff decided has the reason and the actor, and others have neither."""
    await ledger.post(earn("e1"), adjust("a1", change=-30))
    lines = await ledger.statement("m1")

    assert [(line.amount, line.reason, line.actor) for line in lines] == [(-30, "goodwill", "staff-1"), (100, "", "")]


@pytest.mark.parametrize(("start", "end"), [(START, START), (START + MICROSECOND, START)])
async def test_empty_time_is_refused(ledger: LedgerHarness, start: datetime, end: datetime) -> None:
    """A time that does not begin before it ends is refused by its field, for members without points too."""
    found = await refusal(summary(ledger, start, end))

    assert found.code is errors.Code.INVALID_ARGUMENT
    assert [(each.field, each.message) for each in found.violations] == [("startTime", "must be before endTime")]


async def test_summary_of_unknown_member_is_zero(ledger: LedgerHarness) -> None:
    """A member without points, or of another program, has a statement of nothing."""
    await ledger.post(earn("e1"), program="other")

    assert told(await summary(ledger)) == {}
    assert told(await summary(ledger, member="nobody")) == {}


LATE_ENTRY = """
    INSERT INTO journal (
        posted_at, occurred_at, position, amount, wallet_id, sequence, balance, request_id, leg, partition, program_id,
        kind
    )
    SELECT $1, $1, 2, 2, wallet_id, 2, 3, gen_random_uuid(), 0, 0, 'demo', 'EARN' FROM wallets
"""
WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def test_closed_time_waits_for_writers(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A statement up to now has what a writer took the time of before, and commits only after it was asked for."""
    await ledger.post(earn("e1", amount=1))
    pool = ledger.ledger.pool
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute("SELECT 1 FROM wallets FOR UPDATE")
        time.value = START + HOUR
        reading = asyncio.create_task(summary(ledger, end=START + HOUR))
        await eventually(lambda: pool.fetchval(WAITERS))
        await writer.execute(LATE_ENTRY, START)
    assert (await reading).closing == 3


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_statements_agree_with_balances_and_sweeps(
    ledger: LedgerHarness, time: clock.ManualClock, data: st.DataObject
) -> None:
    """After any history the balance of an instant is the statement up to it, booked in time or late, and stays so."""
    swept, late = (f"p{ids.new_id().hex}" for _ in range(2))
    history = History(data, ledger, time, (swept, late))
    await history.begin()
    closed: dict[datetime, list[Any]] = {}
    for _ in range(data.draw(st.integers(2, 12))):
        await history.step()
        await ledger.ledger.writes.submit(swept, [Booking((member, "points")) for member in MEMBERS])
        closed[time.value] = [await summary(ledger, end=time.value, member=member, program=swept) for member in MEMBERS]
    time.value += 20 * HOUR
    for end, first in closed.items():
        for member, before in zip(MEMBERS, first, strict=True):
            assert await summary(ledger, end=end, member=member, program=swept) == before
            assert await summary(ledger, end=end, member=member, program=late) == before
            balance = await ledger.balance(member, end - MICROSECOND, program=late)
            held = balance.held + balance.pending
            if balance.available or not balance.debt:
                assert before.closing == balance.available + held + balance.debt * bool(balance.available)
            else:
                assert held <= before.closing <= held + balance.debt
