"""Chains: blocks of rows, each of which names the hash of the one before it, and what can be wrong with them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from services.ledger.seal.encoding import UNENCODABLE, Value, encode
from services.ledger.seal.tree import HASH_BYTES, leaf, root

BLOCK_PREFIX = b"\x02"
FIRST_NUMBER = FIRST_POSITION = 1
NO_HASH = bytes(HASH_BYTES)  # stands for the block before the first

PositionedRow = tuple[int, Sequence[Value]]  # position and all values of the row, in the order of its columns


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of one partition, sealed: `first_position` to `last_position`, both included.

    Blocks count from 1 in each (program, partition). `sealed_at` is the database's time. The fields in their order are
    the header, so they stay as they are.
    """

    program_id: str
    partition: int
    number: int
    first_position: int
    last_position: int
    previous_hash: bytes
    root: bytes
    sealed_at: datetime


class Flaw(StrEnum):
    """What can be wrong with a chain, with the rows under one of its blocks, or with a program's heads and feeds."""

    CHAIN_MIXED = "CHAIN_MIXED"
    NUMBER_GAP = "NUMBER_GAP"
    POSITION_GAP = "POSITION_GAP"
    BLOCK_EMPTY = "BLOCK_EMPTY"
    LINK_BROKEN = "LINK_BROKEN"
    ROW_MISSING = "ROW_MISSING"
    ROW_SURPLUS = "ROW_SURPLUS"
    ROW_MALFORMED = "ROW_MALFORMED"
    ROOT_DIFFERS = "ROOT_DIFFERS"
    FORMAT_UNKNOWN = "FORMAT_UNKNOWN"
    HEAD_DIFFERS = "HEAD_DIFFERS"
    HEAD_FORGED = "HEAD_FORGED"
    HEAD_MISSING = "HEAD_MISSING"
    FEED_BEHIND = "FEED_BEHIND"


@dataclass(frozen=True, slots=True)
class Problem:
    """One flaw: the number of the block, the position at fault (None where it cannot be told), and a sentence."""

    number: int
    flaw: Flaw
    position: int | None
    message: str


def next_block(
    previous: Block | None, leaves: Sequence[bytes], *, program_id: str, partition: int, sealed_at: datetime
) -> Block:
    """Makes the block of the leaves that follow a block, or that begin a chain where there is none before."""
    assert previous is None or (previous.program_id, previous.partition) == (program_id, partition), "One chain."
    first_position = previous.last_position + 1 if previous else FIRST_POSITION
    return Block(
        program_id=program_id,
        partition=partition,
        number=previous.number + 1 if previous else FIRST_NUMBER,
        first_position=first_position,
        last_position=first_position + len(leaves) - 1,
        previous_hash=block_hash(previous) if previous else NO_HASH,
        root=root(leaves),
        sealed_at=sealed_at,
    )


def block_header(block: Block) -> bytes:
    """Encodes what is hashed of a block: each of its fields."""
    return encode(astuple(block))


def block_hash(block: Block) -> bytes:
    """Hashes a block's header; through `previous_hash` it covers all blocks before it."""
    return sha256(BLOCK_PREFIX + block_header(block)).digest()


def verify_chain(blocks: Sequence[Block], *, after: Block | None = None) -> list[Problem]:
    """Lists what is wrong with the links of a chain, given in order: numbers, positions and hashes of the block before.

    `after` is the block that these follow, so that a long chain can be verified in pages; None where they begin it.
    A header that was changed shows at the block behind it; behind the newest block only a head shows it.
    """
    problems = []
    for block in blocks:
        problems += _link_problems(after, block)
        after = block
    return problems


def verify_block(block: Block, rows: Sequence[PositionedRow]) -> Problem | None:
    """Tells the first problem of the rows under a block, given in the order of their positions; None where all is well.

    Rows that are missing, too many or unreadable are named by position. Where the root differs the position is known
    in a block of one row only: a root says that something was changed or swapped, and not where.
    """
    leaves = []
    for position, fields in rows:
        try:
            leaves.append(leaf(fields))
        except UNENCODABLE as error:
            message = f"Row {position} cannot be encoded: {error}."
            malformed = Problem(block.number, Flaw.ROW_MALFORMED, position, message)
            return _count_problem(block, [each for each, _ in rows]) or malformed
    return verify_leaves(block, [position for position, _ in rows], leaves)


def verify_leaves(block: Block, positions: Sequence[int], leaves: Sequence[bytes]) -> Problem | None:
    """Tells the first problem of the rows under a block, as `verify_block` does, from their positions and hashes."""
    if problem := _count_problem(block, positions):
        return problem
    if root(leaves) == block.root:
        return None
    message = f"Rows {block.first_position} to {block.last_position} are not all what was sealed."
    return Problem(block.number, Flaw.ROOT_DIFFERS, block.first_position if len(leaves) == 1 else None, message)


def _link_problems(previous: Block | None, block: Block) -> list[Problem]:
    chain = (previous or block).program_id, (previous or block).partition
    number = previous.number + 1 if previous else FIRST_NUMBER
    position = previous.last_position + 1 if previous else FIRST_POSITION
    first, fault = block.first_position, min(position, block.first_position)
    checks = (
        (Flaw.CHAIN_MIXED, (block.program_id, block.partition) == chain, None, "is of another program or partition"),
        (Flaw.NUMBER_GAP, block.number == number, None, f"stands where block {number} is expected"),
        (Flaw.POSITION_GAP, first == position, fault, f"begins with row {first}, and row {position} is next"),
        (Flaw.BLOCK_EMPTY, block.last_position >= first, None, "ends before it begins"),
        (Flaw.LINK_BROKEN, _follows(previous, block), None, "follows another hash than the block before it has"),
    )
    return [
        Problem(block.number, flaw, at, f"Block {block.number} {what}.")
        for flaw, is_kept, at, what in checks
        if not is_kept
    ]


def _follows(previous: Block | None, block: Block) -> bool:
    try:
        return block.previous_hash == (block_hash(previous) if previous else NO_HASH)
    except UNENCODABLE:
        return False  # A header that cannot be encoded was never sealed.


def _count_problem(block: Block, positions: Sequence[int]) -> Problem | None:
    """Finds the first row that is missing or too many: positions go from the block's first to its last, one by one."""
    expected = block.first_position
    if block.last_position < expected:
        return Problem(block.number, Flaw.BLOCK_EMPTY, None, f"Block {block.number} ends before it begins.")
    for position in positions:
        if position < expected or position > block.last_position:
            message = f"Row {position} is there twice, out of order, or not of block {block.number}."
            return Problem(block.number, Flaw.ROW_SURPLUS, position, message)
        if position > expected:
            break
        expected += 1
    if expected <= block.last_position:
        return Problem(block.number, Flaw.ROW_MISSING, expected, f"Row {expected} of block {block.number} is missing.")
    return None
