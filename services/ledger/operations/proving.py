"""Proving: what outsiders get to see of the seals, so that they need not take our word."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.kernel import db, pages
from services.ledger import errors, seal
from services.ledger.operations import verifying
from services.ledger.operations.posting import Ledger
from services.ledger.operations.sealing import ROWS_PER_BLOCK, head_before
from services.ledger.operations.verifying import Range
from services.ledger.seal import Block, Head, Keys, SignedHead
from services.ledger.store import sealing as store


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves one row: its content, the names of its columns, its place, and the hashes that lead to the root."""

    content: bytes
    columns: tuple[str, ...]
    index: int
    size: int
    siblings: list[bytes]
    block: Block


async def prove(ledger: Ledger, program_id: str, request_key: uuid.UUID, leg: int) -> Proof:
    """Proves one row of the journal. Raises ENTRY_NOT_FOUND, ENTRY_NOT_SEALED and SEAL_BROKEN."""
    entry_id = f"{request_key}.{leg}"

    async def find(connection: db.Connection) -> tuple[int, seal.StoredBlock, list[Any]]:
        place = await store.find_row(connection, program_id, request_key, leg)
        if place is None:
            raise errors.entry_not_found(entry_id)
        partition, position = place
        found = await store.find_block_of(connection, program_id, partition, position)
        if found is None:
            raise errors.entry_not_sealed(entry_id)
        first, last = found.block.first_position, found.block.last_position
        rows = await store.read_rows(connection, (program_id, partition), first, last, ROWS_PER_BLOCK + 1)
        return position, found, rows

    position, found, rows = await db.read(ledger.pool, find)
    proof = await asyncio.to_thread(_make_proof, found, rows, position)
    if proof is None:
        raise errors.seal_broken(found.block.partition, found.block.number)
    return proof


def _make_proof(stored: seal.StoredBlock, rows: Sequence[Any], position: int) -> Proof | None:
    """Makes the proof of the row at a position; None where the rows of the block are not what was sealed."""
    block = stored.block
    if stored.format not in seal.COLUMNS:
        return None
    try:
        contents = seal.leaf_contents(rows, stored.format)
    except seal.UNENCODABLE:
        return None
    leaves = seal.hash_leaves(contents)
    if seal.verify_leaves(block, [row["position"] for row in rows], leaves):
        return None
    index = position - block.first_position
    return Proof(
        content=contents[index],
        columns=seal.COLUMNS[stored.format],
        index=index,
        size=len(leaves),
        siblings=seal.inclusion_proof(leaves, index),
        block=block,
    )


async def get_head(ledger: Ledger, program_id: str, keys: Keys, day: date | None) -> tuple[SignedHead, bool]:
    """Gives the head of a day, or signs that of this moment; tells whether it is kept. Raises HEAD_NOT_FOUND."""

    async def work(connection: db.Connection) -> tuple[SignedHead, bool]:
        if day is not None:
            return await _find_head(connection, program_id, day), True
        today = (await ledger.time.now(connection)).date()
        head = await head_before(connection, program_id, today)
        if not head.tips:
            raise errors.head_not_found(today.isoformat())
        return keys.sign(head), False

    return await db.read(ledger.pool, work)


async def _find_head(connection: db.Connection, program_id: str, day: date) -> SignedHead:
    stored = await store.find_head(connection, program_id, day)
    if stored is None:
        raise errors.head_not_found(day.isoformat())
    try:
        head = seal.read_head(stored.content)
    except ValueError:
        head = Head(program_id, day, ())  # Not what was signed, which its signature shows to whoever asked for it.
    return SignedHead(head, stored.content, stored.signature, stored.public_key)


async def list_blocks(ledger: Ledger, asked: Range, *, page_size: int, page_token: str) -> tuple[list[Block], str]:
    """Lists a page of blocks, the oldest first, and the token of the next one."""
    limit = pages.page_size(page_size)
    arguments = ("seal_blocks", asked.program_id, str(asked.partition), str(asked.first))
    first = pages.read_cursor(page_token, *arguments, parse=verifying.parse_number) or asked.first
    found = await db.read(
        ledger.pool,
        lambda connection: store.list_blocks(connection, asked.program_id, asked.partition, first, limit + 1),
    )
    blocks = [each.block for each in found]
    if len(blocks) <= limit:
        return blocks, ""
    return blocks[:limit], pages.encode_token([blocks[limit].number], *arguments)
