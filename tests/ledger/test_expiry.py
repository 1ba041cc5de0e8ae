"""When a lot ends: a golden table written from the calendar by hand, and what holds for every policy."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import times
from services.ledger import expiry
from services.ledger.expiry import End, Policy

PARIS, NEW_YORK, LORD_HOWE = "Europe/Paris", "America/New_York", "Australia/Lord_Howe"
SAO_PAULO, APIA, ST_JOHNS = "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns"

# From, months, days, end, zone, to.
GOLDEN = [
    # Spans of months keep the day of the month, or take the last one where there is none.
    ("2023-02-28T12:00Z", 12, 0, End.INSTANT, "UTC", "2024-02-28T12:00Z"),
    ("2024-02-29T12:00Z", 12, 0, End.INSTANT, "UTC", "2025-02-28T12:00Z"),
    ("2024-02-29T12:00Z", 48, 0, End.INSTANT, "UTC", "2028-02-29T12:00Z"),
    ("2026-01-28T12:00Z", 1, 0, End.INSTANT, "UTC", "2026-02-28T12:00Z"),
    ("2026-01-31T09:00Z", 1, 0, End.INSTANT, "UTC", "2026-02-28T09:00Z"),
    ("2024-01-31T09:00Z", 1, 0, End.INSTANT, "UTC", "2024-02-29T09:00Z"),
    ("2026-05-31T09:00Z", 1, 0, End.INSTANT, "UTC", "2026-06-30T09:00Z"),
    ("2026-05-31T09:00Z", 2, 0, End.INSTANT, "UTC", "2026-07-31T09:00Z"),
    # Months first, then days: 31 January is 28 February is 1 March.
    ("2026-01-31T09:00Z", 1, 1, End.INSTANT, "UTC", "2026-03-01T09:00Z"),
    ("2026-12-31T23:30Z", 2, 3, End.INSTANT, "UTC", "2027-03-03T23:30Z"),
    # 2000 is a leap year, 2100 is none.
    ("2000-02-28T12:00Z", 0, 1, End.INSTANT, "UTC", "2000-02-29T12:00Z"),
    ("2000-01-31T12:00Z", 1, 0, End.INSTANT, "UTC", "2000-02-29T12:00Z"),
    ("2100-02-28T12:00Z", 0, 1, End.INSTANT, "UTC", "2100-03-01T12:00Z"),
    ("2096-02-29T12:00Z", 48, 0, End.INSTANT, "UTC", "2100-02-28T12:00Z"),
    # Stretched to the end of what the span falls in.
    ("2024-02-29T12:00Z", 12, 0, End.DAY, "UTC", "2025-03-01T00:00Z"),
    ("2024-02-29T12:00Z", 12, 0, End.MONTH, "UTC", "2025-03-01T00:00Z"),
    ("2026-01-31T09:00Z", 1, 0, End.DAY, "UTC", "2026-03-01T00:00Z"),
    ("2026-11-30T23:00Z", 12, 0, End.MONTH, "UTC", "2027-12-01T00:00Z"),
    ("2026-08-31T09:00Z", 6, 0, End.QUARTER, "UTC", "2027-04-01T00:00Z"),
    ("2026-02-14T08:00Z", 12, 0, End.YEAR, "UTC", "2028-01-01T00:00Z"),
    # A span that falls on the first instant of a period has all of it.
    ("2026-10-01T00:00Z", 3, 0, End.QUARTER, "UTC", "2027-04-01T00:00Z"),
    ("2026-12-01T00:00Z", 1, 0, End.YEAR, "UTC", "2028-01-01T00:00Z"),
    # Without a span: the current period, to its last microsecond and from its first.
    ("2026-06-30T23:59:59.999999Z", 0, 0, End.DAY, "UTC", "2026-07-01T00:00Z"),
    ("2026-07-01T00:00Z", 0, 0, End.DAY, "UTC", "2026-07-02T00:00Z"),
    ("2026-06-30T00:00Z", 0, 0, End.MONTH, "UTC", "2026-07-01T00:00Z"),
    ("2026-12-01T00:00Z", 0, 0, End.MONTH, "UTC", "2027-01-01T00:00Z"),
    ("2026-03-31T23:59:59.999999Z", 0, 0, End.QUARTER, "UTC", "2026-04-01T00:00Z"),
    ("2026-04-01T00:00Z", 0, 0, End.QUARTER, "UTC", "2026-07-01T00:00Z"),
    ("2026-08-15T00:00Z", 0, 0, End.QUARTER, "UTC", "2026-10-01T00:00Z"),
    ("2026-12-31T23:59:59.999999Z", 0, 0, End.YEAR, "UTC", "2027-01-01T00:00Z"),
    ("2027-01-01T00:00Z", 0, 0, End.YEAR, "UTC", "2028-01-01T00:00Z"),
    # Close to midnight in UTC the zone decides which day, month, quarter and year it is.
    ("2026-12-31T22:59:59Z", 0, 0, End.YEAR, PARIS, "2026-12-31T23:00Z"),
    ("2026-12-31T23:00Z", 0, 0, End.YEAR, PARIS, "2027-12-31T23:00Z"),
    ("2026-01-01T04:59:59Z", 0, 0, End.YEAR, NEW_YORK, "2026-01-01T05:00Z"),
    ("2026-01-01T05:00Z", 0, 0, End.QUARTER, NEW_YORK, "2026-04-01T04:00Z"),
    ("2026-03-31T18:29:59Z", 0, 0, End.QUARTER, "Asia/Kolkata", "2026-03-31T18:30Z"),
    ("2026-03-31T18:30Z", 0, 0, End.QUARTER, "Asia/Kolkata", "2026-06-30T18:30Z"),
    ("2026-06-15T00:00Z", 0, 0, End.MONTH, "Asia/Kathmandu", "2026-06-30T18:15Z"),
    ("2026-01-31T09:59:59Z", 0, 0, End.MONTH, "Pacific/Kiritimati", "2026-01-31T10:00Z"),
    ("2026-02-01T10:59:59Z", 0, 0, End.MONTH, "Pacific/Pago_Pago", "2026-02-01T11:00Z"),
    # 23:30 on 31 January in Jakarta and 00:30 on 1 February: the same day in UTC, and another month there.
    ("2026-01-31T16:30Z", 1, 0, End.INSTANT, "Asia/Jakarta", "2026-02-28T16:30Z"),
    ("2026-01-31T17:30Z", 1, 0, End.INSTANT, "Asia/Jakarta", "2026-02-28T17:30Z"),
    ("2026-01-31T17:30Z", 1, 0, End.MONTH, "Asia/Jakarta", "2026-03-31T17:00Z"),
    # Paris, 29 March 2026: 02:00 becomes 03:00. Noon stays noon, 02:30 is 03:30, the day has 23 hours.
    ("2026-03-28T11:00Z", 0, 1, End.INSTANT, PARIS, "2026-03-29T10:00Z"),
    ("2026-03-28T01:30Z", 0, 1, End.INSTANT, PARIS, "2026-03-29T01:30Z"),
    ("2026-03-28T22:59Z", 0, 0, End.DAY, PARIS, "2026-03-28T23:00Z"),
    ("2026-03-28T23:00Z", 0, 0, End.DAY, PARIS, "2026-03-29T22:00Z"),
    ("2026-03-15T12:00Z", 0, 0, End.MONTH, PARIS, "2026-03-31T22:00Z"),
    # Paris, 25 October 2026: 03:00 becomes 02:00. Of two 02:30 the first counts, the day has 25 hours.
    ("2026-04-29T10:00Z", 6, 0, End.INSTANT, PARIS, "2026-10-29T11:00Z"),
    ("2026-10-24T00:30Z", 0, 1, End.INSTANT, PARIS, "2026-10-25T00:30Z"),
    ("2026-10-25T01:30Z", 0, 1, End.INSTANT, PARIS, "2026-10-26T01:30Z"),
    ("2026-10-24T22:00Z", 0, 0, End.DAY, PARIS, "2026-10-25T23:00Z"),
    # New York, 8 March and 1 November 2026.
    ("2026-03-07T07:30Z", 0, 1, End.INSTANT, NEW_YORK, "2026-03-08T07:30Z"),
    ("2026-03-08T05:00Z", 0, 0, End.DAY, NEW_YORK, "2026-03-09T04:00Z"),
    ("2026-10-31T05:30Z", 0, 1, End.INSTANT, NEW_YORK, "2026-11-01T05:30Z"),
    ("2026-11-01T06:30Z", 0, 1, End.INSTANT, NEW_YORK, "2026-11-02T06:30Z"),
    ("2026-11-01T04:00Z", 0, 0, End.DAY, NEW_YORK, "2026-11-02T05:00Z"),
    # Lord Howe moves its clocks by half an hour: on 4 October 2026 forward, on 5 April back.
    ("2026-10-02T15:45Z", 0, 1, End.INSTANT, LORD_HOWE, "2026-10-03T15:45Z"),
    ("2026-10-03T13:30Z", 0, 0, End.DAY, LORD_HOWE, "2026-10-04T13:00Z"),
    ("2026-04-03T14:45Z", 0, 1, End.INSTANT, LORD_HOWE, "2026-04-04T14:45Z"),
    ("2026-04-04T13:00Z", 0, 0, End.DAY, LORD_HOWE, "2026-04-05T13:30Z"),
    # São Paulo had no midnight on 4 November 2018: the day began at 01:00, and 00:30 is 01:30.
    ("2018-11-03T12:00Z", 0, 0, End.DAY, SAO_PAULO, "2018-11-04T03:00Z"),
    ("2018-11-04T03:00Z", 0, 0, End.DAY, SAO_PAULO, "2018-11-05T02:00Z"),
    ("2018-10-04T03:30Z", 1, 0, End.INSTANT, SAO_PAULO, "2018-11-04T03:30Z"),
    # There on 18 February 2018 midnight became 23:00 of the 17th, which so had 25 hours.
    ("2018-02-17T02:00Z", 0, 0, End.DAY, SAO_PAULO, "2018-02-18T03:00Z"),
    ("2018-02-18T02:30Z", 0, 0, End.DAY, SAO_PAULO, "2018-02-18T03:00Z"),
    # Nor had Beirut a midnight on 27 March 2022, nor Amman on 1 April 2016, where a quarter ended.
    ("2022-03-26T10:00Z", 0, 0, End.DAY, "Asia/Beirut", "2022-03-26T22:00Z"),
    ("2022-02-26T22:30Z", 1, 0, End.DAY, "Asia/Beirut", "2022-03-27T21:00Z"),
    ("2016-02-10T12:00Z", 0, 0, End.QUARTER, "Asia/Amman", "2016-03-31T22:00Z"),
    # Toronto left out 23:30 to 00:30 on 30 March 1919: the 31st began at 00:30.
    ("1919-03-30T12:00Z", 0, 0, End.DAY, "America/Toronto", "1919-03-31T04:30Z"),
    # Havana had midnight twice on 2 November 2025: the first ends the day before.
    ("2025-11-01T12:00Z", 0, 0, End.DAY, "America/Havana", "2025-11-02T04:00Z"),
    ("2025-11-02T04:30Z", 0, 0, End.DAY, "America/Havana", "2025-11-03T05:00Z"),
    # So had St John's on 29 October 2006, and an hour of the 28th between them: by then the 28th was over.
    ("2006-10-28T12:00Z", 0, 0, End.DAY, ST_JOHNS, "2006-10-29T02:30Z"),
    ("2006-10-29T02:45Z", 0, 0, End.DAY, ST_JOHNS, "2006-10-30T03:30Z"),
    # Samoa had no 30 December 2011; a span that falls on it falls on the 31st.
    ("2011-12-29T12:00Z", 0, 0, End.DAY, APIA, "2011-12-30T10:00Z"),
    ("2011-11-30T22:00Z", 1, 0, End.INSTANT, APIA, "2011-12-30T22:00Z"),
    ("2011-11-30T22:00Z", 1, 0, End.DAY, APIA, "2011-12-31T10:00Z"),
    # Its clocks went forward on 27 September 2020 and back on 4 April 2021.
    ("2020-09-26T11:00Z", 0, 0, End.DAY, APIA, "2020-09-27T10:00Z"),
    ("2021-04-03T10:00Z", 0, 0, End.DAY, APIA, "2021-04-04T11:00Z"),
]
# The clocks of all of these go back, but over midnight in none of them.
ZONES = ["UTC", PARIS, NEW_YORK, LORD_HOWE, SAO_PAULO, APIA, "America/Havana", "Asia/Beirut", "Asia/Kolkata"]
# Where the machine may be: as far from Greenwich as it gets, and where clocks go back over midnight.
MACHINES = ["Pacific/Kiritimati", "America/St_Johns", "Pacific/Pago_Pago"]

instants = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - aware
ends = st.sampled_from(End)
stretched = st.sampled_from([End.DAY, End.MONTH, End.QUARTER, End.YEAR])
zones = st.sampled_from([*ZONES, ST_JOHNS])


def instant(text: str) -> datetime:
    """Reads an instant."""
    return datetime.fromisoformat(text)


@st.composite
def policies(
    draw: st.DrawFn, zones: st.SearchStrategy[str] = zones, months_max: int | None = 240, days_max: int | None = 2000
) -> Policy:
    """Makes policies of every kind; None for a maximum is none."""
    end = draw(ends)
    months = draw(st.integers(0, months_max))
    days = draw(st.integers(int(end is End.INSTANT and not months), days_max))
    return Policy(draw(zones), months, days, end, draw(st.booleans()))


@contextmanager
def machine_zone(zone: str) -> Iterator[None]:
    """Lets the machine be in a zone."""
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = zone
        time.tzset()
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


@pytest.mark.parametrize(("start", "months", "days", "end", "zone", "expected"), GOLDEN)
def test_end_matches_golden_table(start: str, months: int, days: int, end: End, zone: str, expected: str) -> None:
    """A lot ends where a person with a calendar of the zone would end it."""
    assert expiry.ends_at(instant(start), Policy(zone, months, days, end)) == instant(expected)


@given(start=instants, policy=policies())
def test_end_lies_after_start(start: datetime, policy: Policy) -> None:
    """Whatever the policy, a lot lives for a while, and its end is said in UTC."""
    end = expiry.ends_at(start, policy)

    assert end > start
    assert end.utcoffset() == timedelta(0)


@given(start=instants, zone=zones, months=st.integers(0, 240), days=st.integers(1, 2000))
def test_ends_are_ordered_from_instant_to_year(start: datetime, zone: str, months: int, days: int) -> None:
    """The end of the day is after the instant, that of the month not before that of the day, and so on to the year."""
    found = [expiry.ends_at(start, Policy(zone, months, days, end)) for end in End]

    assert found == sorted(found)
    assert found[0] < found[1]


@given(start=instants, policy=policies(), end=stretched)
def test_stretched_end_is_where_a_period_begins(start: datetime, policy: Policy, end: End) -> None:
    """A stretched end is the first instant of a local day, month, quarter or year: just before it was another one."""
    at = expiry.ends_at(start, Policy(policy.zone, policy.months, policy.days, end))
    first, last = (each.astimezone(ZoneInfo(policy.zone)) for each in (at, at - timedelta(microseconds=1)))

    assert first.date() > last.date()
    if end is not End.DAY:
        assert first.day == 1
        assert first.month % {End.MONTH: 1, End.QUARTER: 3, End.YEAR: 12}[end] == (end is not End.MONTH)


@given(starts=st.tuples(instants, instants), policy=policies(st.sampled_from(ZONES)), end=stretched)
def test_later_start_never_ends_earlier_where_stretched(
    starts: tuple[datetime, datetime], policy: Policy, end: End
) -> None:
    """Who earned later loses no earlier, where a span is stretched at least to the end of its day."""
    early, late = (
        expiry.ends_at(each, Policy(policy.zone, policy.months, policy.days, end)) for each in sorted(starts)
    )

    assert early <= late


@given(start=instants, after=st.timedeltas(timedelta(0), timedelta(days=3)), policy=policies(st.sampled_from(ZONES)))
def test_later_start_ends_less_than_a_day_earlier_at_an_instant(
    start: datetime, after: timedelta, policy: Policy
) -> None:
    """Without a stretch the last day of a short month takes several days in, so order there is kept to the day only."""
    early, late = (expiry.ends_at(each, policy) for each in (start, start + after))

    assert late > early - timedelta(days=1, hours=1)


@given(offsets=st.lists(st.integers(0, 4 * 86400), min_size=2, max_size=20), end=stretched, zone=zones)
def test_later_start_never_ends_earlier_though_clocks_go_back_over_midnight(
    offsets: list[int], end: End, zone: str
) -> None:
    """Without a span a later start never ends earlier, even while a clock shows the end of a day for a second time."""
    begin = instant("2006-10-27T12:00Z")
    found = [expiry.ends_at(begin + timedelta(seconds=each), Policy(zone, end=end)) for each in sorted(offsets)]

    assert found == sorted(found)


@pytest.mark.parametrize("where", MACHINES)
def test_end_ignores_zone_of_machine(where: str) -> None:
    """Wherever the machine is, the golden table stands, and is said in UTC."""
    with machine_zone(where):
        found = [
            expiry.ends_at(instant(start), Policy(zone, months, days, end))
            for start, months, days, end, zone, _ in GOLDEN
        ]

    assert found == [instant(expected) for *_, expected in GOLDEN]
    assert {each.utcoffset() for each in found} == {timedelta(0)}


@given(start=instants, said_in=zones, policy=policies())
def test_end_ignores_zone_that_start_is_said_in(start: datetime, said_in: str, policy: Policy) -> None:
    """One instant has one end, in whichever zone it is said."""
    assert expiry.ends_at(start.astimezone(ZoneInfo(said_in)), policy) == expiry.ends_at(start, policy)


@given(start=instants, policy=policies())
def test_rolling_span_counts_like_any_other(start: datetime, policy: Policy) -> None:
    """From what a span counts is the caller's matter; how it counts is not."""
    both = [Policy(policy.zone, policy.months, policy.days, policy.end, rolling) for rolling in (False, True)]

    assert expiry.ends_at(start, both[0]) == expiry.ends_at(start, both[1])


