"""What is told of balances at an instant and of lots, of what is to be booked, and of the journal to the feed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.kernel import db
from services.ledger import model, views
from services.ledger.model import Owner
from services.ledger.store import QUERIES


async def read_balances(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], as_of: datetime
) -> dict[str, list[views.Balance]]:
    """Tells how members stand at an instant, by asset; members without a wallet are left out."""
    found: dict[str, list[views.Balance]] = {}
    for row in await connection.fetch(QUERIES["read_balances"], program_id, member_ids, as_of):
        member_id, *values = row.values()
        found.setdefault(member_id, []).append(views.Balance(*values))
    return found


async def find_wallet(
    connection: db.Connection, program_id: str, owner: Owner, now: datetime
) -> tuple[int, bool] | None:
    """Finds a wallet, and tells whether something in it is over and yet to be booked."""
    row = await connection.fetchrow(QUERIES["find_wallet"], program_id, *owner, now)
    return (row["wallet_id"], row["is_due"]) if row else None


async def list_lots(
    connection: db.Connection, program_id: str, wallet_id: int, before: int, limit: int
) -> list[views.LotView]:
    """Lists lots below a number, the last made first."""
    rows = await connection.fetch(QUERIES["list_lots"], program_id, wallet_id, before, limit)
    return [
        views.LotView(
            lot_id=model.lot_id(wallet_id, row["number"]),
            number=row["number"],
            amount=row["amount"],
            remaining=row["remaining"] if row["is_open"] else 0,
            held=row["held"],
            expired=0 if row["is_open"] else row["remaining"],
            priority=row["priority"],
            is_promotional=row["is_promotional"],
            effective_at=row["effective_at"],
            expires_at=row["expires_at"],
            origin=cause_of(row),
        )
        for row in rows
    ]


async def list_programs_to_book(connection: db.Connection, now: datetime, limit: int) -> list[str]:
    """Lists the programs in which something is over and yet to be booked."""
    return [row["program_id"] for row in await connection.fetch(QUERIES["list_programs_to_book"], now, limit)]


async def lock_booking(connection: db.Connection, program_id: str) -> bool:
    """Takes the booking of a program until the transaction ends; tells whether nobody else has it."""
    return bool(await connection.fetchval(QUERIES["lock_booking"], program_id))


async def list_to_book(
    connection: db.Connection, program_id: str, now: datetime, *, limit: int, limit_per_wallet: int
) -> dict[Owner, set[int]]:
    """Tells whose lots are over and yet to be booked, by number; no number where it is a hold."""
    found: dict[Owner, set[int]] = {}
    for row in await connection.fetch(QUERIES["list_lots_to_book"], program_id, now, limit, limit_per_wallet):
        found.setdefault((row["member_id"], row["asset"]), set()).add(row["number"])
    for row in await connection.fetch(QUERIES["list_holds_to_book"], program_id, now, limit):
        found.setdefault((row["member_id"], row["asset"]), set())
    return found


async def read_journal(
    connection: db.Connection, program_id: str, partition: int, span: tuple[int, int], kinds: Sequence[str]
) -> list[Any]:
    """Reads the rows of some kinds behind one position up to another, for the feed."""
    rows: list[Any] = await connection.fetch(QUERIES["read_journal"], program_id, partition, *span, list(kinds))
    return rows


def cause_of(row: Any) -> model.Cause:
    """Reads the cause that a row tells."""
    return model.Cause(
        row["cause_event_id"],
        row["cause_rule_id"],
        row["cause_rule_version"],
        row["cause_redemption_id"],
        row["cause_campaign_id"],
    )
