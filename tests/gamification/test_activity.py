"""Three years of real activity: what everybody has reached is what the rows alone say, in whatever order they come."""

import random
from datetime import UTC

import pytest
from plaudit.gamification.v1 import gamification_pb2
from plaudit.program.v1 import events_pb2 as program_events_pb2

from services.devstack import demo
from tests.support import activity, feeds
from tests.support.gamification import GamificationHarness
from tests.support.program import event

WEEK = gamification_pb2.PERIOD_WEEK


def recorded(row: activity.Row) -> program_events_pb2.EventRecorded:
    """Makes what the program's feed tells of a row."""
    offset = row.occurred_at.utcoffset()
    assert offset is not None
    told = event(
        row.event_id,
        "activity.contributed",
        row.actor_id,
        at=row.occurred_at,
        utc_offset_minutes=int(offset.total_seconds()) // 60,
    )
    return program_events_pb2.EventRecorded(event=told)


async def reached(gamification: GamificationHarness, actor_id: str) -> activity.Expected:
    """Tells what an actor has reached, in the words of the oracle."""
    found = await gamification.progress(actor_id)
    daily = next(each for each in found.streaks if each.streak == "daily")
    week = next(each for each in found.records if each.metric == "contributions" and each.period == WEEK)
    return activity.Expected(
        longest=(daily.longest, daily.longest_start_date),
        last=(daily.last, daily.last_start_date),
        last_date=daily.last_date,
        best_week=(week.value, week.start_date),
        badges={each.badge: each.award_time.ToDatetime(UTC) for each in found.badges},
    )


@pytest.mark.parametrize("order", ["as recorded", "shuffled, twice, in four partitions"])
async def test_activity_gives_what_its_rows_say(gamification: GamificationHarness, order: str) -> None:
    """Streaks, best weeks, badges and the ranking of every actor are what a reckoning of the rows alone gives."""
    await gamification.define(*demo.definitions())
    rows = list(activity.rows())
    if order != "as recorded":
        await feeds.split(gamification.program_pool, 4)
        random.Random(7).shuffle(rows)
        rows += rows[: len(rows) // 2]
    await gamification.publish(map(recorded, rows))
    await gamification.follow()

    expected = activity.expected()
    assert {actor_id: await reached(gamification, actor_id) for actor_id in expected} == expected
    assert len(expected) < 1000
    assert await gamification.standings("contributors", page_size=1000) == activity.standings()
