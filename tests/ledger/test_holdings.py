"""Holds as they stand now, and what expires when."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import events_pb2, ledger_pb2, ledger_service_pb2

from services.kernel import clock, ids, times
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.histories import HOUR, MEMBERS, History
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import capture, earn, hold, release, reverse, spend

ACTIVE, CAPTURED = events_pb2.HOLD_STATE_ACTIVE, events_pb2.HOLD_STATE_CAPTURED
RELEASED, TIMED_OUT = events_pb2.HOLD_STATE_RELEASED, events_pb2.HOLD_STATE_TIMED_OUT


async def list_holds(ledger: LedgerHarness, program: str = "demo", **asked: Any) -> Any:
    """Reads a page of holds."""
    request = ledger_service_pb2.ListHoldsRequest(**{"member_id": "m1", **asked})
    return await ledger.stub.ListHolds(request, metadata=credential(program, LEDGER_SCOPES))


async def list_expirations(
    ledger: LedgerHarness, program: str = "demo", until: datetime | None = None, **asked: Any
) -> list[tuple[int, datetime]]:
    """Reads a page of what expires when."""
    request = ledger_service_pb2.ListExpirationsRequest(
        **{"member_id": "m1", **asked}, until_time=times.to_proto(until) if until else None
    )
    response = await ledger.stub.ListExpirations(request, metadata=credential(program, LEDGER_SCOPES))
    return [(each.amount, each.expire_time.ToDatetime(UTC)) for each in response.expirations]


async def place_holds(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Places one hold an hour, and ends each in another way; the last two are active after three hours."""
    await ledger.post(earn("e1", amount=100))
    for hours, name in enumerate(("captured", "released", "over", "active")):
        time.value = START + hours * HOUR
        placed = hold(name, amount=10 + hours, timeout_s=1800 if name == "over" else 36_000)
        placed.cause.redemption_id = f"of-{name}"
        await ledger.post(placed)
    await ledger.post(capture("c1", "captured", 7), release("l1", "released"), reverse("r1", "c1", 2))


