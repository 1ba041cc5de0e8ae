"""Calendar arithmetic in a zone: what "one year" and "this month" mean. Pure; the only place that does it.

A span keeps the local time of day. A day of the month that the target month lacks becomes its last day (29 February
plus 12 months is 28 February). A local time that a clock change skips moves forward by the gap; one that happens twice
means the first. A day begins once: where the clock goes back over midnight, at the first one. A period ends where the
next one begins.
"""

import calendar
import zoneinfo
from bisect import bisect_left
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from services.kernel import times

# The zones of the package tzdata, and not the machine's, which may be older than the next one's: the same point would
# expire at two instants.
zoneinfo.reset_tzpath(to=())

BEGINNING = date(1, 1, 1)
# West of Greenwich the first day of the calendar is in the year 0, which it does not have; it counts as the second.
FIRST = times.EARLIEST + timedelta(days=1)
SECOND = timedelta(seconds=1)


class Period(StrEnum):
    """How long a period is."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"
    LIFETIME = "LIFETIME"


MONTHS = {Period.MONTH: 1, Period.QUARTER: 3, Period.YEAR: 12}


def span_end(start: datetime, *, months: int, days: int, end: Period | None, zone: str) -> datetime:
    """Gives the exclusive end, in UTC, of what begins at an instant and lasts a span, or on to the end of a period.

    The span is months, then days, by the calendar of the zone; the period is the local one that the span falls in, the
    current one where there is no span. The end is after the start, and is found for every known zone: beyond the year
    9999 it is the last instant that is kept.
    """
    assert start.tzinfo is not None, "An instant has a zone."
    assert months or days or end, "What ends lasts a span, or to the end of a period."
    instant = max(start, FIRST)
    try:
        if months or days:
            # Without a span the calendar would take the second of two equal local times back to the first.
            instant = add(instant, months=months, days=days, zone=zone)
        found = instant if end is None else period_end(instant, end, zone)
    except OverflowError:
        return times.LATEST
    return min(found, times.LATEST)


def add(instant: datetime, *, months: int, days: int, zone: str) -> datetime:
    """Adds months, then days, to an instant by the calendar of a zone; gives the instant in UTC.

    Raises OverflowError beyond the year 9999.
    """
    local = max(instant, FIRST).astimezone(ZoneInfo(zone))
    index = local.year * 12 + local.month - 1 + months
    year, month = index // 12, index % 12 + 1
    if year > MAXYEAR:
        raise OverflowError("The calendar ends with the year 9999.")
    day = min(local.day, calendar.monthrange(year, month)[1])
    moved = local.replace(year=year, month=month, day=day, fold=0) + timedelta(days=days)
    # Through UTC, so that a local time that does not exist becomes the one that the clock showed instead.
    return moved.replace(fold=0).astimezone(UTC)


def period_start(instant: datetime, period: Period, zone: str) -> date:
    """Gives the first local day of the period that an instant is in; weeks start on Monday."""
    day = max(instant, FIRST).astimezone(ZoneInfo(zone)).date()
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
        case Period.QUARTER:
            return day.replace(month=day.month - (day.month - 1) % MONTHS[period], day=1)
        case Period.YEAR:
            return day.replace(month=1, day=1)
        case Period.LIFETIME:
            return BEGINNING


def period_end(instant: datetime, period: Period, zone: str) -> datetime:
    """Gives the exclusive end, in UTC, of the period that an instant is in: the first instant of the next one.

    Where a clock goes back over that, the period is over nevertheless: the end lies after the instant. Raises
    OverflowError beyond the year 9999, as a lifetime does.
    """
    following = _following(period_start(instant, period, zone), period)
    end = day_start(following, zone)
    if end <= instant:
        # The clock shows a day of the period again that is over, and went back over its end.
        end = day_start(_following(following, period), zone)
    return end


def _following(first: date, period: Period) -> date:
    """Gives the first day of the period behind the one that begins with a day."""
    match period:
        case Period.DAY:
            return first + timedelta(days=1)
        case Period.WEEK:
            return first + timedelta(days=7)
        case Period.LIFETIME:
            raise OverflowError("A lifetime ends with the calendar.")
    index = first.year * 12 + first.month - 1 + MONTHS[period]
    year, month = index // 12, index % 12 + 1
    if year > MAXYEAR:
        raise OverflowError("The calendar ends with the year 9999.")
    return date(year, month, 1)


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


def at_minute(day: date, minute: int, zone: str) -> datetime:
    """Gives the instant, in UTC, at which the clocks of a zone show a minute of a day, counted from midnight.

    A local time that a clock change skips moves forward by the gap; one that happens twice means the first.
    """
    assert 0 <= minute < 24 * 60, "A minute of the day lies within it."
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=ZoneInfo(zone))
    return local.replace(fold=0).astimezone(UTC)
