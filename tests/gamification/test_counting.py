"""Counting: events become values by local day, week and month, whatever their order."""

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from plaudit.gamification.v1 import events_pb2, gamification_pb2

from services.gamification.operations import reaching
from services.kernel import errors
from tests.support.gamification import GamificationHarness, did, ladder, metric, streak, total_badge

NOON = datetime(2026, 2, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SUM = gamification_pb2.AGGREGATION_SUM
DISTINCT_DAYS = gamification_pb2.AGGREGATION_DISTINCT_DAYS


async def test_count_adds_up_by_local_day_week_and_month(gamification: GamificationHarness) -> None:
    """A count is told for its member and org, in all and by day, week and month of the event's own clock."""
    await gamification.define(metric())
    late = datetime(2026, 2, 28, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    await gamification.record(did("e1", at=NOON, org_id="acme"), did("e2", at=late, org_id="acme"))
    await gamification.record(did("e3", "m2", at=NOON, org_id="acme"))

    mine, acme = {"member_id": "m1"}, {"org_id": "acme"}
    assert await gamification.values("reports", "DAY", **mine) == {"2026-02-28": 1, "2026-02-25": 1}
    assert await gamification.values("reports", "WEEK", **mine) == {"2026-02-23": 2}
    assert await gamification.values("reports", "MONTH", **mine) == {"2026-02-01": 2}
    assert await gamification.values("reports", "ALL_TIME", **mine) == {"": 2}
    assert await gamification.values("reports", "DAY", **acme) == {"2026-02-28": 1, "2026-02-25": 2}
    assert await gamification.values("reports", "ALL_TIME", **acme) == {"": 3}


async def test_filter_picks_events_and_value_is_added_up(gamification: GamificationHarness) -> None:
    """A sum adds its value where the filter holds; what lacks the inputs, or gives no whole amount, does not count."""
    picky = metric("pages", aggregation=SUM, filter="event.properties.kind == 'pdf'", value="event.properties.pages")
    await gamification.define(metric(), picky)
    await gamification.record(
        did("e1", at=NOON, kind="pdf", pages=12),
        did("e2", at=NOON, kind="html", pages=5),
        did("e3", at=NOON, kind="pdf"),
        did("e4", at=NOON, pages=7),
        did("e5", at=NOON, kind="pdf", pages=0),
        did("e6", at=NOON, kind="pdf", pages=1.5),
        did("e7", at=NOON, kind="pdf", pages=30),
        did("e8", at=NOON, type_="report.deleted"),
    )

    assert await gamification.values("pages", "ALL_TIME", member_id="m1") == {"": 42}
    assert await gamification.values("reports", "ALL_TIME", member_id="m1") == {"": 7}


async def test_distinct_days_count_each_day_once(gamification: GamificationHarness) -> None:
    """Days with any number of events count once each, in all and by week and month, for members and orgs."""
    await gamification.define(metric("days", aggregation=DISTINCT_DAYS))
    await gamification.record(did("e1", at=NOON, org_id="acme"), did("e2", at=NOON + timedelta(hours=1), org_id="acme"))
    await gamification.record(
        did("e3", "m2", at=NOON, org_id="acme"), did("e4", at=NOON + DAY), did("e5", at=NOON + 7 * DAY)
    )

    assert await gamification.values("days", "DAY", member_id="m1") == dict.fromkeys(
        ("2026-03-04", "2026-02-26", "2026-02-25"), 1
    )
    assert await gamification.values("days", "WEEK", member_id="m1") == {"2026-03-02": 1, "2026-02-23": 2}
    assert await gamification.values("days", "ALL_TIME", member_id="m1") == {"": 3}
    assert await gamification.values("days", "ALL_TIME", org_id="acme") == {"": 1}


async def test_members_zone_counts_before_the_events_offset(gamification: GamificationHarness) -> None:
    """The local day is that of the member's zone, else of the event's offset, else of UTC, and never moves."""
    await gamification.define(metric())
    evening = datetime(2026, 2, 25, 23, 30, tzinfo=UTC)
    east = evening.astimezone(timezone(timedelta(hours=9)))
    await gamification.record(did("e1", "offset", at=east), did("e2", "none", at=evening, without_offset=True))
    await gamification.know("zone", time_zone="America/New_York")
    await gamification.record(did("e3", "zone", at=east))
    await gamification.know("zone", time_zone="Asia/Tokyo")
    await gamification.record(did("e4", "zone", at=east + DAY))

    assert await gamification.values("reports", "DAY", member_id="offset") == {"2026-02-26": 1}
    assert await gamification.values("reports", "DAY", member_id="none") == {"2026-02-25": 1}
    assert await gamification.values("reports", "DAY", member_id="zone") == {"2026-02-27": 1, "2026-02-25": 1}


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_gives_the_same_state(gamification: GamificationHarness, seed: int) -> None:
    """Events shuffled, in batches of any size, some told twice, give the state that their order gives."""
    chance = random.Random(seed)
    await gamification.define(
        metric(),
        metric("days", aggregation=DISTINCT_DAYS),
        streak(),
        streak("weekly", "WEEK", initial_freezes=1, max_freezes=1),
        ladder(bronze=3, silver=10),
        total_badge("ten", 10),
        total_badge("fives", 5, repeatable=True),
        total_badge("days", 7, metric_id="days"),
    )
    moments = sorted(NOON - timedelta(minutes=chance.randrange(60 * 24 * 60)) for _ in range(60))
    zones = [timezone(timedelta(hours=chance.choice((-8, 0, 2, 9)))) for _ in moments]
    for member_id in ("in-order", "shuffled"):
        events = [
            did(f"{member_id}-{number}", member_id, at=moment.astimezone(zone))
            for number, (moment, zone) in enumerate(zip(moments, zones, strict=True))
        ]
        if member_id == "shuffled":
            chance.shuffle(events)
        while events:
            size = chance.randrange(1, 20)
            await gamification.record(*events[:size])
            events = events[size:]

    ordered, shuffled = await gamification.progress("in-order"), await gamification.progress("shuffled")
    assert ordered == shuffled
    assert ordered.badges[-1].count >= 1
    for name, period in [("reports", "DAY"), ("days", "WEEK"), ("days", "ALL_TIME")]:
        expected = await gamification.values(name, period, member_id="in-order")
        assert await gamification.values(name, period, member_id="shuffled") == expected


async def test_event_counts_once_however_often_it_is_read(gamification: GamificationHarness) -> None:
    """A feed that is read again from its beginning changes nothing and tells nothing."""
    await gamification.define(metric(), total_badge("first", 1))
    await gamification.record(did("e1", at=NOON), did("e2", at=NOON + DAY))
    told = await gamification.published()
    await gamification.publish([])
    again = [did("e1", at=NOON), did("e2", at=NOON + DAY)]
    await gamification.record(*again)

    assert await gamification.values("reports", "ALL_TIME", member_id="m1") == {"": 2}
    assert await gamification.published() == told


async def test_batch_that_breaks_leaves_nothing(
    gamification: GamificationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that breaks half-way leaves nothing behind, and is then done as if nothing had been."""
    await gamification.define(metric(), streak(), total_badge("two", 2))
    tell, broken = reaching.tell, [True]

    async def breaks_once(*arguments: Any, **named: Any) -> None:
        await tell(*arguments, **named)
        if broken.pop():
            broken.append(False)
            raise errors.dependency_unavailable("database")

    monkeypatch.setattr(reaching, "tell", breaks_once)
    with pytest.raises(errors.DomainError):
        await gamification.record(did("e1", at=NOON), did("e2", at=NOON + DAY))
    assert await gamification.values("reports", "ALL_TIME", member_id="m1") == {}
    assert await gamification.published() == []
    await gamification.follow()

    assert await gamification.values("reports", "ALL_TIME", member_id="m1") == {"": 2}
    assert len(await gamification.published(events_pb2.BadgeAwarded, events_pb2.StreakReached)) == 3


async def test_programs_do_not_see_each_other(gamification: GamificationHarness) -> None:
    """Two programs with the same ids count each for itself."""
    await gamification.define(metric(), total_badge("first", 1))
    await gamification.define(metric(), total_badge("first", 1), program="other")
    await gamification.record(did("e1", at=NOON))
    await gamification.record(did("e1", at=NOON + DAY), program="other")

    [badge] = (await gamification.progress()).badges
    [other] = (await gamification.progress(program="other")).badges
    assert (badge.award_time.ToDatetime(UTC), other.award_time.ToDatetime(UTC)) == (NOON, NOON + DAY)
    assert len(await gamification.published(events_pb2.BadgeAwarded)) == 1
