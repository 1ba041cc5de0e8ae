"""Calendar arithmetic in a zone: what "one year" and "this month" mean. Pure; the only place that does it.

A span keeps the local time of day. A day of the month that the target month lacks becomes its last day (29 February
plus 12 months is 28 February). A local time that a clock change skips moves forward by the gap; one that happens twice
means the first. A day begins once: where the clock goes back over midnight, at the first one.
"""

import calendar
import zoneinfo
from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

# The zones of the package tzdata, and not the machine's, which may be older than the next one's: the same point would
# expire at two instants.
zoneinfo.reset_tzpath(to=())

BEGINNING = date(1, 1, 1)
SECOND = timedelta(seconds=1)


class Period(StrEnum):
    """How long a period is."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"
    LIFETIME = "LIFETIME"


def add(instant: datetime, *, months: int, days: int, zone: str) -> datetime:
    """Adds months, then days, to an instant by the calendar of a zone; gives the instant in UTC.

    Raises OverflowError beyond the year 9999.
    """
    local = instant.astimezone(ZoneInfo(zone))
    index = local.year * 12 + local.month - 1 + months
    year, month = index // 12, index % 12 + 1
    if year > 9999:
        raise OverflowError("The calendar ends with the year 9999.")
    day = min(local.day, calendar.monthrange(year, month)[1])
    moved = local.replace(year=year, month=month, day=day, fold=0) + timedelta(days=days)
    # Through UTC, so that a local time that does not exist becomes the one that the clock showed instead.
    return moved.replace(fold=0).astimezone(UTC)


def period_start(instant: datetime, period: Period, zone: str) -> date:
    """Gives the first local day of the period that an instant is in; weeks start on Monday."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
        case Period.YEAR:
            return day.replace(month=1, day=1)
        case Period.LIFETIME:
            return BEGINNING


def day_start(day: date, zone: str) -> datetime:
    """Gives the first instant, in UTC, at which the clocks of a zone show a day, or a later one where it was left out.

    That is midnight, or the first of two; where a clock change skips midnight, it is the instant of that change. Raises
    OverflowError where the calendar has no such instant.
    """
    local = ZoneInfo(zone)
    midnight = datetime(day.year, day.month, day.day, tzinfo=local)
    first, second = (midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first

    # Midnight is skipped: read by the clock of before the change it lies behind it, by that of after it lies before it.
    # The change is sought between the two, as not each begins at midnight: in Toronto in 1919 one did at 23:30.
    def day_at(seconds: int) -> date:
        return (second + SECOND * seconds).astimezone(local).date()

    return second + SECOND * bisect_left(range((first - second) // SECOND), day, key=day_at)
