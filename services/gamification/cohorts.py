"""Cohorts: how a member compares with peers, told only where it says nothing of a single one of them. Pure.

The thresholds are those that antitrust and statistics offices made usual: at least so many contributors, and none with
more than a quarter of the whole, so that nobody can reckon back what one of them did.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

MEMBERS_MIN = 10
# No member may have more than one part in so many of the whole.
SHARE_PARTS = 4
ANY = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """A member who was active in the week: the value, the plan, and the number of members of the company."""

    amount: int
    plan: str
    org_member_count: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """A snapshot: each value that some member had, ascending, and how many members had less."""

    metric_id: str
    week: date
    plan: str
    org_size: str
    member_count: int
    total: int
    amounts: tuple[int, ...]
    below: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a member's value compares with those of the others in a cohort."""

    cohort: Cohort
    value: int
    ahead_of_percent: int
    average_hundredths: int


def org_size(member_count: int) -> str:
    """Names the size of a company by its members; empty without a company."""
    for least, name in ((250, "250+"), (50, "50-249"), (10, "10-49"), (1, "1-9")):
        if member_count >= least:
            return name
    return ANY


def keys(plan: str, size: str) -> list[tuple[str, str]]:
    """Lists the cohorts that a member is in, by plan and size of company, from the finest to that of all."""
    found = [(plan, size)] if plan and size else []
    return [*found, *([(plan, ANY)] if plan else []), (ANY, ANY)]


def snapshots(metric_id: str, week: date, peers: Iterable[Peer]) -> list[Cohort]:
    """Makes the snapshots of all cohorts that may be told of."""
    amounts: dict[tuple[str, str], list[int]] = {}
    for peer in peers:
        for key in keys(peer.plan, org_size(peer.org_member_count)):
            amounts.setdefault(key, []).append(peer.amount)
    return [
        _snapshot(metric_id, week, key, sorted(found))
        for key, found in sorted(amounts.items())
        if len(found) >= MEMBERS_MIN and max(found) * SHARE_PARTS <= sum(found)
    ]


def _snapshot(metric_id: str, week: date, key: tuple[str, str], amounts: Sequence[int]) -> Cohort:
    distinct = tuple(sorted(set(amounts)))
    below = tuple(bisect_left(amounts, each) for each in distinct)
    return Cohort(metric_id, week, *key, len(amounts), sum(amounts), distinct, below)


def compare(cohort: Cohort, value: int) -> Comparison:
    """Compares a member's value with those of the others; who was not active is one more than the cohort has."""
    others = cohort.member_count - 1 if value else cohort.member_count
    place = bisect_left(cohort.amounts, value)
    ahead = cohort.below[place] if place < len(cohort.amounts) else others
    total = max(0, cohort.total - value)
    return Comparison(cohort, value, min(100, ahead * 100 // others), total * 100 // others)


def finest(cohorts: Iterable[Cohort], plan: str, size: str) -> dict[str, Cohort]:
    """Picks for each metric the finest cohort that a member is in."""
    order = {key: place for place, key in enumerate(keys(plan, size))}
    found: dict[str, Cohort] = {}
    for cohort in cohorts:
        place = order.get((cohort.plan, cohort.org_size))
        known = found.get(cohort.metric_id)
        if place is not None and (known is None or place < order[known.plan, known.org_size]):
            found[cohort.metric_id] = cohort
    return found
