"""How far the feed was told of budgets: read and written by batches that have locked these budgets whole."""

from collections.abc import Iterable, Sequence

from services.kernel import db, ids
from services.ledger import model
from services.ledger.store import QUERIES


async def read_alert_marks(
    connection: db.Connection, program_id: str, budgets: Sequence[model.Budget]
) -> dict[str, model.AlertMark]:
    """Reads how far the feed was told of budgets that are locked whole.

    By a statement of its own once the locks are held: the one that waited for them may know what was before.
    """
    rows = await connection.fetch(QUERIES["read_alert_marks"], program_id, [budget.budget_id for budget in budgets])
    marks = {
        row["budget_id"]: model.AlertMark(
            row["budget_id"], tuple(row["alert_percents"]), row["told_percent"] or 0, row["alert_count"]
        )
        for row in rows
    }
    new = {row["budget_id"] for row in rows if row["told_percent"] is None}
    if new:
        await _follow_older_code(connection, program_id, [each for each in budgets if each.budget_id in new], marks)
    return marks


async def _follow_older_code(
    connection: db.Connection,
    program_id: str,
    budgets: Sequence[model.Budget],
    marks: dict[str, model.AlertMark],
) -> None:
    """Finds what older code told of budgets that nobody has looked at since: it knew a share by what was put in."""
    keys = {
        ids.derived_id("budget-alert", budget.budget_id, str(percent), str(budget.remaining + budget.used)): (
            marks[budget.budget_id],
            percent,
        )
        for budget in budgets
        for percent in marks[budget.budget_id].percents
    }
    told = {row["request_id"] for row in await connection.fetch(QUERIES["find_told"], program_id, list(keys))}
    for budget in budgets:
        marks[budget.budget_id].is_changed = True
    for key, (mark, percent) in keys.items():
        if key in told:
            mark.told_percent = max(mark.told_percent, percent)


async def update_alert_marks(connection: db.Connection, program_id: str, marks: Iterable[model.AlertMark]) -> None:
    """Writes how far the feed was told of the budgets of which it was told something, or may be told again."""
    changed = [mark for mark in marks if mark.is_changed]
    if not changed:
        return
    await connection.execute(
        QUERIES["update_alert_marks"],
        program_id,
        [mark.budget_id for mark in changed],
        [mark.told_percent for mark in changed],
        [mark.alert_count for mark in changed],
    )
