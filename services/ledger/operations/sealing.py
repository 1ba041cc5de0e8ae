"""Sealing: what was posted becomes blocks within a minute, and each day that ended a signed head. Waits for no writer.

Several workers may seal at once: a block is computed from the one before it, and only one can be the next.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import Any

from services.kernel import db, feed, logs
from services.ledger import seal
from services.ledger.errors import SEAL_WAIT_S
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Flaw, Head, Keys, Tip
from services.ledger.store import sealing as store

ROWS_PER_BLOCK = 1000
# How long rows wait for a block to become full: half of what is promised, so that a sweep may come late.
FILL_WAIT = timedelta(seconds=30)
LAG_MAX = timedelta(seconds=SEAL_WAIT_S)
PARTITIONS_MAX = 1000
# A partition with a long backlog gives way to the others after so many blocks.
BLOCKS_PER_TURN = 20
# A run ends at some time, long before the job's timeout; what is left is for the next sweep.
ROWS_PER_RUN = 1_000_000
# A block that took its time before midnight is committed by then, so that a head does not miss it.
DAY_WAIT = timedelta(minutes=2)
HEADS_PER_RUN = 1000


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why sealing cannot pass a row: it is missing, or holds a value that the ledger never writes."""

    position: int
    flaw: Flaw
    message: str


async def seal_due(ledger: Ledger) -> int:
    """Seals full blocks, and rows that have waited long enough for one; tells how many rows."""
    sealed = 0
    left: set[tuple[str, int]] = set()  # nothing to do there, or something in the way
    while sealed < ROWS_PER_RUN:
        found = await db.read(ledger.pool, lambda connection: _find_due(ledger, connection))
        due = [(each.program_id, each.partition) for each in found if (each.program_id, each.partition) not in left]
        if not due:
            break
        for place in due:
            rows = await _seal_partition(ledger, *place)
            sealed += rows
            if not rows:
                left.add(place)
    return sealed


async def _find_due(ledger: Ledger, connection: db.Connection) -> list[store.Waiting]:
    due_at = await ledger.time.now(connection) - FILL_WAIT
    found = await store.list_unsealed(connection, PARTITIONS_MAX)
    return [each for each in found if _is_due(each, due_at)]


def _is_due(waiting: store.Waiting, due_at: datetime) -> bool:
    is_full = waiting.head_position - waiting.last_position >= ROWS_PER_BLOCK
    return is_full or waiting.posted_at is None or waiting.posted_at <= due_at


async def _seal_partition(ledger: Ledger, program_id: str, partition: int) -> int:
    sealed = 0
    for _ in range(BLOCKS_PER_TURN):
        rows = await db.transaction(ledger.pool, lambda c: _seal_block(ledger, c, program_id, partition))
        sealed += rows
        if rows < ROWS_PER_BLOCK:
            break  # That was the rest, something is in the way, or another worker is at this partition.
    return sealed


async def _seal_block(ledger: Ledger, connection: db.Connection, program_id: str, partition: int) -> int:
    """Seals the next rows of a partition, and tells how many; 0 where they wait, or where another worker was first."""
    newest = await store.find_newest_block(connection, program_id, partition)
    previous = newest.block if newest else None
    reached = previous.last_position if previous else 0
    last = await feed.reach(connection, program_id, partition, reached, limit=ROWS_PER_BLOCK)
    rows = await store.read_rows(connection, (program_id, partition), reached + 1, last, ROWS_PER_BLOCK)
    leaves, obstacle = await asyncio.to_thread(_hash_rows, rows, reached + 1, last)
    if obstacle is not None:
        place = {"program": program_id, "partition": partition, "position": obstacle.position}
        logs.get_logger().error("sealing_stopped", **place, flaw=obstacle.flaw, error=obstacle.message)
    now = await ledger.time.now(connection)
    if not leaves or (len(leaves) < ROWS_PER_BLOCK and now - rows[0]["posted_at"] < FILL_WAIT):
        return 0
    block = seal.next_block(previous, leaves, program_id=program_id, partition=partition, sealed_at=now)
    return len(leaves) if await store.insert_block(connection, block) else 0


