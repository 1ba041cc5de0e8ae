"""Seals: no two rows are hashed alike, and whatever is done to sealed rows or blocks is found, and nothing else is."""

import uuid
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, timedelta, timezone
from hashlib import sha256
from itertools import combinations
from typing import Any

import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.times import EPOCH
from services.ledger import model, seal
from services.ledger.seal import Block, Flaw
from tests.conftest import START

ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC))
)
OBJECTS = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
ROWS = st.lists(SCALARS | OBJECTS, max_size=6)


def typed(value: Any) -> Any:
    """Gives a value with its types, since Python holds True, 1 and 1.0 for equal."""
    if isinstance(value, dict):
        return "dict", {key: typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return "list", [typed(each) for each in value]
    return type(value).__name__, value


def decode(encoded: bytes) -> list[Any]:
    """Reads values back as an outsider would, by the table in the module's docstring."""
    values: list[Any] = []
    while encoded:
        tag, length = encoded[:1], int.from_bytes(encoded[1:5], "big")
        assert len(encoded) >= 5 + length, "A value ends where its length says."
        values.append(READERS[tag](encoded[5 : 5 + length]))
        encoded = encoded[5 + length :]
    return values


READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"N": lambda _: None,
    b"B": lambda content: content == b"\x01",
    b"I": lambda content: int.from_bytes(content, "big", signed=True),
    b"S": lambda content: content.decode(),
    b"X": lambda content: content,
    b"U": lambda content: uuid.UUID(bytes=content),
    b"T": lambda content: EPOCH + timedelta(microseconds=int.from_bytes(content, "big", signed=True)),
    b"L": decode,
    b"D": lambda content: dict(zip(decode(content)[::2], decode(content)[1::2], strict=True)),
}


def seal_rows(rows: list[list[Any]], previous: Block | None = None) -> tuple[Block, list[tuple[int, list[Any]]]]:
    """Seals rows behind a block, and gives them with their positions."""
    block = seal.next_block(previous, [seal.leaf(row) for row in rows], program_id="demo", partition=5, sealed_at=START)
    return block, list(enumerate(rows, start=block.first_position))


def fault(block: Block, rows: list[tuple[int, list[Any]]]) -> tuple[Flaw, int | None]:
    """Tells what is wrong with rows, and where; fails where nothing is found, or in another block."""
    problem = seal.verify_block(block, rows)
    assert problem is not None, "What was done to the rows is found."
    assert problem.number == block.number
    return problem.flaw, problem.position


def make_chain(*sizes: int) -> list[Block]:
    """Seals a chain of blocks of some sizes."""
    blocks: list[Block] = []
    for size in sizes:
        block, _ = seal_rows([[size, number] for number in range(size)], blocks[-1] if blocks else None)
        blocks.append(block)
    return blocks


def flaws(blocks: list[Block]) -> set[tuple[int, Flaw]]:
    """Tells what is wrong with which block of a chain."""
    return {(problem.number, problem.flaw) for problem in seal.verify_chain(blocks)}


@st.composite
def sealed(draw: st.DrawFn, size_min: int = 1) -> tuple[Block, list[tuple[int, list[Any]]]]:
    """Draws a sealed block of rows, which stands first in its chain or further back."""
    before = draw(st.none() | st.just(make_chain(3)[0]))
    rows = draw(st.lists(st.lists(SCALARS, min_size=1, max_size=4), min_size=size_min, max_size=8))
    return seal_rows([[number, *row] for number, row in enumerate(rows)], before)


# Columns as a table has them: of one type with gaps, equal throughout, or whatever comes.
COLUMN_VALUES = [
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1) | st.none(),
    st.sampled_from([1, True]),
    st.sampled_from([{"x": 1}, {"x": True}, {"x": [1]}, {"x": [True]}]),
    st.just("demo"),
    st.none(),
    SCALARS | OBJECTS,
]


@settings(deadline=None)
@given(st.data(), st.lists(st.sampled_from(COLUMN_VALUES), max_size=5), st.integers(0, 6), ROWS)
def test_encode_rows_gives_what_encode_gives(
    data: st.DataObject, kinds: list[st.SearchStrategy[Any]], count: int, before: list[Any]
) -> None:
    """Rows that are encoded together are encoded as each would be alone, behind what they share."""
    rows = [[data.draw(kind) for kind in kinds] for _ in range(count)]

    assert seal.encode_rows(rows, before) == [seal.encode([*before, *row]) for row in rows]


@pytest.mark.parametrize("values", [[1.5], [1, 2**63], [START.replace(tzinfo=None)] * 2, ["\ud800"], [{1: 2}]], ids=str)
def test_encode_rows_refuses_what_encode_refuses(values: list[Any]) -> None:
    """A value that has no encoding is refused among others, too."""
    with pytest.raises(seal.UNENCODABLE):
        seal.encode_rows([[value] for value in values])


