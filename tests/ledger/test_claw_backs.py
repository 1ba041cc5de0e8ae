"""Earns that are taken back, spent or not: by each policy all of it is accounted for, and nobody gains by it."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.budgets import create_budget, get_budget
from tests.support.harness import LedgerHarness
from tests.support.ledger import cancel, claw_back, earn, expire, fund, hold, release, reverse, spend, unexpire
from tests.support.outcomes import happen, reasons, refused

CALLERS = 64
LOOPS = 1000
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WRITE_OFF = ledger_pb2.CLAW_BACK_POLICY_WRITE_OFF
OTHER_LOTS = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS
OTHER_LOTS_THEN_DEBT = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT
DEBT = ledger_pb2.CLAW_BACK_POLICY_DEBT
POLICIES = pytest.mark.parametrize(
    "policy", [WRITE_OFF, OTHER_LOTS, OTHER_LOTS_THEN_DEBT, DEBT], ids=ledger_pb2.ClawBackPolicy.Name
)
Policy = "ledger_pb2.ClawBackPolicy.ValueType"


def taken(posting: ledger_pb2.Posting) -> int:
    """Tells what was recovered."""
    return sum(part.amount for part in posting.allocations)


@POLICIES
async def test_claw_back_of_unspent_earn_takes_its_lot(ledger: LedgerHarness, policy: Any) -> None:
    """What nobody spent comes out of the very lot, whatever the policy, in parts or at once."""
    await happen(ledger, earn("other", amount=50, expires=START + DAY), earn("e1", amount=100))
    first, rest = await happen(ledger, claw_back("k1", "e1", 30, policy), claw_back("k2", "e1", 0, policy))
    balance = await ledger.balance("m1")

    assert [(taken(each), each.written_off, each.debt) for each in (first, rest)] == [(30, 0, 0), (70, 0, 0)]
    assert (balance.available, balance.lifetime_clawed_back, balance.lifetime_earned) == (50, 100, 150)
    assert [lot.remaining for lot in await ledger.lots("m1")] == [0, 50]
    await assert_sound(ledger)


@pytest.mark.parametrize(
    ("policy", "parts", "written_off", "debt", "owed", "available"),
    [
        (WRITE_OFF, [20], 80, 0, 0, 65),
        (OTHER_LOTS, [20, 25, 40], 15, 0, 0, 0),
        (OTHER_LOTS_THEN_DEBT, [20, 25, 40], 0, 15, 15, 0),
        (DEBT, [20], 0, 80, 15, 0),
    ],
    ids=["WRITE_OFF", "OTHER_LOTS", "OTHER_LOTS_THEN_DEBT", "DEBT"],
)
async def test_claw_back_of_spent_earn_follows_policy(
    ledger: LedgerHarness, policy: Any, parts: list[int], written_off: int, debt: int, owed: int, available: int
) -> None:
    """What was spent is taken from other lots, the newest first, is owed or is written off: together it is the earn."""
    await happen(
        ledger, earn("e1", amount=100, expires=START + DAY), spend("s1", amount=80), earn("old", amount=40, priority=1)
    )
    await happen(ledger, earn("new", amount=25, expires=START + YEAR), earn("later", amount=9, effective=START + DAY))
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=policy))
    balance = await ledger.balance("m1")

    assert [part.amount for part in posting.allocations] == parts
    assert (posting.amount, posting.written_off, posting.debt) == (100, written_off, debt)
    assert taken(posting) + posting.written_off + posting.debt == posting.amount
    assert (balance.available, balance.debt, balance.pending) == (available, owed, 9)
    assert balance.lifetime_clawed_back == taken(posting) + debt - owed
    await assert_sound(ledger)


async def test_claw_back_takes_of_lots_no_more_than_they_have(ledger: LedgerHarness) -> None:
    """What holds reserve stays with them; the member's other lots pay for it, or nobody."""
    await happen(ledger, earn("e1", amount=100, expires=START + DAY), hold("h1", amount=60), earn("e2", amount=10))
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=OTHER_LOTS_THEN_DEBT))
    await happen(ledger, release("l1", "h1"))
    balance = await ledger.balance("m1")

    assert (taken(posting), posting.debt) == (50, 50)
    # What came back repaid the debt at once.
    assert (balance.available, balance.held, balance.debt) == (10, 0, 0)
    await assert_sound(ledger)


