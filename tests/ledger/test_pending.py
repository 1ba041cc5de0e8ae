"""Earns that wait: confirmed they can be spent, cancelled they never were, and each ends once."""

import asyncio
from datetime import timedelta

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, times
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LedgerHarness
from tests.support.ledger import cancel, claw_back, confirm, earn, hold, spend
from tests.support.outcomes import happen, reasons, refused

CALLERS = 64
DAY = timedelta(days=1)
MONTH = ledger_pb2.ExpiryPolicy(time_zone="Europe/Paris", months=1, end=ledger_pb2.EXPIRY_END_DAY)


async def test_pending_earn_cannot_be_spent(ledger: LedgerHarness) -> None:
    """What waits is told as pending and as nothing else, and neither spent nor held."""
    [posting] = await happen(ledger, earn("e1", amount=100, pending=True, expires=START + YEAR))
    results = await ledger.post(spend("s1", amount=1), hold("h1", amount=1))
    balance = await ledger.balance("m1")
    [lot] = await ledger.lots("m1")

    assert times.from_proto(posting.expire_time) == START + YEAR
    assert reasons(results) == ["INSUFFICIENT_BALANCE"] * 2
    assert (balance.available, balance.pending, balance.lifetime_earned) == (0, 100, 0)
    assert not balance.HasField("next_expiry")
    assert (lot.state, lot.remaining, lot.HasField("effective_time")) == (ledger_pb2.LOT_STATE_PENDING, 100, False)
    await assert_sound(ledger)


