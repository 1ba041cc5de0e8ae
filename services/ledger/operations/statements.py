"""Statements: what came and went within a time, and what one operation moved."""

from datetime import datetime

from services.kernel import db, ids
from services.kernel import errors as kernel_errors
from services.ledger import errors, model, views
from services.ledger.model import Owner
from services.ledger.operations.posting import Ledger
from services.ledger.operations.reading import read_booked
from services.ledger.store import loading, statements

# Entries that are told of one operation, which may have ended 10,000 lots: 4.5 KB each where the words about them are
# as long as they may be, and with the allocations no more than the 4 MiB that clients of gRPC take.
ENTRIES_MAX = 500


async def summarize_statement(
    ledger: Ledger, program_id: str, owner: Owner, *, start: datetime | None, end: datetime | None
) -> views.Summary:
    """Sums up what happened from an instant on and before another one: whatever has passed never changes.

    Without them, from the first entry on and up to now. Raises FIELD_INVALID.
    """
    if start is not None and end is not None and start >= end:
        raise kernel_errors.field_invalid(kernel_errors.Violation("startTime", "must be before endTime"))

    async def work(connection: db.Connection, wallet_id: int, now: datetime) -> views.Summary:
        del now
        return await statements.sum_statement(connection, program_id, wallet_id, start, end)

    return await read_booked(ledger, program_id, owner, work, until=end) or views.Summary()


async def get_operation(
    ledger: Ledger, program_id: str, request_id: str
) -> tuple[model.Outcome, list[views.Entry], bool]:
    """Tells how an operation ended, as it was first answered, the first entries that it made, and whether it made more.

    Raises OPERATION_NOT_FOUND.
    """
    key = ids.request_key(request_id)

    async def work(connection: db.Connection) -> tuple[model.Outcome, list[views.Entry]] | None:
        _, found = await loading.find_outcomes(connection, program_id, [key])
        if key not in found:
            return None
        outcome = found[key].outcome
        outcome.replayed = False
        return outcome, await statements.list_operation_entries(connection, program_id, key, ENTRIES_MAX + 1)

    answer = await db.read(ledger.pool, work)
    if answer is None:
        raise errors.operation_not_found(request_id)
    outcome, entries = answer
    return outcome, entries[:ENTRIES_MAX], len(entries) > ENTRIES_MAX
