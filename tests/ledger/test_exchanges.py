"""Exchanges: at the rate in force, rounded down, taking the least that gives as much; no loop of them gains."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plaudit.ledger.v1 import budget_service_pb2, ledger_pb2

from services.kernel import clock, times
from services.ledger import model
from services.ledger.model import BALANCE_MAX
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.budgets import set_rate, stub
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential, run_ledger
from tests.support.ledger import adjust, claw_back, earn, exchange, spend
from tests.support.outcomes import happen, refused
from tests.support.pure import make_state, post
from tests.support.refusals import refusal

CALLERS = 64
ASSETS = ("points", "credits", "miles")
RATES = st.tuples(st.integers(1, 10**9), st.integers(1, 10**9))
SMALL_RATES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def rate(source: str, target: str, numerator: int, denominator: int) -> model.Rate:
    """Makes a rate for a state."""
    return model.Rate(source, target, 1, numerator, denominator, START)


@given(rates=RATES | SMALL_RATES, amount=st.integers(1, 10**12))
def test_exchange_takes_the_least_and_records_the_rest(rates: tuple[int, int], amount: int) -> None:
    """What is given is whole units, what is taken the least that gives as much, and what is lost is written down."""
    numerator, denominator = rates
    state = make_state(("m1", "points"), ("m1", "credits"))
    state.rates["points", "credits"] = rate("points", "credits", numerator, denominator)
    post(state, earn("e", amount=amount))
    outcome = post(state, exchange("x", amount=amount))
    given_units = amount * numerator // denominator
    if outcome.refusal is not None:
        expected = "EXCHANGE_TOO_SMALL" if not given_units else "BALANCE_LIMIT"
        assert outcome.refusal.reason == expected
        if not given_units:
            least = int(outcome.refusal.metadata["amountMin"])
            assert least * numerator >= denominator > (least - 1) * numerator
        else:
            assert given_units > BALANCE_MAX
        return
    posting, row = outcome.posting, next(row for row in state.rows if row.detail)
    assert posting is not None
    assert row.detail is not None
    assert posting.given == given_units
    assert posting.amount <= amount
    assert (posting.amount - 1) * numerator < posting.given * denominator <= posting.amount * numerator
    assert posting.given * denominator + row.detail["rounding"] == posting.amount * numerator
    assert state.wallets["m1", "points"].balance == amount - posting.amount
    assert state.wallets["m1", "credits"].balance == posting.given


@given(
    there=SMALL_RATES | RATES,
    back=SMALL_RATES,
    loss=st.integers(0, 3),
    amounts=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
)
def test_loops_of_exchanges_gain_nothing(
    there: tuple[int, int], back: tuple[int, int], loss: int, amounts: list[int]
) -> None:
    """Around through three assets at rates that are worth no more than one, nobody ever has more than before."""
    state = make_state(*(("m1", asset) for asset in ASSETS))
    numerator, denominator = there[0] * back[0], there[1] * back[1]
    state.rates = {
        ("points", "credits"): rate("points", "credits", *there),
        ("credits", "miles"): rate("credits", "miles", *back),
        ("miles", "points"): rate("miles", "points", denominator, numerator + loss),
    }
    post(state, earn("e", amount=3000))
    for number, amount in enumerate(amounts):
        for source, target in zip(ASSETS, (*ASSETS[1:], ASSETS[0]), strict=True):
            most = amount if source == "points" else state.wallets["m1", source].balance
            if most:
                post(state, exchange(f"x{number}{source}", amount=min(most, 10**12), source=source, target=target))
        balances = [state.wallets["m1", asset].balance for asset in ASSETS]
        # What all is worth in points, as a fraction: nothing that was begun with is exceeded.
        worth = balances[0] * numerator + balances[1] * back[0] * there[1] + balances[2] * denominator
        assert worth <= 3000 * numerator


async def test_exchange_moves_value_at_the_rate_in_force(ledger: LedgerHarness) -> None:
    """A member gives up points for credits; both statements tell, and a later rate changes nothing of it."""
    await set_rate(ledger, 3, 100)
    await happen(ledger, earn("soon", amount=150, expires=START + YEAR), earn("never", amount=400))
    [posting] = await happen(ledger, exchange("x1", amount=250))
    await set_rate(ledger, 1, 1)
    [again] = await ledger.post(exchange("x1", amount=250))
    row = await ledger.ledger.pool.fetchrow("SELECT detail FROM journal WHERE kind = 'EXCHANGE' AND leg = 0")

    # 7 for 250; 234 are the least that give 7.
    assert (posting.amount, posting.given) == (234, 7)
    assert [part.amount for part in posting.allocations] == [150, 84]
    assert (again.replayed, again.posting) == (True, posting)
    assert row is not None
    assert row["detail"] == {
        "given": 7,
        "to_asset": "credits",
        "rate_version": 1,
        "numerator": 3,
        "denominator": 100,
        "rounding": 2,
    }
    points, other = await ledger.balance("m1"), await ledger.balance("m1", asset="credits")
    assert (points.available, points.lifetime_adjusted) == (316, -234)
    assert (other.available, other.lifetime_adjusted, other.HasField("next_expiry")) == (7, 7, False)
    await happen(ledger, exchange("x2", amount=316))
    assert (await ledger.balance("m1", asset="credits")).available == 323
    await assert_sound(ledger)


async def test_rounding_account_has_what_was_not_given(ledger: LedgerHarness) -> None:
    """What members gave up is worth what they were given and what the rounding account has, rate by rate."""
    await happen(ledger, earn("e1", amount=1000), earn("e2", "m2", 1000))
    for version, (numerator, denominator) in enumerate([(7, 30), (30, 7)], start=1):
        await set_rate(ledger, numerator, denominator)
        both = [exchange(f"x{version}-{member}", member, 50 + version) for member in ("m1", "m2")]
        postings = await happen(ledger, *both)
        row = await ledger.ledger.pool.fetchrow("SELECT * FROM roundings WHERE rate_version = $1", version)
        assert row is not None

        worth = sum(posting.amount * numerator - posting.given * denominator for posting in postings)
        assert tuple(row.values()) == ("demo", "points", "credits", version, denominator, 2, worth)
    await assert_sound(ledger)


async def test_exchange_is_refused_for_its_reasons(ledger: LedgerHarness) -> None:
    """No rate, nothing for it, and too little to give up each have their reason, which says what there is."""
    await set_rate(ledger, 1, 30)
    await happen(ledger, earn("e1", amount=59))

    assert await refused(ledger, exchange("x1", target="miles")) == (
        "RATE_NOT_FOUND",
        {"fromAsset": "points", "toAsset": "miles"},
    )
    assert (await refused(ledger, exchange("x2", source="credits", target="points")))[0] == "RATE_NOT_FOUND"
    assert await refused(ledger, exchange("x3", amount=29)) == ("EXCHANGE_TOO_SMALL", {"amountMin": "30"})
    assert await refused(ledger, exchange("x4", amount=70)) == (
        "INSUFFICIENT_BALANCE",
        {"available": "59", "requested": "60"},
    )
    assert (await refused(ledger, exchange("x5", source="credits", target="credits")))[0] == "FIELD_INVALID"
    await happen(ledger, exchange("x6", amount=59))
    await assert_sound(ledger)


async def test_exchange_fills_a_wallet_to_its_limit(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What does not fit into the other wallet is refused, unless what is over there makes room, booked or not."""
    await set_rate(ledger, 1000, 1)
    fill = [adjust(f"a{number}", change=10**12, asset="credits", expires=START + YEAR) for number in range(1000)]
    await happen(ledger, *fill, earn("e1", amount=5))
    reason = await refused(ledger, exchange("x1", amount=1))
    time.value = START + YEAR
    [posting] = await happen(ledger, exchange("x2", amount=5))

    assert reason == ("BALANCE_LIMIT", {"limit": str(BALANCE_MAX)})
    assert (posting.given, (await ledger.balance("m1", asset="credits")).available) == (5000, 5000)
    await assert_sound(ledger)


