"""Streaks: runs of local days and weeks that no change of a clock and no journey breaks."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plaudit.gamification.v1 import events_pb2, gamification_service_pb2

from services.gamification import streaks
from services.gamification.model import Period, Streak
from services.kernel import clock
from tests.support.gamification import GamificationHarness, did, metric, streak

DAY = timedelta(days=1)
MONDAY = date(2026, 1, 5)


def daily(*, initial_freezes: int = 0, freeze_every: int = 0, max_freezes: int = 0) -> Streak:
    """Makes a daily streak."""
    made = Streak(definition_id="s", display_name="s", metric_id="m", period=Period.DAY)
    return replace(made, initial_freezes=initial_freezes, freeze_every=freeze_every, max_freezes=max_freezes)


def active(moments: Sequence[datetime]) -> list[streaks.ActiveDay]:
    """Makes the days of moments, each on the day that its own clock shows."""
    found = []
    for moment in moments:
        offset = moment.utcoffset()
        assert offset is not None
        minutes = int(offset.total_seconds()) // 60
        found.append(streaks.ActiveDay(moment.date(), moment, minutes, moment, minutes))
    return found


def run_of(made: Streak, moments: Sequence[datetime]) -> streaks.Run:
    """Reckons a streak of moments."""
    return streaks.fold(made, None, streaks.group(active(moments), made.period))[-1]


def days(*numbers: int) -> list[datetime]:
    """Gives noons in UTC of days by their number."""
    return [datetime(2026, 1, 5, 12, tzinfo=UTC) + DAY * number for number in numbers]


@pytest.mark.parametrize(
    ("zone", "first", "count"),
    [
        ("Europe/Paris", date(2026, 3, 27), 5),
        ("Europe/Paris", date(2026, 10, 23), 5),
        ("Australia/Lord_Howe", date(2026, 4, 3), 5),
        ("Africa/Cairo", date(2026, 4, 22), 5),
        ("America/Havana", date(2026, 10, 30), 5),
        ("America/Santiago", date(2026, 9, 4), 5),
    ],
)
@pytest.mark.parametrize("hour", [0, 12, 23])
def test_clock_change_breaks_no_streak(zone: str, first: date, count: int, hour: int) -> None:
    """An event a day at any hour makes a run of every day, also where midnight is skipped, doubled or an hour off."""
    moments = [
        datetime(day.year, day.month, day.day, hour, 30, tzinfo=ZoneInfo(zone))
        .astimezone(UTC)
        .astimezone(ZoneInfo(zone))
        for day in (first + DAY * number for number in range(count))
    ]
    run = run_of(daily(), moments)
    assert (run.length, run.start) == (count, moments[0].date())


def test_day_that_a_zone_left_out_is_not_missed() -> None:
    """Apia had no 30 December 2011: an event on the day before and one on the day after follow on each other."""
    apia = ZoneInfo("Pacific/Apia")
    moments = [datetime(2011, 12, 29, 20, tzinfo=apia), datetime(2011, 12, 31, 9, tzinfo=apia)]
    assert run_of(daily(), moments).length == 2


def test_journey_breaks_no_streak() -> None:
    """Who flies over the date line, either way, goes on with the same run; a day that was really missed ends it."""
    honolulu, auckland = timezone(timedelta(hours=-10)), timezone(timedelta(hours=13))
    east = [datetime(2026, 1, 5, 21, tzinfo=honolulu), datetime(2026, 1, 7, 8, tzinfo=auckland)]
    west = [datetime(2026, 1, 7, 8, tzinfo=auckland), datetime(2026, 1, 7, 9, tzinfo=honolulu), *days(3)]
    assert run_of(daily(), east).length == 2
    assert run_of(daily(), west).length == 2
    paris, delhi = timezone(timedelta(hours=1)), timezone(timedelta(hours=5, minutes=30))
    missed = [datetime(2026, 1, 5, 21, tzinfo=paris), datetime(2026, 1, 7, 1, tzinfo=delhi)]
    assert run_of(daily(), missed).length == 1


def test_freezes_bridge_all_that_is_missed_or_nothing() -> None:
    """A gap takes as many freezes as periods were missed; where there are too few none is spent and the run ends."""
    one, two = daily(initial_freezes=1, max_freezes=2), daily(initial_freezes=2, max_freezes=2)
    gap_of_two = days(0, 1, 4)
    assert (run_of(one, gap_of_two).length, run_of(one, gap_of_two).freezes) == (1, 1)
    assert (run_of(two, gap_of_two).length, run_of(two, gap_of_two).freezes) == (3, 0)
    earned = daily(freeze_every=3, max_freezes=1)
    assert run_of(earned, days(0, 1, 2, 4)).length == 4
    assert run_of(earned, days(0, 1, 2, 4, 6)).length == 1
    assert run_of(earned, days(*range(9))).freezes == 1


def test_standing_waits_for_the_period_that_goes_on() -> None:
    """Today is not missed before it is over; then a freeze keeps the run, and without one it is no longer current."""
    made = daily(initial_freezes=1, max_freezes=1)
    run = run_of(made, days(0, 1, 2))
    told = [streaks.standing(made, run, MONDAY + DAY * number) for number in (2, 3, 4, 5)]
    assert [(each.current, each.freezes) for each in told] == [(3, 1), (3, 1), (3, 0), (0, 1)]
    assert {(each.longest, each.last) for each in told} == {(3, 3)}


def test_weeks_follow_over_the_year() -> None:
    """A weekly streak passes from the last week of a year to the first of the next, and counts each week once."""
    weekly = Streak(definition_id="s", display_name="s", metric_id="m", period=Period.WEEK)
    moments = [datetime(2026, 12, 22, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]
    run = run_of(weekly, [*moments, datetime(2027, 1, 9, tzinfo=UTC)])
    assert (run.length, run.start, run.last) == (3, date(2026, 12, 21), date(2027, 1, 4))


NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=25)


@given(NUMBERS, st.integers(0, 2), st.integers(0, 4), st.randoms(use_true_random=False))
def test_order_changes_nothing(numbers: list[int], initial: int, every: int, chance: random.Random) -> None:
    """Days in any order, some twice, give the run that their order gives, also from any of its states on."""
    made = daily(initial_freezes=initial, freeze_every=every, max_freezes=2)
    moments = days(*numbers)
    expected = run_of(made, sorted(moments))
    chance.shuffle(moments)
    assert run_of(made, moments) == expected

    grouped = streaks.group(active(moments), Period.DAY)
    cut = chance.randrange(len(grouped) + 1)
    before = streaks.fold(made, None, grouped[:cut])
    assert streaks.fold(made, before[-1] if before else None, grouped[cut:])[-1:] in ([expected], [])


@given(NUMBERS)
def test_longest_run_is_that_of_the_dates(numbers: list[int]) -> None:
    """Without freezes the longest run is the longest stretch of consecutive days, the earliest of equal ones."""
    known = set(numbers)
    stretches = [
        (next(length for length in range(1, 50) if first + length not in known), first)
        for first in known
        if first - 1 not in known
    ]
    length, first = max(stretches, key=lambda each: (each[0], -each[1]))
    run = run_of(daily(), days(*numbers))
    assert (run.longest, run.longest_start) == (length, MONDAY + DAY * first)


async def test_streak_is_told_as_it_grows(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """Each growth is published once; a late event that joins two runs tells the lengths that are new by it."""
    await gamification.define(metric(), streak())
    noons = days(*range(5))
    time.value = noons[-1]
    for number in (0, 1, 3, 4):
        await gamification.record(
            did(f"e{number}", at=noons[number]), did(f"again-{number}", at=noons[number]), depth=2
        )
    before = await gamification.published(events_pb2.StreakReached)
    await gamification.record(did("late", at=noons[2]))

    told = [(each.length, each.date) for each in await gamification.published(events_pb2.StreakReached)]
    dates = [(MONDAY + DAY * number).isoformat() for number in range(5)]
    assert told[:4] == [(1, dates[0]), (2, dates[1]), (1, dates[3]), (2, dates[4])]
    assert told[4:] == [(3, dates[2]), (4, dates[3]), (5, dates[4])]
    assert {each.causation_depth for each in before} == {2}
    [daily_streak] = (await gamification.progress()).streaks
    assert (daily_streak.current, daily_streak.longest, daily_streak.longest_start_date) == (5, 5, dates[0])


async def test_current_ends_with_the_members_own_day(
    gamification: GamificationHarness, time: clock.ManualClock
) -> None:
    """A run is current until the day after its last one is over where its member is."""

    async def current() -> list[int]:
        found: gamification_service_pb2.GetProgressResponse = await gamification.progress()
        return [each.current for each in found.streaks]

    await gamification.define(metric(), streak(), streak("weekly", "WEEK"))
    await gamification.know("m1", time_zone="Pacific/Honolulu")
    await gamification.record(did("e1", at=datetime(2026, 2, 27, 22, tzinfo=ZoneInfo("Pacific/Honolulu"))))
    time.value = datetime(2026, 2, 28, 23, 59, tzinfo=ZoneInfo("Pacific/Honolulu"))
    assert await current() == [1, 1]
    time.value += timedelta(minutes=1)
    assert await current() == [0, 1]
    time.value += DAY * 8
    assert await current() == [0, 0]
