"""Verifying: blocks against each other, rows of the journal against their blocks, blocks against signed heads."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from services.kernel import db, pages
from services.ledger import seal
from services.ledger.operations.posting import Ledger
from services.ledger.operations.sealing import ROWS_PER_BLOCK, day_start
from services.ledger.seal import Block, Flaw, Problem, StoredBlock
from services.ledger.store import sealing as store

BLOCKS_PER_CALL = BLOCKS_PER_PAGE = 64
NUMBER_MAX = 2**63 - 1
# Many small blocks are read at once, up to so many rows.
ROWS_PER_READ = 2 * ROWS_PER_BLOCK
FINDINGS_MAX = 100
HEADS_PER_READ = 500
# A head that is missing for so long is not merely late.
HEAD_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, as far as it can be told, and a sentence."""

    flaw: Flaw
    message: str
    partition: int | None = None
    number: int | None = None
    position: int | None = None
    day: date | None = None


@dataclass
class Tally:
    """What was looked at, and what is wrong with it: the first findings, and the count of all."""

    blocks: int = 0
    rows: int = 0
    heads: int = 0
    findings: list[Finding] = field(default_factory=list)
    finding_count: int = 0

    def add(self, *findings: Finding) -> None:
        """Adds findings."""
        self.finding_count += len(findings)
        self.findings.extend(findings[: FINDINGS_MAX - len(self.findings)])


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call to verify asks for: a program, one of its partitions or all, and numbers of blocks."""

    program_id: str
    partition: int | None = None
    first: int = seal.FIRST_NUMBER
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a call to verify looked at, how far each partition is sealed, when, and the token to go on with."""

    tally: Tally
    standings: list[store.Standing]
    now: datetime
    token: str


@dataclass(frozen=True, slots=True)
class Range:
    """Some blocks of one partition of a program: from a number on, up to another one or all."""

    program_id: str
    partition: int
    first: int = seal.FIRST_NUMBER
    last: int | None = None


async def verify(ledger: Ledger, scope: Scope, public_keys: Collection[bytes], page_token: str) -> Report:
    """Verifies a page of blocks with their rows; in the first call also the heads, and where each partition ends."""
    arguments = ("seals", scope.program_id, str(scope.partition), str(scope.first), str(scope.last))
    begin = pages.read_cursor(page_token, *arguments, parse=_parse_place)

    async def work(connection: db.Connection) -> Report:
        now, tally = await ledger.time.now(connection), Tally()
        found = await store.read_partitions(connection, scope.program_id)
        if begin is None:
            await verify_heads(connection, scope.program_id, tally, now=now, public_keys=public_keys)
            await verify_ends(connection, scope.program_id, found, tally)
        standings = [each for each in found if scope.partition in (None, each.partition)]
        place = await _verify_page(connection, scope, standings, tally, begin)
        return Report(tally, standings, now, pages.encode_token(list(place), *arguments) if place else "")

    return await db.read(ledger.pool, work)


def _parse_place(partition: Any, number: Any) -> tuple[int, int]:
    # Any number: a block that was put into a partition that cannot be is verified there.
    if type(partition) is not int:
        raise ValueError("A partition has a number.")
    return partition, parse_number(number)


def parse_number(number: Any) -> int:
    """Reads the number of a block out of a token."""
    if type(number) is not int or not 0 < number <= NUMBER_MAX:
        raise ValueError("A block has a number.")
    return number


async def _verify_page(
    connection: db.Connection,
    scope: Scope,
    standings: Sequence[store.Standing],
    tally: Tally,
    begin: tuple[int, int] | None,
) -> tuple[int, int] | None:
    """Verifies blocks, partition by partition, and gives where to go on; None where that was the rest."""
    for standing in standings:
        if begin and standing.partition < begin[0]:
            continue
        first = begin[1] if begin and standing.partition == begin[0] else scope.first
        asked = Range(scope.program_id, standing.partition, first, scope.last)
        number = await verify_blocks(connection, asked, tally, BLOCKS_PER_CALL - tally.blocks)
        if number is not None:
            return standing.partition, number
    return None