async def test_holds_are_told_as_they_stand(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each hold is told with its state, newest first; what was spent of it is less what was reversed."""
    await place_holds(ledger, time)
    holds = (await list_holds(ledger)).holds

    told = [(each.hold_request_id, each.state, each.amount, each.spent) for each in holds]
    assert told == [
        ("active", ACTIVE, 13, 0),
        ("over", TIMED_OUT, 12, 0),
        ("released", RELEASED, 11, 0),
        ("captured", CAPTURED, 10, 5),
    ]
    assert [each.place_time.ToDatetime(UTC) for each in holds] == [START + hours * HOUR for hours in (3, 2, 1, 0)]
    ends = [each.end_time.ToDatetime(UTC) if each.HasField("end_time") else None for each in holds]
    assert ends == [None, START + 2.5 * HOUR, START + 3 * HOUR, START + 3 * HOUR]
    assert [each.cause.redemption_id for each in holds] == ["of-active", "of-over", "of-released", "of-captured"]


async def test_feed_names_holds_as_their_callers_do(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each event of a hold names it as the listing does: by the id that its caller chose, and that a capture takes."""
    await place_holds(ledger, time)
    await booking.book_due(ledger.ledger)
    request = feed_service_pb2.ReadEventsRequest(max_events=1000)
    changes = [
        events_pb2.HoldChanged.FromString(event.payload.value)
        async for response in ledger.feed.ReadEvents(request, metadata=credential("demo", LEDGER_SCOPES))
        for event in response.events
        if event.payload.type_url.endswith("HoldChanged")
    ]

    assert Counter((each.hold_request_id, each.state) for each in changes) == Counter(
        {
            ("captured", ACTIVE): 1,
            ("captured", CAPTURED): 1,
            ("released", ACTIVE): 1,
            ("released", RELEASED): 1,
            ("over", ACTIVE): 1,
            ("over", TIMED_OUT): 1,
            ("active", ACTIVE): 1,
        }
    )
    [result] = await ledger.post(capture("c2", changes[-1].hold_request_id))
    assert result.refusal.reason != "HOLD_NOT_FOUND"


async def test_hold_that_is_over_is_told_so_before_the_sweep(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A hold whose time is over is told the same before it is booked and after."""
    await ledger.post(earn("e1"), hold("h1", amount=1, timeout_s=60))
    # To the very instant in which it is over.
    time.value = START + HOUR / 60
    before = await list_holds(ledger)
    assert list((await list_holds(ledger, active_only=True)).holds) == []
    assert await ledger.ledger.pool.fetchval("SELECT state FROM holds") == "ACTIVE"
    await booking.book_due(ledger.ledger)

    assert await ledger.ledger.pool.fetchval("SELECT state FROM holds") == "TIMED_OUT"
    assert await list_holds(ledger) == before
    assert [each.state for each in before.holds] == [TIMED_OUT]


async def test_active_holds_alone(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Asked for active ones only, holds that have ended are left out, those that time has ended too."""
    await place_holds(ledger, time)

    assert [each.hold_request_id for each in (await list_holds(ledger, active_only=True)).holds] == ["active"]
    time.value = START + 100 * HOUR
    assert list((await list_holds(ledger, active_only=True)).holds) == []


async def test_holds_of_another_program_and_asset_are_not_told(ledger: LedgerHarness) -> None:
    """Neither another program nor another asset shows a hold, and a member without a wallet has none."""
    await ledger.post(earn("e1"), hold("h1", amount=1))

    assert len((await list_holds(ledger)).holds) == 1
    for nothing in (
        list_holds(ledger, "other"),
        list_holds(ledger, asset="credits"),
        list_holds(ledger, member_id="x"),
    ):
        assert list((await nothing).holds) == []


async def test_expirations_are_told_by_instant(ledger: LedgerHarness) -> None:
    """What ends at one instant is told as one, the earliest first; what never ends, is held or pending is not told."""
    await ledger.post(
        earn("e1", amount=10, expires=START + 2 * HOUR),
        earn("e2", amount=20, expires=START + HOUR),
        earn("e3", amount=40, expires=START + 2 * HOUR),
        earn("never", amount=80),
        earn("pending", amount=160, expires=START + 3 * HOUR, pending=True),
        earn("later", amount=320, effective=START + HOUR, expires=START + 3 * HOUR),
        hold("h1", amount=5),
    )

    assert await list_expirations(ledger) == [(15, START + HOUR), (50, START + 2 * HOUR)]
    assert await list_expirations(ledger, until=START + 2 * HOUR) == [(15, START + HOUR)]
    assert await list_expirations(ledger, until=START) == []
    assert await list_expirations(ledger, program="other") == []
    assert await list_expirations(ledger, asset="credits") == []
    assert await list_expirations(ledger, member_id="nobody") == []


async def test_expirations_count_a_hold_that_is_over(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What a hold gave back when its time was over is told again, booked or not."""
    await ledger.post(earn("e1", amount=10, expires=START + 9 * HOUR), hold("h1", amount=4, timeout_s=60))
    assert await list_expirations(ledger) == [(6, START + 9 * HOUR)]
    time.value = START + HOUR

    assert await list_expirations(ledger) == [(10, START + 9 * HOUR)]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_expirations_agree_with_balances(
    ledger: LedgerHarness, time: clock.ManualClock, data: st.DataObject
) -> None:
    """After any history the first end is the next of the balance; nothing pending or held, all ends come true."""
    program = f"p{ids.new_id().hex}"
    history = History(data, ledger, time, (program,))
    await history.begin()
    for _ in range(data.draw(st.integers(1, 12))):
        await history.step()
        for member in MEMBERS:
            await assert_ends(ledger, program, member, time.value)


async def assert_ends(ledger: LedgerHarness, program: str, member: str, now: datetime) -> None:
    """Compares what is told of ends with balances of now and of the instants at which they come."""
    ends = await list_expirations(ledger, program, member_id=member)
    balance = await ledger.balance(member, program=program)
    soon = balance.next_expiry
    assert ends[:1] == ([(soon.amount, soon.expire_time.ToDatetime(UTC))] if soon.amount else [])
    if balance.held or await has_pending(ledger, program, member):
        return
    total = balance.lifetime_expired
    for amount, instant in ends:
        total += amount
        assert (await ledger.balance(member, instant, program=program)).lifetime_expired == total


async def has_pending(ledger: LedgerHarness, program: str, member: str) -> bool:
    """Tells whether some lot has yet to take effect."""
    lots = await ledger.lots(member, program=program)
    return any(lot.state == ledger_pb2.LOT_STATE_PENDING for lot in lots)


async def test_spends_are_no_holds(ledger: LedgerHarness) -> None:
    """What is spent at once is not among the holds."""
    await ledger.post(earn("e1"), spend("s1", amount=1))

    assert list((await list_holds(ledger)).holds) == []