async def test_exchange_repays_debts_of_both_assets(ledger: LedgerHarness) -> None:
    """What is owed in the one asset cannot be given up, and what comes into the other repays what is owed there."""
    await set_rate(ledger, 1, 1)
    for asset in ("points", "credits"):
        await happen(
            ledger,
            earn(f"e-{asset}", amount=40, asset=asset),
            spend(f"s-{asset}", amount=40, asset=asset),
            claw_back(f"k-{asset}", f"e-{asset}", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT),
        )
    await happen(ledger, earn("more", amount=100))
    assert (await refused(ledger, exchange("x1", amount=61)))[1] == {"available": "60", "requested": "61"}
    await happen(ledger, exchange("x2", amount=60))
    balance = await ledger.balance("m1", asset="credits")

    assert (balance.available, balance.debt) == (20, 0)
    await assert_sound(ledger)


async def test_exchanges_raced_never_overdraw(ledger: LedgerHarness) -> None:
    """64 exchanges of 100 out of 1,000, against each other's direction: what is given is what was taken."""
    await set_rate(ledger, 1, 4)
    await set_rate(ledger, 4, 1, source="credits", target="points")
    await happen(ledger, earn("e1", amount=1000))

    async def call(number: int) -> None:
        await ledger.post(exchange(f"x{number}", amount=100))
        await ledger.post(exchange(f"y{number}", amount=25, source="credits", target="points"))

    await asyncio.gather(*map(call, range(CALLERS)))
    points, other = await ledger.balance("m1"), await ledger.balance("m1", asset="credits")
    assert points.available + 4 * other.available == 1000
    await assert_sound(ledger)


