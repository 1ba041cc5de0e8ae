"""Seals the journal: what was written can be proven later, and any row that was changed, removed or swapped is found.

The rows of one (program, partition), in the order of their gapless positions, are cut into blocks. Each row becomes a
leaf, the leaves of a block one Merkle root (RFC 9162 section 2.1), and each block names the hash of the block before
it. Once a day the newest block of each partition is signed: a chain that was cut short or sealed anew as a whole
agrees with itself, and differs only from a head that somebody outside has kept. No I/O, no clock.

Four kinds of bytes are hashed by SHA-256 or signed, and none can be taken for another:

    leaf        0x00, encoded values of a row
    node        0x01, left hash, right hash
    block hash  0x02, encoded values of the header: the fields of `Block`, in their order
    head        text that begins with HEAD_TITLE; see `head_bytes`

Encoded values are ENCODING_VERSION, then for each value a tag, the length of its content in 4 bytes, and the content;
numbers are big-endian:

    N  null      nothing
    B  boolean   one byte, 0 or 1
    I  integer   8 bytes, two's complement
    S  text      UTF-8
    X  bytes     as they are
    U  UUID      16 bytes
    T  instant   microseconds since 1970-01-01T00:00:00Z, 8 bytes, two's complement
    L  list      its values, one behind the other
    D  object    for each key in the order of code points: the key as S, then its value

Values can be read back, since each says where it ends, and so two different rows never encode alike. Fractions have no
tag: nothing near value has any. Hashes are compared for ever, so other columns or types need another version.
"""

import struct
import uuid
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.kernel.times import EPOCH

LEAF_PREFIX, NODE_PREFIX, BLOCK_PREFIX = b"\x00", b"\x01", b"\x02"
ENCODING_VERSION = b"\x01"
HEAD_TITLE = "plaudit ledger head v1"
HASH_BYTES = 32
FIRST_NUMBER = FIRST_POSITION = 1
NO_HASH = bytes(HASH_BYTES)  # stands for the block before the first
# What `encode` raises for a value that the ledger never writes.
UNENCODABLE = (TypeError, ValueError, struct.error, RecursionError)

Value = bool | int | str | bytes | uuid.UUID | datetime | dict[str, Any] | list[Any] | None
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


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest block of a partition, by its number and hash."""

    partition: int
    number: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """How far a program was sealed when a day ended in UTC: one tip for each partition that has a block."""

    program_id: str
    day: date
    tips: tuple[Tip, ...]


class Flaw(StrEnum):
    """What can be wrong with a chain, or with the rows under one of its blocks."""

    CHAIN_MIXED = "CHAIN_MIXED"
    NUMBER_GAP = "NUMBER_GAP"
    POSITION_GAP = "POSITION_GAP"
    BLOCK_EMPTY = "BLOCK_EMPTY"
    LINK_BROKEN = "LINK_BROKEN"
    ROW_MISSING = "ROW_MISSING"
    ROW_SURPLUS = "ROW_SURPLUS"
    ROW_MALFORMED = "ROW_MALFORMED"
    ROOT_DIFFERS = "ROOT_DIFFERS"


@dataclass(frozen=True, slots=True)
class Problem:
    """One flaw: the number of the block, the position at fault (None where it cannot be told), and a sentence."""

    number: int
    flaw: Flaw
    position: int | None
    message: str


def leaf(fields: Sequence[Value]) -> bytes:
    """Hashes one row from all its values, in the order of its columns."""
    return hash_leaf(encode(fields))


def hash_leaf(content: bytes) -> bytes:
    """Hashes the content of one leaf, as RFC 9162 does."""
    return sha256(LEAF_PREFIX + content).digest()


def encode(values: Sequence[Value]) -> bytes:
    """Encodes values as the module says; different values never encode alike.

    Raises TypeError for what has no tag and for instants without a zone, struct.error for integers beyond 64 bits,
    ValueError for texts that UTF-8 cannot write, RecursionError for objects nested beyond reason.
    """
    return ENCODING_VERSION + _join(values)


def root(leaves: Sequence[bytes]) -> bytes:
    """Gives the Merkle root over leaves, one at least: the Merkle Tree Hash of RFC 9162 section 2.1.1."""
    assert leaves, "A block has rows."
    level = list(leaves)
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Gives the hashes that lead from a leaf to the root, lowest first (RFC 9162 section 2.1.3.1)."""
    assert 0 <= index < len(leaves), "A proof is of a leaf of the tree."
    level, proof = list(leaves), []
    while len(level) > 1:
        # The last of an odd level has no neighbour and rises as it is.
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1])
        level, index = _level_above(level), index >> 1
    return proof


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tells whether a proof leads from the leaf at an index of a tree to its root (RFC 9162 section 2.1.3.2).

    `size` comes from the block's header: by itself a proof does not tell a node from a leaf of a smaller tree.
    """
    # A leaf of another length, and a proof to match, could divide the bytes of a node elsewhere.
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    last, computed = size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            computed = _node(sibling, computed)
            # Up through the levels where it had no neighbour.
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            computed = _node(computed, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and computed == root


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


def block_hash(block: Block) -> bytes:
    """Hashes a block's header, which is each of its fields; through `previous_hash` it covers all blocks before it."""
    return sha256(BLOCK_PREFIX + encode(astuple(block))).digest()


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
    if problem := _count_problem(block, rows):
        return problem
    leaves = []
    for position, fields in rows:
        try:
            leaves.append(leaf(fields))
        except UNENCODABLE as error:
            return Problem(block.number, Flaw.ROW_MALFORMED, position, f"Row {position} cannot be encoded: {error}.")
    if root(leaves) == block.root:
        return None
    message = f"Rows {block.first_position} to {block.last_position} are not all what was sealed."
    return Problem(block.number, Flaw.ROOT_DIFFERS, block.first_position if len(rows) == 1 else None, message)


