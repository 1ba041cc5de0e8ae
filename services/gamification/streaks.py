"""Streaks: runs of local days or weeks, reckoned from the days alone, so that the order of events changes nothing.

Only calendar dates are compared, never spans of 24 hours: a change of the clock breaks no run. A day that a traveller
crosses the date line over, or that a zone left out (Apia had no 30 December 2011), is so short that it is not missed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.gamification.model import Milestone, MilestoneKind, Period, Streak, StreakGoal, StreakProgress

MINUTES_PER_DAY = 24 * 60
# A local day that was shorter for its member than this is not missed; a change of the clock takes an hour or two.
SHORT_DAY_MINUTES = 12 * 60


@dataclass(frozen=True, slots=True)
class ActiveDay:
    """A local day with events: when the first and the last occurred, and what clocks showed then."""

    day: date
    first_at: datetime
    first_offset: int
    last_at: datetime
    last_offset: int


@dataclass(frozen=True, slots=True)
class Run:
    """A streak after some days: its last run and its longest one; dates are first days of periods.

    `reached_at` is when the last run came to its length; `last_at` and `last_offset` are those of the last event.
    """

    start: date
    last: date
    length: int
    longest: int
    longest_start: date
    freezes: int
    reached_at: datetime
    last_at: datetime
    last_offset: int


def group(active: Iterable[ActiveDay], period: Period) -> list[ActiveDay]:
    """Joins the days of each period, in order; each is then named by its first day."""
    found: dict[date, ActiveDay] = {}
    for each in sorted(active, key=lambda one: (one.day, one.first_at)):
        start = period.start(each.day)
        known = found.get(start)
        named = each if each.day == start else replace(each, day=start)
        found[start] = named if known is None else _joined(known, named)
    return [found[start] for start in sorted(found)]


def _joined(one: ActiveDay, other: ActiveDay) -> ActiveDay:
    first, last = min(one, other, key=lambda each: each.first_at), max(one, other, key=lambda each: each.last_at)
    return ActiveDay(one.day, first.first_at, first.first_offset, last.last_at, last.last_offset)


def fold(streak: Streak, run: Run | None, active: Iterable[ActiveDay]) -> list[Run]:
    """Goes on with a run over grouped days, none before its last one; gives it as it is after each of them."""
    runs = []
    for each in active:
        if run is not None and each.day == run.last:
            run = replace(run, last_at=max(run.last_at, each.last_at), last_offset=each.last_offset)
        else:
            run = _after(streak, run, each)
        runs.append(run)
    return runs


def grown(before: Run | None, runs: Sequence[Run]) -> list[Run]:
    """Picks from runs that followed on one another those that a new day made."""
    previous = [before, *runs]
    return [run for earlier, run in zip(previous, runs, strict=False) if earlier is None or earlier.last != run.last]


def _after(streak: Streak, run: Run | None, each: ActiveDay) -> Run:
    """Gives a run as it is after a day that is not its last one."""
    start, length, freezes, reached_at = each.day, 1, min(streak.initial_freezes, streak.max_freezes), each.first_at
    longest, longest_start = 0, each.day
    if run is not None:
        freezes, longest, longest_start = run.freezes, run.longest, run.longest_start
        missed = _missed(streak.period, run, each)
        if missed <= run.freezes:
            start, length, freezes = run.start, run.length + 1, run.freezes - missed
            reached_at = max(run.reached_at, each.first_at)
    if streak.freeze_every and length % streak.freeze_every == 0:
        freezes = min(streak.max_freezes, freezes + 1)
    if length > longest:
        longest, longest_start = length, start
    return Run(
        start=start,
        last=each.day,
        length=length,
        longest=longest,
        longest_start=longest_start,
        freezes=freezes,
        reached_at=reached_at,
        last_at=each.last_at,
        last_offset=each.last_offset,
    )


def _missed(period: Period, run: Run, each: ActiveDay) -> int:
    """Counts the periods between a run and the next day that had no event, but for one that hardly was."""
    missed = between(period, run.last, each.day)
    lasted = MINUTES_PER_DAY - (each.first_offset - run.last_offset)
    if period is Period.DAY and missed == 1 and lasted < SHORT_DAY_MINUTES:
        return 0
    return missed


def between(period: Period, earlier: date, later: date) -> int:
    """Counts the periods between two, both given by their first days."""
    days = (later - earlier).days
    return max(0, (days // 7 if period is Period.WEEK else days) - 1)


def standing(streak: Streak, run: Run | None, today: date) -> StreakProgress:
    """Tells how a streak stands on a day of its member; the period that goes on is not missed yet."""
    if run is None:
        return StreakProgress(streak, freezes=min(streak.initial_freezes, streak.max_freezes))
    missed = between(streak.period, run.last, streak.period.start(today))
    is_alive = missed <= run.freezes
    return StreakProgress(
        streak,
        current=run.length if is_alive else 0,
        longest=run.longest,
        longest_start=run.longest_start,
        last_date=run.last,
        freezes=run.freezes - missed if is_alive else run.freezes,
        last=run.length,
        last_start=run.start,
    )


def milestones(streak: Streak, member_id: str, runs: Iterable[Run]) -> list[Milestone]:
    """Gives a milestone for each length of runs, marked by it and the day that it was reached on."""
    return [
        Milestone(
            member_id,
            MilestoneKind.STREAK,
            streak.definition_id,
            f"{run.length}@{run.last.isoformat()}",
            run.length,
            run.reached_at,
        )
        for run in runs
    ]


def reached(goal: StreakGoal, runs: Iterable[Run], *, is_repeatable: bool) -> list[datetime]:
    """Tells when the length of a goal was reached, and each multiple of it where that counts, in order of time."""
    times = sorted(
        run.reached_at
        for run in runs
        if (run.length % goal.length == 0 if is_repeatable else run.length == goal.length)
    )
    return times if is_repeatable else times[:1]
