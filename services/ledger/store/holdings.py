"""What is told of a wallet as it stands: its balance now, its holds, and what of it expires when."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from services.kernel import db
from services.ledger import views
from services.ledger.model import HoldState, Owner, Wallet
from services.ledger.store import QUERIES
from services.ledger.store.reading import cause_of


async def read_balances_now(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], now: datetime
) -> tuple[dict[str, list[views.Balance]], list[str]]:
    """Tells how members stand now, by asset; and those in whose wallets a hold has yet to be booked, who are left out.

    Members without a wallet are left out too.
    """
    found: dict[str, list[views.Balance]] = {}
    due = set()
    for row in await connection.fetch(QUERIES["read_balances_now"], program_id, member_ids, now):
        member_id, *values, is_due = row.values()
        found.setdefault(member_id, []).append(views.Balance(*values))
        if is_due:
            due.add(member_id)
    return {member_id: balances for member_id, balances in found.items() if member_id not in due}, sorted(due)


async def read_wallet(connection: db.Connection, program_id: str, owner: Owner) -> Wallet | None:
    """Reads a wallet without locking it."""
    row = await connection.fetchrow(QUERIES["read_wallet"], program_id, *owner)
    return Wallet(*row) if row else None


async def list_holds(
    connection: db.Connection,
    program_id: str,
    owner: Owner,
    *,
    now: datetime,
    is_active: bool,
    before: tuple[datetime, uuid.UUID],
    limit: int,
) -> list[views.HoldView]:
    """Lists holds below a place as they stand at an instant, the newest first; all of them, or those not ended."""
    rows = await connection.fetch(QUERIES["list_holds"], program_id, *owner, *before, is_active, now, limit)
    return [
        views.HoldView(
            hold_id=row["hold_id"],
            request_name=row["request_name"],
            state=HoldState(row["state_now"]),
            amount=row["amount"],
            spent=row["spent"],
            placed_at=row["placed_at"],
            expires_at=row["expires_at"],
            ended_at=row["ended_at_now"],
            cause=cause_of(row),
        )
        for row in rows
    ]


async def list_expirations(
    connection: db.Connection,
    program_id: str,
    wallet_id: int,
    *,
    now: datetime,
    after: datetime,
    until: datetime | None,
    limit: int,
) -> list[views.Expiration]:
    """Lists what can be spent now and expires after an instant and before another one, the earliest first."""
    rows = await connection.fetch(QUERIES["list_expirations"], program_id, wallet_id, now, after, until, limit)
    return [views.Expiration(*row.values()) for row in rows]