@pytest.mark.parametrize(
    ("start", "policy"),
    [
        ("9999-12-31T12:00Z", Policy("UTC", days=1)),
        ("9999-12-30T23:59:59.999999Z", Policy("UTC", days=1)),
        ("9999-12-31T12:00Z", Policy("UTC", end=End.DAY)),
        ("9999-12-01T00:00Z", Policy("UTC", end=End.MONTH)),
        ("9999-10-01T04:00Z", Policy(NEW_YORK, end=End.QUARTER)),
        ("9999-01-01T12:00Z", Policy("UTC", end=End.YEAR)),
        ("9999-12-31T23:00Z", Policy("Asia/Tokyo", end=End.DAY)),
        ("9999-12-31T22:00Z", Policy(NEW_YORK, days=1)),
        ("2026-01-01T00:00Z", Policy("UTC", months=100_000)),
        ("2026-01-01T00:00Z", Policy("UTC", days=10**9)),
        ("2026-01-01T00:00Z", Policy("UTC", months=10**30, days=10**30)),
    ],
)
def test_end_beyond_the_calendar_is_its_last_instant(start: str, policy: Policy) -> None:
    """What would end after the year 9999 ends with it."""
    assert expiry.ends_at(instant(start), policy) == times.LATEST


def test_end_in_the_first_days_of_the_calendar_is_near() -> None:
    """West of Greenwich the first day of the calendar, which would be in the year 0, counts as its second."""
    assert expiry.ends_at(times.EARLIEST, Policy(NEW_YORK, months=1)) == instant("0001-02-02T00:00:00.000001Z")
    assert expiry.ends_at(times.EARLIEST, Policy("UTC", end=End.YEAR)) == instant("0002-01-01T00:00Z")


