"""What is told of entries: lines of statements, their sums, and what one operation made."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.kernel import db
from services.ledger import model, views
from services.ledger.store import QUERIES
from services.ledger.store.reading import cause_of


async def list_entries(
    connection: db.Connection, program_id: str, wallet_id: int, before: int, limit: int
) -> list[views.Entry]:
    """Lists entries below a number, newest first."""
    return _entries(await connection.fetch(QUERIES["list_entries"], program_id, wallet_id, before, limit))


async def list_operation_entries(
    connection: db.Connection, program_id: str, key: uuid.UUID, limit: int
) -> list[views.Entry]:
    """Lists the first entries that an operation made, in order."""
    return _entries(await connection.fetch(QUERIES["list_operation_entries"], program_id, key, limit))


async def sum_statement(
    connection: db.Connection, program_id: str, wallet_id: int, start: datetime | None, end: datetime | None
) -> views.Summary:
    """Sums the entries of a wallet from an instant on and before another one."""
    row = await connection.fetchrow(QUERIES["sum_statement"], program_id, wallet_id, start, end)
    assert row is not None, "An aggregate has a row."
    return views.Summary(*row.values())


def _entries(rows: Iterable[Any]) -> list[views.Entry]:
    return [
        views.Entry(
            entry_id=f"{row['request_id']}.{row['leg']}",
            kind=model.Kind(row["kind"]),
            asset=row["asset"],
            amount=row["amount"],
            balance=row["balance"],
            sequence=row["sequence"],
            occurred_at=row["occurred_at"],
            posted_at=row["posted_at"],
            cause=cause_of(row),
            reason=row["reason"] or "",
            actor=row["actor"] or "",
        )
        for row in rows
    ]