def head_bytes(head: Head) -> bytes:
    r"""Gives what is signed: lines of UTF-8, each ended by a line feed, with nothing else in them.

        plaudit ledger head v1
        <program id>
        <day as YYYY-MM-DD>
        <partition> <number> <block hash>

    The last line is there once for each tip, partitions ascending; integers are decimal, hashes lower-case hex. To
    verify a head an outsider writes these lines and asks any Ed25519 (RFC 8032) for the signature over them.

    Raises ValueError for a program id with a line feed, which no program has.
    """
    if "\n" in head.program_id:
        raise ValueError("A program id has no line feed.")
    tips = sorted(head.tips, key=lambda tip: tip.partition)
    lines = [f"{tip.partition} {tip.number} {tip.block_hash.hex()}" for tip in tips]
    return "".join(f"{line}\n" for line in (HEAD_TITLE, head.program_id, head.day.isoformat(), *lines)).encode()


def sign_head(head: Head, private_key: bytes) -> bytes:
    """Signs a head by Ed25519 with a raw private key of 32 bytes; the signature has 64."""
    assert len({tip.partition for tip in head.tips}) == len(head.tips), "A partition has one tip."
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(head_bytes(head))


def verify_head(head: Head, signature: bytes, public_key: bytes) -> bool:
    """Tells whether a head was signed by the key whose raw public half this is. Raises ValueError where it is none."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, head_bytes(head))
    except InvalidSignature:
        return False
    return True


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    # Pair by pair from the left gives the same tree as the halves of RFC 9162.
    above = [_node(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE_PREFIX + left + right).digest()


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


def _count_problem(block: Block, rows: Sequence[PositionedRow]) -> Problem | None:
    """Finds the first row that is missing or too many: positions go from the block's first to its last, one by one."""
    expected = block.first_position
    if block.last_position < expected:
        return Problem(block.number, Flaw.BLOCK_EMPTY, None, f"Block {block.number} ends before it begins.")
    for position, _ in rows:
        if position < expected or position > block.last_position:
            message = f"Row {position} is there twice, out of order, or not of block {block.number}."
            return Problem(block.number, Flaw.ROW_SURPLUS, position, message)
        if position > expected:
            break
        expected += 1
    if expected <= block.last_position:
        return Problem(block.number, Flaw.ROW_MISSING, expected, f"Row {expected} of block {block.number} is missing.")
    return None


def _encode_null(_: None) -> bytes:
    return b"N\x00\x00\x00\x00"


def _encode_boolean(value: bool) -> bytes:
    return b"B\x00\x00\x00\x01\x01" if value else b"B\x00\x00\x00\x01\x00"


def _encode_integer(value: int) -> bytes:
    return _TAGGED_INTEGER(b"I", 8, value)


def _encode_text(value: str) -> bytes:
    content = value.encode()
    return _TAG(b"S", len(content)) + content


def _encode_bytes(value: bytes) -> bytes:
    return _TAG(b"X", len(value)) + value


def _encode_id(value: uuid.UUID) -> bytes:
    return b"U\x00\x00\x00\x10" + value.bytes


def _encode_instant(value: datetime) -> bytes:
    since = value - EPOCH
    return _TAGGED_INTEGER(b"T", 8, (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)


def _encode_list(value: list[Any]) -> bytes:
    content = _join(value)
    return _TAG(b"L", len(content)) + content


def _encode_object(value: dict[str, Any]) -> bytes:
    if not all(isinstance(key, str) for key in value):
        raise TypeError("the keys of an object are texts")
    content = b"".join([_encode_text(key) + _join((value[key],)) for key in sorted(value)])
    return _TAG(b"D", len(content)) + content


class _Encoders(dict[type, Callable[[Any], bytes]]):
    """Finds the encoder of a type; what derives from one (the driver's UUID, a StrEnum) is encoded as that one is."""

    def __missing__(self, kind: type) -> Callable[[Any], bytes]:
        for base in kind.__mro__:
            if base in self:
                return self.setdefault(kind, self[base])
        raise TypeError(f"a {kind.__name__} has no tag")


# Sealing spends its time here: one lookup finds the encoder, and one call packs tag, length and number.
_TAG = struct.Struct(">cI").pack
_TAGGED_INTEGER = struct.Struct(">cIq").pack
_ENCODERS = _Encoders(
    {
        type(None): _encode_null,
        bool: _encode_boolean,
        int: _encode_integer,
        str: _encode_text,
        bytes: _encode_bytes,
        uuid.UUID: _encode_id,
        datetime: _encode_instant,
        list: _encode_list,
        dict: _encode_object,
    }
)


def _join(values: Sequence[Value]) -> bytes:
    return b"".join([_ENCODERS[type(value)](value) for value in values])