@pytest.mark.parametrize(
    ("policy", "available"), [(WRITE_OFF, 60), (OTHER_LOTS, 60), (OTHER_LOTS_THEN_DEBT, 0), (DEBT, 0)]
)
@pytest.mark.parametrize("ends", ["release", "time", "reversal"])
async def test_what_was_written_off_is_kept_when_it_comes_back(
    ledger: LedgerHarness, time: clock.ManualClock, policy: Any, available: int, ends: str
) -> None:
    """What comes back after a claw-back is the member's where it was written off, and repays what is owed for it."""
    await happen(ledger, earn("e1", amount=60))
    await happen(ledger, spend("x1", amount=60) if ends == "reversal" else hold("x1", amount=60, timeout_s=60))
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=policy))
    if ends == "time":
        time.value += timedelta(seconds=60)
    else:
        await happen(ledger, release("b1", "x1") if ends == "release" else reverse("b1", "x1"))
    balance = await ledger.balance("m1")

    assert (posting.written_off, posting.debt) == (available, 60 - available)
    assert balance.available == available
    await booking.book_due(ledger.ledger)
    assert (await refused(ledger, spend("s1", amount=available + 1)))[1]["available"] == str(available)
    await assert_sound(ledger)


@POLICIES
@pytest.mark.parametrize("sweeps", [True, False])
async def test_claw_back_of_expired_earn_takes_nothing_twice(
    ledger: LedgerHarness, time: clock.ManualClock, policy: Any, sweeps: bool
) -> None:
    """What the member lost by expiry counts as taken back, booked or not, and only what was spent is missing."""
    await happen(ledger, earn("e1", amount=100, expires=START + DAY), spend("s1", amount=30), earn("e2", amount=500))
    time.value = START + 2 * DAY
    if sweeps:
        await booking.book_due(ledger.ledger)
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=policy))
    balance = await ledger.balance("m1")

    assert posting.allocations[0].amount == 70
    assert taken(posting) + posting.written_off + posting.debt == 100
    assert (balance.lifetime_expired, balance.lifetime_spent) == (0, 30)
    assert balance.available == (500 if policy == WRITE_OFF else 470)
    await assert_sound(ledger)


async def given_back(ledger: LedgerHarness, time: clock.ManualClock, rounds: int = 1) -> None:
    """Earns 100, which expire and are given back so many times, each time for a day; then 50 that are newer."""
    await happen(ledger, earn("e1", amount=100, expires=time.value + DAY), earn("e2", amount=5, expires=START + DAY))
    for number in range(rounds):
        since, time.value = time.value, time.value + DAY
        await happen(ledger, unexpire(f"u{number}", since=since, until=time.value + DAY, expires=time.value + DAY))
    await happen(ledger, earn("new", amount=50))


@POLICIES
@pytest.mark.parametrize("rounds", [1, 2, 3])
async def test_claw_back_takes_what_was_given_back(
    ledger: LedgerHarness, time: clock.ManualClock, policy: Any, rounds: int
) -> None:
    """What expired and was given back as a new lot, however often, is the earn's own, and no other lot is touched."""
    await given_back(ledger, time, rounds)
    first, rest = await happen(ledger, claw_back("k1", "e1", 30, policy), claw_back("k2", "e1", 0, policy))
    balance = await ledger.balance("m1")

    assert [(taken(each), each.written_off, each.debt) for each in (first, rest)] == [(30, 0, 0), (70, 0, 0)]
    assert (balance.available, balance.lifetime_clawed_back, balance.lifetime_expired) == (55, 100, 0)
    assert sorted(lot.remaining for lot in await ledger.lots("m1") if lot.remaining) == [5, 50]
    assert (await refused(ledger, claw_back("k3", "e1", 0, policy)))[0] == "EARN_TAKEN_BACK"
    assert await happen(ledger, claw_back("k2", "e1", 0, policy)) == [rest]
    await assert_sound(ledger)