@settings(deadline=None)
@given(row=ROWS)
def test_encode_keeps_all_of_a_row(row: list[Any]) -> None:
    """Every row can be read back from its encoding as it was, types included, so that no two rows encode alike."""
    encoded = seal.encode(row)

    assert encoded[:1] == seal.ENCODING_VERSION
    assert typed(decode(encoded[1:])) == typed(row)


@settings(deadline=None)
@given(one=ROWS, other=ROWS)
def test_leaf_differs_where_rows_differ(one: list[Any], other: list[Any]) -> None:
    """Two rows have the same leaf if and only if they have the same values of the same types."""
    assert (seal.leaf(one) == seal.leaf(other)) == (typed(one) == typed(other))


LOOKALIKES: list[list[Any]] = [
    [],
    [None],
    [None, None],
    [""],
    [b""],
    [0],
    [False],
    [1],
    ["1"],
    [b"1"],
    [True],
    ["a", "bc"],
    ["ab", "c"],
    ["abc"],
    [ID],
    [ID.bytes],
    [str(ID)],
    [EPOCH],
    [EPOCH + timedelta(microseconds=1)],
    [{}],
    [[]],
    [{"a": None}],
    [["a", None]],
    [[["a"], None]],
    [{"a": 1}],
    [{"a": "1"}],
    [{"a": {"b": 1}}],
    [{"a": {}, "b": 1}],
    ['{"a":1}'],
    [seal.encode([1])],
]


def test_leaf_keeps_lookalikes_apart() -> None:
    """Rows that look alike, in their texts, types, borders or nesting, have different leaves."""
    for one, other in combinations(LOOKALIKES, 2):
        assert seal.leaf(one) != seal.leaf(other), f"{one} and {other}"


def test_leaf_is_the_same_for_ever() -> None:
    """A row of every type is hashed from exactly the bytes that the module's table says."""
    row = [None, True, False, -2, "é", b"\xff", ID, START, [1], {"b": None, "a": "x"}]
    content = (
        b"\x01"
        b"N\0\0\0\0"
        b"B\0\0\0\x01\x01"
        b"B\0\0\0\x01\x00"
        b"I\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xfe"
        b"S\0\0\0\x02\xc3\xa9"
        b"X\0\0\0\x01\xff"
        b"U\0\0\0\x10\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
        b"T\0\0\0\x08" + (1_772_366_400_000_000).to_bytes(8, "big") + b"L\0\0\0\x0dI\0\0\0\x08\0\0\0\0\0\0\0\x01"
        b"D\0\0\0\x17S\0\0\0\x01aS\0\0\0\x01xS\0\0\0\x01bN\0\0\0\0"
    )

    assert seal.encode(row) == content
    assert seal.leaf(row) == sha256(b"\0" + content).digest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ID, pgproto.UUID(ID.bytes)),
        ("EARN", model.Kind.EARN),
        (START, START.astimezone(timezone(timedelta(hours=-7)))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
    ids=["driver", "enumeration", "zone", "order"],
)
def test_leaf_is_the_same_for_the_same_value(one: Any, other: Any) -> None:
    """A value that is written another way, by the driver, as a member, in another zone or order, has the same leaf."""
    assert seal.leaf([one]) == seal.leaf([other])


