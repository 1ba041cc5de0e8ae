"""Definitions: data that is checked when it is written, in versions that never change."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from plaudit.gamification.v1 import definition_service_pb2, gamification_pb2

from services.gamification.operations import definitions
from services.kernel import errors
from tests.support.gamification import SCOPES, GamificationHarness, ladder, leaderboard, metric, streak, total_badge
from tests.support.harness import credential
from tests.support.refusals import refusal

ME = credential("demo", SCOPES)


async def update(gamification: GamificationHarness, made: Message, request_id: str = "u1") -> Any:
    """Replaces a definition."""
    kind = made.DESCRIPTOR.name
    request = getattr(definition_service_pb2, f"Update{kind}Request")(**{kind.lower(): made, "request_id": request_id})
    return await getattr(gamification.definitions, f"Update{kind}")(request, metadata=ME)


async def test_create_tells_what_was_made(gamification: GamificationHarness) -> None:
    """Each kind is told as it was made, by itself and in its listing, with its version, times and etag."""
    made = (metric(), ladder(bronze=1, silver=5), streak(), total_badge("ten", 10), leaderboard())
    await gamification.define(*made)
    for each in made:
        kind = each.DESCRIPTOR.name
        request = getattr(definition_service_pb2, f"List{kind}sRequest")()
        [told] = getattr(
            await getattr(gamification.definitions, f"List{kind}s")(request, metadata=ME), f"{kind.lower()}s"
        )
        assert (told.version, told.etag, told.display_name) == (1, "1", each.display_name)
        assert told.create_time == told.update_time
        for field in ("version", "create_time", "update_time", "etag", "state", "aggregation"):
            told.ClearField(field) if field in told.DESCRIPTOR.fields_by_name else None
        assert told == each
    badge = definition_service_pb2.GetBadgeRequest(badge_id="ten")
    assert (await gamification.definitions.GetBadge(badge, metadata=ME)).badge.total.threshold == 10


async def test_create_again_gives_the_first_answer(gamification: GamificationHarness) -> None:
    """The same request again, also raced by 64 callers, makes one definition; other content under its id is refused."""
    request = definition_service_pb2.CreateMetricRequest(metric=metric(), request_id="r1")
    answers = await asyncio.gather(*(gamification.definitions.CreateMetric(request, metadata=ME) for _ in range(64)))
    assert [answer.replayed for answer in answers].count(False) == 1
    assert {answer.metric.version for answer in answers} == {1}

    request.metric.display_name = "other"
    error = await refusal(gamification.definitions.CreateMetric(request, metadata=ME))
    assert (error.reason, error.metadata["fields"]) == ("REQUEST_ID_REUSED", "display_name")


async def test_update_makes_the_next_version(gamification: GamificationHarness) -> None:
    """An update makes the next version where its etag is the newest, and is repeated without harm."""
    await gamification.define(metric(), ladder(bronze=1, silver=5))
    changed = ladder(bronze=1, silver=7)
    changed.etag = "1"
    first, again = await update(gamification, changed), await update(gamification, changed)
    assert (first.ladder.version, first.replayed, again.ladder.version, again.replayed) == (2, False, 2, True)
    assert [level.threshold for level in first.ladder.levels] == [1, 7]

    error = await refusal(update(gamification, changed, "u2"))
    assert (error.reason, error.metadata) == ("CONCURRENT_UPDATE", {"resource": "ladder", "id": "onboarding"})


async def test_unknown_and_existing_definitions_are_refused(gamification: GamificationHarness) -> None:
    """What is not there cannot be named, told or replaced, and what is there cannot be made."""
    error = await refusal(gamification.define(total_badge("ten", 10)))
    expected = ("DEFINITION_NOT_FOUND", {"kind": "metric", "definitionId": "reports"})
    assert (error.reason, error.metadata) == expected
    assert (await refusal(update(gamification, metric()))).reason == "DEFINITION_NOT_FOUND"
    request = definition_service_pb2.GetMetricRequest(metric_id="reports")
    assert (await refusal(gamification.definitions.GetMetric(request, metadata=ME))).reason == "DEFINITION_NOT_FOUND"

    await gamification.define(metric())
    again = definition_service_pb2.CreateMetricRequest(metric=metric(), request_id="other")
    error = await refusal(gamification.definitions.CreateMetric(again, metadata=ME))
    assert (error.reason, error.code) == ("DEFINITION_EXISTS", errors.Code.ALREADY_EXISTS)
    elsewhere = credential("other", SCOPES)
    assert (await refusal(gamification.definitions.GetMetric(request, metadata=elsewhere))).reason == (
        "DEFINITION_NOT_FOUND"
    )


async def test_what_a_metric_counts_is_fixed(gamification: GamificationHarness) -> None:
    """A metric's name and state change; its type of event, filter, aggregation, value and backfill do not."""
    await gamification.define(metric())
    renamed = metric(display_name="All reports", state=gamification_pb2.DEFINITION_STATE_ARCHIVED)
    assert (await update(gamification, renamed)).metric.state == gamification_pb2.DEFINITION_STATE_ARCHIVED
    changes: list[tuple[str, Any]] = [("filter", "true"), ("backfill", True), ("event_type", "a.b")]
    for field, value in changes:
        error = await refusal(update(gamification, metric(**{field: value}), f"u-{field}"))
        name = gamification_pb2.Metric.DESCRIPTOR.fields_by_name[field].json_name
        assert (error.reason, error.metadata) == ("METRIC_FIXED", {"metricId": "reports", "field": name})


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (metric(filter="event.type =="), "metric.filter"),
        (metric(filter="member.plan == 'x'"), "metric.filter"),
        (metric(aggregation=gamification_pb2.AGGREGATION_SUM, value="launch()"), "metric.value"),
    ],
)
async def test_create_refuses_bad_expression(gamification: GamificationHarness, made: Message, field: str) -> None:
    """An expression that does not compile or looks elsewhere is refused by field."""
    error = await refusal(gamification.define(made))
    assert (error.reason, error.metadata) == ("EXPRESSION_INVALID", {"field": field})