async def rates(ledger: LedgerHarness, size: int = 0, token: str = "") -> Any:
    """Lists a page of the rates in force."""
    request = budget_service_pb2.ListExchangeRatesRequest(page_size=size, page_token=token)
    return await stub(ledger).ListExchangeRates(request, metadata=credential("demo", LEDGER_SCOPES))


async def test_set_rate_counts_versions(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each rate is the next version from its instant on, and a repeated request gives its own again."""
    first = await set_rate(ledger, 1, 100, request_id="r1")
    time.value = START + YEAR
    second = await set_rate(ledger, 1, 90, request_id="r2")
    again = await set_rate(ledger, 1, 100, request_id="r1")

    assert [(each.rate.version, each.replayed) for each in (first, second, again)] == [
        (1, False),
        (2, False),
        (1, True),
    ]
    assert again.rate == first.rate
    assert times.from_proto(second.rate.set_time) == START + YEAR
    assert list((await rates(ledger)).rates) == [second.rate]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"numerator": 2}, ["numerator"]),
        ({"denominator": 2, "target": "miles"}, ["toAsset", "denominator"]),
        ({"source": "credits", "target": "points"}, ["fromAsset", "toAsset"]),
    ],
)
async def test_set_rate_with_other_content_names_fields(
    ledger: LedgerHarness, change: dict[str, Any], fields: list[str]
) -> None:
    """A request id stands for the rate that was first asked for; what differs is named, and nothing is stored."""
    await set_rate(ledger, 1, 1, request_id="r")
    refused_with = await refusal(set_rate(ledger, **{"numerator": 1, "denominator": 1, "request_id": "r", **change}))

    assert (refused_with.reason, [each.field for each in refused_with.violations]) == ("REQUEST_ID_REUSED", fields)
    assert len((await rates(ledger)).rates) == 1


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"numerator": 0}, ["numerator", "numerator"]),
        ({"numerator": 10**9 + 1}, ["numerator"]),
        ({"denominator": -1}, ["denominator"]),
        ({"source": "Points"}, ["fromAsset"]),
        ({"target": "points"}, ["toAsset"]),
    ],
)
async def test_set_rate_malformed_is_refused(ledger: LedgerHarness, change: dict[str, Any], fields: list[str]) -> None:
    """A rate that cannot be, or between an asset and itself, is refused by its field, and its id stays free."""
    refused_with = await refusal(set_rate(ledger, **{"numerator": 1, "denominator": 1, "request_id": "r", **change}))

    assert refused_with.reason == "FIELD_INVALID"
    assert {each.field for each in refused_with.violations} == set(fields)
    assert not (await set_rate(ledger, 1, 1, request_id="r")).replayed


async def test_set_rate_raced_leaves_no_gap(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """64 rates between the same assets over two servers, each asked for twice, are 64 versions without a gap."""

    async def call(server: LedgerHarness, number: int) -> tuple[int, bool]:
        response = await set_rate(server, number % CALLERS + 1, 1, request_id=f"r{number % CALLERS}")
        return response.rate.version, response.replayed

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        told = await asyncio.gather(
            *(call((ledger, other)[number // CALLERS], number) for number in range(2 * CALLERS))
        )
    assert sorted(version for version, replayed in told if not replayed) == list(range(1, CALLERS + 1))
    assert sorted(version for version, replayed in told if replayed) == list(range(1, CALLERS + 1))
    [newest] = (await rates(ledger)).rates
    assert newest.version == CALLERS


async def test_list_rates_by_pages_is_the_whole(ledger: LedgerHarness) -> None:
    """Pages of any size put together are the newest rate of each pair, by their assets."""
    pairs = [(source, target) for source in ("a", "b", "c") for target in ("a", "b", "c") if source != target]
    for source, target in reversed(pairs):
        await set_rate(ledger, 1, 1, source=source, target=target)
        await set_rate(ledger, 1, 2, source=source, target=target)
    for size in (1, 4, 6, 0):
        found: list[budget_service_pb2.ExchangeRate] = []
        token = ""
        for _ in pairs:
            page = await rates(ledger, size, token)
            found += page.rates
            token = page.next_page_token
            if not token:
                break
        assert [(each.from_asset, each.to_asset, each.version) for each in found] == [(*pair, 2) for pair in pairs]
