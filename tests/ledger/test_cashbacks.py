"""Shares of purchases: exact in the sum, whatever the currency; what is less than a unit is carried."""

import asyncio
import random
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger import convert
from services.ledger.decisions import earning
from services.ledger.model import BALANCE_MAX
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.budgets import create_budget, get_budget
from tests.support.harness import LedgerHarness
from tests.support.ledger import adjust, cancel, cashback, claw_back, confirm, earn, fund
from tests.support.outcomes import happen, reasons, refused
from tests.support.pure import OWNER, lots, make_state, post
from tests.support.pure import happen as decide

PARTS = 10_000
CALLERS = 64
# The share that every purchase here earns: 1.25 per cent.
SHARE = 125
# What a purchase costs at most, in the smallest units: about the same money in yen, cents and fils.
PRICES = {"jpy": 30_000, "usd": 20_000, "kwd": 60_000}
CURRENCIES = pytest.mark.parametrize("currency", PRICES)


@CURRENCIES
def test_100000_purchases_come_within_a_unit(currency: str) -> None:
    """100,000 purchases at 1.25 % give the exact share of all so far, to less than a unit, after each of them."""
    owner = ("m1", currency)
    state, fate = make_state(owner), random.Random(currency)
    state.awaited = set()
    item = convert.operation(cashback("e", 1, SHARE, asset=currency))
    bought = given_units = 0
    for _ in range(100_000):
        item.base_amount = fate.randint(1, PRICES[currency])
        bought += item.base_amount
        given_units += earning.earn(state, item).amount
        # In ten-thousandths, since fractions of numbers take ten times as long.
        assert 0 <= bought * SHARE - given_units * PARTS < PARTS
    wallet = state.wallets[owner]
    assert wallet.balance == wallet.earned == given_units == sum(lot.amount for lot in lots(state, owner).values())
    assert bought * SHARE == given_units * PARTS + wallet.remainder


@CURRENCIES
async def test_purchases_come_within_a_unit_at_the_rpc(ledger: LedgerHarness, currency: str) -> None:
    """Of a thousand purchases by three members each one has the exact share, to less than one smallest unit."""
    fate = random.Random(currency)
    prices = [fate.randint(1, PRICES[currency]) for _ in range(999)]
    postings = await happen(
        ledger,
        *(
            cashback(f"e{number}", price, SHARE, member_id=f"m{number % 3}", asset=currency)
            for number, price in enumerate(prices)
        ),
    )
    for member in range(3):
        exact = Fraction(sum(prices[member::3]) * SHARE, PARTS)
        balance = await ledger.balance(f"m{member}", asset=currency)
        assert 0 <= exact - balance.available < 1
        assert balance.available == sum(posting.amount for posting in postings[member::3])
    await assert_sound(ledger)


@given(
    prices=st.lists(st.integers(1, 10**12), min_size=1, max_size=30),
    shares=st.lists(st.integers(1, 100_000), min_size=30, max_size=30),
)
def test_shares_of_any_size_are_exact(prices: list[int], shares: list[int]) -> None:
    """Any purchases with any shares give their exact sum, to less than one smallest unit."""
    state = make_state()
    exact, total = Fraction(), 0
    for number, price in enumerate(prices):
        exact += Fraction(price * shares[number], PARTS)
        posting = post(state, cashback(f"e{number}", price, shares[number])).posting
        assert posting is not None
        total += posting.amount
        assert 0 <= exact - total < 1


async def test_share_below_a_unit_is_carried(ledger: LedgerHarness) -> None:
    """A purchase too small for a unit gives nothing yet, makes no lot, and counts in the next one of the same asset."""
    small = [cashback(f"e{number}", 39, SHARE) for number in range(3)]
    other = cashback("other", 39, SHARE, asset="credits")
    postings = await happen(ledger, small[0], small[1], other, small[2])

    # 39 at 1.25 % is 0.4875: the third one makes it 1.4625.
    assert [posting.amount for posting in postings] == [0, 0, 0, 1]
    assert [lot.amount for lot in await ledger.lots("m1")] == [1]
    assert len(await ledger.statement("m1")) == 1
    await assert_sound(ledger)