RECORD = gamification_pb2.RecordGoal(metric_id="reports", threshold=5)
BAD = [
    (metric(value="1"), "metric.value"),
    (metric(aggregation=gamification_pb2.AGGREGATION_SUM), "metric.value"),
    (ladder(bronze=5, silver=5), "ladder.levels[1].threshold"),
    (streak(period="MONTH"), "streak.period"),
    (streak(initial_freezes=2, max_freezes=1), "streak.initialFreezes"),
    (gamification_pb2.Badge(badge_id="b", display_name="b"), "badge.total"),
    (gamification_pb2.Badge(badge_id="b", display_name="b", record=RECORD), "badge.record.period"),
    (total_badge("b", 0), "badge.total.threshold"),
    (leaderboard(periods=("DAY", "DAY")), "leaderboard.periods"),
]


@pytest.mark.parametrize(("made", "field"), BAD, ids=[field for _, field in BAD])
async def test_create_refuses_what_means_nothing(gamification: GamificationHarness, made: Message, field: str) -> None:
    """A definition that contradicts itself is refused by field."""
    await gamification.define(metric("reports"))
    if isinstance(made, gamification_pb2.Metric):
        made.metric_id = "another"
    error = await refusal(gamification.define(made))
    assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", field)


async def test_create_refuses_more_than_the_limit(
    gamification: GamificationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program has a bounded number of definitions of each kind."""
    monkeypatch.setattr(definitions, "DEFINITIONS_MAX", 2)
    await gamification.define(metric("one"), metric("two"))
    error = await refusal(gamification.define(metric("three")))
    assert (error.reason, error.metadata) == ("DEFINITION_LIMIT", {"kind": "metric", "limit": "2"})


async def test_definitions_are_listed_by_pages(gamification: GamificationHarness) -> None:
    """Pages follow on one another by id, and a token of another listing is refused."""
    await gamification.define(*(metric(f"metric-{number}") for number in range(5)))
    seen: list[str] = []
    token = ""
    while True:
        request = definition_service_pb2.ListMetricsRequest(page_size=2, page_token=token)
        page = await gamification.definitions.ListMetrics(request, metadata=ME)
        seen += [each.metric_id for each in page.metrics]
        token = page.next_page_token
        if not token:
            break
        foreign = definition_service_pb2.ListBadgesRequest(page_token=token)
        error = await refusal(gamification.definitions.ListBadges(foreign, metadata=ME))
        assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "pageToken")
    assert seen == [f"metric-{number}" for number in range(5)]


async def test_unknown_member_has_no_progress(gamification: GamificationHarness) -> None:
    """A member of whom nothing is known is not found; one who only was told of has nothing yet."""
    await gamification.define(metric(), ladder(start=0, bronze=2), streak(), total_badge("ten", 10))
    error = await refusal(gamification.progress("nobody"))
    assert (error.reason, error.metadata) == ("MEMBER_NOT_FOUND", {"memberId": "nobody"})

    await gamification.know("newcomer")
    found = await gamification.progress("newcomer")
    [level] = found.levels
    assert (level.level, level.current, level.target, level.next, level.missing) == ("start", 0, 2, "bronze", 2)
    assert (found.streaks[0].current, found.streaks[0].last_date, list(found.badges)) == (0, "", [])
