"""Spends that are undone in part: what stays spent is what a smaller spend would have taken, lot by lot."""

import asyncio
import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, times
from services.ledger import state as states
from services.ledger.operations import booking
from services.ledger.state import State
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LedgerHarness
from tests.support.ledger import adjust, capture, claw_back, earn, expire, hold, release, reverse, spend
from tests.support.outcomes import happen, reasons, refused
from tests.support.pure import OWNER, left, make_state
from tests.support.pure import happen as decide

CALLERS = 64
DAY = timedelta(days=1)
LOTS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from((None, 1, 2, 3)), st.sampled_from((0, 1)), st.booleans()),
    min_size=1,
    max_size=8,
)


def filled(lots: list[tuple[int, int | None, int, bool]]) -> State:
    """Makes a state in which a member has lots: an amount, the days until its end, a priority, whether promotional."""
    state = make_state()
    for number, (amount, days, priority, promotional) in enumerate(lots):
        expires = START + days * DAY if days else None
        decide(state, earn(f"e{number}", amount=amount, expires=expires, priority=priority, promotional=promotional))
    return state


def seen(state: State) -> tuple[dict[int, int], int, int]:
    """Tells what each lot has left, what can be spent, and what has expired."""
    wallet = state.wallets[OWNER]
    state.book(wallet)
    return left(state), state.available(wallet), wallet.expired


def parts(total: int, cuts: list[int]) -> list[int]:
    """Cuts an amount into parts that come to it."""
    places = sorted({cut % total for cut in cuts if cut % total} | {0, total})
    return [end - begin for begin, end in itertools.pairwise(places)]


@settings(deadline=None)
@given(
    lots=LOTS,
    split=st.tuples(st.integers(1, 200), st.integers(0, 200)),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    days=st.integers(0, 4),
    held=st.booleans(),
)
def test_reversal_of_a_part_leaves_a_smaller_spend(
    lots: list[tuple[int, int | None, int, bool]], split: tuple[int, int], cuts: list[int], days: int, held: bool
) -> None:
    """To spend a + b and undo b, at once or bit by bit, now or when lots are over, is to spend a."""
    total = sum(amount for amount, *_ in lots)
    undone = min(split[0], total)
    kept = min(split[1], total - undone)
    whole, smaller = filled(lots), filled(lots)
    spent = [hold("h", amount=kept + undone), capture("s", "h")] if held else [spend("s", amount=kept + undone)]
    decide(whole, *spent)
    if kept:
        decide(smaller, spend("s", amount=kept))
    whole.now = smaller.now = START + days * DAY
    for number, part in enumerate(parts(undone, cuts)):
        decide(whole, reverse(f"r{number}", "s", part))

    assert seen(whole) == seen(smaller)
    assert whole.wallets[OWNER].spent == smaller.wallets[OWNER].spent == kept


@settings(deadline=None)
@given(lots=LOTS, split=st.tuples(st.integers(1, 200), st.integers(0, 200)), days=st.integers(0, 4))
def test_capture_of_a_part_leaves_a_smaller_spend(
    lots: list[tuple[int, int | None, int, bool]], split: tuple[int, int], days: int
) -> None:
    """To hold a + b and capture a, when lots are over or not, is to spend a."""
    total = sum(amount for amount, *_ in lots)
    spent = min(split[0], total)
    whole, smaller = filled(lots), filled(lots)
    decide(whole, hold("h", amount=min(spent + split[1], total), timeout_s=10 * 86400))
    decide(smaller, spend("s", amount=spent))
    whole.now = smaller.now = START + days * DAY
    decide(whole, capture("c", "h", spent))

    assert seen(whole) == seen(smaller)


async def test_reversals_of_parts_restore_the_last_lots_first(ledger: LedgerHarness) -> None:
    """Part by part a spend comes back from its end, each lot with the end that it had; then nothing is left of it."""
    await happen(ledger, earn("soon", amount=40, expires=START + DAY), earn("late", amount=60, expires=START + YEAR))
    await happen(ledger, spend("s1", amount=90))
    answers = await happen(ledger, reverse("r1", "s1", 20), reverse("r2", "s1", 35), reverse("r3", "s1"))
    reason, _ = await refused(ledger, reverse("r4", "s1"))

    assert [[part.amount for part in posting.allocations] for posting in answers] == [[20], [30, 5], [35]]
    assert [posting.amount for posting in answers] == [20, 35, 35]
    assert times.from_proto(answers[1].allocations[1].expire_time) == START + DAY
    assert reason == "TARGET_REVERSED"
    balance = await ledger.balance("m1")
    assert (balance.available, balance.lifetime_spent) == (100, 0)
    assert [lot.remaining for lot in await ledger.lots("m1")] == [60, 40]
    await assert_sound(ledger)


async def test_reversals_of_parts_raced_restore_it_once(ledger: LedgerHarness) -> None:
    """64 reversals of 7 out of a spend of 100 restore 98, and the others are told what is left."""
    await happen(ledger, earn("e1"), spend("s1"))
    results = await asyncio.gather(*(ledger.post(reverse(f"r{number}", "s1", 7)) for number in range(CALLERS)))

    told = reasons(each[0] for each in results)
    assert (told.count(""), told.count("PART_TOO_LARGE")) == (14, CALLERS - 14)
    assert {dict(result.refusal.metadata).get("left") for [result] in results} == {None, "2"}
    assert (await ledger.balance("m1")).available == 98
    await assert_sound(ledger)


