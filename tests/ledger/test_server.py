"""The ledger's promises at its rpc, against a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger import checks
from services.ledger.operations import booking
from tests.conftest import START
from tests.support.harness import LedgerHarness
from tests.support.ledger import capture, earn, hold, release, reverse

YEAR = timedelta(days=365)
MICROSECOND = timedelta(microseconds=1)


async def assert_sound(ledger: LedgerHarness) -> None:
    """Replays the journal: nothing may be left over."""
    rows = await checks.check(ledger.ledger.pool, ledger.ledger.time)
    assert [problem for row in rows for problem in row.problems] == []


async def test_earn_then_redeem_moves_value(ledger: LedgerHarness) -> None:
    """An earn can be held and captured, and the statement tells both with running balances."""
    results = await ledger.post(earn("e1", amount=300), hold("h1", amount=120), capture("c1", "h1"))

    assert [result.WhichOneof("outcome") for result in results] == ["posting"] * 3
    assert results[1].posting.allocations[0].amount == 120
    balance = await ledger.balance("m1")
    assert (balance.available, balance.held, balance.lifetime_earned, balance.lifetime_spent) == (180, 0, 300, 120)
    statement = await ledger.statement("m1")
    assert [(entry.amount, entry.balance) for entry in statement] == [(-120, 180), (300, 300)]
    await assert_sound(ledger)


async def test_post_again_replays_first_outcome(ledger: LedgerHarness) -> None:
    """The same ids with the same content give the first outcomes again, byte for byte but for `replayed`."""
    operations = [earn("e1"), hold("h1", amount=60), capture("c1", "h1"), reverse("r1", "c1"), hold("h2", amount=999)]
    first = await ledger.post(*operations)
    again = await ledger.post(*operations)

    assert all(result.replayed for result in again)
    for result in again:
        result.replayed = False
    assert again == first
    await assert_sound(ledger)


async def test_post_reused_id_names_differing_fields(ledger: LedgerHarness) -> None:
    """The same id with other content is refused with the differing fields named, and changes nothing."""
    await ledger.post(earn("e1", amount=100))
    [result] = await ledger.post(earn("e1", amount=101, member_id="m2"))

    assert result.refusal.reason == "REQUEST_ID_REUSED"
    assert list(result.refusal.fields) == ["memberId", "amount"]
    assert (await ledger.balance("m1")).available == 100
    assert (await ledger.balance("m2")).available == 0


async def test_post_same_id_raced_by_64_callers_happens_once(ledger: LedgerHarness) -> None:
    """64 callers with one id cause one effect and get equal answers."""
    results = await asyncio.gather(*(ledger.post(earn("e1", amount=7)) for _ in range(64)))

    assert sum(not result.replayed for [result] in results) == 1
    assert len({result.posting.SerializeToString(deterministic=True) for [result] in results}) == 1
    assert (await ledger.balance("m1")).available == 7
    await assert_sound(ledger)


async def test_post_other_content_raced_leaves_one_winner(ledger: LedgerHarness) -> None:
    """One id raced with two contents in different wallets: one wins, all of the other are refused as reused."""
    results = await asyncio.gather(*(ledger.post(earn("e1", member_id=f"m{n % 2}")) for n in range(64)))

    reused = [result for [result] in results if result.refusal.reason == "REQUEST_ID_REUSED"]
    assert len(reused) == 32
    total = (await ledger.balance("m0")).available + (await ledger.balance("m1")).available
    assert total == 100


async def test_hold_raced_never_overdraws(ledger: LedgerHarness) -> None:
    """200 concurrent holds of 100 on 1,000: exactly 10 succeed."""
    await ledger.post(earn("e1", amount=1000))
    results = await asyncio.gather(*(ledger.post(hold(f"h{n}")) for n in range(200)))

    reasons = [result.refusal.reason for [result] in results if result.HasField("refusal")]
    assert reasons == ["INSUFFICIENT_BALANCE"] * 190
    balance = await ledger.balance("m1")
    assert (balance.available, balance.held) == (0, 1000)
    await assert_sound(ledger)


async def test_hold_refused_stays_refused_after_top_up(ledger: LedgerHarness) -> None:
    """A refusal that depends on the balance is an outcome: the same id is refused again when there is enough."""
    [first] = await ledger.post(hold("h1", amount=50))
    await ledger.post(earn("e1", amount=100))
    [again] = await ledger.post(hold("h1", amount=50))

    assert first.refusal.metadata == {"available": "0", "requested": "50"}
    assert again.replayed
    assert again.refusal == first.refusal


async def test_lot_is_spendable_to_the_microsecond(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A lot can be spent one microsecond before it expires and not at that instant, with no sweeper at work."""
    await ledger.post(earn("e1", amount=10, expires=START + YEAR), earn("e2", "m2", 10, expires=START + YEAR))
    time.value = START + YEAR - MICROSECOND
    [before] = await ledger.post(hold("h1", amount=10))
    time.value = START + YEAR
    [after] = await ledger.post(hold("h2", "m2", 10))

    assert before.HasField("posting")
    assert after.refusal.reason == "INSUFFICIENT_BALANCE"
    assert (await ledger.balance("m2")).lifetime_expired == 10
    await assert_sound(ledger)


