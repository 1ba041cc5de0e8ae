"""Ends of lots by the calendar of a zone, found by trying: local times are turned into instants by asking each back."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.support.oracle_asks import Policy

DAY = timedelta(days=1)
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def ends_at(start: datetime, policy: Policy) -> datetime:
    """Gives the end, exclusive, of what starts at an instant: the span, then on to the next border of a period."""
    zone = ZoneInfo(policy.zone)
    instant = start
    if policy.months or policy.days:
        local = start.astimezone(zone).replace(tzinfo=None)
        instant = _instant(_month_later(local, policy.months) + policy.days * DAY, zone)
    if not policy.end:
        return instant
    day = instant.astimezone(zone).date()
    while True:
        day = _next_border(day, policy.end)
        end = _day_begins(day, zone)
        if end > instant:
            return end


def _month_later(local: datetime, months: int) -> datetime:
    """Goes on by whole months, and back to the last day of the month where it has no such day."""
    index = local.month - 1 + months
    year, month = local.year + index // 12, index % 12 + 1
    for day in range(local.day, 27, -1):
        try:
            return local.replace(year=year, month=month, day=day)
        except ValueError:
            continue  # The month has no such day.
    return local.replace(year=year, month=month)


def _next_border(day: date, end: str) -> date:
    """Gives the first day after one with which a period begins."""
    while True:
        day += DAY
        if end == "DAY" or (day.day == 1 and (day.month - 1) % MONTHS[end] == 0):
            return day


def _instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """Lists the instants at which clocks show a local time: none, one or two, the earliest first."""
    around = [(local + change).replace(tzinfo=UTC).astimezone(zone).utcoffset() for change in (-DAY, DAY)]
    tried = {(local - offset).replace(tzinfo=UTC) for offset in around if offset is not None}
    return sorted(instant for instant in tried if instant.astimezone(zone).replace(tzinfo=None) == local)


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Gives the first instant of a local time; one that is skipped moves on by the gap."""
    found = _instants(local, zone)
    if found:
        return found[0]
    before = (local - DAY).replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert before is not None, "A zone tells its offset."
    return (local - before).replace(tzinfo=UTC)


def _day_begins(day: date, zone: ZoneInfo) -> datetime:
    """Gives the first instant of a local day, or of the next one where the day, or its midnight, is skipped."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the clock's face, in no zone yet
    found = _instants(midnight, zone)
    if found:
        return found[0]
    first, second = midnight.replace(tzinfo=UTC) - DAY, midnight.replace(tzinfo=UTC) + DAY
    while second - first > timedelta(seconds=1):
        middle = (first + (second - first) / 2).replace(microsecond=0)
        if middle.astimezone(zone).date() < day:
            first = middle
        else:
            second = middle
    return second