async def verify_blocks(connection: db.Connection, asked: Range, tally: Tally, limit: int) -> int | None:
    """Verifies blocks of a partition, at most so many, and the rows under them.

    Gives the number to go on with, None where there are no more.
    """
    after = await _block_before(connection, asked)
    first = asked.first
    while limit > 0:
        page_size = min(limit, BLOCKS_PER_PAGE)
        page = await store.list_blocks(connection, asked.program_id, asked.partition, first, page_size)
        blocks = [each for each in page if asked.last is None or each.block.number <= asked.last]
        if blocks:
            tally.add(*_findings(asked, seal.verify_chain([each.block for each in blocks], after=after)))
            await _verify_rows(connection, asked, blocks, tally)
            after, first = blocks[-1].block, blocks[-1].block.number + 1
            limit -= len(blocks)
        if len(blocks) < page_size:
            return None
    return first


async def _block_before(connection: db.Connection, asked: Range) -> Block | None:
    if asked.first == seal.FIRST_NUMBER:
        return None
    found = await store.find_blocks(connection, asked.program_id, [(asked.partition, asked.first - 1)])
    return next((each.block for each in found.values()), None)


async def _verify_rows(connection: db.Connection, asked: Range, blocks: Sequence[StoredBlock], tally: Tally) -> None:
    for group in _groups(blocks):
        first, last = group[0].block.first_position, group[-1].block.last_position
        # Enough to see rows that are there twice; a block that claims more than it can hold gets too few.
        limit = min(max(last - first, 0), ROWS_PER_READ) + ROWS_PER_BLOCK
        rows = await store.read_rows(connection, (asked.program_id, asked.partition), first, last, limit)
        problems = await asyncio.to_thread(_verify_group, group, rows)
        tally.blocks += len(group)
        tally.rows += len(rows)
        tally.add(*_findings(asked, problems))


def _verify_group(group: Sequence[StoredBlock], rows: Sequence[Any]) -> list[Problem]:
    """Verifies blocks that stand one behind the other, given all their rows in order."""
    problems = []
    taken = 0
    for stored in group:
        block, begin = stored.block, taken
        while taken < len(rows) and rows[taken]["position"] <= block.last_position:
            taken += 1
        if stored.format not in seal.COLUMNS:
            message = f"Block {block.number} has the format {stored.format}, which is not known here."
            problems.append(Problem(block.number, Flaw.FORMAT_UNKNOWN, None, message))
            continue
        problem = _verify_block(stored, rows[begin:taken])
        if problem is not None:
            problems.append(problem)
    return problems


def _verify_block(stored: StoredBlock, rows: Sequence[Any]) -> Problem | None:
    positions = [row["position"] for row in rows]
    try:
        leaves = seal.hash_leaves(seal.leaf_contents(rows, stored.format))
    except seal.UNENCODABLE:
        # Row by row, to tell which one it is.
        values = [seal.leaf_values(row, stored.format) for row in rows]
        return seal.verify_block(stored.block, list(zip(positions, values, strict=True)))
    return seal.verify_leaves(stored.block, positions, leaves)


def _groups(blocks: Iterable[StoredBlock]) -> list[list[StoredBlock]]:
    """Puts blocks together as long as one stands right behind the other and they come to few enough rows."""
    groups: list[list[StoredBlock]] = []
    for each in blocks:
        group = groups[-1] if groups else []
        is_next = bool(group) and each.block.first_position == group[-1].block.last_position + 1
        if is_next and 0 <= each.block.last_position - group[0].block.first_position < ROWS_PER_READ:
            group.append(each)
        else:
            groups.append([each])
    return groups