@pytest.mark.parametrize(
    ("policy", "parts", "written_off", "debt", "available"),
    [
        (WRITE_OFF, [70], 30, 0, 55),
        (OTHER_LOTS, [70, 30], 0, 0, 25),
        (OTHER_LOTS_THEN_DEBT, [70, 30], 0, 0, 25),
        (DEBT, [70], 0, 30, 25),
    ],
    ids=["WRITE_OFF", "OTHER_LOTS", "OTHER_LOTS_THEN_DEBT", "DEBT"],
)
async def test_claw_back_of_what_was_given_back_and_spent_follows_policy(
    ledger: LedgerHarness,
    time: clock.ManualClock,
    policy: Any,
    parts: list[int],
    written_off: int,
    debt: int,
    available: int,
) -> None:
    """Only what was spent of the lot that gave back is missing, and the policy is for no more than that."""
    await given_back(ledger, time)
    await happen(ledger, spend("s1", amount=30))
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=policy))

    assert [part.amount for part in posting.allocations] == parts
    assert (posting.amount, posting.written_off, posting.debt) == (100, written_off, debt)
    assert (await ledger.balance("m1")).available == available
    await assert_sound(ledger)


@POLICIES
@pytest.mark.parametrize("sweeps", [True, False])
async def test_claw_back_takes_what_expired_again(
    ledger: LedgerHarness, time: clock.ManualClock, policy: Any, sweeps: bool
) -> None:
    """What was given back and expired in turn counts as taken back, booked or not."""
    await given_back(ledger, time)
    time.value += 2 * DAY
    if sweeps:
        await booking.book_due(ledger.ledger)
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=policy))
    balance = await ledger.balance("m1")

    assert (taken(posting), posting.written_off, posting.debt) == (100, 0, 0)
    assert (balance.available, balance.lifetime_expired, balance.lifetime_clawed_back) == (50, 5, 100)
    await booking.book_due(ledger.ledger)
    await assert_sound(ledger)