def nested(depth: int) -> dict[str, Any]:
    """Makes an object in an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


UNENCODABLE: dict[str, Any] = {
    "fraction": 1.5,
    "fraction within": {"a": 1.5},
    "key": {1: "a"},
    "too large": 2**63,
    "too small": -(2**63) - 1,
    "half a character": "\ud800",
    "no zone": START.replace(tzinfo=None),
    "other type": (),
    "nested": nested(5000),
}


@pytest.mark.parametrize("value", UNENCODABLE.values(), ids=UNENCODABLE)
def test_verify_names_a_row_that_cannot_be_encoded(value: Any) -> None:
    """A value that the ledger never writes is refused by the encoding, and found by its position under a seal."""
    block, rows = seal_rows([["a"], ["b"], ["c"]])
    rows[1] = (rows[1][0], [value])

    assert fault(block, rows) == (Flaw.ROW_MALFORMED, 2)
    with pytest.raises(seal.UNENCODABLE):
        seal.leaf([value])


@settings(deadline=None)
@given(drawn=sealed())
def test_verify_finds_nothing_in_what_was_sealed(drawn: tuple[Block, list[Any]]) -> None:
    """Rows that are as they were sealed have no problem."""
    block, rows = drawn

    assert seal.verify_block(block, rows) is None


@settings(deadline=None)
@given(drawn=sealed(), data=st.data())
def test_verify_finds_a_changed_row(drawn: tuple[Block, list[Any]], data: st.DataObject) -> None:
    """A value that is changed anywhere is found, and by its position where the block has one row only."""
    block, rows = drawn
    index = data.draw(st.integers(0, len(rows) - 1))
    position, row = rows[index]
    column = data.draw(st.integers(0, len(row) - 1))
    value = data.draw(SCALARS.filter(lambda each: typed(each) != typed(row[column])))
    rows[index] = (position, [*row[:column], value, *row[column + 1 :]])

    assert fault(block, rows) == (Flaw.ROOT_DIFFERS, position if len(rows) == 1 else None)


@settings(deadline=None)
@given(drawn=sealed(), data=st.data())
def test_verify_finds_a_removed_row(drawn: tuple[Block, list[Any]], data: st.DataObject) -> None:
    """A row that is gone is named by its position; where those behind it move up, the last position is missing."""
    block, rows = drawn
    index = data.draw(st.integers(0, len(rows) - 1))
    kept = rows[:index] + rows[index + 1 :]
    moved = [(block.first_position + place, row) for place, (_, row) in enumerate(kept)]

    assert fault(block, kept) == (Flaw.ROW_MISSING, rows[index][0])
    assert fault(block, moved) == (Flaw.ROW_MISSING, block.last_position)


@settings(deadline=None)
@given(drawn=sealed(), data=st.data())
def test_verify_finds_an_added_row(drawn: tuple[Block, list[Any]], data: st.DataObject) -> None:
    """A row that is new is named by the position that it shares, or by the one behind the block's last."""
    block, rows = drawn
    index = data.draw(st.integers(0, len(rows) - 1))
    added = [*rows[: index + 1], (rows[index][0], ["new"]), *rows[index + 1 :]]
    moved = [(block.first_position + place, row) for place, (_, row) in enumerate(added)]

    assert fault(block, added) == (Flaw.ROW_SURPLUS, rows[index][0])
    assert fault(block, moved) == (Flaw.ROW_SURPLUS, block.last_position + 1)


@settings(deadline=None)
@given(drawn=sealed(size_min=2), data=st.data())
def test_verify_finds_swapped_rows(drawn: tuple[Block, list[Any]], data: st.DataObject) -> None:
    """Two rows that change places are found, whether they take their positions along or not."""
    block, rows = drawn
    one = data.draw(st.integers(0, len(rows) - 2))
    two = data.draw(st.integers(one + 1, len(rows) - 1))
    swapped = list(rows)
    swapped[one], swapped[two] = rows[two], rows[one]
    renumbered = [(position, row) for (position, _), (_, row) in zip(rows, swapped, strict=True)]

    assert fault(block, swapped) == (Flaw.ROW_MISSING, rows[one][0])
    assert fault(block, renumbered) == (Flaw.ROOT_DIFFERS, None)


def test_verify_survives_a_header_without_rows() -> None:
    """A header that ends before it begins, or goes on far beyond its rows, is a problem and no accident."""
    block, rows = seal_rows([["a"], ["b"]])

    assert fault(replace(block, last_position=0), []) == (Flaw.BLOCK_EMPTY, None)
    assert fault(replace(block, last_position=2**62), rows) == (Flaw.ROW_MISSING, 3)


def test_chain_grows_without_gaps() -> None:
    """Blocks count from 1, their positions go on, each names the one before, and the whole has no problem."""
    blocks = make_chain(3, 1, 5)

    assert [block.number for block in blocks] == [1, 2, 3]
    assert [(block.first_position, block.last_position) for block in blocks] == [(1, 3), (4, 4), (5, 9)]
    assert blocks[0].previous_hash == bytes(32)
    assert [block.previous_hash for block in blocks[1:]] == [seal.block_hash(block) for block in blocks[:-1]]
    assert seal.verify_chain(blocks) == []


def test_chain_is_verified_in_pages() -> None:
    """A page of a chain is sound behind the block before it, and behind nothing or another it is not."""
    blocks = make_chain(3, 1, 5, 2)

    assert seal.verify_chain(blocks[2:], after=blocks[1]) == []
    assert seal.verify_chain(blocks[2:], after=blocks[0])
    assert seal.verify_chain(blocks[2:])


def test_block_hash_is_the_same_for_ever() -> None:
    """A block is hashed from exactly the bytes that the module says."""
    block = Block("demo", 5, 2, 4, 9, b"\x11" * 32, b"\x22" * 32, START)

    def integer(value: int) -> bytes:
        return b"I\0\0\0\x08" + value.to_bytes(8, "big")

    content = b"\x01S\0\0\0\x04demo" + integer(5) + integer(2) + integer(4) + integer(9)
    content += b"X\0\0\0\x20" + b"\x11" * 32 + b"X\0\0\0\x20" + b"\x22" * 32
    content += b"T\0\0\0\x08" + (1_772_366_400_000_000).to_bytes(8, "big")
    assert seal.block_hash(block) == sha256(b"\x02" + content).digest()


