"""Goals: which thresholds a value passes when it grows, and what has to be looked up to know when. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from services.gamification.model import (
    ALL_TIME,
    Badge,
    Change,
    Ladder,
    Milestone,
    MilestoneKind,
    Period,
    Record,
    RecordGoal,
    TotalGoal,
)

# So often a member can have one badge.
AWARDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Passing:
    """A milestone that is reached where a metric's sum from a day on, before another, first comes to a threshold."""

    member_id: str
    kind: MilestoneKind
    definition_id: str
    mark: str
    metric_id: str
    threshold: int
    from_date: date = ALL_TIME
    before_date: date = date.max
    previous: int = 0
    # What is told as reached where that is not the threshold.
    value: int = 0


def badge_passings(badge: Badge, change: Change) -> Iterator[Passing]:
    """Gives what a badge has to do with a member's value that grew."""
    goal = badge.goal
    if isinstance(goal, TotalGoal) and change.period is Period.ALL_TIME:
        for number in _numbers(goal.threshold, change, is_repeatable=badge.is_repeatable):
            yield _passing(badge, change, str(number), number * goal.threshold)
    if not isinstance(goal, RecordGoal) or change.period is not goal.period:
        return
    if (change.before or 0) < goal.threshold <= change.after:
        mark = change.start.isoformat() if badge.is_repeatable else "1"
        yield _passing(badge, change, mark, goal.threshold)


def _numbers(threshold: int, change: Change, *, is_repeatable: bool) -> range:
    most = AWARDS_MAX if is_repeatable else 1
    return range(min(most, (change.before or 0) // threshold) + 1, min(most, change.after // threshold) + 1)


def ladder_passings(ladder: Ladder, change: Change) -> Iterator[Passing]:
    """Gives the levels that a member's total passes; a level that everybody has from the start is none."""
    if change.period is Period.ALL_TIME:
        for level in ladder.levels:
            if level.threshold and (change.before or 0) < level.threshold <= change.after:
                kind = MilestoneKind.LEVEL
                yield Passing(
                    change.subject_id, kind, ladder.definition_id, level.level_id, change.metric_id, level.threshold
                )


def _passing(badge: Badge, change: Change, mark: str, threshold: int) -> Passing:
    return _within(change, MilestoneKind.BADGE, badge.definition_id, mark, threshold=threshold)


def _within(
    change: Change, kind: MilestoneKind, definition_id: str, mark: str, *, threshold: int, previous: int = 0
) -> Passing:
    is_total = change.period is Period.ALL_TIME
    return Passing(
        change.subject_id,
        kind,
        definition_id,
        mark,
        change.metric_id,
        threshold,
        change.start,
        date.max if is_total else _end(change.period, change.start),
        previous,
        change.after if previous else 0,
    )


def _end(period: Period, start: date) -> date:
    return period.following(start) if start <= date.max - timedelta(days=31) else date.max


def again(change: Change) -> Change:
    """Gives a change as if the value had come to be at once, so that every threshold below it is passed anew."""
    return Change(change.metric_id, change.subject, change.subject_id, change.period, change.start, None, change.after)


def records(known: Sequence[Record], changes: Iterable[Change]) -> tuple[list[Record], list[Passing]]:
    """Gives the best values of one member and metric as they are now, and which periods beat the best of another one.

    Equal values belong to the earlier period, in whatever order they came.
    """
    best = {each.period: each for each in known}
    changed: set[Period] = set()
    beaten = []
    own = {(each.period, each.start) for each in known}
    # What holds the record grows first: to catch up with what it was is to beat nothing.
    for change in sorted(changes, key=lambda each: ((each.period, each.start) not in own, each.start)):
        if change.period is Period.ALL_TIME:
            continue
        record = best.get(change.period)
        if record is not None and (-record.value, record.start) <= (-change.after, change.start):
            continue
        if record is not None and record.start != change.start and record.value < change.after:
            mark = f"{change.period}:{change.start.isoformat()}"
            beaten.append(
                _within(
                    change,
                    MilestoneKind.RECORD,
                    change.metric_id,
                    mark,
                    threshold=record.value + 1,
                    previous=record.value,
                )
            )
        best[change.period] = Record(change.metric_id, change.period, change.after, change.start)
        changed.add(change.period)
    return [best[period] for period in sorted(changed)], beaten


def reached(passing: Passing, reached_at: datetime) -> Milestone:
    """Makes the milestone of a passing whose time was looked up."""
    return Milestone(
        passing.member_id,
        passing.kind,
        passing.definition_id,
        passing.mark,
        passing.value or passing.threshold,
        reached_at,
        passing.previous,
    )