async def test_claw_back_takes_its_lots_in_the_order_of_their_making(
    ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """The lot of the earn comes first with what came back to it, then those that gave it back, the oldest first."""
    await happen(ledger, earn("e1", amount=100, expires=START + DAY))
    await happen(ledger, hold("h1", amount=20, timeout_s=9 * 86_400), hold("h2", amount=30, timeout_s=9 * 86_400))
    time.value = START + DAY
    since, until = START, START + 2 * DAY
    await happen(ledger, unexpire("u1", since=since, until=until, expires=START + 2 * DAY), release("l1", "h1"))
    time.value = START + 3 * DAY
    await happen(ledger, unexpire("u2", since=since, until=until), unexpire("u3", since=until, until=time.value))
    await happen(ledger, release("l2", "h2"), earn("e2", amount=7))
    [lot] = [lot for lot in await ledger.lots("m1") if lot.amount == 100]
    [posting] = await happen(ledger, claw_back("k1", "e1", 90))

    assert (posting.allocations[0].lot_id, lot.expired) == (lot.lot_id, 30)
    assert [part.amount for part in posting.allocations] == [30, 20, 40]
    assert (await ledger.balance("m1")).available == 17
    await assert_sound(ledger)


@POLICIES
async def test_claw_back_takes_what_its_call_gives_back(
    ledger: LedgerHarness, time: clock.ManualClock, policy: Any
) -> None:
    """What is given back in the very call is found too, also of an earn of the call and of what was before."""
    await given_back(ledger, time)
    time.value = START + 2 * DAY
    whole: dict[str, Any] = {"since": START, "until": START + 3 * DAY}
    postings = await happen(
        ledger,
        unexpire("u9", **whole),
        claw_back("k1", "e1", policy=policy),
        earn("e3", "m2", amount=40, at=START, expires=START + DAY),
        unexpire("v1", "m2", **whole),
        expire("x1", "m2"),
        unexpire("v2", "m2", **whole),
        earn("e4", "m2", amount=9),
        claw_back("k3", "e3", policy=policy),
    )

    assert [[part.amount for part in postings[number].allocations] for number in (1, 7)] == [[100], [40]]
    assert [(await ledger.balance(member)).available for member in ("m1", "m2")] == [55, 9]
    await assert_sound(ledger)


async def test_budget_has_again_what_was_given_back(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What a claw-back takes of what was given back goes to the budget of the earn, like what its own lot has left."""
    await create_budget(ledger)
    await happen(ledger, fund("f1", "b", 300), earn("e1", amount=100, budget_id="b", expires=START + DAY))
    time.value = START + DAY
    await happen(ledger, unexpire("u1", since=START, until=START + 2 * DAY), spend("s1", amount=10))
    await happen(ledger, claw_back("k1", "e1"))
    budget = await get_budget(ledger)

    assert (budget.left, budget.given) == (290, 10)
    await assert_sound(ledger)


async def test_debt_is_repaid_by_next_earns(ledger: LedgerHarness) -> None:
    """A debt takes nothing below zero, hides what can be spent, and is repaid by what comes next, entry by entry."""
    await happen(ledger, earn("e1", amount=100), spend("s1", amount=100), claw_back("k1", "e1", policy=DEBT))
    owing = await ledger.balance("m1")
    await happen(ledger, earn("e2", amount=60))
    assert (await refused(ledger, spend("s2", amount=1)))[1] == {"available": "0", "requested": "1"}
    still = await ledger.balance("m1")
    await happen(ledger, earn("e3", amount=60), spend("s3", amount=20))
    done = await ledger.balance("m1")

    assert (owing.debt, owing.available, owing.lifetime_clawed_back) == (100, 0, 0)
    assert (still.debt, still.available, still.lifetime_clawed_back) == (40, 0, 60)
    assert (done.debt, done.available, done.lifetime_clawed_back) == (0, 0, 100)
    kinds = [(entry.kind, entry.amount) for entry in (await ledger.statement("m1"))[:5]]
    assert kinds == [
        (ledger_pb2.ENTRY_KIND_SPEND, -20),
        (ledger_pb2.ENTRY_KIND_REPAYMENT, -40),
        (ledger_pb2.ENTRY_KIND_EARN, 60),
        (ledger_pb2.ENTRY_KIND_REPAYMENT, -60),
        (ledger_pb2.ENTRY_KIND_EARN, 60),
    ]
    await assert_sound(ledger)


async def test_nothing_expires_while_it_is_owed(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A debt takes at once what can be spent: it would be lost by its end otherwise, and owed all the same."""
    await happen(ledger, earn("e1", amount=100), spend("s1", amount=100), earn("e2", amount=70, expires=START + DAY))
    [posting] = await happen(ledger, claw_back("k1", "e1", policy=DEBT))
    time.value = START + 2 * DAY
    await booking.book_due(ledger.ledger)
    balance = await ledger.balance("m1")

    assert (posting.debt, list(posting.allocations)) == (100, [])
    assert (balance.debt, balance.lifetime_expired, balance.lifetime_clawed_back) == (30, 0, 70)
    await assert_sound(ledger)


@pytest.mark.parametrize("is_spent", [True, False], ids=["spent", "held"])
@pytest.mark.parametrize("is_taken_first", [True, False], ids=["taken back first", "given back first"])
async def test_what_comes_back_too_late_is_lost_once(
    ledger: LedgerHarness, time: clock.ManualClock, is_spent: bool, is_taken_first: bool
) -> None:
    """Of an earn that has ended, what comes back and what is taken back meet, whichever is first."""
    use = spend("u1", amount=100) if is_spent else hold("u1", amount=100, timeout_s=86_400 * 3)
    await happen(ledger, earn("e1", amount=100, expires=START + DAY), use)
    time.value = START + 2 * DAY
    both = [claw_back("k1", "e1", policy=DEBT), reverse("r1", "u1") if is_spent else release("r1", "u1")]
    await happen(ledger, *(both if is_taken_first else both[::-1]))
    balance = await ledger.balance("m1")

    assert (balance.available, balance.debt, balance.lifetime_clawed_back, balance.lifetime_expired) == (0, 0, 100, 0)
    await assert_sound(ledger)


async def test_claw_back_ends_with_its_earn(ledger: LedgerHarness) -> None:
    """No more is taken back than was earned, none of what waits, and none of what was cancelled."""
    await happen(ledger, earn("e1", amount=100), claw_back("k1", "e1", 60))
    await happen(ledger, earn("p1", pending=True), earn("p2", pending=True), cancel("x2", "p2"))
    results = await ledger.post(
        claw_back("k2", "e1", 41),
        claw_back("k3", "e1", 40),
        claw_back("k4", "e1"),
        claw_back("k5", "p1"),
        claw_back("k6", "p2"),
        claw_back("k7", "k1"),
        claw_back("k8", "none"),
    )

    assert reasons(results) == [
        "PART_TOO_LARGE",
        "",
        "EARN_TAKEN_BACK",
        "EARN_PENDING",
        "EARN_TAKEN_BACK",
        "EARN_NOT_FOUND",
        "EARN_NOT_FOUND",
    ]
    assert dict(results[0].refusal.metadata) == {"left": "40", "requested": "41"}
    await assert_sound(ledger)


async def test_claw_backs_of_one_earn_raced_take_it_once(ledger: LedgerHarness) -> None:
    """64 claw-backs of parts of one earn take it once in all, and the others are refused."""
    await happen(ledger, earn("e1", amount=100), spend("s1", amount=50))
    results = await asyncio.gather(*(ledger.post(claw_back(f"k{number}", "e1", 7, DEBT)) for number in range(CALLERS)))

    told = reasons(each[0] for each in results)
    assert (told.count(""), set(told)) == (100 // 7, {"", "PART_TOO_LARGE"})
    postings = [result.posting for [result] in results if result.HasField("posting")]
    assert (sum(map(taken, postings)), sum(posting.debt for posting in postings)) == (50, 48)
    await assert_sound(ledger)


@POLICIES
async def test_buy_earn_refund_loop_gains_nothing(ledger: LedgerHarness, policy: Any) -> None:
    """After 1,000 loops of earning, spending and taking back, what was spent is what was written off or is owed."""
    fate = random.Random(1)
    spent, written_off, debt = 0, 0, 0
    for start in range(0, LOOPS, 200):
        asked = []
        for number in range(start, start + 200):
            asked += [
                earn(f"e{number}", amount=100, expires=START + fate.randint(1, 9) * DAY),
                spend(f"s{number}", amount=fate.choice((1, 40, 100))),
                claw_back(f"k{number}", f"e{number}", policy=policy),
            ]
        for operation, result in zip(asked, await ledger.post(*asked), strict=True):
            if operation.HasField("spend"):
                assert result.refusal.reason in ("", "INSUFFICIENT_BALANCE")
                spent += result.posting.amount
            if operation.HasField("claw_back"):
                posting = result.posting
                assert taken(posting) + posting.written_off + posting.debt == posting.amount == 100
                written_off, debt = written_off + posting.written_off, debt + posting.debt
    balance = await ledger.balance("m1")

    repaid = LOOPS * 100 - balance.lifetime_clawed_back - written_off
    assert balance.available == 0
    assert spent == balance.lifetime_spent == written_off + balance.debt
    assert balance.debt == repaid <= debt
    await assert_sound(ledger)


async def test_claw_back_of_its_own_call_takes_the_newest_lot(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An earn that repays a debt and is taken back in one call is made up for by the newest other lot, read or not."""
    await happen(
        ledger,
        *(earn("e0", amount=5), spend("s0", amount=5)),
        claw_back("k0", "e0", policy=DEBT),
        earn("sooner", amount=5, effective=START + HOUR, expires=START + 10 * HOUR),
        earn("newest", amount=100, effective=START + HOUR, priority=1),
    )
    time.value = START + HOUR
    [_, posting] = await happen(
        ledger,
        earn("e1", amount=5, expires=START + 2 * HOUR),
        claw_back("k1", "e1", policy=OTHER_LOTS),
    )

    assert [part.amount for part in posting.allocations] == [5]
    assert sorted(lot.remaining for lot in await ledger.lots("m1")) == [0, 0, 5, 95]
    await assert_sound(ledger)