CHANGES: dict[str, Any] = {
    "program_id": "other",
    "partition": 6,
    "number": 8,
    "first_position": 5,
    "last_position": 8,
    "previous_hash": b"\x11" * 32,
    "root": b"\x22" * 32,
    "sealed_at": START + timedelta(microseconds=1),
}
SHOWN_BY_ITSELF = {
    "program_id": {(2, Flaw.CHAIN_MIXED), (3, Flaw.CHAIN_MIXED)},
    "partition": {(2, Flaw.CHAIN_MIXED), (3, Flaw.CHAIN_MIXED)},
    "number": {(8, Flaw.NUMBER_GAP), (3, Flaw.NUMBER_GAP)},
    "first_position": {(2, Flaw.POSITION_GAP)},
    "last_position": {(3, Flaw.POSITION_GAP)},
    "previous_hash": {(2, Flaw.LINK_BROKEN)},
    "root": set(),
    "sealed_at": set(),
}


def test_every_field_of_a_header_is_tried() -> None:
    """No field of a block is left out of the changes that must be found."""
    assert list(CHANGES) == [field.name for field in fields(Block)] == list(SHOWN_BY_ITSELF)


@pytest.mark.parametrize("name", CHANGES)
def test_chain_shows_a_changed_header(name: str) -> None:
    """A header in which one field is changed no longer fits the block behind it, nor what it says itself."""
    blocks = make_chain(3, 6, 5)
    blocks[1] = replace(blocks[1], **{name: CHANGES[name]})

    assert flaws(blocks) == {(3, Flaw.LINK_BROKEN), *SHOWN_BY_ITSELF[name]}


def test_chain_shows_a_removed_block() -> None:
    """A block that is gone leaves a gap of numbers and positions, which is named by its first position."""
    blocks = make_chain(3, 6, 5)
    problems = seal.verify_chain([blocks[0], blocks[2]])

    assert {problem.flaw for problem in problems} == {Flaw.NUMBER_GAP, Flaw.POSITION_GAP, Flaw.LINK_BROKEN}
    assert {problem.position for problem in problems if problem.flaw is Flaw.POSITION_GAP} == {4}
    assert flaws(blocks[1:]) == {(2, flaw) for flaw in (Flaw.NUMBER_GAP, Flaw.POSITION_GAP, Flaw.LINK_BROKEN)}


def test_chain_shows_a_repeated_block() -> None:
    """A block that is there twice overlaps itself, from its first position on."""
    blocks = make_chain(3, 6, 5)
    problems = seal.verify_chain([*blocks[:2], *blocks[1:]])

    assert {(problem.number, problem.flaw) for problem in problems} == {
        (2, flaw) for flaw in (Flaw.NUMBER_GAP, Flaw.POSITION_GAP, Flaw.LINK_BROKEN)
    }
    assert {problem.position for problem in problems if problem.flaw is Flaw.POSITION_GAP} == {4}


def test_chain_shows_swapped_blocks() -> None:
    """Two blocks that change places break the links before, between and behind them."""
    blocks = make_chain(3, 6, 5, 1)
    swapped = [blocks[0], blocks[2], blocks[1], blocks[3]]

    assert {number for number, flaw in flaws(swapped) if flaw is Flaw.LINK_BROKEN} == {2, 3, 4}


def test_chain_shows_a_block_without_rows() -> None:
    """A header that ends before it begins, or has a time that is none, is a problem and no accident."""
    blocks = make_chain(3, 6, 5)
    assert (2, Flaw.BLOCK_EMPTY) in flaws([blocks[0], replace(blocks[1], last_position=3), blocks[2]])
    assert (3, Flaw.LINK_BROKEN) in flaws(
        [blocks[0], replace(blocks[1], sealed_at=START.replace(tzinfo=None)), blocks[2]]
    )


def test_chain_sealed_anew_has_another_tip() -> None:
    """Whoever changes a row and seals all again has a sound chain, and yet no block of it has the hash that it had."""
    chains = []
    for text in ("b", "B"):
        first, _ = seal_rows([["a"], [text]])
        chains.append([first, seal_rows([["c"]], first)[0]])

    assert [seal.verify_chain(chain) for chain in chains] == [[], []]
    for sealed_once, sealed_anew in zip(*chains, strict=True):
        assert seal.block_hash(sealed_once) != seal.block_hash(sealed_anew)


def test_chain_has_one_partition() -> None:
    """A block of one partition is never made to follow a block of another."""
    (block,) = make_chain(3)
    with pytest.raises(AssertionError):
        seal.next_block(block, [bytes(32)], program_id="demo", partition=6, sealed_at=START)
    with pytest.raises(AssertionError):
        seal.next_block(block, [bytes(32)], program_id="other", partition=5, sealed_at=START)
