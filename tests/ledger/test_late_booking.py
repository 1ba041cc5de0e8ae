"""What was over long before anybody looked is booked as if somebody had looked at once."""

from datetime import UTC, datetime, timedelta

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_server import assert_sound
from tests.support.harness import LedgerHarness
from tests.support.ledger import capture, earn, hold, release, reverse, spend

HOUR = timedelta(hours=1)
LATE = START + 9 * HOUR


async def expiries(ledger: LedgerHarness) -> list[tuple[int, datetime]]:
    """Tells what expired and when, by the statement."""
    entries = await ledger.statement("m1")
    return sorted(
        (entry.amount, entry.occur_time.ToDatetime(UTC))
        for entry in entries
        if entry.kind == ledger_pb2.ENTRY_KIND_EXPIRY
    )


async def hold_around_an_end(ledger: LedgerHarness) -> None:
    """Earns a lot that ends after two hours, spends of it, and holds parts for one, three and four hours."""
    await ledger.post(
        earn("e1", amount=100, expires=START + 2 * HOUR),
        spend("s1", amount=7),
        hold("short", amount=10, timeout_s=3600),
        hold("long", amount=20, timeout_s=3 * 3600),
        hold("longer", amount=30, timeout_s=4 * 3600),
    )


AT_ONCE = [(-20, START + 3 * HOUR), (-30, START + 4 * HOUR), (-43, START + 2 * HOUR)]


async def test_sweep_every_hour_books_each_part_at_its_end(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Swept in time, what the lot had left expires at its end, and what holds reserved when they are over."""
    await hold_around_an_end(ledger)
    for hours in range(9):
        time.value = START + hours * HOUR
        await booking.book_due(ledger.ledger)

    assert sorted(await expiries(ledger)) == sorted(AT_ONCE)


@pytest.mark.parametrize(
    "late",
    [capture("x", "short"), release("x", "long"), capture("x", "longer"), None],
    ids=["short", "long", "longer", "sweep"],
)
async def test_late_touch_books_each_part_at_its_end(
    ledger: LedgerHarness, time: clock.ManualClock, late: ledger_pb2.Operation | None
) -> None:
    """Whichever hold is touched first, long after all are over, the statement is as if the sweep had been in time."""
    await hold_around_an_end(ledger)
    time.value = LATE
    if late is not None:
        [result] = await ledger.post(late)
        assert result.refusal.metadata["state"] == "TIMED_OUT"
    await booking.book_due(ledger.ledger)

    assert sorted(await expiries(ledger)) == sorted(AT_ONCE)
    await assert_sound(ledger)


async def test_reversal_before_late_booking_expires_at_once(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What a reversal brings back to a lot that was over expires then; all else when it was over."""
    await hold_around_an_end(ledger)
    time.value = LATE
    await ledger.post(reverse("r1", "s1"))
    await booking.book_due(ledger.ledger)

    assert sorted(await expiries(ledger)) == sorted([*AT_ONCE, (-7, LATE)])
    await assert_sound(ledger)
