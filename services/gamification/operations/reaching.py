"""Reaching: from values that changed to levels, badges, streaks and records, each told once.

Thresholds that a value passes are found from the change alone; when they were passed, in the order in which events
occurred, is then looked up. An event that comes late can only make that earlier, and moves what is stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.gamification import goals, model, rules, streaks
from services.gamification.operations.context import Context
from services.gamification.store import metrics, milestones
from services.gamification.store.metrics import MemberMetric
from services.kernel import db


@dataclass(frozen=True, slots=True)
class Batch:
    """What was counted: events by member and metric, and how values of members changed by it."""

    happenings: dict[MemberMetric, list[model.Happening]]
    changes: dict[MemberMetric, list[model.Change]]

    @classmethod
    def of(cls, fresh: Sequence[model.Happening], changes: Sequence[model.Change]) -> "Batch":
        """Sorts what was counted by member and metric."""
        by_pair: dict[MemberMetric, list[model.Happening]] = {}
        for each in sorted(fresh, key=lambda one: (one.occurred_at, one.event_id)):
            by_pair.setdefault((each.member_id, each.metric_id), []).append(each)
        changed: dict[MemberMetric, list[model.Change]] = {}
        for change in changes:
            if change.subject is model.Subject.MEMBER:
                changed.setdefault((change.subject_id, change.metric_id), []).append(change)
        return cls(by_pair, changed)

    def since(self) -> dict[str, datetime]:
        """Tells for each member when the first event of the batch occurred."""
        found: dict[str, datetime] = {}
        for (member_id, _), each in self.happenings.items():
            found[member_id] = min(found.get(member_id, each[0].occurred_at), each[0].occurred_at)
        return found

    def causes(self) -> dict[str, model.Cause]:
        """Tells for each member what milestones are told with."""
        found: dict[str, model.Cause] = {}
        for (member_id, _), each in self.happenings.items():
            deepest = max(one.depth for one in each)
            known = found.get(member_id, model.Cause())
            found[member_id] = model.Cause(each[-1].org_id or known.org_id, max(known.depth, deepest))
        return found

    def is_first(self, pair: MemberMetric) -> bool:
        """Tells whether the member had no event of the metric before."""
        return any(each.period is model.Period.ALL_TIME and each.before is None for each in self.changes[pair])


async def reach(
    context: Context, connection: db.Connection, program_id: str, rulebook: rules.Rulebook, batch: Batch
) -> None:
    """Writes what members reach by a batch, and publishes what is new of it."""
    passings = await _passings(connection, program_id, rulebook, batch)
    passings += await _records(connection, program_id, batch)
    found = await time_passings(connection, program_id, rulebook, passings)
    found += await _streaks(connection, program_id, rulebook, batch)
    await tell(context, connection, program_id, rulebook, found, causes=batch.causes())


async def _passings(
    connection: db.Connection, program_id: str, rulebook: rules.Rulebook, batch: Batch
) -> list[goals.Passing]:
    """Finds the thresholds that are passed now, and those whose time an event before it may have moved."""
    moved = await milestones.find_after(connection, program_id, batch.since())
    concerned = {member_id for member_id, *_ in moved}
    found = []
    for (member_id, metric_id), changes in batch.changes.items():
        for change in changes:
            found += threshold_passings(rulebook, metric_id, change)
            if member_id in concerned:
                anew = threshold_passings(rulebook, metric_id, goals.again(change))
                found += [each for each in anew if (member_id, each.kind, each.definition_id, each.mark) in moved]
    return found


def threshold_passings(rulebook: rules.Rulebook, metric_id: str, change: model.Change) -> list[goals.Passing]:
    """Lists the levels and badges that a change of a metric's value passes."""
    badges = rulebook.badges_of(metric_id, change.period)
    found = [each for badge in badges for each in goals.badge_passings(badge, change)]
    if change.period is model.Period.ALL_TIME:
        found += [each for ladder in rulebook.ladders_of(metric_id) for each in goals.ladder_passings(ladder, change)]
    return found


async def _records(connection: db.Connection, program_id: str, batch: Batch) -> list[goals.Passing]:
    """Writes records as they are now, and gives the periods that beat others."""
    known = await metrics.find_records(connection, program_id, list(batch.changes))
    kept: list[tuple[str, model.Record]] = []
    beaten: list[goals.Passing] = []
    for pair, changes in sorted(batch.changes.items()):
        best, passed = goals.records(known.get(pair, ()), changes)
        kept += [(pair[0], each) for each in best]
        beaten += passed
    if kept:
        await metrics.put_records(connection, program_id, kept)
    return beaten


async def time_passings(
    connection: db.Connection, program_id: str, rulebook: rules.Rulebook, passings: Iterable[goals.Passing]
) -> list[model.Milestone]:
    """Looks up when thresholds were passed."""
    by_days: dict[bool, list[goals.Passing]] = {}
    for each in passings:
        by_days.setdefault(rulebook.counts_days(each.metric_id), []).append(each)
    found = []
    for counts_days, some in by_days.items():
        times = await metrics.find_passings(connection, program_id, some, by_days=counts_days)
        found += [goals.reached(each, reached_at) for each, reached_at in zip(some, times, strict=True)]
    return found


