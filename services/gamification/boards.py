"""Leaderboards: ranks by the policy on ties, and when a period is over everywhere. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from services.gamification.model import Period, Standing, Ties

# The last zone of a day, west of all land.
LAST_ZONE = timedelta(hours=-12)
# What was recorded by the end of a day in the last zone has reached this service by then.
GRACE = timedelta(minutes=10)
# No period that begins later ends within the calendar.
CALENDAR_END = date.max - timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Place:
    """A member's value, and when it was reached: what ranks a member."""

    member_id: str
    value: int
    reached_at: datetime


@dataclass(frozen=True, slots=True)
class Ahead:
    """What stands before a place: members with more, different values that are more, and all that are listed before."""

    above: int
    distinct_above: int
    listed: int


def close_time(period: Period, start: date) -> datetime | None:
    """Tells when a period is closed: once it is over in the last zone, and a little later; None where it never is."""
    if period is Period.ALL_TIME or start > CALENDAR_END:
        return None
    end = period.following(start)
    return datetime(end.year, end.month, end.day, tzinfo=UTC) - LAST_ZONE + GRACE


def open_start(period: Period, now: datetime) -> date:
    """Gives the first day of the earliest period that is not closed yet."""
    return period.start((now + LAST_ZONE - GRACE).astimezone(UTC).date())


def ranked(ties: Ties, places: Iterable[Place], ahead: Ahead) -> list[Standing]:
    """Ranks places that are listed in order, behind those that stand ahead of the first."""
    standings: list[Standing] = []
    listed, dense, rank = ahead.listed, ahead.distinct_above, ahead.above + 1
    value: int | None = None
    for place in places:
        if place.value != value:
            # Those of the first value may have begun before this page: their rank is by what is above them.
            rank = rank if value is None else listed + 1
            dense, value = dense + 1, place.value
        listed += 1
        found = {Ties.COMPETITION: rank, Ties.DENSE: dense, Ties.ORDINAL: listed}[ties]
        standings.append(Standing(found, place.member_id, place.value))
    return standings