async def test_cashback_repeated_is_carried_once(ledger: LedgerHarness) -> None:
    """A purchase that is posted again, by many at once, neither gives nor carries again."""
    for number in range(2):
        results = await asyncio.gather(*(ledger.post(cashback(f"e{number}", 60, SHARE)) for _ in range(64)))
        assert {result.posting.amount for [result] in results} == {number}
        assert sum(not result.replayed for [result] in results) == 1
    await assert_sound(ledger)


async def test_cashback_with_other_content_names_it(ledger: LedgerHarness) -> None:
    """A purchase of another price, or another share of it, is another content."""
    await happen(ledger, cashback("e1", 60, SHARE))
    [result] = await ledger.post(cashback("e1", 61, SHARE))

    assert (result.refusal.reason, list(result.refusal.fields)) == ("REQUEST_ID_REUSED", ["cashback"])


async def test_refused_cashback_carries_nothing(ledger: LedgerHarness) -> None:
    """A purchase whose share is refused leaves what is carried as it was."""
    await create_budget(ledger)
    await happen(ledger, cashback("e1", 39, SHARE))
    results = await ledger.post(
        cashback("e2", 39, SHARE, expires=START - YEAR),
        cashback("e3", 39, SHARE, budget_id="none"),
        cashback("e4", 390, SHARE, budget_id="b"),
        cashback("e5", 40, SHARE),
    )

    assert reasons(results) == ["LOT_LIFE_EMPTY", "BUDGET_NOT_FOUND", "BUDGET_EXHAUSTED", ""]
    # 0.4875 and 0.5 are less than one.
    assert results[-1].posting.amount == 0
    await assert_sound(ledger)


