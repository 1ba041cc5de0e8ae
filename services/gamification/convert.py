"""Messages to values and back."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.gamification.v1 import gamification_pb2, gamification_service_pb2
from plaudit.program.v1 import program_pb2

from services.gamification import cohorts, model
from services.gamification.operations.ranking import Shown
from services.kernel import errors, fields, times
from services.kernel.errors import Violation

Chosen = TypeVar("Chosen", bound=StrEnum)

PLAN = "plan"
PLAN_LENGTH_MAX = 64


def event(message: program_pb2.Event, depth: int) -> model.Event:
    """Reads an event of the program."""
    return model.Event(
        event_id=message.event_id,
        type=message.type,
        member_id=message.member_id,
        org_id=message.org_id,
        occurred_at=times.from_proto(message.occur_time),
        utc_offset_minutes=message.utc_offset_minutes if message.HasField("utc_offset_minutes") else None,
        properties=fields.struct_to_dict(message.properties),
        depth=depth,
    )


def member(message: program_pb2.Member) -> model.Member:
    """Reads what of a member of the program matters here."""
    plan = message.attributes.fields[PLAN].string_value if PLAN in message.attributes.fields else ""
    return model.Member(message.member_id, message.org_id, message.time_zone, plan[:PLAN_LENGTH_MAX])


def metric(message: gamification_pb2.Metric) -> model.Metric:
    """Reads a metric. Raises FIELD_INVALID."""
    aggregation = _enum(model.Aggregation, gamification_pb2.Aggregation, message.aggregation)
    found = model.Metric(
        **_shared(message, message.metric_id),
        event_type=message.event_type,
        filter=message.filter,
        aggregation=aggregation or model.Aggregation.COUNT,
        value=message.value,
        is_backfilled=message.backfill,
    )
    if bool(found.value) != (found.aggregation is model.Aggregation.SUM):
        raise _invalid("metric.value", "is required for a SUM, and means nothing for others")
    return found


def ladder(message: gamification_pb2.Ladder) -> model.Ladder:
    """Reads a ladder. Raises FIELD_INVALID."""
    levels = tuple(
        model.Level(each.level_id, each.display_name, each.threshold, each.unlocks) for each in message.levels
    )
    for index, (lower, higher) in enumerate(itertools.pairwise(levels), start=1):
        if higher.threshold <= lower.threshold:
            raise _invalid(f"ladder.levels[{index}].threshold", "must be higher than that of the level before")
    if len({each.level_id for each in levels}) < len(levels):
        raise _invalid("ladder.levels", "must have ids of their own")
    return model.Ladder(**_shared(message, message.ladder_id), metric_id=message.metric_id, levels=levels)


def streak(message: gamification_pb2.Streak) -> model.Streak:
    """Reads a streak. Raises FIELD_INVALID."""
    period = _enum(model.Period, gamification_pb2.Period, message.period)
    if period not in (model.Period.DAY, model.Period.WEEK):
        raise _invalid("streak.period", "must be DAY or WEEK")
    if message.initial_freezes > message.max_freezes:
        raise _invalid("streak.initialFreezes", "must not be more than maxFreezes")
    return model.Streak(
        **_shared(message, message.streak_id),
        metric_id=message.metric_id,
        period=period,
        initial_freezes=message.initial_freezes,
        freeze_every=message.freeze_every,
        max_freezes=message.max_freezes,
    )


def badge(message: gamification_pb2.Badge) -> model.Badge:
    """Reads a badge. Raises FIELD_INVALID."""
    shared = _shared(message, message.badge_id)
    return model.Badge(**shared, goal=_goal(message), is_repeatable=message.repeatable)


def _goal(message: gamification_pb2.Badge) -> model.TotalGoal | model.RecordGoal | model.StreakGoal:
    match message.WhichOneof("goal"):
        case "total":
            return model.TotalGoal(message.total.metric_id, message.total.threshold)
        case "record":
            period = _enum(model.Period, gamification_pb2.Period, message.record.period)
            if period is None or period is model.Period.ALL_TIME:
                raise _invalid("badge.record.period", "must be DAY, WEEK or MONTH")
            return model.RecordGoal(message.record.metric_id, period, message.record.threshold)
        case "streak":
            return model.StreakGoal(message.streak.streak_id, message.streak.length)
    raise _invalid("badge.total", "is required, or a record or a streak instead")


def leaderboard(message: gamification_pb2.Leaderboard) -> model.Leaderboard:
    """Reads a leaderboard. Raises FIELD_INVALID."""
    read = [_enum(model.Period, gamification_pb2.Period, each) for each in message.periods]
    periods = tuple(dict.fromkeys(each for each in read if each is not None))
    if len(periods) < len(read):
        raise _invalid("leaderboard.periods", "must be known and each its own")
    return model.Leaderboard(
        **_shared(message, message.leaderboard_id),
        metric_id=message.metric_id,
        periods=periods,
        ties=_enum(model.Ties, gamification_pb2.Ties, message.ties) or model.Ties.COMPETITION,
    )


def _shared(message: Any, definition_id: str) -> dict[str, Any]:
    state = _enum(model.State, gamification_pb2.DefinitionState, message.state)
    return {
        "definition_id": definition_id,
        "display_name": message.display_name,
        "description": message.description,
        "state": state or model.State.ACTIVE,
    }


def metric_to_proto(value: model.Metric) -> gamification_pb2.Metric:
    """Tells a metric."""
    return gamification_pb2.Metric(
        metric_id=value.definition_id,
        event_type=value.event_type,
        filter=value.filter,
        aggregation=_number(gamification_pb2.Aggregation, value.aggregation),
        value=value.value,
        backfill=value.is_backfilled,
        **_told(value),
    )


def ladder_to_proto(value: model.Ladder) -> gamification_pb2.Ladder:
    """Tells a ladder."""
    levels = [
        gamification_pb2.Level(
            level_id=each.level_id, display_name=each.display_name, threshold=each.threshold, unlocks=each.unlocks
        )
        for each in value.levels
    ]
    return gamification_pb2.Ladder(
        ladder_id=value.definition_id, metric_id=value.metric_id, levels=levels, **_told(value)
    )


def streak_to_proto(value: model.Streak) -> gamification_pb2.Streak:
    """Tells a streak."""
    return gamification_pb2.Streak(
        streak_id=value.definition_id,
        metric_id=value.metric_id,
        period=period_to_proto(value.period),
        initial_freezes=value.initial_freezes,
        freeze_every=value.freeze_every,
        max_freezes=value.max_freezes,
        **_told(value),
    )


def badge_to_proto(value: model.Badge) -> gamification_pb2.Badge:
    """Tells a badge."""
    message = gamification_pb2.Badge(badge_id=value.definition_id, repeatable=value.is_repeatable, **_told(value))
    match value.goal:
        case model.TotalGoal(metric_id, threshold):
            message.total.CopyFrom(gamification_pb2.TotalGoal(metric_id=metric_id, threshold=threshold))
        case model.RecordGoal(metric_id, period, threshold):
            goal = gamification_pb2.RecordGoal(metric_id=metric_id, period=period_to_proto(period), threshold=threshold)
            message.record.CopyFrom(goal)
        case model.StreakGoal(streak_id, length):
            message.streak.CopyFrom(gamification_pb2.StreakGoal(streak_id=streak_id, length=length))
    return message


def leaderboard_to_proto(value: model.Leaderboard) -> gamification_pb2.Leaderboard:
    """Tells a leaderboard."""
    return gamification_pb2.Leaderboard(
        leaderboard_id=value.definition_id,
        metric_id=value.metric_id,
        periods=[period_to_proto(each) for each in value.periods],
        ties=_number(gamification_pb2.Ties, value.ties),
        **_told(value),
    )


def _told(value: model.Definition) -> dict[str, Any]:
    return {
        "display_name": value.display_name,
        "description": value.description,
        "state": _number(gamification_pb2.DefinitionState, value.state),
        "version": value.version,
        "create_time": time_to_proto(value.created_at),
        "update_time": time_to_proto(value.updated_at),
        "etag": str(value.version),
    }


def progress_to_proto(value: model.Progress) -> gamification_service_pb2.GetProgressResponse:
    """Tells what a member has reached."""
    return gamification_service_pb2.GetProgressResponse(
        levels=[_level_to_proto(each) for each in value.levels],
        streaks=[_streak_to_proto(each) for each in value.streaks],
        badges=[
            gamification_pb2.AwardedBadge(
                badge=each.badge_id,
                award_time=times.to_proto(each.first_at),
                count=each.count,
                last_award_time=times.to_proto(each.last_at),
            )
            for each in value.awards
        ],
        records=[
            gamification_pb2.PersonalRecord(
                metric=each.metric_id,
                period=period_to_proto(each.period),
                value=each.value,
                start_date=each.start.isoformat(),
            )
            for each in value.records
        ],
    )


def _level_to_proto(value: model.LevelProgress) -> gamification_pb2.LevelProgress:
    level, following = value.level, value.next
    target = (following or value.ladder.levels[-1]).threshold
    return gamification_pb2.LevelProgress(
        ladder=value.ladder.definition_id,
        level=level.level_id if level else "",
        current=value.current,
        target=target,
        next=following.level_id if following else "",
        missing=max(0, target - value.current),
        unlocks=following.unlocks if following else "",
        reach_time=time_to_proto(value.reached_at),
    )


def _streak_to_proto(value: model.StreakProgress) -> gamification_pb2.StreakProgress:
    return gamification_pb2.StreakProgress(
        streak=value.streak.definition_id,
        period=period_to_proto(value.streak.period),
        current=value.current,
        longest=value.longest,
        longest_start_date=day_to_text(value.longest_start),
        last_date=day_to_text(value.last_date),
        freezes=value.freezes,
        last=value.last,
        last_start_date=day_to_text(value.last_start),
    )


def shown_to_proto(value: Shown) -> gamification_service_pb2.GetLeaderboardResponse:
    """Tells a page of a ranking."""
    return gamification_service_pb2.GetLeaderboardResponse(
        standings=standings_to_proto(value.standings),
        next_page_token=value.next_page_token,
        leaderboard=leaderboard_to_proto(value.leaderboard),
        period=period_to_proto(value.period),
        start_date="" if value.period is model.Period.ALL_TIME else value.start.isoformat(),
        close_time=time_to_proto(value.close_time),
        closed=value.is_closed,
    )


def standings_to_proto(values: Sequence[model.Standing]) -> list[gamification_pb2.Standing]:
    """Tells places of a ranking."""
    return [gamification_pb2.Standing(rank=each.rank, member_id=each.member_id, value=each.value) for each in values]


def comparison_to_proto(value: cohorts.Comparison) -> gamification_pb2.Comparison:
    """Tells how a member compares with peers."""
    return gamification_pb2.Comparison(
        metric=value.cohort.metric_id,
        week_start_date=value.cohort.week.isoformat(),
        plan=value.cohort.plan,
        org_size=value.cohort.org_size,
        member_count=value.cohort.member_count,
        value=value.value,
        ahead_of_percent=value.ahead_of_percent,
        average_hundredths=value.average_hundredths,
    )


def values_to_proto(values: Sequence[tuple[date, int]]) -> list[gamification_pb2.MetricValue]:
    """Tells values by period."""
    return [
        gamification_pb2.MetricValue(start_date="" if day == model.ALL_TIME else day.isoformat(), value=value)
        for day, value in values
    ]


def period(number: int) -> model.Period | None:
    """Reads a period; None where none is named."""
    return _enum(model.Period, gamification_pb2.Period, number)


def period_to_proto(value: model.Period) -> Any:
    """Tells a period."""
    return _number(gamification_pb2.Period, value)


def day_to_text(value: date | None) -> str:
    """Tells a day; nothing where there is none."""
    return value.isoformat() if value else ""


def time_to_proto(value: datetime | None) -> Timestamp | None:
    """Tells an instant; nothing where there is none."""
    return times.to_proto(value) if value else None


def _enum(kind: type[Chosen], proto: Any, number: int) -> Chosen | None:
    name = proto.Name(number).removeprefix(_prefix(proto))
    return None if name == "UNSPECIFIED" else kind(name)


def _number(proto: Any, value: StrEnum) -> Any:
    return proto.Value(f"{_prefix(proto)}{value.value}")


def _prefix(proto: Any) -> str:
    return str(proto.Name(0)).removesuffix("UNSPECIFIED")


def _invalid(field: str, fault: str) -> errors.DomainError:
    return errors.field_invalid(Violation(field, fault))


# For listings of any kind: what reads and tells its definitions.
TELL: Mapping[type[model.AnyDefinition], Any] = {
    model.Metric: metric_to_proto,
    model.Ladder: ladder_to_proto,
    model.Streak: streak_to_proto,
    model.Badge: badge_to_proto,
    model.Leaderboard: leaderboard_to_proto,
}


def definition_to_proto(value: model.AnyDefinition) -> Message:
    """Tells a definition of any kind."""
    told: Message = TELL[type(value)](value)
    return told