def _hash_rows(rows: Sequence[Any], first: int, last: int) -> tuple[list[bytes], Obstacle | None]:
    """Hashes rows as far as they stand one behind the other and can be encoded, and tells what is in the way then."""
    places = takewhile(lambda place: place[0] == place[1]["position"], enumerate(rows, first))
    standing = [row for _, row in places]
    try:
        leaves, obstacle = seal.hash_leaves(seal.leaf_contents(standing)), None
    except seal.UNENCODABLE:
        leaves, obstacle = _hash_one_by_one(standing, first)
    missing = first + len(standing)
    if obstacle is None and missing <= last:
        obstacle = Obstacle(missing, Flaw.ROW_MISSING, f"row {missing} is missing")
    return leaves, obstacle


def _hash_one_by_one(rows: Sequence[Any], first: int) -> tuple[list[bytes], Obstacle | None]:
    """Hashes rows up to the first that cannot be encoded."""
    leaves: list[bytes] = []
    for position, row in enumerate(rows, first):
        try:
            leaves.append(seal.leaf(seal.leaf_values(row)))
        except seal.UNENCODABLE as error:
            return leaves, Obstacle(position, Flaw.ROW_MALFORMED, f"row {position} cannot be encoded: {error}")
    return leaves, None


async def find_late(connection: db.Connection, now: datetime) -> list[tuple[store.Waiting, Obstacle | None]]:
    """Lists the partitions whose next row has waited for longer than is promised, each with what is in its way."""
    found = []
    for waiting in await store.list_unsealed(connection, PARTITIONS_MAX):
        if waiting.posted_at is not None and now - waiting.posted_at <= LAG_MAX:
            continue
        place = (waiting.program_id, waiting.partition)
        first = waiting.last_position + 1
        last = min(waiting.head_position, waiting.last_position + ROWS_PER_BLOCK)
        rows = await store.read_rows(connection, place, first, last, ROWS_PER_BLOCK)
        found.append((waiting, _hash_rows(rows, first, last)[1]))
    return found


async def sign_days(ledger: Ledger, keys: Keys) -> int:
    """Signs and stores the head of each day that has ended, program by program; tells how many.

    Each is logged as one line, so that whoever keeps the logs elsewhere has what shows a chain that was made anew.
    """

    async def find(connection: db.Connection) -> list[tuple[str, date]]:
        now = await ledger.time.now(connection)
        return await store.list_days_to_sign(connection, day_start((now - DAY_WAIT).date()), HEADS_PER_RUN)

    signed = 0
    for program_id, day in await db.read(ledger.pool, find):
        signed += await db.transaction(ledger.pool, lambda c, p=program_id, d=day: _sign_day(ledger, c, keys, p, d))  # type: ignore[misc]
    return signed


async def _sign_day(ledger: Ledger, connection: db.Connection, keys: Keys, program_id: str, day: date) -> bool:
    signed = keys.sign(await head_before(connection, program_id, day))
    is_ours = await store.insert_head(connection, signed, await ledger.time.now(connection))
    if is_ours:
        # Before the commit: a line too many does no harm, and one that is missing could not be had again.
        logs.get_logger().info(
            "seal_head_signed",
            program=program_id,
            day=day.isoformat(),
            content=signed.content.decode(),
            signature=base64.b64encode(signed.signature).decode(),
            key_id=seal.key_id(signed.public_key),
        )
    return is_ours


async def head_before(connection: db.Connection, program_id: str, day: date) -> Head:
    """Tells how far a program was sealed when a day ended."""
    blocks = await store.list_tips(connection, program_id, day_start(day + timedelta(days=1)))
    tips = [Tip(each.block.partition, each.block.number, seal.block_hash(each.block)) for each in blocks]
    return Head(program_id, day, tuple(tips))


def day_start(day: date) -> datetime:
    """Gives the instant at which a day begins in UTC."""
    return datetime.combine(day, time(), UTC)