async def test_balance_as_of_is_right_for_past_and_future(ledger: LedgerHarness) -> None:
    """A back-dated earn counts at every instant of its life, and at none outside of it."""
    begin = datetime(1997, 1, 1, 12, tzinfo=UTC)
    end = datetime(1998, 1, 1, 12, tzinfo=UTC)
    await ledger.post(earn("e1", amount=11, at=begin, expires=end), earn("e2", amount=5, expires=START + YEAR))

    available = [
        (await ledger.balance("m1", as_of)).available
        for as_of in (begin - MICROSECOND, begin, end - MICROSECOND, end, START, START + YEAR)
    ]
    assert available == [0, 11, 11, 0, 5, 0]
    assert [entry.kind for entry in await ledger.statement("m1")] == [
        ledger_pb2.ENTRY_KIND_EARN,
        ledger_pb2.ENTRY_KIND_EXPIRY,
        ledger_pb2.ENTRY_KIND_EARN,
    ]
    await assert_sound(ledger)


async def test_hold_burns_in_order(ledger: LedgerHarness) -> None:
    """Lots are spent by priority, then earliest expiry with never last, then earliest effect."""
    day = timedelta(days=1)
    await ledger.post(
        earn("never", amount=1),
        earn("late", amount=1, expires=START + 2 * day),
        earn("soon", amount=1, expires=START + day),
        earn("first", amount=1, priority=0, at=START - day, expires=START + day),
        earn("last", amount=1, priority=1, expires=START + day),
    )
    [result] = await ledger.post(hold("h", amount=5))

    lots = {lot.lot_id: lot for lot in await ledger.lots("m1")}
    taken = [lots[part.lot_id] for part in result.posting.allocations]
    assert [(lot.priority, lot.expire_time.seconds, lot.effective_time.seconds) for lot in taken] == [
        (0, int((START + day).timestamp()), int((START - day).timestamp())),
        (0, int((START + day).timestamp()), int(START.timestamp())),
        (0, int((START + 2 * day).timestamp()), int(START.timestamp())),
        (0, 0, int(START.timestamp())),
        (1, int((START + day).timestamp()), int(START.timestamp())),
    ]


async def test_reverse_restores_exact_lots(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A reversal gives back the exact lots; what has expired meanwhile expires at once; a second one is refused."""
    await ledger.post(
        earn("short", amount=40, expires=START + timedelta(days=1)), earn("long", amount=60, expires=START + YEAR)
    )
    await ledger.post(hold("h1", amount=100), capture("c1", "h1"))
    time.value = START + timedelta(days=2)
    [restored] = await ledger.post(reverse("r1", "c1"))
    [again] = await ledger.post(reverse("r2", "c1"))

    assert [part.amount for part in restored.posting.allocations] == [60, 40]
    balance = await ledger.balance("m1")
    assert (balance.available, balance.lifetime_expired, balance.lifetime_spent) == (60, 40, 0)
    assert balance.next_expiry.amount == 60
    assert again.refusal.reason == "TARGET_REVERSED"
    await assert_sound(ledger)


async def test_hold_times_out_without_a_sweeper(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A hold that is over reserves nothing, cannot be captured, and its lots are free at that instant."""
    await ledger.post(earn("e1"), hold("h1", amount=100, timeout_s=60))
    time.value = START + timedelta(seconds=60)

    assert (await ledger.balance("m1")).available == 100
    [captured] = await ledger.post(capture("c1", "h1"))
    [held] = await ledger.post(hold("h2", amount=100))
    assert (captured.refusal.reason, captured.refusal.metadata["state"]) == ("HOLD_ENDED", "TIMED_OUT")
    assert held.HasField("posting")
    await assert_sound(ledger)


async def test_end_of_hold_raced_happens_once(ledger: LedgerHarness) -> None:
    """64 captures and releases of one hold under different ids: one succeeds."""
    await ledger.post(earn("e1"), hold("h1"))
    calls = [capture(f"c{n}", "h1") if n % 2 else release(f"c{n}", "h1") for n in range(64)]
    results = await asyncio.gather(*(ledger.post(call) for call in calls))

    assert sum(result.HasField("posting") for [result] in results) == 1
    assert {result.refusal.reason for [result] in results} == {"", "HOLD_ENDED"}
    await assert_sound(ledger)


async def test_sweep_books_what_is_over(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Booking changes nothing that a balance tells, and a second sweep finds nothing."""
    await ledger.post(*(earn(f"e{n}", f"m{n}", 10, expires=START + YEAR) for n in range(700)))
    await ledger.post(earn("x", "m0", 5), hold("h1", "m0", 15, timeout_s=60))
    time.value = START + YEAR
    before = await ledger.balance("m0")
    booked = await booking.book_due(ledger.ledger)

    assert booked == 700
    assert await ledger.balance("m0") == before
    assert await booking.book_due(ledger.ledger) == 0
    assert (await ledger.statement("m1"))[0].amount == -10
    await assert_sound(ledger)


async def test_programs_never_see_each_other(ledger: LedgerHarness) -> None:
    """The same member, request and hold ids in two programs are different things."""
    await ledger.post(earn("e1", amount=10), hold("h1", amount=5), program="one")
    await ledger.post(earn("e1", amount=20), program="two")
    [captured] = await ledger.post(capture("c1", "h1"), program="two")

    assert captured.refusal.reason == "HOLD_NOT_FOUND"
    assert (await ledger.balance("m1", program="one")).available == 5
    assert (await ledger.balance("m1", program="two")).available == 20
    assert len(await ledger.statement("m1", program="two")) == 1
