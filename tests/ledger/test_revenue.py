"""The revenue of points: the published examples to the unit, and what holds for every cohort."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.ledger import revenue
from services.ledger.revenue import Cohort, Estimate, Figures, Line, Position
from tests.support import cohorts

COHORT = Cohort("2026-10", "spring", "points")
PRICES = st.integers(0, 20) | st.integers(0, 10**15)


def instant(text: str) -> datetime:
    """Reads an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def position(redeemed: int, expected: int, allocated_value: int) -> Line:
    """Gives the line of 10,000 points of the published examples."""
    figures = Figures(issued=10_000, redeemed=redeemed, open=10_000 - redeemed, allocated_value=allocated_value)
    return revenue.assess(COHORT, figures, redemption_rate_bps=expected)


@pytest.mark.parametrize(
    ("allocated_value", "first_expected", "first", "second_expected", "second"),
    [
        (9_000, 9_700, 4_175, 9_900, 3_552),
        (9_000, 9_700, 4_175, 9_200, 4_140),
        (8_676, 9_500, 4_110, 9_700, 3_493),
    ],
    ids=["KPMG 10A", "KPMG 10B", "IFRS 15 Example 52"],
)
def test_recognition_matches_published_example(
    allocated_value: int, first_expected: int, first: int, second_expected: int, second: int
) -> None:
    """Of 10,000 points 4,500 and then 4,000 are redeemed, and the revenue of each period is the published one."""
    before = position(4_500, first_expected, allocated_value)
    now = position(8_500, second_expected, allocated_value)

    assert (before.expected, now.expected) == (first_expected, second_expected)
    assert revenue.recognised_since(before, None) == first
    assert revenue.recognised_since(now, before) == second
    assert now.deferred_value == allocated_value - first - second


def test_allocate_matches_published_example() -> None:
    """The price of 100,000 of IFRS 15 Example 52 is split into 91,324 for the product and 8,676 for the points."""
    parts = revenue.allocate(100_000, standalone_price=100_000, points_standalone_value=9_500)
    assert (parts.goods_value, parts.points_value) == (91_324, 8_676)


@given(PRICES, PRICES, PRICES)
@example(1, 1, 1)
@example(10, 1, 2)
def test_allocate_adds_up(price: int, goods: int, points: int) -> None:
    """The parts add up to the price, and each is within half a unit of its exact share."""
    assume(goods + points)
    parts = revenue.allocate(price, standalone_price=goods, points_standalone_value=points)

    assert parts.goods_value + parts.points_value == price
    assert abs(parts.points_value - Fraction(price * points, goods + points)) <= Fraction(1, 2)


def test_allocate_gives_the_odd_unit_to_the_larger_remainder() -> None:
    """The unit that rounding leaves goes to the larger remainder, and to the points where both are equal."""
    split = [revenue.allocate(10, standalone_price=goods, points_standalone_value=3 - goods) for goods in (1, 2)]
    assert [each.points_value for each in split] == [7, 3]
    assert revenue.allocate(1, standalone_price=5, points_standalone_value=5).points_value == 1


def test_allocate_without_weights_gives_all_to_the_goods() -> None:
    """Where neither part is worth anything by itself, nothing is deferred."""
    assert revenue.allocate(7, standalone_price=0, points_standalone_value=0) == revenue.Allocation(7, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issued": 10, "redeemed": 4, "open": 5},
        {"issued": 10, "redeemed": 11, "open": -1},
        {"pending": 5, "allocated_value": 1},
        {"issued": 5, "clawed_back": 5, "allocated_value": 9, "clawed_back_value": 10},
    ],
    ids=["parts do not add up", "less than nothing", "a price for nothing", "more undone than sold"],
)
def test_figures_refuse_what_does_not_add_up(wrong: dict[str, int]) -> None:
    """Figures whose parts are not the whole are a broken invariant, and make no report."""
    with pytest.raises(AssertionError):
        Figures(**wrong)


@given(cohorts.figures(), cohorts.RATES)
def test_expectation_stays_within_bounds(figures: Figures, rate_bps: int) -> None:
    """No fewer are expected than were redeemed, no more than can be, and between the two it is the estimate."""
    expected = revenue.expected_redemptions(figures, rate_bps)
    exact = Fraction(figures.net_issued * rate_bps, 10_000)

    assert figures.redeemed <= expected <= figures.redeemed + figures.open
    if figures.redeemed < expected < figures.redeemed + figures.open:
        assert -Fraction(1, 2) < expected - exact <= Fraction(1, 2)


