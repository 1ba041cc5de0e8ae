"""Catching up: a definition that is new or changed holds for all that members have done, page by page as due work."""

from datetime import date

from services.gamification import model, rules
from services.gamification.operations import counting, reaching, scheduling
from services.gamification.operations.context import Context
from services.gamification.ports import Reader
from services.gamification.store import definitions, members, metrics, milestones
from services.kernel import db, due

MEMBERS_PER_PAGE = 200
# How much of a feed one piece of work reads: it ends well within its lease.
PAGES_PER_WORK = 10


async def catch_up(context: Context, item: due.DueItem) -> None:
    """Gives a page of members what they have reached by a definition, and leaves the rest for later; due work."""
    program_id = item.program_id

    async def work(connection: db.Connection) -> None:
        rulebook = await context.rulebook(connection, program_id)
        kind, definition_id = model.Kind(item.payload["kind"]), item.payload["definition_id"]
        made = await definitions.get_definition(connection, program_id, kind, definition_id)
        if made is None or made.version != item.payload["version"] or made.state is model.State.ARCHIVED:
            return  # A newer version has work of its own.
        metric_id = _metric_of(rulebook, made)
        if metric_id is None:
            return
        after, limit = item.payload["after"], MEMBERS_PER_PAGE
        totals = await metrics.list_totals(connection, program_id, metric_id, after, limit)
        if not totals:
            return
        await members.lock_members(connection, program_id, [member_id for member_id, _ in totals])
        if len(totals) == limit:
            now = await context.time.now(connection)
            await due.schedule(connection, [scheduling.catch_up_item(program_id, made, totals[-1][0], now)])
        await _give(context, connection, program_id, rulebook, Page(made, metric_id, [each[0] for each in totals]))

    await db.transaction(context.pool, work)


class Page:
    """A definition, its metric, and the members that may have reached something by it."""

    def __init__(self, made: model.AnyDefinition, metric_id: str, member_ids: list[str]) -> None:
        self.made = made
        self.metric_id = metric_id
        self.member_ids = member_ids


def _metric_of(rulebook: rules.Rulebook, made: model.AnyDefinition) -> str | None:
    """Names the metric that a definition is about; None where its streak is no longer live."""
    if isinstance(made, model.Badge):
        if isinstance(made.goal, model.StreakGoal):
            streak = rulebook.streaks.get(made.goal.streak_id)
            return streak.metric_id if streak else None
        return made.goal.metric_id
    assert not isinstance(made, model.Metric), "A metric is caught up with by a backfill."
    return made.metric_id


async def _give(
    context: Context, connection: db.Connection, program_id: str, rulebook: rules.Rulebook, page: Page
) -> None:
    made = page.made
    streak = made if isinstance(made, model.Streak) else None
    if isinstance(made, model.Badge) and isinstance(made.goal, model.StreakGoal):
        streak = rulebook.streaks[made.goal.streak_id]
    if streak is not None:
        late = [((member_id, page.metric_id), streak, date.min) for member_id in page.member_ids]
        found = await reaching.refold(connection, program_id, rulebook, late)
    else:
        changes = await _changes(connection, program_id, page)
        passings = [
            each
            for change in changes
            for each in reaching.threshold_passings(rulebook, page.metric_id, change)
            if each.definition_id == made.definition_id
        ]
        found = await reaching.time_passings(connection, program_id, rulebook, passings)
    # How long runs were in the past is news to nobody; what is given for it is.
    past = [each for each in found if each.kind is model.MilestoneKind.STREAK]
    await milestones.put_milestones(connection, program_id, past)
    given = [each for each in found if each.kind is not model.MilestoneKind.STREAK]
    await reaching.tell(context, connection, program_id, rulebook, given, causes={})


async def _changes(connection: db.Connection, program_id: str, page: Page) -> list[model.Change]:
    """Reads the values that a ladder or a badge looks at, as changes from nothing."""
    goal = page.made.goal if isinstance(page.made, model.Badge) else None
    if isinstance(goal, model.RecordGoal):
        period, threshold = goal.period, goal.threshold
    else:
        period, threshold = model.Period.ALL_TIME, 1
    return await metrics.find_values_at_least(
        connection, program_id, page.metric_id, page.member_ids, period=period, threshold=threshold
    )


async def backfill(context: Context, reader: Reader, item: due.DueItem) -> None:
    """Counts events that were recorded before their metric was defined; due work. Raises DEPENDENCY_UNAVAILABLE.

    What the follower counts meanwhile counts once: by the id of the event.
    """
    program_id, metric_id, partition = item.program_id, item.payload["metric_id"], item.payload["partition"]
    if partition is None:
        found = await reader.partitions(program_id)
        await _schedule(context, program_id, metric_id, [(each, 0) for each in found])
        return
    position = item.payload["position"]
    for _ in range(PAGES_PER_WORK):
        events, through = await reader.read(program_id, partition, position)
        if through == position:
            return
        await _count_page(context, program_id, metric_id, events)
        position = through
    await _schedule(context, program_id, metric_id, [(partition, position)])


async def _schedule(context: Context, program_id: str, metric_id: str, places: list[tuple[int, int]]) -> None:
    async def work(connection: db.Connection) -> None:
        now = await context.time.now(connection)
        await due.schedule(
            connection,
            [
                scheduling.backfill_item(program_id, metric_id, now, partition=partition, position=position)
                for partition, position in places
            ],
        )

    await db.transaction(context.pool, work)


async def _count_page(context: Context, program_id: str, metric_id: str, events: list[model.Event]) -> None:
    async def work(connection: db.Connection) -> None:
        rulebook = await context.rulebook(connection, program_id)
        compiled = [each for some in rulebook.by_type.values() for each in some]
        wanted = [each for each in compiled if each.metric.definition_id == metric_id]
        concerned = [each for each in events if wanted and each.type == wanted[0].metric.event_type]
        if not concerned:
            return
        known = await members.lock_members(connection, program_id, sorted({each.member_id for each in concerned}))
        happenings = [one for each in concerned for one in rules.happenings(wanted, each, known[each.member_id])]
        await counting.count(context, connection, program_id, rulebook, happenings)

    await db.transaction(context.pool, work)