@given(
    begin=st.sampled_from([times.EARLIEST, instant("2026-03-01T12:00Z"), times.LATEST]),
    after=st.timedeltas(timedelta(days=-2), timedelta(days=2)),
    policy=st.one_of(policies(), policies(months_max=None, days_max=None)),
)
def test_end_is_found_for_every_policy_and_start(begin: datetime, after: timedelta, policy: Policy) -> None:
    """No start and no policy, however hostile, is without an end that the database can keep."""
    after = min(max(after, times.EARLIEST - begin), times.LATEST - begin)
    start = begin + after
    end = expiry.ends_at(start, policy)

    assert start < end <= times.LATEST or start == end == times.LATEST


def test_end_of_start_without_zone_is_refused() -> None:
    """A start that does not say its zone would be read in the machine's, and is no instant."""
    with pytest.raises(AssertionError):
        expiry.ends_at(datetime(2026, 1, 1), Policy("UTC", months=1))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    ("months", "days", "end"), [(0, 0, End.INSTANT), (-1, 0, End.YEAR), (1, -1, End.INSTANT), (1, -1, End.DAY)]
)
def test_policy_that_says_nothing_or_goes_back_is_refused(months: int, days: int, end: End) -> None:
    """A policy has a span or an end, and its span does not go back."""
    with pytest.raises(AssertionError):
        Policy("UTC", months, days, end)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Policy(PARIS, 12, 0, End.MONTH), "1:P12M0D/MONTH/Europe/Paris"),
        (Policy("UTC", 0, 90), "1:P0M90D/INSTANT/UTC"),
        (Policy("Etc/GMT+5", 1, 1, End.DAY, rolling=True), "1:rolling:P1M1D/DAY/Etc/GMT+5"),
        (
            Policy("America/Argentina/Buenos_Aires", end=End.QUARTER),
            "1:P0M0D/QUARTER/America/Argentina/Buenos_Aires",
        ),
        (Policy("UTC", end=End.YEAR, rolling=True), "1:rolling:P0M0D/YEAR/UTC"),
    ],
)
def test_text_stays_what_is_stored(policy: Policy, text: str) -> None:
    """What lots have stored is what a policy is written as, and reads as that policy for as long as there are lots."""
    assert expiry.to_text(policy) == text
    assert expiry.from_text(text) == policy