async def test_capture_of_a_part_frees_the_rest(ledger: LedgerHarness) -> None:
    """A hold is captured once, in part or in full; what is not spent is free, and no second capture gets it."""
    await happen(ledger, earn("e1"), hold("h1", amount=80))
    [captured] = await happen(ledger, capture("c1", "h1", 30))
    results = await ledger.post(capture("c2", "h1", 50), release("l1", "h1"), reverse("r1", "c1", 31))
    balance = await ledger.balance("m1")

    assert (captured.amount, sum(part.amount for part in captured.allocations)) == (30, 30)
    assert reasons(results) == ["HOLD_ENDED", "HOLD_ENDED", "PART_TOO_LARGE"]
    assert (balance.available, balance.held, balance.lifetime_spent) == (70, 0, 30)
    await happen(ledger, reverse("r2", "c1"))
    assert (await ledger.balance("m1")).available == 100
    await assert_sound(ledger)


async def test_reversal_of_what_is_over_expires_at_once(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What comes back to lots that are over is told as given back and as expired, whether they were booked or not."""
    await happen(ledger, earn("e1", amount=50, expires=START + DAY), earn("e2", amount=50), spend("s1", amount=70))
    time.value = START + 2 * DAY
    await happen(ledger, reverse("r1", "s1", 60))
    balance = await ledger.balance("m1")
    kinds = [(entry.kind, entry.amount) for entry in (await ledger.statement("m1"))[:2]]

    assert (balance.available, balance.lifetime_expired, balance.lifetime_spent) == (50, 40, 10)
    assert kinds == [(ledger_pb2.ENTRY_KIND_EXPIRY, -40), (ledger_pb2.ENTRY_KIND_REVERSAL, 60)]
    await assert_sound(ledger)


async def test_what_comes_back_is_told_with_the_end_that_it_has(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An end that has moved since the spend or the hold is told as it is, also when it is asked again."""
    rolling = ledger_pb2.ExpiryPolicy(time_zone="UTC", days=30, rolling=True)
    await happen(ledger, earn("e1", amount=100, expiry=rolling), spend("s1", amount=30), hold("h1", amount=30))
    time.value = START + timedelta(minutes=5)
    await happen(ledger, spend("s2", amount=1))
    operations = [reverse("r1", "s1"), release("f1", "h1")]
    postings = await happen(ledger, *operations)
    again = [result.posting for result in await ledger.post(*operations)]
    [lot] = await ledger.lots("m1")

    assert times.from_proto(lot.expire_time) == START + timedelta(days=30, minutes=5)
    assert {part.expire_time.seconds for each in (*postings, *again) for part in each.allocations} == {
        lot.expire_time.seconds
    }
    await assert_sound(ledger)


async def test_what_was_ended_early_comes_back_ended(ledger: LedgerHarness) -> None:
    """A lot that the staff ended while it was spent is told to be over when its value comes back."""
    await happen(ledger, earn("e1", amount=100, expires=START + YEAR), spend("s1", amount=40), expire("x1"))
    [posting] = await happen(ledger, reverse("r1", "s1"))

    assert [times.from_proto(part.expire_time) for part in posting.allocations] == [START]
    assert (await ledger.balance("m1")).available == 0
    await assert_sound(ledger)


async def test_expiries_of_one_operation_have_no_bound(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back from a hold into more ended lots than an operation has numbers for expires all the same."""
    monkeypatch.setattr(states, "EXPIRY_LEGS_MAX", 3)
    for number in range(2):
        earns = (earn(f"e{number}-{each}", amount=1, expires=START + timedelta(days=1)) for each in range(8))
        await happen(ledger, *earns, hold(f"h{number}", amount=8, timeout_s=86_400 * (2 + number)))
    time.value = START + timedelta(days=2)
    await booking.book_due(ledger.ledger)
    await happen(ledger, release("f1", "h1"), earn("last", amount=5))

    assert (await ledger.balance("m1")).lifetime_expired == 16
    entries = [entry for entry in await ledger.statement("m1") if entry.kind == ledger_pb2.ENTRY_KIND_EXPIRY]
    assert len({entry.entry_id for entry in entries}) == 16
    await assert_sound(ledger)


async def test_reversal_has_room_where_something_is_over(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A full wallet takes back what was spent once something in it has expired, booked or not, and not before."""
    await happen(ledger, earn("e1", amount=10), spend("s1", amount=10))
    await happen(ledger, *(adjust(f"a{number}", change=10**12, expires=START + DAY) for number in range(1000)))
    reason, _ = await refused(ledger, reverse("r1", "s1"))
    time.value = START + DAY
    await happen(ledger, reverse("r2", "s1"))

    assert reason == "BALANCE_LIMIT"
    assert (await ledger.balance("m1")).available == 10
    await assert_sound(ledger)


async def test_reversal_repays_debt(ledger: LedgerHarness) -> None:
    """What comes back repays first what the member owes for it."""
    await happen(ledger, earn("e1"), spend("s1"))
    await happen(ledger, claw_back("k1", "e1", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT), reverse("r1", "s1", 60))
    balance = await ledger.balance("m1")

    assert (balance.available, balance.debt, balance.lifetime_clawed_back) == (0, 40, 60)
    await assert_sound(ledger)
