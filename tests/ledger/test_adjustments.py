"""What the staff gives and takes: with a reason and a name, within what there is, and told apart from all else."""

import asyncio
from datetime import timedelta

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, times
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LedgerHarness
from tests.support.ledger import adjust, claw_back, earn, hold, spend
from tests.support.outcomes import happen, reasons, refused

CALLERS = 64
DAY = timedelta(days=1)


async def test_adjust_gives_a_lot_of_its_own(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What is given can be spent at once until its end, and is no earn."""
    [posting] = await happen(ledger, adjust("a1", change=50, expires=START + DAY))
    balance = await ledger.balance("m1")
    time.value = START + DAY
    after = await ledger.balance("m1")

    assert (posting.amount, times.from_proto(posting.expire_time)) == (50, START + DAY)
    assert (balance.available, balance.lifetime_adjusted, balance.lifetime_earned) == (50, 50, 0)
    assert (after.available, after.lifetime_adjusted, after.lifetime_expired) == (0, 50, 50)
    await assert_sound(ledger)


async def test_adjust_takes_in_burn_order(ledger: LedgerHarness) -> None:
    """What is taken comes out of the lots that would be spent first, and says of which."""
    await happen(ledger, earn("never", amount=40), earn("soon", amount=30, expires=START + DAY))
    [posting] = await happen(ledger, adjust("a1", change=-50))
    balance = await ledger.balance("m1")

    assert (posting.amount, [part.amount for part in posting.allocations]) == (50, [30, 20])
    assert posting.burn_order_version == 1
    assert (balance.available, balance.lifetime_adjusted, balance.lifetime_spent) == (20, -50, 0)
    [newest, *_] = await ledger.statement("m1")
    assert (newest.kind, newest.amount) == (ledger_pb2.ENTRY_KIND_ADJUSTMENT, -50)
    await assert_sound(ledger)


async def test_adjust_takes_no_more_than_there_is(ledger: LedgerHarness) -> None:
    """Neither what is held, nor what is owed, nor what nobody has can be taken."""
    await happen(ledger, earn("e1", amount=100), hold("h1", amount=70))
    first = await refused(ledger, adjust("a1", change=-31))
    second = await refused(ledger, adjust("a2", "m2", -1))
    await happen(ledger, claw_back("k1", "e1", 60, ledger_pb2.CLAW_BACK_POLICY_DEBT), earn("e2", amount=40))
    third = await refused(ledger, adjust("a3", change=-11))

    assert first == ("INSUFFICIENT_BALANCE", {"available": "30", "requested": "31"})
    assert second == ("INSUFFICIENT_BALANCE", {"available": "0", "requested": "1"})
    # 30 were taken back, 30 are repaid.
    assert third == ("INSUFFICIENT_BALANCE", {"available": "10", "requested": "11"})
    await happen(ledger, adjust("a4", change=-10))
    await assert_sound(ledger)


async def test_adjust_gives_nothing_that_is_over(ledger: LedgerHarness) -> None:
    """What is given must have an end after now, or none."""
    results = await ledger.post(
        adjust("a1", expires=START), adjust("a2", expires=START + timedelta(microseconds=1)), adjust("a3")
    )

    assert reasons(results) == ["LOT_LIFE_EMPTY", "", ""]
    assert (await ledger.balance("m1")).available == 200
    await assert_sound(ledger)


async def test_adjust_malformed_is_refused(ledger: LedgerHarness) -> None:
    """A change of nothing, without a reason or a name, or an end for what is taken, is refused by its field."""
    asked = [adjust(f"a{number}", change=change) for number, change in enumerate((0, 10**12 + 1, -5, 5, 5))]
    asked[2].adjust.expire_time.CopyFrom(times.to_proto(START + YEAR))
    asked[3].adjust.reason = ""
    asked[4].adjust.actor = ""
    results = await ledger.post(*asked)

    assert reasons(results) == ["FIELD_INVALID"] * 5
    assert [result.refusal.field for result in results] == [
        "adjust.change",
        "adjust.change",
        "adjust.expireTime",
        "adjust.reason",
        "adjust.actor",
    ]


async def test_adjust_keeps_who_and_why(ledger: LedgerHarness) -> None:
    """The journal has the reason and who decided, and either one is part of the content."""
    await happen(ledger, adjust("a1", change=5), earn("e1"), adjust("a2", change=-5))
    other = adjust("a1", change=5)
    other.adjust.reason, other.adjust.actor = "by mistake", "staff-2"
    [reused] = await ledger.post(other)
    rows = await ledger.ledger.pool.fetch("SELECT detail FROM journal WHERE kind = 'ADJUST'")

    assert [row["detail"] for row in rows] == [{"reason": "goodwill", "actor": "staff-1"}] * 2
    assert list(reused.refusal.fields) == ["reason", "actor"]


async def test_adjust_repays_debt(ledger: LedgerHarness) -> None:
    """What is given repays first what the member owes."""
    await happen(ledger, earn("e1"), spend("s1"), claw_back("k1", "e1", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT))
    await happen(ledger, adjust("a1", change=150))
    balance = await ledger.balance("m1")

    assert (balance.available, balance.debt, balance.lifetime_adjusted) == (50, 0, 150)
    await assert_sound(ledger)


async def test_adjustments_raced_never_overdraw(ledger: LedgerHarness) -> None:
    """64 takings of 30 out of 1,000 take 33 times, and 64 givings give each once."""
    await happen(ledger, earn("e1", amount=1000))
    results = await asyncio.gather(*(ledger.post(adjust(f"a{number}", change=-30)) for number in range(CALLERS)))
    assert reasons(each[0] for each in results).count("") == 33
    await asyncio.gather(*(ledger.post(adjust(f"b{number}", change=2)) for number in range(CALLERS)))

    assert (await ledger.balance("m1")).available == 10 + 2 * CALLERS
    await assert_sound(ledger)
