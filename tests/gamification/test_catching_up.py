"""Catching up: what is defined after it happened holds for what happened, as far as its definition says."""

from datetime import UTC, datetime, timedelta

import pytest
from plaudit.gamification.v1 import definition_service_pb2, events_pb2, gamification_pb2

from services.gamification.operations import catching_up
from services.kernel import feed
from tests.support.gamification import SCOPES, GamificationHarness, did, ladder, metric, streak, total_badge
from tests.support.harness import credential

NOON = datetime(2026, 2, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


async def test_metric_counts_from_its_creation(gamification: GamificationHarness) -> None:
    """A metric counts what is recorded after it was made, and with a backfill all before too, each event once."""
    await gamification.define(metric("other"))
    await gamification.record(did("e1", at=NOON), did("e2", at=NOON + DAY))
    await gamification.define(metric(), metric("all", backfill=True), total_badge("two", 2, metric_id="all"))
    await gamification.record(did("e3", at=NOON + DAY * 2))
    await gamification.drain()
    await gamification.drain()

    values = [await gamification.values(name, "ALL_TIME", member_id="m1") for name in ("reports", "all")]
    assert values == [{"": 1}, {"": 3}]
    [badge] = (await gamification.progress()).badges
    assert badge.award_time.ToDatetime(UTC) == NOON + DAY


async def test_backfill_goes_on_where_it_stopped(
    gamification: GamificationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long past is counted piece by piece over all partitions, to its end."""
    monkeypatch.setattr(catching_up, "PAGES_PER_WORK", 1)
    gamification.source.limit = 10
    await gamification.record(*(did(f"e{number}", f"m{number % 3}", at=NOON) for number in range(65)))
    await gamification.define(metric(backfill=True))
    await gamification.drain()
    assert feed.READ_MAX > 65

    found = [await gamification.values("reports", "ALL_TIME", member_id=f"m{number}") for number in range(3)]
    assert found == [{"": 22}, {"": 22}, {"": 21}]


async def test_new_definitions_give_what_was_reached(
    gamification: GamificationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ladders, badges and streaks that come later are given for the past, at the time when they were reached, once."""
    monkeypatch.setattr(catching_up, "MEMBERS_PER_PAGE", 2)
    await gamification.define(metric())
    for member_id in ("m1", "m2", "m3"):
        await gamification.record(*(did(f"{member_id}-{day}", member_id, at=NOON + DAY * day) for day in range(4)))
    record = gamification_pb2.RecordGoal(metric_id="reports", period=gamification_pb2.PERIOD_WEEK, threshold=3)
    length = gamification_pb2.StreakGoal(streak_id="daily", length=4)
    await gamification.define(
        streak(),
        ladder(bronze=2, silver=9),
        total_badge("three", 3),
        gamification_pb2.Badge(badge_id="busy", display_name="busy", record=record),
        gamification_pb2.Badge(badge_id="four", display_name="four", streak=length),
    )
    await gamification.drain()

    for member_id in ("m1", "m2", "m3"):
        found = await gamification.progress(member_id)
        times = {each.badge: each.award_time.ToDatetime(UTC) for each in found.badges}
        assert times == {"three": NOON + DAY * 2, "busy": NOON + DAY * 2, "four": NOON + DAY * 3}
        assert (found.levels[0].level, found.levels[0].reach_time.ToDatetime(UTC)) == ("bronze", NOON + DAY)
        assert (found.streaks[0].longest, found.streaks[0].last_date) == (4, "2026-02-05")
    assert len(await gamification.published(events_pb2.BadgeAwarded, events_pb2.LevelReached)) == 12
    assert await gamification.published(events_pb2.StreakReached) == []


async def test_changed_threshold_gives_and_never_takes(gamification: GamificationHarness) -> None:
    """A lower threshold is reached at its own time; what was given under an old one stays."""
    await gamification.define(metric(), total_badge("some", 3), total_badge("few", 2))
    await gamification.record(*(did(f"e{day}", at=NOON + DAY * day) for day in range(2)))
    for badge_id, threshold in (("some", 1), ("few", 9)):
        changed = definition_service_pb2.UpdateBadgeRequest(badge=total_badge(badge_id, threshold), request_id=badge_id)
        await gamification.definitions.UpdateBadge(changed, metadata=credential("demo", SCOPES))
    await gamification.drain()

    times = {each.badge: each.award_time.ToDatetime(UTC) for each in (await gamification.progress()).badges}
    assert times == {"some": NOON, "few": NOON + DAY}


async def test_archived_definition_gives_nothing_more(gamification: GamificationHarness) -> None:
    """What is archived gives nothing any more, and active again it gives what was reached meanwhile."""
    await gamification.define(metric(), total_badge("two", 2))
    badge = total_badge("two", 2, state=gamification_pb2.DEFINITION_STATE_ARCHIVED)
    for request_id in ("archive", "revive"):
        request = definition_service_pb2.UpdateBadgeRequest(badge=badge, request_id=request_id)
        await gamification.definitions.UpdateBadge(request, metadata=credential("demo", SCOPES))
        await gamification.record(did(f"{request_id}-1", at=NOON), did(f"{request_id}-2", at=NOON + DAY))
        await gamification.drain()
        assert len((await gamification.progress()).badges) == (request_id == "revive")
        badge.state = gamification_pb2.DEFINITION_STATE_ACTIVE
