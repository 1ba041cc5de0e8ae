"""The calendar: what "one year" and "this month" mean, as a golden table and as properties."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import calendar, times
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
        (Period.QUARTER, "UTC", date(2026, 1, 1)),
        (Period.YEAR, "UTC", date(2026, 1, 1)),
        (Period.LIFETIME, "UTC", date(1, 1, 1)),
    ],
)
def test_period_starts_on_the_local_day(period: Period, zone: str, expected: date) -> None:
    """A period starts on its first local day; a week on Monday."""
    assert calendar.period_start(instant("2026-03-01T12:00Z"), period, zone) == expected


@pytest.mark.parametrize(("month", "first"), [(1, 1), (3, 1), (4, 4), (6, 4), (8, 7), (12, 10)])
def test_quarter_starts_with_its_first_month(month: int, first: int) -> None:
    """A quarter starts on the first day of January, April, July or October."""
    start = calendar.period_start(datetime(2026, month, 15, tzinfo=UTC), Period.QUARTER, "UTC")

    assert start == date(2026, first, 1)


@pytest.mark.parametrize(
    ("start", "period", "zone", "end"),
    [
        ("2026-03-01T12:00Z", Period.DAY, "UTC", "2026-03-02T00:00Z"),
        ("2026-03-01T12:00Z", Period.DAY, "Pacific/Auckland", "2026-03-02T11:00Z"),
        ("2026-03-01T12:00Z", Period.WEEK, "UTC", "2026-03-02T00:00Z"),
        ("2026-03-02T00:00Z", Period.WEEK, "UTC", "2026-03-09T00:00Z"),
        ("2026-12-31T12:00Z", Period.WEEK, "America/New_York", "2027-01-04T05:00Z"),
        ("2026-03-01T12:00Z", Period.MONTH, "Europe/Paris", "2026-03-31T22:00Z"),
        ("2026-12-01T00:00Z", Period.QUARTER, "UTC", "2027-01-01T00:00Z"),
        ("2026-05-31T12:00Z", Period.QUARTER, "America/New_York", "2026-07-01T04:00Z"),
        ("2026-12-31T23:30Z", Period.YEAR, "Europe/Paris", "2027-12-31T23:00Z"),
        # The clock of Havana shows 00:30 a second time: the day has begun, and goes on.
        ("2025-11-02T05:30Z", Period.DAY, "America/Havana", "2025-11-03T05:00Z"),
        # That of Saint John's shows the last hour of Saturday again, which has been over since the first midnight.
        ("2006-10-29T03:00Z", Period.DAY, "America/St_Johns", "2006-10-30T03:30Z"),
    ],
)
def test_period_ends_where_the_next_one_begins(start: str, period: Period, zone: str, end: str) -> None:
    """A period ends at the first instant of the local day with which the next one begins."""
    assert calendar.period_end(instant(start), period, zone) == instant(end)


@given(
    st.datetimes(datetime(1850, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - aware below
    st.sampled_from([each for each in Period if each is not Period.LIFETIME]),
    st.sampled_from(["UTC", "Europe/Paris", "America/Toronto", "America/St_Johns", "Asia/Beirut", "Pacific/Apia"]),
)
def test_period_end_begins_another_period(start: datetime, period: Period, zone: str) -> None:
    """The end of a period lies behind every instant of it, and is the first one of a later period."""
    begin = start.replace(tzinfo=UTC)
    end = calendar.period_end(begin, period, zone)

    assert begin < end
    assert calendar.period_start(begin, period, zone) < calendar.period_start(end, period, zone)
    assert calendar.day_start(calendar.period_start(end, period, zone), zone) == end


@pytest.mark.parametrize(
    ("start", "period"),
    [("2026-03-01T12:00Z", Period.LIFETIME), ("9999-12-31T12:00Z", Period.DAY), ("9999-06-01T00:00Z", Period.YEAR)],
)
def test_period_end_beyond_the_calendar_overflows(start: str, period: Period) -> None:
    """A period that the calendar ends before has no end, and neither has a lifetime."""
    with pytest.raises(OverflowError):
        calendar.period_end(instant(start), period, "UTC")


def test_first_day_of_the_calendar_is_in_a_period_everywhere() -> None:
    """West of Greenwich the first day of the calendar would be in the year 0, and counts as its second."""
    assert calendar.period_start(times.EARLIEST, Period.DAY, "America/New_York") == date(1, 1, 1)
    assert calendar.add(times.EARLIEST, months=1, days=0, zone="America/New_York") > times.EARLIEST


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
