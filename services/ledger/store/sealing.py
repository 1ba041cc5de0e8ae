"""Blocks, heads and the rows of the journal under them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.kernel import db
from services.ledger import seal
from services.ledger.seal import Block, SignedHead, StoredBlock
from services.ledger.store import QUERIES

# What the driver raises for an instant beyond the calendar, and for a document that is too deep, has huge numbers or is
# JSON's null.
UNREADABLE = (OverflowError, ValueError)
# A position has one row; of several that somebody put there it is enough to see that they are several.
POSITION_ROWS_MAX = 2


@dataclass(frozen=True, slots=True)
class Waiting:
    """A partition with rows behind its newest block; `posted_at` of the next one, None where that is gone or broken."""

    program_id: str
    partition: int
    head_position: int
    last_position: int
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a partition reaches and is sealed; `posted_at` of the next row, None where there is none.

    `head_position` is 0 where the partition has no head, as `number` and `last_position` are where it has no block.
    """

    partition: int
    head_position: int
    number: int
    last_position: int
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A head as it is stored, which need not be what was stored once."""

    day: date
    content: bytes
    signature: bytes
    public_key: bytes


async def list_unsealed(connection: db.Connection, limit: int) -> list[Waiting]:
    """Lists the partitions of all programs that have rows behind their newest block, the oldest row first."""
    return [Waiting(*row) for row in await connection.fetch(QUERIES["list_unsealed"], limit)]


async def read_partitions(connection: db.Connection, program_id: str) -> list[Standing]:
    """Tells how far each partition of a program is sealed, of those that have a head or a block."""
    sealed = await _list_sealed_partitions(connection, program_id)
    return [Standing(*row) for row in await connection.fetch(QUERIES["read_partitions"], program_id, sealed)]


async def _list_sealed_partitions(connection: db.Connection, program_id: str) -> list[int]:
    """Lists the partitions of a program that have blocks, whatever heads its feed has."""
    return [row["partition"] for row in await connection.fetch(QUERIES["list_sealed_partitions"], program_id)]


async def find_newest_posting(connection: db.Connection) -> datetime | None:
    """Tells when the newest row was posted; None where nothing was ever sealed."""
    found: datetime | None = await connection.fetchval(QUERIES["find_newest_posting"])
    return found


async def list_sealed_programs(connection: db.Connection) -> list[str]:
    """Lists the programs that may have something sealed."""
    return [row["program_id"] for row in await connection.fetch(QUERIES["list_sealed_programs"])]


async def find_newest_block(connection: db.Connection, program_id: str, partition: int) -> StoredBlock | None:
    """Finds the newest block of a partition."""
    row = await connection.fetchrow(QUERIES["find_newest_block"], program_id, partition)
    return _block(row) if row else None


async def find_block_of(
    connection: db.Connection, program_id: str, partition: int, position: int
) -> StoredBlock | None:
    """Finds the block that holds a position; None where it is not sealed."""
    row = await connection.fetchrow(QUERIES["find_block_of"], program_id, partition, position)
    return _block(row) if row and row["last_position"] >= position else None


async def list_blocks(
    connection: db.Connection, program_id: str, partition: int, first_number: int, limit: int
) -> list[StoredBlock]:
    """Lists the blocks of a partition from a number on."""
    rows = await connection.fetch(QUERIES["list_blocks"], program_id, partition, first_number, limit)
    return [_block(row) for row in rows]


async def find_blocks(
    connection: db.Connection, program_id: str, places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], StoredBlock]:
    """Finds blocks by partition and number; those that are not there are left out."""
    partitions, numbers = [partition for partition, _ in places], [number for _, number in places]
    rows = await connection.fetch(QUERIES["find_blocks"], program_id, partitions, numbers)
    return {(row["partition"], row["number"]): _block(row) for row in rows}


async def list_tips(connection: db.Connection, program_id: str, before: datetime) -> list[StoredBlock]:
    """Tells the newest block of each partition that was sealed before an instant."""
    sealed = await _list_sealed_partitions(connection, program_id)
    return [_block(row) for row in await connection.fetch(QUERIES["list_tips"], program_id, before, sealed)]


async def insert_block(connection: db.Connection, block: Block) -> bool:
    """Adds a block in the newest format, and tells whether it did: not where another worker was first."""
    number = await connection.fetchval(
        QUERIES["insert_block"],
        block.program_id,
        block.partition,
        block.number,
        block.first_position,
        block.last_position,
        block.previous_hash,
        block.root,
        block.sealed_at,
        seal.FORMAT,
    )
    return number is not None


async def read_rows(
    connection: db.Connection, place: tuple[str, int], first_position: int, last_position: int, limit: int
) -> list[Any]:
    """Reads rows of the journal of a program and partition, both positions included.

    A row that the driver cannot read, which the ledger never wrote, holds the driver's error in each column.
    """
    try:
        rows: list[Any] = await connection.fetch(QUERIES["read_rows"], *place, first_position, last_position, limit)
    except UNREADABLE:
        last_position = min(last_position, first_position + limit - 1)
        return [
            row
            for position in range(first_position, last_position + 1)
            for row in await _read_row(connection, place, position)
        ]
    return rows


async def _read_row(connection: db.Connection, place: tuple[str, int], position: int) -> list[Any]:
    try:
        rows: list[Any] = await connection.fetch(QUERIES["read_rows"], *place, position, position, POSITION_ROWS_MAX)
    except UNREADABLE as error:
        return [dict.fromkeys(seal.COLUMNS[seal.FORMAT], error) | {"position": position}]
    return rows


async def find_row(
    connection: db.Connection, program_id: str, request_key: uuid.UUID, leg: int
) -> tuple[int, int] | None:
    """Tells the partition and position of a row of the journal."""
    row = await connection.fetchrow(QUERIES["find_row"], program_id, request_key, leg)
    return (row["partition"], row["position"]) if row else None


async def list_stray_rows(
    connection: db.Connection, program_id: str, standings: Sequence[Standing], limit: int
) -> list[tuple[int, int]]:
    """Lists the partitions and positions of rows that no block can hold, given all partitions of the program."""
    # Rows under a block are verified with it, also where the head is gone.
    last_positions = [max(each.head_position, each.last_position) for each in standings]
    partitions = [each.partition for each in standings]
    rows = await connection.fetch(QUERIES["list_stray_rows"], program_id, partitions, last_positions, limit)
    return [(row["partition"], row["position"]) for row in rows]


async def list_days_to_sign(connection: db.Connection, before: datetime, limit: int) -> list[tuple[str, date]]:
    """Lists the programs and days that ended before an instant and have no head yet."""
    rows = await connection.fetch(QUERIES["list_days_to_sign"], before, limit)
    return [(row["program_id"], row["day"]) for row in rows]


async def list_days_unsigned(connection: db.Connection, program_id: str, before: datetime, limit: int) -> list[date]:
    """Lists the days of a program on which something was sealed, and that have no head."""
    rows = await connection.fetch(QUERIES["list_days_unsigned"], program_id, before, limit)
    return [row["day"] for row in rows]


async def insert_head(connection: db.Connection, signed: SignedHead, signed_at: datetime) -> bool:
    """Adds the head of a day, and tells whether it did: not where another worker was first."""
    day = await connection.fetchval(
        QUERIES["insert_head"],
        signed.head.program_id,
        signed.head.day,
        signed.content,
        signed.signature,
        signed.public_key,
        signed_at,
    )
    return day is not None


async def find_head(connection: db.Connection, program_id: str, day: date) -> StoredHead | None:
    """Finds the head of a day."""
    row = await connection.fetchrow(QUERIES["find_head"], program_id, day)
    return StoredHead(*row) if row else None


async def list_heads(connection: db.Connection, program_id: str, after: date, limit: int) -> list[StoredHead]:
    """Lists the heads of a program behind a day, the oldest first."""
    return [StoredHead(*row) for row in await connection.fetch(QUERIES["list_heads"], program_id, after, limit)]


def _block(row: Any) -> StoredBlock:
    *header, number = row.values()
    return StoredBlock(Block(*header), number)
