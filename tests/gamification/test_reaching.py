"""Reaching: levels, badges and records, each told once and at the time of the event that led there."""

from datetime import UTC, datetime, timedelta

from plaudit.gamification.v1 import events_pb2, gamification_pb2

from services.gamification import checks
from tests.support.gamification import GamificationHarness, did, ladder, metric, streak, total_badge

NOON = datetime(2026, 2, 2, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


async def test_level_tells_what_is_missing_and_what_it_unlocks(gamification: GamificationHarness) -> None:
    """A ladder tells the level, the next one, what is missing and what that opens; levels are published as reached."""
    await gamification.define(metric(), ladder(explorer=1, builder=3, integrator=5))
    await gamification.record(
        *(did(f"e{number}", at=NOON + HOUR * number, org_id="acme") for number in range(4)), depth=1
    )

    [level] = (await gamification.progress()).levels
    assert (level.ladder, level.level, level.current, level.target) == ("onboarding", "builder", 4, 5)
    assert (level.next, level.missing, level.unlocks) == ("integrator", 1, "what integrator opens")
    assert level.reach_time.ToDatetime(UTC) == NOON + HOUR * 2
    told = await gamification.published(events_pb2.LevelReached)
    assert [(each.level_id, each.value, each.next_level_id, each.next_threshold) for each in told] == [
        ("explorer", 1, "builder", 3),
        ("builder", 3, "integrator", 5),
    ]
    assert {(each.member_id, each.org_id, each.causation_depth) for each in told} == {("m1", "acme", 1)}
    assert [each.occur_time.ToDatetime(UTC) for each in told] == [NOON, NOON + HOUR * 2]

    await gamification.record(*(did(f"f{number}", at=NOON + DAY) for number in range(9)))
    [level] = (await gamification.progress()).levels
    assert (level.level, level.current, level.target, level.next, level.missing) == ("integrator", 13, 5, "", 0)


async def test_late_event_moves_a_badge_and_gives_none_again(gamification: GamificationHarness) -> None:
    """A badge has the time of the event that crossed its threshold in order, which a late event makes earlier."""
    await gamification.define(metric(), total_badge("three", 3))
    await gamification.record(*(did(f"e{number}", at=NOON + DAY * number) for number in range(3)))
    [badge] = (await gamification.progress()).badges
    assert badge.award_time.ToDatetime(UTC) == NOON + DAY * 2
    await gamification.record(did("late", at=NOON - DAY))

    [badge] = (await gamification.progress()).badges
    assert (badge.badge, badge.count, badge.award_time.ToDatetime(UTC)) == ("three", 1, NOON + DAY)
    assert len(await gamification.published(events_pb2.BadgeAwarded)) == 1


async def test_repeatable_badge_counts_multiples(gamification: GamificationHarness) -> None:
    """A repeatable badge is given for each multiple, within one batch too, each told with its number."""
    await gamification.define(metric(), total_badge("fives", 5, repeatable=True))
    await gamification.record(*(did(f"e{number:02}", at=NOON + HOUR * number) for number in range(17)))

    [badge] = (await gamification.progress()).badges
    assert (badge.count, badge.award_time.ToDatetime(UTC)) == (3, NOON + HOUR * 4)
    assert badge.last_award_time.ToDatetime(UTC) == NOON + HOUR * 14
    told = await gamification.published(events_pb2.BadgeAwarded)
    assert [(each.count, each.value) for each in told] == [(1, 5), (2, 10), (3, 15)]


async def test_badges_for_records_and_streaks(gamification: GamificationHarness) -> None:
    """Badges are given for a value within a period and for lengths of a streak, once or each time."""
    record = gamification_pb2.RecordGoal(metric_id="reports", period=gamification_pb2.PERIOD_DAY, threshold=3)
    length = gamification_pb2.StreakGoal(streak_id="daily", length=2)
    await gamification.define(
        metric(),
        streak(),
        gamification_pb2.Badge(badge_id="busy", display_name="busy", record=record),
        gamification_pb2.Badge(badge_id="busy-again", display_name="busy", record=record, repeatable=True),
        gamification_pb2.Badge(badge_id="two", display_name="two", streak=length),
        gamification_pb2.Badge(badge_id="two-again", display_name="two", streak=length, repeatable=True),
    )
    for day in (0, 1, 2, 3, 7):
        events = [
            did(f"e{day}-{number}", at=NOON + DAY * day + HOUR * number) for number in range(3 if day % 3 == 0 else 1)
        ]
        await gamification.record(*events)

    found = {each.badge: each for each in (await gamification.progress()).badges}
    assert {name: each.count for name, each in found.items()} == {"busy": 1, "busy-again": 2, "two": 1, "two-again": 2}
    assert found["busy"].award_time.ToDatetime(UTC) == NOON + HOUR * 2
    assert found["busy-again"].last_award_time.ToDatetime(UTC) == NOON + DAY * 3 + HOUR * 2
    assert found["two"].award_time.ToDatetime(UTC) == NOON + DAY
    assert found["two-again"].last_award_time.ToDatetime(UTC) == NOON + DAY * 3


async def test_record_is_told_when_another_period_is_beaten(gamification: GamificationHarness) -> None:
    """The first period beats nothing; one that passes the best of another is told once, and records stay the best."""
    await gamification.define(metric())
    for day, count in ((0, 2), (1, 1), (2, 4), (3, 4)):
        for number in range(count):
            await gamification.record(did(f"e{day}-{number}", at=NOON + DAY * day + HOUR * number))

    days = gamification_pb2.PERIOD_DAY
    told = [each for each in await gamification.published(events_pb2.RecordBeaten) if each.period == days]
    [beaten] = told
    assert (beaten.start_date, beaten.value, beaten.previous_value) == ("2026-02-04", 3, 2)
    assert beaten.occur_time.ToDatetime(UTC) == NOON + DAY * 2 + HOUR * 2
    records = {each.period: (each.value, each.start_date) for each in (await gamification.progress()).records}
    assert records == {
        gamification_pb2.PERIOD_DAY: (4, "2026-02-04"),
        gamification_pb2.PERIOD_WEEK: (11, "2026-02-02"),
        gamification_pb2.PERIOD_MONTH: (11, "2026-02-01"),
    }


async def test_check_finds_what_does_not_add_up(gamification: GamificationHarness) -> None:
    """A check finds nothing where all adds up, and a total and a record that were tampered with."""
    await gamification.define(metric(), metric("days", aggregation=gamification_pb2.AGGREGATION_DISTINCT_DAYS))
    await gamification.record(did("e1", at=NOON), did("e2", at=NOON), did("e3", at=NOON + DAY))
    # The test's clock stands in the past, so what is due by it is overdue to the database.
    rows = [row for row in await checks.check(gamification.context.pool) if row.subject != "due work against ages"]
    assert [row.problems for row in rows] == [()] * len(rows)
    assert next(row.examined for row in rows if row.subject == "totals against events") == 6

    pool = gamification.context.pool
    await pool.execute("UPDATE metric_values SET amount = amount + 1 WHERE metric_id = 'days' AND period = 'ALL_TIME'")
    await pool.execute("UPDATE records SET amount = amount + 1 WHERE metric_id = 'reports' AND period = 'DAY'")
    problems = {row.subject: len(row.problems) for row in await checks.check(pool)}
    assert (problems["totals against events"], problems["records against values"]) == (1, 1)
    assert any(row.subject == "metric events" for row in await checks.status(pool))