@given(policies(months_max=None, days_max=None))
def test_text_reads_as_what_was_written(policy: Policy) -> None:
    """Every policy comes back from its text."""
    assert expiry.from_text(expiry.to_text(policy)) == policy


@given(first=policies(), second=policies())
def test_text_differs_where_policies_do(first: Policy, second: Policy) -> None:
    """Equal policies have one text, others have others."""
    assert (expiry.to_text(first) == expiry.to_text(second)) == (first == second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P12M0D/MONTH/UTC",
        "2:P12M0D/MONTH/UTC",
        "11:P12M0D/MONTH/UTC",
        "1:P012M0D/MONTH/UTC",
        "1:P-1M0D/MONTH/UTC",
        "1:P１M0D/MONTH/UTC",
        "1:P12M/MONTH/UTC",
        "1:P12M0D/WEEK/UTC",
        "1:P12M0D/MONTH/",
        "1:P12M0D/MONTH/UTC\n",
        "1:P0M0D/INSTANT/UTC",
        "1:Rolling:P12M0D/MONTH/UTC",
        "1:rolling:rolling:P12M0D/MONTH/UTC",
    ],
)
def test_text_that_nobody_wrote_is_refused(text: str) -> None:
    """No text but one that a policy is written as is read, not even one that means the same or may mean more."""
    with pytest.raises(AssertionError):
        expiry.from_text(text)


def test_golden_table_is_large_and_says_nothing_twice() -> None:
    """The table has the 48 dates that were promised, every end, and each case once."""
    cases = [case[:-1] for case in GOLDEN]

    assert len(set(cases)) == len(cases) >= 48
    assert {case[3] for case in cases} == set(End)