def test_expectation_takes_the_rate_of_what_was_not_taken_back() -> None:
    """The rate is that of the net issue, rounded half up, and takes no account of what is pending."""
    figures = Figures(issued=205, redeemed=10, expired=20, clawed_back=4, open=171, pending=1_000)
    assert revenue.expected_redemptions(figures, 5_000) == 101  # 201 / 2 is 100.5


@given(cohorts.figures(), cohorts.RATES)
def test_recognition_stays_within_the_price(figures: Figures, rate_bps: int) -> None:
    """The price is taken back, recognised or deferred, none of them negative, and the net issue expected or broken."""
    line = revenue.assess(COHORT, figures, rate_bps)

    values = (line.clawed_back_value, line.recognised_value, line.deferred_value)
    assert min(values) >= 0
    assert sum(values) == figures.allocated_value
    assert line.breakage >= figures.expired
    assert line.expected + line.breakage == figures.issued - figures.clawed_back


@given(cohorts.figures(), cohorts.RATES, st.data())
@pytest.mark.parametrize("end", ["redeemed", "expired"])
def test_recognition_grows_as_points_end(end: str, figures: Figures, rate_bps: int, data: st.DataObject) -> None:
    """Under one estimate, no redemption and no expiry makes what is recognised less."""
    ended = data.draw(st.integers(0, figures.open))
    later = replace(figures, **{"open": figures.open - ended, end: getattr(figures, end) + ended})

    before, now = (revenue.assess(COHORT, each, rate_bps) for each in (figures, later))
    assert revenue.recognised_since(now, before) >= 0


@given(cohorts.figures(), st.lists(st.tuples(cohorts.RATES, st.integers(0, 100), st.booleans()), max_size=8))
def test_periods_add_up_to_what_is_recognised(figures: Figures, periods: list[tuple[int, int, bool]]) -> None:
    """However often the estimate changes, the revenue of all periods adds up to what is recognised until now."""
    revenues, before = [], None
    for rate_bps, ended_percent, is_redeemed in periods:
        ended = figures.open * ended_percent // 100
        end = "redeemed" if is_redeemed else "expired"
        figures = replace(figures, **{"open": figures.open - ended, end: getattr(figures, end) + ended})
        now = revenue.assess(COHORT, figures, rate_bps)
        revenues.append(revenue.recognised_since(now, before))
        before = now
    assert sum(revenues) == (before.recognised_value if before else 0)


@given(cohorts.figures(), cohorts.RATES)
def test_everything_is_recognised_when_nothing_is_open(figures: Figures, rate_bps: int) -> None:
    """Once all is redeemed, expired or taken back nothing is owed, and nothing waits."""
    closed = replace(figures, open=0, expired=figures.expired + figures.open)
    assert revenue.assess(COHORT, closed, rate_bps).deferred_value == 0


def test_everything_is_recognised_when_what_was_expected_is_redeemed() -> None:
    """Once the expected redemptions have happened the price is earned, though more may come."""
    assert position(9_700, 9_700, 9_000).recognised_value == 9_000
    assert position(9_800, 9_700, 9_000).recognised_value == 9_000


def test_nothing_is_recognised_on_an_estimate_alone() -> None:
    """Where no redemption is expected of open points, the price waits for the first one or for their expiry."""
    assert position(0, 0, 9_000).recognised_value == 0
    assert position(1, 0, 9_000).recognised_value == 9_000


@pytest.mark.parametrize(
    ("clawed_back_value", "recognised", "deferred"), [(0, 401, 400), (401, 200, 200), (800, 1, 0), (801, 0, 0)]
)
def test_undone_price_is_no_revenue(clawed_back_value: int, recognised: int, deferred: int) -> None:
    """Of 250 redeemed and 250 open points the price that is not undone is earned by half, whatever was taken back."""
    figures = Figures(
        issued=1_000,
        redeemed=250,
        clawed_back=500,
        open=250,
        allocated_value=801,
        clawed_back_value=clawed_back_value,
    )
    line = revenue.assess(COHORT, figures, 10_000)
    assert (line.clawed_back_value, line.recognised_value, line.deferred_value) == (
        clawed_back_value,
        recognised,
        deferred,
    )


@pytest.mark.parametrize("parts", [{"clawed_back": 5}, {"redeemed": 5}, {"expired": 5}, {"open": 5}])
def test_undone_sale_leaves_nothing(parts: dict[str, int]) -> None:
    """A sale that was undone leaves neither revenue nor deferred revenue, wherever its points are."""
    line = revenue.assess(COHORT, Figures(issued=5, allocated_value=9, clawed_back_value=9, **parts), 10_000)
    assert (line.clawed_back_value, line.recognised_value, line.deferred_value) == (9, 0, 0)


