"""The revenue of points: what of a price is earned by now, what waits, and what will never be redeemed.

Points that come with a purchase are a material right: a part of the price is theirs (IFRS 15.B40, ASC 606-10-55-42),
by relative stand-alone selling prices (IFRS 15.76, ASC 606-10-32-31). It waits as deferred revenue and is recognised in
proportion to what is redeemed of all that is expected to be redeemed, so that breakage, which nobody will redeem, is
earned along with it (IFRS 15.B46, ASC 606-10-55-48). A new estimate corrects the whole past in the period in which it
is made. The price of a sale that is undone goes with the sale, whatever became of its points: it is nothing that one is
entitled to (IFRS 15.47, ASC 606-10-32-2). The examples that this follows are IFRS 15.IE267 to IE270 (Example 52) and,
in KPMG's handbook "Revenue - IFRS 15", examples 10A and 10B.

Amounts are whole smallest units of the cohort's asset; names that end in `value` are whole minor units of money. Each
division rounds half up, once. All is pure: figures of the same instant under the same estimates give the same report.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

ALL_BPS = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Cohort:
    """Points that are estimated together; sorts by month, campaign and asset.

    `month` is the month of issue in the program's zone, as "2026-10"; `campaign_id` is empty where there was none.
    """

    month: str
    campaign_id: str
    asset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened to a cohort until an instant; what was issued is where the other parts are, whole.

    What was taken back counts in the cohort of the lot that it was taken from; a member's debt is in none. Its price
    counts in the cohort of the earn that is undone, as much as was claimed of that, found or not: so either may be
    there without the other. What is pending has not taken effect and is no part of `issued`, nor is its price of
    `allocated_value`.
    """

    issued: int = 0
    redeemed: int = 0
    expired: int = 0
    clawed_back: int = 0
    open: int = 0
    pending: int = 0
    allocated_value: int = 0
    clawed_back_value: int = 0

    def __post_init__(self) -> None:
        assert all(getattr(self, each.name) >= 0 for each in fields(self)), f"{self} counts less than nothing."
        parts = self.redeemed + self.expired + self.clawed_back + self.open
        assert self.issued == parts, f"{self} has parts of {parts} in all."
        assert self.issued or not self.allocated_value, f"{self} has a price for what was not issued."
        assert self.clawed_back_value <= self.allocated_value, f"{self} has more price undone than there was."

    @property
    def net_issued(self) -> int:
        """Gives what was issued and not taken back."""
        return self.issued - self.clawed_back

    @property
    def net_value(self) -> int:
        """Gives the price of what is not undone: it is recognised or deferred, and nothing else."""
        return self.allocated_value - self.clawed_back_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How much of a net issue will be redeemed in all, in basis points from 0 to 10,000, from an instant on.

    An empty `campaign_id` speaks for every campaign that has no estimate of its own. A report can be made again only
    while no estimate is added whose `valid_from` lies before the report's instant.
    """

    asset: str
    campaign_id: str
    redemption_rate_bps: int
    valid_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What is owed and what is earned: the price is taken back, recognised or deferred, and nothing else."""

    figures: Figures
    expected: int
    recognised_value: int

    @property
    def open(self) -> int:
        """Gives what members may still redeem: the liability in units of the asset."""
        return self.figures.open

    @property
    def breakage(self) -> int:
        """Gives what is expected never to be redeemed; what has expired is in it."""
        return self.figures.net_issued - self.expected

    @property
    def clawed_back_value(self) -> int:
        """Gives the price of the earns that were undone: there is no revenue to wait for."""
        return self.figures.clawed_back_value

    @property
    def deferred_value(self) -> int:
        """Gives the deferred revenue that is left: the liability in money."""
        return self.figures.net_value - self.recognised_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Position):
    """One line of the report: a cohort, its position, and the estimate by which it was judged."""

    cohort: Cohort
    redemption_rate_bps: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """A price, split: the part of the goods and the part of the points."""

    goods_value: int
    points_value: int


def allocate(price: int, *, standalone_price: int, points_standalone_value: int) -> Allocation:
    """Splits a price by relative stand-alone selling prices (IFRS 15.76); the parts add up to it exactly.

    All three are in minor units of one currency and not negative. The stand-alone value of the points takes into
    account how likely they are to be redeemed (IFRS 15.B42). The unit that rounding leaves goes to the larger
    remainder, and to the points where both are equal, since what waits is never too little then. Where neither is worth
    anything, the price is that of the goods.
    """
    weights = standalone_price + points_standalone_value
    assert min(price, standalone_price, points_standalone_value) >= 0, "A price is not negative."
    # Of two parts, rounding one half up gives it the unit exactly where its remainder is not the smaller one.
    points_value = _divide(price * points_standalone_value, weights) if weights else 0
    return Allocation(price - points_value, points_value)


