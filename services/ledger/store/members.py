"""What is done to members as such: they are forgotten, or all of a program are given back what expired."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.kernel import db, feed
from services.ledger import model
from services.ledger.model import Owner
from services.ledger.store import QUERIES, writing


@dataclass(frozen=True, slots=True)
class Expired:
    """What had expired in a wallet by an instant, by the number of the lot, and whose it is."""

    wallet_id: int
    owner: Owner
    amounts: dict[int, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """What stands for a request that is no operation of one member."""

    fingerprint: bytes
    posted_at: datetime
    refusal: model.Detail | None
    detail: model.Detail | None


async def find_request(connection: db.Connection, program_id: str, key: uuid.UUID) -> Stored | None:
    """Finds what stands for a request id."""
    row = await connection.fetchrow(QUERIES["find_request"], program_id, key)
    return Stored(row["fingerprint"] or b"", *row[1:]) if row else None


async def insert_request(
    connection: db.Connection, program_id: str, posted_at: datetime, row: model.Row, member_id: str
) -> None:
    """Writes what stands for a request id from now on, last in its transaction: it takes the place in the feed."""
    records = writing.journal_records(program_id, posted_at, [row])
    places = await feed.place(connection, program_id, [member_id])
    await writing.insert_journal(connection, records, places)


async def lock_member(connection: db.Connection, program_id: str, member_id: str) -> dict[int, str]:
    """Locks the wallets of a member in the order of their ids, and tells the asset of each."""
    rows = await connection.fetch(QUERIES["lock_member"], program_id, member_id)
    return {row["wallet_id"]: row["asset"] for row in rows}


async def rename_member(connection: db.Connection, program_id: str, wallet_ids: list[int], name: str) -> None:
    """Gives wallets to another member id."""
    await connection.execute(QUERIES["rename_member"], program_id, wallet_ids, name)


async def bound_wallets(connection: db.Connection, program_id: str, after: int, limit: int) -> tuple[int, int]:
    """Tells the last of the next so many wallets behind one, and how many there are."""
    row = await connection.fetchrow(QUERIES["bound_wallets"], program_id, after, limit)
    assert row is not None, "An aggregate has a row."
    return row["last"] or after, row["count"]


async def list_expired_wallets(
    connection: db.Connection,
    program_id: str,
    asset: str,
    *,
    between: tuple[int, int],
    expired: tuple[datetime, datetime],
    known_at: datetime,
    limit: int,
) -> list[Expired]:
    """Lists wallets behind one and up to another in which something expired within a time, as it was known then.

    Without what the staff ended early, which was meant to end: a wallet that had nothing else has nothing to give back.
    """
    rows = await connection.fetch(
        QUERIES["list_expired_wallets"], program_id, asset, *between, *expired, known_at, limit
    )
    early = {
        (end["wallet_id"], end["posted_at"])
        for end in await connection.fetch(QUERIES["list_early_ends"], program_id, [row["wallet_id"] for row in rows])
    }
    return [Expired(row["wallet_id"], (row["member_id"], asset), _amounts(row, early)) for row in rows]


def _amounts(row: Any, early: set[tuple[int, datetime]]) -> dict[int, int]:
    lots = zip(row["numbers"], row["amounts"], row["ends"], strict=True)
    return {number: amount for number, amount, end in lots if (row["wallet_id"], end) not in early}