@given(cohorts.figures(), cohorts.RATES, st.data())
def test_undoing_a_sale_leaves_no_more_revenue(figures: Figures, rate_bps: int, data: st.DataObject) -> None:
    """However much of a price is undone, what is recognised and what is deferred together become less by just that."""
    undone = data.draw(st.integers(0, figures.net_value))
    later = replace(figures, clawed_back_value=figures.clawed_back_value + undone)

    before, now = (revenue.assess(COHORT, each, rate_bps) for each in (figures, later))
    assert revenue.recognised_since(now, before) <= 0
    assert before.recognised_value + before.deferred_value - undone == now.recognised_value + now.deferred_value


ESTIMATES = [
    Estimate(asset="points", campaign_id="", redemption_rate_bps=9_000, valid_from=instant("2026-01-01")),
    Estimate(asset="points", campaign_id="", redemption_rate_bps=8_000, valid_from=instant("2026-07-01")),
    Estimate(asset="points", campaign_id="spring", redemption_rate_bps=7_000, valid_from=instant("2026-03-01")),
    Estimate(asset="points", campaign_id="spring", redemption_rate_bps=6_000, valid_from=instant("2026-04-01")),
    Estimate(asset="points", campaign_id="spring", redemption_rate_bps=6_500, valid_from=instant("2026-04-01")),
    Estimate(asset="credits", campaign_id="", redemption_rate_bps=1_000, valid_from=instant("2026-01-01")),
]


@pytest.mark.parametrize(
    ("campaign_id", "as_of", "rate_bps"),
    [
        ("spring", "2025-12-31", 10_000),  # before any
        ("spring", "2026-01-01", 9_000),  # the asset's, from its instant on
        ("spring", "2026-03-01", 7_000),  # the campaign's own
        ("spring", "2026-12-01", 6_500),  # the campaign's own before a newer one of the asset; of two the higher
        ("autumn", "2026-03-01", 9_000),
        ("autumn", "2026-12-01", 8_000),
        ("", "2026-12-01", 8_000),
    ],
)
@given(estimates=st.permutations(ESTIMATES))
def test_estimate_is_the_one_in_force(campaign_id: str, as_of: str, rate_bps: int, estimates: list[Estimate]) -> None:
    """The newest estimate in force counts, the campaign's before the asset's, in whatever order they are given."""
    cohort = Cohort("2026-02", campaign_id, "points")
    assert revenue.estimate_for(estimates, cohort, instant(as_of)) == rate_bps


def test_estimate_of_another_asset_does_not_count() -> None:
    """Without an estimate for its asset, all of a cohort is expected to be redeemed."""
    assert revenue.estimate_for(ESTIMATES, Cohort("2026-02", "spring", "EUR"), instant("2026-12-01")) == 10_000


@given(cohorts.lines())
def test_report_is_the_same_again(lines: list[Line]) -> None:
    """The report of an instant is in the order of cohorts and stays, whatever is estimated from later on."""
    as_of = instant("2026-12-31")
    figures = {line.cohort: line.figures for line in lines}
    first = revenue.report(figures, ESTIMATES, as_of)

    later = [replace(each, valid_from=instant("2027-01-01"), redemption_rate_bps=1) for each in ESTIMATES]
    again = revenue.report(dict(reversed(figures.items())), later + ESTIMATES, as_of)

    assert again == first
    assert [line.cohort for line in first] == sorted(figures)
    assert [line.redemption_rate_bps for line in first] == [
        revenue.estimate_for(ESTIMATES, line.cohort, as_of) for line in first
    ]


@given(cohorts.lines())
def test_total_is_the_sum_of_lines(lines: list[Line]) -> None:
    """What stands below the lines of an asset is what each of their columns adds up to."""
    totals = revenue.total(lines)

    assert list(totals) == sorted({line.cohort.asset for line in lines})
    for asset, sums in totals.items():
        added: list[Position] = [line for line in lines if line.cohort.asset == asset]
        for name in ("expected", "open", "breakage", "clawed_back_value", "recognised_value", "deferred_value"):
            assert getattr(sums, name) == sum(getattr(each, name) for each in added), name
        for name in (each.name for each in fields(Figures)):
            assert getattr(sums.figures, name) == sum(getattr(each.figures, name) for each in added), name
