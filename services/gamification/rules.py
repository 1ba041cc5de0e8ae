"""Metrics at work: which events count, how much, and on which local day. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import cel

from services.gamification import errors
from services.gamification.model import (
    VALUE_MAX,
    Aggregation,
    AnyDefinition,
    Badge,
    Event,
    Happening,
    Ladder,
    Leaderboard,
    Member,
    Metric,
    Period,
    RecordGoal,
    State,
    Streak,
    StreakGoal,
    TotalGoal,
)
from services.kernel import expressions, times

# A day away from both ends of time every clock shows a date of the calendar.
EARLIEST, LATEST = times.EARLIEST + timedelta(days=1), times.LATEST - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CompiledMetric:
    """A metric with its expressions ready to run; None for those that it does not have."""

    metric: Metric
    filter: cel.Program | None
    value: cel.Program | None


def compile_metric(metric: Metric) -> CompiledMetric:
    """Checks and compiles the expressions of a metric. Raises EXPRESSION_INVALID with the field and the fault."""
    return CompiledMetric(metric, _compile("metric.filter", metric.filter), _compile("metric.value", metric.value))


def _compile(name: str, text: str) -> cel.Program | None:
    if not text:
        return None
    try:
        return expressions.compile_expression(text, "event")
    except expressions.ExpressionError as error:
        raise errors.expression_invalid(name, str(error)) from error


def happenings(metrics: Iterable[CompiledMetric], event: Event, member: Member) -> list[Happening]:
    """Gives the event as each metric of its type counts it, on its local day and for the member's company."""
    local = local_time(event.occurred_at, member.time_zone, event.utc_offset_minutes)
    offset = local.utcoffset()
    assert offset is not None, "A local time knows its offset."
    context: cel.Context | None = None
    found = []
    for each in metrics:
        if context is None and (each.filter or each.value):
            context = cel.Context({"event": event.visible()})
        amount = _amount(each, context)
        if amount:
            found.append(
                Happening(
                    each.metric.definition_id,
                    event.member_id,
                    event.org_id or member.org_id,
                    event.event_id,
                    event.occurred_at,
                    local.date(),
                    int(offset.total_seconds()) // 60,
                    amount,
                    event.depth,
                )
            )
    return found


def local_time(instant: datetime, zone: str, utc_offset_minutes: int | None) -> datetime:
    """Gives what clocks showed: in the zone, else by the offset, else in UTC."""
    within = min(max(instant, EARLIEST), LATEST)
    if zone:
        return within.astimezone(ZoneInfo(zone))
    if utc_offset_minutes is None:
        return within.astimezone(UTC)
    return within.astimezone(timezone(timedelta(minutes=utc_offset_minutes)))


def _amount(compiled: CompiledMetric, context: cel.Context | None) -> int:
    """Tells how much an event counts; 0 where it does not, or lacks what the expressions look at."""
    try:
        if compiled.filter is not None and compiled.filter.execute(context) is not True:
            return 0
        if compiled.metric.aggregation is not Aggregation.SUM:
            return 1
        assert compiled.value is not None, "A sum has a value."
        amount = compiled.value.execute(context)
    except expressions.FAULTS:
        return 0  # The contract says so: an event without these properties is of no concern to the metric.
    is_whole = isinstance(amount, int) and not isinstance(amount, bool)
    return amount if is_whole and 1 <= amount <= VALUE_MAX else 0


class Rulebook:
    """The live definitions of a program, compiled, and found by what they look at.

    A metric that is archived is in no list but can be asked for, since boards of the past still show it.
    """

    def __init__(self, revision: int, definitions: Iterable[AnyDefinition]) -> None:
        self.revision = revision
        self.metrics: dict[str, Metric] = {}
        self.by_type: dict[str, list[CompiledMetric]] = {}
        self.ladders: list[Ladder] = []
        self.streaks: dict[str, Streak] = {}
        self.badges: list[Badge] = []
        self._ladders_of: dict[str, list[Ladder]] = {}
        self._streaks_of: dict[str, list[Streak]] = {}
        self._badges_of: dict[tuple[str, Period], list[Badge]] = {}
        for each in definitions:
            if isinstance(each, Metric):
                self.metrics[each.definition_id] = each
            if each.state is State.ACTIVE:
                self._add(each)

    def _add(self, definition: AnyDefinition) -> None:
        match definition:
            case Metric():
                self.by_type.setdefault(definition.event_type, []).append(compile_metric(definition))
            case Ladder():
                self.ladders.append(definition)
                self._ladders_of.setdefault(definition.metric_id, []).append(definition)
            case Streak():
                self.streaks[definition.definition_id] = definition
                self._streaks_of.setdefault(definition.metric_id, []).append(definition)
            case Badge():
                self.badges.append(definition)
                self._add_goal(definition)
            case Leaderboard():
                pass  # Rankings are read from the values; nothing is done for them when events come.

    def _add_goal(self, badge: Badge) -> None:
        match badge.goal:
            case TotalGoal(metric_id=metric_id):
                self._badges_of.setdefault((metric_id, Period.ALL_TIME), []).append(badge)
            case RecordGoal(metric_id=metric_id, period=period):
                self._badges_of.setdefault((metric_id, period), []).append(badge)
            case StreakGoal():
                pass  # It is found by its streak.

    def counts_days(self, metric_id: str) -> bool:
        """Tells whether a metric counts days."""
        return self.metrics[metric_id].aggregation is Aggregation.DISTINCT_DAYS

    def ladders_of(self, metric_id: str) -> Sequence[Ladder]:
        """Lists the ladders of a metric."""
        return self._ladders_of.get(metric_id, ())

    def streaks_of(self, metric_id: str) -> Sequence[Streak]:
        """Lists the streaks of a metric."""
        return self._streaks_of.get(metric_id, ())

    def badges_of(self, metric_id: str, period: Period) -> Sequence[Badge]:
        """Lists the badges for values of a metric in a period."""
        return self._badges_of.get((metric_id, period), ())

    def streak_badges(self, streak_id: str) -> list[tuple[Badge, StreakGoal]]:
        """Lists the badges for lengths of a streak, with their goals."""
        return [
            (each, each.goal)
            for each in self.badges
            if isinstance(each.goal, StreakGoal) and each.goal.streak_id == streak_id
        ]