async def test_confirmed_earn_is_spendable_from_then(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A confirmation makes value spendable from its own instant on, with the end that was told."""
    await happen(ledger, earn("e1", amount=100, at=START - DAY, pending=True, expires=START + YEAR))
    time.value = START + DAY
    [posting] = await happen(ledger, confirm("k1", "e1"))
    before = await ledger.balance("m1", START + DAY - timedelta(microseconds=1))
    after = await ledger.balance("m1", START + DAY)
    [lot] = await ledger.lots("m1")

    assert (posting.amount, times.from_proto(posting.expire_time)) == (100, START + YEAR)
    assert (before.available, before.pending) == (0, 100)
    assert (after.available, after.pending, after.lifetime_earned) == (100, 0, 100)
    assert (lot.state, times.from_proto(lot.effective_time)) == (ledger_pb2.LOT_STATE_ACTIVE, START + DAY)
    await happen(ledger, spend("s1", amount=100))
    await assert_sound(ledger)


async def test_confirmed_earn_lives_its_span_from_then(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An end that is computed counts from the confirmation; until then the earn has none."""
    [earned] = await happen(ledger, earn("e1", pending=True, expiry=MONTH))
    time.value = START + 10 * DAY
    [confirmed] = await happen(ledger, confirm("k1", "e1"))

    assert not earned.HasField("expire_time")
    # One month after 11 March, at the end of the day in Paris, where it is summer by then.
    assert times.from_proto(confirmed.expire_time).isoformat() == "2026-04-11T22:00:00+00:00"
    assert (await ledger.balance("m1")).next_expiry.amount == 100
    await assert_sound(ledger)


async def test_cancelled_earn_never_was(ledger: LedgerHarness) -> None:
    """A cancellation takes all of it back, out of what was earned too, and the statement tells both."""
    await happen(ledger, earn("e1", amount=100, pending=True))
    [posting] = await happen(ledger, cancel("x1", "e1"))
    balance = await ledger.balance("m1")

    assert (posting.amount, [part.amount for part in posting.allocations]) == (100, [100])
    assert (balance.available, balance.pending, balance.lifetime_earned) == (0, 0, 0)
    told = [(entry.kind, entry.amount, entry.balance) for entry in await ledger.statement("m1")]
    assert told == [(ledger_pb2.ENTRY_KIND_CANCELLATION, -100, 0), (ledger_pb2.ENTRY_KIND_EARN, 100, 100)]
    await assert_sound(ledger)


async def test_pending_earn_ends_once(ledger: LedgerHarness) -> None:
    """What was confirmed or cancelled is not pending any more, and what never was pending is neither."""
    await happen(ledger, earn("e1", pending=True), earn("e2", pending=True), earn("e3"))
    await happen(ledger, confirm("k1", "e1"), cancel("x2", "e2"))
    results = await ledger.post(
        *(confirm(f"k-{name}", name) for name in ("e1", "e2", "e3")),
        *(cancel(f"x-{name}", name) for name in ("e1", "e2", "e3")),
    )

    assert reasons(results) == ["EARN_NOT_PENDING"] * 6
    assert (await ledger.balance("m1")).available == 200
    await assert_sound(ledger)


async def test_ends_of_pending_earn_raced_happen_once(ledger: LedgerHarness) -> None:
    """64 confirmations and cancellations of one earn under different ids: one happens."""
    await happen(ledger, earn("e1", pending=True))
    calls = [confirm(f"c{number}", "e1") if number % 2 else cancel(f"c{number}", "e1") for number in range(CALLERS)]
    results = await asyncio.gather(*(ledger.post(call) for call in calls))

    assert sorted(reasons(each[0] for each in results)) == ["", *["EARN_NOT_PENDING"] * (CALLERS - 1)]
    won = [call for call, [result] in zip(calls, results, strict=True) if result.HasField("posting")]
    expected = 100 if won[0].WhichOneof("action") == "confirm_earn" else 0
    assert (await ledger.balance("m1")).available == expected
    await assert_sound(ledger)


async def test_earn_of_the_future_is_pending_until_then(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An earn that takes effect later can be confirmed early or cancelled until it does, and not from then on."""
    await happen(ledger, *(earn(f"e{number}", amount=10, effective=START + DAY) for number in range(3)))
    await happen(ledger, confirm("k0", "e0"), cancel("x1", "e1"))
    early = await ledger.balance("m1")
    time.value = START + DAY
    late = await ledger.balance("m1")

    assert (early.available, early.pending) == (10, 10)
    assert (late.available, late.pending) == (20, 0)
    assert (await refused(ledger, cancel("x2", "e2")))[0] == "EARN_NOT_PENDING"
    await assert_sound(ledger)


async def test_pending_earn_outlives_its_end_unconfirmed(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Past its end a pending earn does not expire by itself; it cannot be confirmed any more, only cancelled."""
    await happen(ledger, earn("e1", pending=True, expires=START + DAY))
    time.value = START + DAY
    await booking.book_due(ledger.ledger)
    reason, metadata = await refused(ledger, confirm("k1", "e1"))

    assert (reason, metadata["expireTime"]) == ("LOT_LIFE_EMPTY", "2026-03-02T12:00:00Z")
    assert (await ledger.balance("m1")).pending == 100
    await happen(ledger, cancel("x1", "e1"))
    assert (await ledger.balance("m1")).lifetime_expired == 0
    await assert_sound(ledger)


async def test_pending_earn_that_could_never_begin_is_refused(ledger: LedgerHarness) -> None:
    """An end that has come already leaves a pending earn no life, whenever it is confirmed."""
    results = await ledger.post(
        earn("e1", pending=True, expires=START - YEAR),
        earn("e2", pending=True, expires=START),
        earn("e3", expires=START),
    )

    assert reasons(results) == ["LOT_LIFE_EMPTY"] * 3
    await assert_sound(ledger)


async def test_confirmed_earn_repays_debt(ledger: LedgerHarness) -> None:
    """What waits repays nothing; once it is confirmed it repays what the member owes first."""
    await happen(ledger, earn("e1", amount=30), spend("s1", amount=30))
    await happen(ledger, claw_back("k1", "e1", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT))
    await happen(ledger, earn("e2", amount=100, pending=True))
    waiting = await ledger.balance("m1")
    await happen(ledger, confirm("c2", "e2"))
    balance = await ledger.balance("m1")

    assert (waiting.debt, waiting.pending, waiting.available) == (30, 100, 0)
    assert (balance.debt, balance.pending, balance.available) == (0, 0, 70)
    await assert_sound(ledger)


async def test_pending_earn_is_judged_with_its_own_call(ledger: LedgerHarness) -> None:
    """An earn, its confirmation and a spend of it may stand in one call, in their order."""
    results = await ledger.post(
        earn("e1", pending=True), spend("s0"), confirm("k1", "e1"), spend("s1"), confirm("k2", "e1"), cancel("x", "no")
    )

    assert reasons(results) == ["", "INSUFFICIENT_BALANCE", "", "", "EARN_NOT_PENDING", "EARN_NOT_FOUND"]
    await assert_sound(ledger)
