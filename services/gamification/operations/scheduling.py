"""Scheduling: what a definition leads to later is due work, each piece under an id of its own."""

from datetime import date, datetime, timedelta

from services.gamification import boards, model
from services.gamification.operations.context import Context
from services.gamification.store import definitions
from services.kernel import db, due, ids

# Gives what members have reached already by a definition that is new.
CATCH_UP = "catch_up"
# Counts the events that were recorded before their metric was defined.
BACKFILL = "backfill"
# Closes the ranking of a period.
CLOSE = "close_leaderboard"
# Takes the weekly snapshot of cohorts.
COMPARE = "compare"
KINDS = (CATCH_UP, BACKFILL, CLOSE, COMPARE)
WEEK = timedelta(days=7)


async def schedule(connection: db.Connection, program_id: str, made: model.AnyDefinition, now: datetime) -> None:
    """Schedules what a version of a definition leads to, in the caller's transaction."""
    await due.schedule(connection, items(program_id, made, now))


def items(program_id: str, made: model.AnyDefinition, now: datetime) -> list[due.DueItem]:
    """Lists what a version of a definition leads to."""
    if made.state is model.State.ARCHIVED:
        return []
    match made:
        case model.Metric():
            found = [compare_item(program_id, boards.open_start(model.Period.WEEK, now))]
            is_new = made.is_backfilled and made.version == 1
            return [*found, backfill_item(program_id, made.definition_id, now)] if is_new else found
        case model.Leaderboard():
            return [
                close_item(program_id, made.definition_id, period, boards.open_start(period, now))
                for period in made.periods
                if period is not model.Period.ALL_TIME
            ]
        case _:
            return [catch_up_item(program_id, made, "", now)]


def catch_up_item(program_id: str, made: model.AnyDefinition, after: str, now: datetime) -> due.DueItem:
    """Makes the work to go through the members behind one."""
    kind = definitions.kind_of(made)
    payload = {"kind": kind.value, "definition_id": made.definition_id, "version": made.version, "after": after}
    work_id = ids.derived_id(CATCH_UP, kind, made.definition_id, str(made.version), after)
    return due.DueItem(program_id, CATCH_UP, work_id, payload, now)


def backfill_item(
    program_id: str, metric_id: str, now: datetime, *, partition: int | None = None, position: int = 0
) -> due.DueItem:
    """Makes the work to count older events: to find the partitions of the feed, or to go on in one of them."""
    payload = {"metric_id": metric_id, "partition": partition, "position": position}
    return due.DueItem(
        program_id, BACKFILL, ids.derived_id(BACKFILL, metric_id, str(partition), str(position)), payload, now
    )


def close_item(program_id: str, leaderboard_id: str, period: model.Period, start: date) -> due.DueItem:
    """Makes the work to close a ranking when its period is over everywhere."""
    due_at = boards.close_time(period, start)
    assert due_at is not None, "What never ends is never closed."
    payload = {"leaderboard_id": leaderboard_id, "period": period.value, "start": start.isoformat()}
    work_id = ids.derived_id(CLOSE, leaderboard_id, period, start.isoformat())
    return due.DueItem(program_id, CLOSE, work_id, payload, due_at)


def compare_item(program_id: str, week: date) -> due.DueItem:
    """Makes the work to take the snapshot of a week when it is over everywhere."""
    due_at = boards.close_time(model.Period.WEEK, week)
    assert due_at is not None, "A week ends."
    return due.DueItem(
        program_id, COMPARE, ids.derived_id(COMPARE, week.isoformat()), {"week": week.isoformat()}, due_at
    )


async def kick(context: Context) -> None:
    """Asks for what is due at once."""
    for kind in (CATCH_UP, BACKFILL):
        await context.kick(kind, 0)