def _findings(asked: Range, problems: Sequence[Problem]) -> list[Finding]:
    return [Finding(each.flaw, each.message, asked.partition, each.number, each.position) for each in problems]


async def verify_ends(
    connection: db.Connection, program_id: str, standings: Sequence[store.Standing], tally: Tally
) -> None:
    """Finds partitions of a program whose feed ends before what was sealed, and rows that no block can hold."""
    for each in standings:
        if each.head_position < each.last_position:
            sealed = f"Partition {each.partition} was sealed up to position {each.last_position}"
            message = f"{sealed}, and its feed ends at {each.head_position}."
            tally.add(Finding(Flaw.FEED_BEHIND, message, each.partition, each.number))
    for partition, position in await store.list_stray_rows(connection, program_id, standings, FINDINGS_MAX):
        message = f"Row {position} of partition {partition} is none of the journal: no block can hold it."
        tally.add(Finding(Flaw.ROW_SURPLUS, message, partition, position=position))


async def verify_heads(
    connection: db.Connection, program_id: str, tally: Tally, *, now: datetime, public_keys: Collection[bytes] | None
) -> None:
    """Verifies the signatures of all heads of a program, the blocks that they name, and that no day lacks its head.

    Without public keys each head is taken to be signed by the key that is stored beside it.
    """
    day = date.min
    while heads := await store.list_heads(connection, program_id, day, HEADS_PER_READ):
        for head in heads:
            await _verify_head(connection, program_id, head, tally, public_keys)
        day = heads[-1].day
        tally.heads += len(heads)
    for missing in await store.list_days_unsigned(
        connection, program_id, day_start((now - HEAD_WAIT).date()), FINDINGS_MAX
    ):
        message = f"There is no head of {missing}, on which blocks were sealed."
        tally.add(Finding(Flaw.HEAD_MISSING, message, day=missing))


async def _verify_head(
    connection: db.Connection,
    program_id: str,
    stored: store.StoredHead,
    tally: Tally,
    public_keys: Collection[bytes] | None,
) -> None:
    head = _read_head(program_id, stored, public_keys)
    if head is None:
        message = f"The head of {stored.day} is not what a key of this ledger signed."
        tally.add(Finding(Flaw.HEAD_FORGED, message, day=stored.day))
        return
    blocks = await store.find_blocks(connection, program_id, [(tip.partition, tip.number) for tip in head.tips])
    for tip in head.tips:
        found = blocks.get((tip.partition, tip.number))
        if found is None or seal.block_hash(found.block) != tip.block_hash:
            what = "is gone" if found is None else "has another hash now"
            message = f"Block {tip.number}, which was signed on {stored.day}, {what}."
            tally.add(Finding(Flaw.HEAD_DIFFERS, message, tip.partition, tip.number, day=stored.day))


def _read_head(program_id: str, stored: store.StoredHead, public_keys: Collection[bytes] | None) -> seal.Head | None:
    """Reads a head; None where it is not of this program and day, or signed by none of the keys."""
    try:
        head = seal.read_head(stored.content)
        is_signed = seal.verify_head(head, stored.signature, stored.public_key)
    except ValueError:
        return None
    is_ours = public_keys is None or stored.public_key in public_keys
    return head if is_signed and is_ours and (head.program_id, head.day) == (program_id, stored.day) else None


async def verify_program(
    connection: db.Connection,
    program_id: str,
    tally: Tally,
    *,
    now: datetime,
    public_keys: Collection[bytes] | None = None,
) -> None:
    """Verifies everything of a program, however long that takes."""
    await verify_heads(connection, program_id, tally, now=now, public_keys=public_keys)
    standings = await store.read_partitions(connection, program_id)
    await verify_ends(connection, program_id, standings, tally)
    for standing in standings:
        number: int | None = seal.FIRST_NUMBER
        while number is not None:
            asked = Range(program_id, standing.partition, number)
            number = await verify_blocks(connection, asked, tally, BLOCKS_PER_PAGE)