def estimate_for(estimates: Iterable[Estimate], cohort: Cohort, as_of: datetime) -> int:
    """Gives the redemption rate in basis points that was in force for a cohort at an instant.

    The campaign's own estimates come before those of the asset; of those the newest. Without any, everything is
    expected to be redeemed, since revenue is not to be recognised on a hope (IFRS 15.56). Of two that begin together
    the higher one counts, for the same reason.
    """
    in_force = [
        each
        for each in estimates
        if each.asset == cohort.asset and each.campaign_id in ("", cohort.campaign_id) and each.valid_from <= as_of
    ]
    if not in_force:
        return ALL_BPS
    newest = max(in_force, key=lambda each: (each.campaign_id != "", each.valid_from, each.redemption_rate_bps))
    return newest.redemption_rate_bps


def expected_redemptions(figures: Figures, redemption_rate_bps: int) -> int:
    """Gives how much of a cohort will be redeemed in all, what is redeemed already included.

    It is the rate of what was issued net of claw-backs, rounded half up; never less than was redeemed nor more than can
    be, which is how experience overrules an estimate.
    """
    assert 0 <= redemption_rate_bps <= ALL_BPS, f"{redemption_rate_bps} is no rate."
    estimated = _divide(figures.net_issued * redemption_rate_bps, ALL_BPS)
    return min(max(estimated, figures.redeemed), figures.redeemed + figures.open)


def recognised_value(figures: Figures, expected: int) -> int:
    """Gives the revenue that is recognised until now, all periods together, in minor units of money.

    It is the price of what is not undone, times redeemed / expected (IFRS 15.B46), so all of it once nothing more is
    expected. Points of one cohort are alike here: those without a price, or whose sale was undone after they were
    spent, carry the price of the others along. Two cases have nothing to divide by. Where nothing is open either, all
    has expired or was taken back, nothing is owed, and the price is earned. Where something is open of which nothing is
    expected, nothing is recognised before a redemption or the expiry, since no pattern of redemptions tells how much.
    """
    assert figures.redeemed <= expected <= figures.redeemed + figures.open, f"{expected} cannot be expected: {figures}."
    if expected == 0:
        return 0 if figures.open else figures.net_value
    return _divide(figures.net_value * figures.redeemed, expected)


def assess(cohort: Cohort, figures: Figures, redemption_rate_bps: int) -> Line:
    """Makes the line of a cohort under an estimate in basis points."""
    expected = expected_redemptions(figures, redemption_rate_bps)
    return Line(
        cohort=cohort,
        redemption_rate_bps=redemption_rate_bps,
        figures=figures,
        expected=expected,
        recognised_value=recognised_value(figures, expected),
    )


def report(figures: Mapping[Cohort, Figures], estimates: Collection[Estimate], as_of: datetime) -> list[Line]:
    """Makes the lines of all cohorts, in their order, from figures of the instant `as_of`."""
    # By what they speak for, since there may be as many as there are campaigns.
    spoken_for: dict[tuple[str, str], list[Estimate]] = defaultdict(list)
    for estimate in estimates:
        spoken_for[estimate.asset, estimate.campaign_id].append(estimate)
    lines = []
    for cohort, of_cohort in sorted(figures.items(), key=lambda item: item[0]):
        own, general = spoken_for[cohort.asset, cohort.campaign_id], spoken_for[cohort.asset, ""]
        lines.append(assess(cohort, of_cohort, estimate_for([*own, *general], cohort, as_of)))
    return lines


def recognised_since(now: Position, before: Position | None) -> int:
    """Gives the revenue of a period in minor units of money, from the positions at its end and at its beginning.

    This is the cumulative catch-up: what a new estimate changes in the past is recognised at once (IFRS 15.IE270), so
    the revenue of all periods adds up to what is recognised until now. It can be negative, where more redemptions are
    expected than before or sales were undone. `before` is None where the cohort is new.
    """
    return now.recognised_value - (before.recognised_value if before else 0)


def total(lines: Iterable[Line]) -> dict[str, Position]:
    """Adds lines up by asset, in the order of assets: points of different assets have no sum.

    Every figure is the sum of the lines' figures and not computed anew, so that what is read below the lines is what
    their column adds up to.
    """
    by_asset: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_asset[line.cohort.asset].append(line)
    return {asset: _add(by_asset[asset]) for asset in sorted(by_asset)}


def _add(lines: list[Line]) -> Position:
    sums = {each.name: sum(getattr(line.figures, each.name) for line in lines) for each in fields(Figures)}
    return Position(
        figures=Figures(**sums),
        expected=sum(line.expected for line in lines),
        recognised_value=sum(line.recognised_value for line in lines),
    )


def _divide(numerator: int, denominator: int) -> int:
    """Divides whole numbers that are not negative, rounding half up."""
    return (2 * numerator + denominator) // (2 * denominator)
