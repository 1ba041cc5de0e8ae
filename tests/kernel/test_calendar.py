"""The calendar: what "one year" and "this month" mean, as a golden table and as properties."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import calendar
from services.kernel.calendar import Period

GOLDEN = [
    # from, months, days, zone, to
    ("1997-01-01T12:00Z", 12, 0, "UTC", "1998-01-01T12:00Z"),
    ("2024-02-29T12:00Z", 12, 0, "UTC", "2025-02-28T12:00Z"),
    ("2024-02-29T12:00Z", 48, 0, "UTC", "2028-02-29T12:00Z"),
    ("2023-02-28T12:00Z", 12, 0, "UTC", "2024-02-28T12:00Z"),
    ("2026-01-31T00:00Z", 1, 0, "UTC", "2026-02-28T00:00Z"),
    ("2026-01-31T00:00Z", 3, 0, "UTC", "2026-04-30T00:00Z"),
    ("2026-12-31T23:59Z", 2, 0, "UTC", "2027-02-28T23:59Z"),
    ("2026-01-31T00:00Z", 1, 1, "UTC", "2026-03-01T00:00Z"),
    # The day before the clocks go forward in Paris, 12:00 there: noon stays noon, 23 hours later.
    ("2026-03-28T11:00Z", 0, 1, "Europe/Paris", "2026-03-29T10:00Z"),
    # 02:30 does not exist on 29 March 2026 in Paris: it becomes 03:30.
    ("2026-03-28T01:30Z", 0, 1, "Europe/Paris", "2026-03-29T01:30Z"),
    # 02:30 happens twice on 25 October 2026 in Paris: the first one counts.
    ("2026-10-24T00:30Z", 0, 1, "Europe/Paris", "2026-10-25T00:30Z"),
    # 11 p.m. on 31 December in New York is the next year in UTC; the calendar of the zone decides.
    ("2026-01-01T04:00Z", 2, 0, "America/New_York", "2026-03-01T04:00Z"),
    ("2026-01-31T20:00Z", 1, 0, "Pacific/Auckland", "2026-02-28T20:00Z"),
    # Samoa had no 30 December 2011: that day begins as the 31st.
    ("2011-11-30T22:00Z", 1, 0, "Pacific/Apia", "2011-12-30T22:00Z"),
    ("2026-06-15T05:30Z", 6, 0, "Asia/Kolkata", "2026-12-15T05:30Z"),
]


def instant(text: str) -> datetime:
    """Reads an instant."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(("start", "months", "days", "zone", "end"), GOLDEN)
def test_add_matches_golden_table(start: str, months: int, days: int, zone: str, end: str) -> None:
    """A span counts by the calendar of the zone, at the same local time where there is one."""
    assert calendar.add(instant(start), months=months, days=days, zone=zone) == instant(end)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - aware below
    st.integers(0, 240),
    st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
)
def test_add_never_shortens_a_month(start: datetime, months: int, zone: str) -> None:
    """N months are at least 28 days each, less a clock change or a skipped day, and at most 31 days each."""
    begin = start.replace(tzinfo=UTC)
    span = calendar.add(begin, months=months, days=0, zone=zone) - begin
    slack = timedelta(days=1, hours=2)
    assert timedelta(days=28 * months) - slack <= span <= timedelta(days=31 * months) + slack


def test_add_beyond_the_calendar_overflows() -> None:
    """The calendar ends with the year 9999, and says so."""
    with pytest.raises(OverflowError):
        calendar.add(instant("9999-06-01T00:00Z"), months=12, days=0, zone="UTC")


@pytest.mark.parametrize(
    ("period", "zone", "expected"),
    [
        (Period.DAY, "UTC", date(2026, 3, 1)),
        (Period.DAY, "Pacific/Auckland", date(2026, 3, 2)),
        (Period.WEEK, "UTC", date(2026, 2, 23)),
        (Period.WEEK, "Pacific/Auckland", date(2026, 3, 2)),
        (Period.MONTH, "America/New_York", date(2026, 3, 1)),
        (Period.YEAR, "UTC", date(2026, 1, 1)),
        (Period.LIFETIME, "UTC", date(1, 1, 1)),
    ],
)
def test_period_starts_on_the_local_day(period: Period, zone: str, expected: date) -> None:
    """A period starts on its first local day; a week on Monday."""
    assert calendar.period_start(instant("2026-03-01T12:00Z"), period, zone) == expected


@pytest.mark.parametrize(
    ("day", "zone", "start"),
    [
        (date(2026, 3, 1), "UTC", "2026-03-01T00:00Z"),
        (date(2026, 3, 1), "Asia/Kathmandu", "2026-02-28T18:15Z"),
        # The clock goes from 23:59 on 3 November to 01:00.
        (date(2018, 11, 4), "America/Sao_Paulo", "2018-11-04T03:00Z"),
        # It goes from 00:59 back to midnight, and midnight is there twice.
        (date(2025, 11, 2), "America/Havana", "2025-11-02T04:00Z"),
        # It goes from 00:00:59 back to 23:01 of the day before, and midnight is there twice.
        (date(2006, 10, 29), "America/St_Johns", "2006-10-29T02:30Z"),
        # It goes from 23:29 on 30 March to 00:30.
        (date(1919, 3, 31), "America/Toronto", "1919-03-31T04:30Z"),
        # Liberia went from 44 minutes and 30 seconds behind UTC to UTC.
        (date(1972, 1, 7), "Africa/Monrovia", "1972-01-07T00:44:30Z"),
        # Samoa went from 29 to 31 December: the day between begins with the one that took its place.
        (date(2011, 12, 30), "Pacific/Apia", "2011-12-30T10:00Z"),
        (date(2011, 12, 31), "Pacific/Apia", "2011-12-30T10:00Z"),
    ],
)
def test_day_starts_when_clocks_first_show_it(day: date, zone: str, start: str) -> None:
    """A day starts at its first midnight, or where a clock change skips that, at the change."""
    assert calendar.day_start(day, zone) == instant(start)


@given(
    st.dates(date(1850, 1, 1), date(2090, 1, 1)),
    st.sampled_from(["UTC", "Europe/Paris", "America/Toronto", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia"]),
)
def test_day_start_has_another_day_before_it(day: date, zone: str) -> None:
    """At the start of a day the clock shows it, or what took its place, and a microsecond before an earlier one."""
    start = calendar.day_start(day, zone)
    before = start - timedelta(microseconds=1)

    assert before.astimezone(ZoneInfo(zone)).date() < day <= start.astimezone(ZoneInfo(zone)).date()


def test_day_start_beyond_the_calendar_overflows() -> None:
    """The first day of the calendar has no start where the clock is ahead of UTC."""
    with pytest.raises(OverflowError):
        calendar.day_start(date(1, 1, 1), "Asia/Tokyo")


def test_zones_are_those_of_the_package() -> None:
    """The zones come with the service, so that every machine has the same ones."""
    assert zoneinfo.TZPATH == ()