async def test_cashback_comes_out_of_its_budget(ledger: LedgerHarness) -> None:
    """A budget gives the whole units of a share, and nothing for what is carried."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 3))
    postings = await happen(ledger, *(cashback(f"e{number}", 120, SHARE, budget_id="b") for number in range(2)))
    reason = await refused(ledger, cashback("e2", 120, SHARE, budget_id="b"))

    assert [posting.amount for posting in postings] == [1, 2]
    assert reason == ("BUDGET_EXHAUSTED", {"budgetId": "b", "left": "0", "requested": "1"})
    await happen(ledger, cashback("e3", 39, SHARE, budget_id="b"))
    assert (await get_budget(ledger)).given == 3
    await assert_sound(ledger)


async def test_pending_cashback_can_be_confirmed_and_cancelled(ledger: LedgerHarness) -> None:
    """A share waits like any earn; what it carries is carried at once."""
    postings = await happen(ledger, *(cashback(f"e{number}", 120, SHARE, pending=True) for number in range(2)))
    assert [posting.amount for posting in postings] == [1, 2]
    await happen(ledger, confirm("k0", "e0"), cancel("x1", "e1"))

    assert (await ledger.balance("m1")).available == 1
    await assert_sound(ledger)


async def test_share_below_a_unit_is_taken_back_once(ledger: LedgerHarness) -> None:
    """A purchase that gave nothing has nothing to confirm or cancel; taken back, it leaves nothing to the next one."""
    await happen(ledger, cashback("e1", 39, SHARE), cashback("e2", 41, SHARE, pending=True), earn("e3", amount=5))
    results = await ledger.post(
        cancel("x1", "e1"), confirm("c1", "e1"), claw_back("k0", "e1", 1), claw_back("k1", "e1"), claw_back("k2", "e1")
    )
    # 0.4875 and 0.5125 made a unit together, which the kept 0.5125 and 0.5 have coming to them.
    [posting] = await happen(ledger, cashback("e4", 40, SHARE))

    assert reasons(results) == ["EARN_NOT_PENDING", "EARN_NOT_PENDING", "PART_TOO_LARGE", "", "EARN_TAKEN_BACK"]
    assert (results[3].posting.amount, list(results[3].posting.allocations), posting.amount) == (0, [], 0)
    [again] = await ledger.post(claw_back("k1", "e1"))
    assert (again.replayed, again.posting) == (True, results[3].posting)
    [other] = await ledger.post(claw_back("k3", "e1"))
    assert other.refusal.reason == "EARN_TAKEN_BACK"
    await assert_sound(ledger)


async def test_share_below_a_unit_taken_back_by_many_is_so_once(ledger: LedgerHarness) -> None:
    """Of 64 who take the same purchase back, each under an id of its own, one does."""
    await happen(ledger, cashback("e1", 79, SHARE))
    results = await asyncio.gather(*(ledger.post(claw_back(f"k{number}", "e1")) for number in range(CALLERS)))

    assert sorted(reasons([result for [result] in results])) == [""] + ["EARN_TAKEN_BACK"] * (CALLERS - 1)
    [posting] = await happen(ledger, cashback("e2", 79, SHARE))
    assert posting.amount == 0
    await assert_sound(ledger)


@pytest.mark.parametrize("is_pending", [True, False], ids=["cancelled", "taken back"])
async def test_purchases_that_are_undone_leave_the_others_exact(ledger: LedgerHarness, is_pending: bool) -> None:
    """Buying and giving back, as often as one likes, neither gains nor costs what the kept purchases are worth."""
    for number in range(40):
        kept, undone = cashback(f"a{number}", 120, SHARE), cashback(f"b{number}", 40, SHARE, pending=is_pending)
        # 1.5 and 0.5: every other one comes to a whole unit by the one that is undone.
        postings = await happen(ledger, undone, kept)
        undo = cancel if is_pending and postings[0].amount else claw_back
        await happen(ledger, undo(f"u{number}", f"b{number}"))

    assert (await ledger.balance("m1")).available == 60
    await assert_sound(ledger)


async def test_refunds_and_small_purchases_gain_nothing(ledger: LedgerHarness) -> None:
    """Who buys for 79, gives it back and buys for 1, a hundred times over, has the share of what was kept."""
    for number in range(100):
        await happen(
            ledger,
            cashback(f"a{number}", 79, SHARE),
            claw_back(f"k{number}", f"a{number}"),
            cashback(f"b{number}", 1, SHARE),
        )

    # 100 at 1.25 %.
    assert (await ledger.balance("m1")).available == 1
    await assert_sound(ledger)


@given(
    purchases=st.lists(
        st.tuples(st.integers(1, 400), st.integers(1, 700), st.integers(0, 30) | st.none()), min_size=1, max_size=40
    )
)
def test_what_is_kept_is_exact_whatever_is_undone(purchases: list[tuple[int, int, int | None]]) -> None:
    """After any purchases and refunds the kept ones are given or carried to the last ten-thousandth, none twice."""
    state = make_state()
    kept: dict[str, tuple[int, int]] = {}
    for number, (price, share, undone) in enumerate(purchases):
        posting = post(state, cashback(f"e{number}", price, share)).posting
        assert posting is not None
        kept[f"e{number}"] = (price * share, posting.amount)
        if undone is not None and f"e{undone}" in kept:
            post(state, claw_back(f"k{number}", f"e{undone}"))
            del kept[f"e{undone}"]
        wallet = state.wallets[OWNER]
        carried = wallet.remainder + wallet.cashback_due * PARTS
        assert sum(exact - units * PARTS for exact, units in kept.values()) == carried
    owed = max(0, -wallet.cashback_due)
    # What is given with the next one is the exact sum again, once what is owed is settled.
    [posting] = decide(state, cashback("last", (owed + 1) * PARTS, 1))
    assert posting.amount == max(0, (carried + (owed + 1) * PARTS) // PARTS)
    assert wallet.cashback_due == 0


async def test_purchase_below_a_unit_is_activity(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Points that live as long as the member is active live on after a purchase, however little it gives."""
    rolling = ledger_pb2.ExpiryPolicy(time_zone="UTC", days=30, rolling=True)
    await happen(ledger, earn("e1", amount=100, expiry=rolling))
    time.value = START + timedelta(days=20)
    [posting] = await happen(ledger, cashback("c1", 39, SHARE))
    time.value = START + timedelta(days=49)

    assert (posting.amount, (await ledger.balance("m1")).available) == (0, 100)
    time.value = START + timedelta(days=50)
    assert (await ledger.balance("m1")).available == 0
    await assert_sound(ledger)


async def test_cashback_fills_a_wallet_to_its_limit(ledger: LedgerHarness) -> None:
    """A share that does not fit is refused to the unit."""
    await happen(ledger, *(adjust(f"a{number}", change=10**12) for number in range(999)), earn("e", amount=10**12 - 9))
    reason, _ = await refused(ledger, cashback("c1", 10 * 80, SHARE))
    [posting] = await happen(ledger, cashback("c2", 9 * 80, SHARE))

    assert (reason, posting.amount) == ("BALANCE_LIMIT", 9)
    assert (await ledger.balance("m1")).available == BALANCE_MAX
    await assert_sound(ledger)