async def _streaks(
    connection: db.Connection, program_id: str, rulebook: rules.Rulebook, batch: Batch
) -> list[model.Milestone]:
    """Goes on with streaks where events came in order, and reckons them anew from all their days where not."""
    watched = [(pair, streak) for pair in batch.happenings for streak in rulebook.streaks_of(pair[1])]
    if not watched:
        return []
    runs = await milestones.find_runs(connection, program_id, sorted({member_id for (member_id, _), _ in watched}))
    written: dict[tuple[str, str], streaks.Run] = {}
    found: list[model.Milestone] = []
    late: list[tuple[MemberMetric, model.Streak, date]] = []
    for pair, streak in watched:
        key = (pair[0], streak.definition_id)
        days = streaks.group(map(_active, batch.happenings[pair]), streak.period)
        run = runs.get(key)
        after = streaks.fold(streak, run, days) if _goes_on(run, days[0], is_first=batch.is_first(pair)) else []
        if not after or _hits(rulebook, streak, streaks.grown(run, after)):
            late.append((pair, streak, days[0].day))
            continue
        written[key] = after[-1]
        found += streaks.milestones(streak, pair[0], streaks.grown(run, after))
    if written:
        await milestones.put_runs(connection, program_id, written)
    return found + await refold(connection, program_id, rulebook, late)


def _active(happening: model.Happening) -> streaks.ActiveDay:
    at, offset = happening.occurred_at, happening.utc_offset_minutes
    return streaks.ActiveDay(happening.local_date, at, offset, at, offset)


def _goes_on(run: streaks.Run | None, first: streaks.ActiveDay, *, is_first: bool) -> bool:
    """Tells whether days follow all that a run has seen."""
    if run is None:
        return is_first
    return first.day >= run.last and first.first_at >= run.last_at


def _hits(rulebook: rules.Rulebook, streak: model.Streak, grown: Sequence[streaks.Run]) -> bool:
    """Tells whether a badge may be given for a length, which only all days tell for certain."""
    return any(
        run.length % goal.length == 0 for _, goal in rulebook.streak_badges(streak.definition_id) for run in grown
    )


async def refold(
    connection: db.Connection,
    program_id: str,
    rulebook: rules.Rulebook,
    late: Sequence[tuple[MemberMetric, model.Streak, date]],
) -> list[model.Milestone]:
    """Reckons streaks anew from all their days, and gives what they reach from a day on, and the badges for it."""
    if not late:
        return []
    active = await metrics.find_active_days(connection, program_id, sorted({pair for pair, _, _ in late}))
    written: dict[tuple[str, str], streaks.Run] = {}
    found: list[model.Milestone] = []
    for pair, streak, first in late:
        runs = streaks.fold(streak, None, streaks.group(active.get(pair, ()), streak.period))
        if not runs:
            continue
        written[pair[0], streak.definition_id] = runs[-1]
        found += streaks.milestones(streak, pair[0], (run for run in runs if run.last >= first))
        found += streak_awards(rulebook, streak, pair[0], runs)
    if written:
        await milestones.put_runs(connection, program_id, written)
    return found


def streak_awards(
    rulebook: rules.Rulebook, streak: model.Streak, member_id: str, runs: Sequence[streaks.Run]
) -> list[model.Milestone]:
    """Lists the badges for the lengths of a member's runs."""
    found = []
    for badge, goal in rulebook.streak_badges(streak.definition_id):
        times = streaks.reached(goal, runs, is_repeatable=badge.is_repeatable)[: goals.AWARDS_MAX]
        found += [
            model.Milestone(
                member_id, model.MilestoneKind.BADGE, badge.definition_id, str(number), goal.length, reached_at
            )
            for number, reached_at in enumerate(times, start=1)
        ]
    return found


async def tell(
    context: Context,
    connection: db.Connection,
    program_id: str,
    rulebook: rules.Rulebook,
    found: Sequence[model.Milestone],
    *,
    causes: dict[str, model.Cause],
) -> None:
    """Writes milestones, and publishes those that are new in the order in which they were reached."""
    new_keys = await milestones.put_milestones(connection, program_id, found)
    new = {milestones.key_of(each): each for each in sorted(found, key=lambda one: one.reached_at, reverse=True)}
    told = sorted((new[key] for key in new_keys), key=lambda one: (one.reached_at, milestones.key_of(one)))
    definitions = _definitions(rulebook)
    events = [
        model.Reached(each, definitions[each.kind, each.definition_id], causes.get(each.member_id, model.Cause()))
        for each in told
    ]
    await context.publish(connection, program_id, *await _numbered(connection, program_id, events))


def _definitions(rulebook: rules.Rulebook) -> dict[tuple[model.MilestoneKind, str], model.AnyDefinition]:
    kinds = model.MilestoneKind
    found: dict[tuple[model.MilestoneKind, str], model.AnyDefinition] = {}
    found.update({(kinds.RECORD, each.definition_id): each for each in rulebook.metrics.values()})
    found.update({(kinds.STREAK, each.definition_id): each for each in rulebook.streaks.values()})
    found.update({(kinds.LEVEL, each.definition_id): each for each in rulebook.ladders})
    found.update({(kinds.BADGE, each.definition_id): each for each in rulebook.badges})
    return found


async def _numbered(connection: db.Connection, program_id: str, events: list[model.Reached]) -> list[model.Reached]:
    """Says of each badge how often the member has it by then."""
    badges = [
        (each.milestone.member_id, each.milestone.definition_id)
        for each in events
        if each.milestone.kind is model.MilestoneKind.BADGE
    ]
    if not badges:
        return events
    counts = await milestones.count_awards(connection, program_id, sorted(set(badges)))
    numbered = []
    for each in reversed(events):
        key = (each.milestone.member_id, each.milestone.definition_id)
        if each.milestone.kind is model.MilestoneKind.BADGE:
            numbered.append(replace(each, count=counts[key]))
            counts[key] -= 1
        else:
            numbered.append(each)
    return numbered[::-1]
