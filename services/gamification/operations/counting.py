"""Counting: what the program's feed tells becomes values, and values become what members have reached.

Whoever counts holds the locks of the members concerned, so that what was stored of them stands still meanwhile.
"""

from collections.abc import Sequence

from services.gamification import model, rules, tallies
from services.gamification.operations import reaching
from services.gamification.operations.context import Context
from services.gamification.store import members, metrics
from services.kernel import db

Told = model.Event | model.Member


async def take(context: Context, connection: db.Connection, program_id: str, told: Sequence[Told]) -> None:
    """Takes what a feed tells, in its order, with the caller's transaction. Events that were counted change nothing."""
    rulebook = await context.rulebook(connection, program_id)
    events = [each for each in told if not isinstance(each, model.Event) or each.type in rulebook.by_type]
    if not events:
        return
    known = await members.lock_members(connection, program_id, sorted({each.member_id for each in events}))
    changed: dict[str, model.Member] = {}
    found: list[model.Happening] = []
    for each in events:
        if isinstance(each, model.Member):
            changed[each.member_id] = known[each.member_id] = each
        else:
            found += rules.happenings(rulebook.by_type[each.type], each, known[each.member_id])
    if changed:
        await members.put_members(connection, program_id, changed.values())
    await count(context, connection, program_id, rulebook, found)


async def count(
    context: Context,
    connection: db.Connection,
    program_id: str,
    rulebook: rules.Rulebook,
    happenings: Sequence[model.Happening],
) -> None:
    """Counts what was not counted yet, and publishes what members reach by it."""
    fresh = await metrics.insert_events(connection, program_id, happenings) if happenings else []
    if not fresh:
        return
    marked = await metrics.mark_days(connection, program_id, tallies.days(fresh, rulebook.counts_days))
    additions = tallies.sums(fresh, rulebook.counts_days) + tallies.of_days(marked)
    changes = marked + await metrics.add_values(connection, program_id, additions)
    await reaching.reach(context, connection, program_id, rulebook, reaching.Batch.of(fresh, changes))
