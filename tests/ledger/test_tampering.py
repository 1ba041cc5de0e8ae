"""Tampering: whatever is done to the journal, its blocks or their heads is found, and the block is named."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plaudit.ledger.v1 import seal_service_pb2

from services.kernel import clock
from services.ledger import checks, seal
from services.ledger.operations import sealing
from services.ledger.seal import formats
from services.ledger.store import QUERIES
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import SEAL_KEYS, LedgerHarness
from tests.support.ledger import adjust, capture, earn, hold, spend
from tests.support.seals import (
    Tamperer,
    Verified,
    flaw_of,
    head_of,
    list_blocks,
    other_value,
    seal_each,
    seal_now,
    verify,
)

DAY = timedelta(days=1)
SEALS = "seals against the journal"
FEED = "feed without gaps"
# Positions in the second of three blocks, and behind the third.
FIRST, MIDDLE, LAST, BEYOND = 4, 6, 9, 12


@pytest.fixture
async def sealed(ledger: LedgerHarness, time: clock.ManualClock) -> LedgerHarness:
    """Runs a ledger whose journal is sealed in three blocks, of 3, 6 and 2 rows."""
    await seal_each(
        ledger,
        time,
        [earn(f"a{number}", amount=100) for number in range(3)],
        [hold("h", amount=30), capture("c", "h"), adjust("d", change=7), spend("s", amount=20), spend("x", amount=999)],
        [earn("b1"), earn("b2")],
    )
    blocks = await list_blocks(ledger)
    assert [block.first_position for block in blocks] == [1, FIRST, LAST + 1]
    assert blocks[-1].last_position == BEYOND - 1
    assert (await verify(ledger)).problems == []
    return ledger


@pytest.fixture
async def tamperer(databases: Databases, ledger_database: str) -> AsyncIterator[Tamperer]:
    """Lends somebody who may change everything, and whom nothing refuses."""
    connection = await databases.admin(ledger_database)
    found = Tamperer(connection)
    await found.unbind("journal", "seal_blocks", "seal_heads")
    yield found
    await connection.close()


async def assert_found(ledger: LedgerHarness, time: clock.ManualClock, *blocks: int) -> Verified:
    """Sees that a verification names these blocks and no others, and that the check complains, too."""
    told = await verify(ledger)
    assert told.blocks_named() == set(blocks), told.problems
    # What was moved to another program is told there.
    moved = await verify(ledger, program="other")
    assert len((await complaints(ledger, time))[SEALS]) == len(told.problems) + len(moved.problems)
    return told


async def complaints(ledger: LedgerHarness, time: clock.ManualClock) -> dict[str, tuple[str, ...]]:
    """Gives what the check says, by subject."""
    return {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}


async def test_verify_finds_changed_value(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A row of which one value was changed is found, whichever column it stands in."""
    rows = await tamperer.connection.fetch(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'journal'::regclass"
        " AND attnum > 0 AND NOT attisdropped"
    )
    for column, kind in rows:
        async with tamperer.undone():
            changed = other_value(column, kind)
            await tamperer.execute(f"UPDATE journal SET {column} = {changed} WHERE position = {MIDDLE}")
            # In a partition that the program does not have, the row is no block's either.
            told = await assert_found(sealed, time, *((0, 2) if column == "partition" else (2,)))
            flaw, position = FLAWS_BY_COLUMN.get(column, ("ROOT_DIFFERS", 0))
            assert (flaw, 2, position) in told.found(), column
    assert (await verify(sealed)).problems == []


FLAWS_BY_COLUMN = dict.fromkeys(("program_id", "partition", "position"), ("ROW_MISSING", MIDDLE))
ODD_VALUES = [
    ("posted_at", "'infinity'"),
    ("posted_at", "'20000-01-01'"),
    ("occurred_at", "'-infinity'"),
    ("refusal", "'null'"),
    ("detail", "'null'"),
    ("detail", "'{\"x\": 1.5}'"),
    ("detail", "'{\"x\": 1e400}'"),
    ("detail", "'{\"x\": 123456789012345678901234567890}'"),
    ("refusal", "(repeat('[', 2000) || repeat(']', 2000))::jsonb"),
]


async def test_verify_finds_value_that_is_never_written(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """A value that the ledger never writes, or that no driver can read, is found in its row and breaks nothing."""
    for column, value in ODD_VALUES:
        async with tamperer.undone():
            await tamperer.execute(f"UPDATE journal SET {column} = {value} WHERE position = {MIDDLE}")
            assert (await assert_found(sealed, time, 2)).found() == {("ROW_MALFORMED", 2, MIDDLE)}, value


async def test_verify_finds_removed_rows(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """Rows that were removed are found by their positions, at either end of a block, within it, and all of it."""
    for first, last in ((FIRST, FIRST), (MIDDLE, MIDDLE), (LAST, LAST), (FIRST, LAST)):
        async with tamperer.undone():
            await tamperer.execute("DELETE FROM journal WHERE position BETWEEN $1 AND $2", first, last)
            assert (await assert_found(sealed, time, 2)).found() == {("ROW_MISSING", 2, first)}


async def test_verify_finds_swapped_rows(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """Rows that changed places are found, within a block and across blocks."""
    swap = "UPDATE journal SET position = $1 + $2 - position WHERE position IN ($1::bigint, $2::bigint)"
    for one, other, blocks in ((FIRST, LAST, {2}), (MIDDLE, 1, {1, 2})):
        async with tamperer.undone():
            await tamperer.execute(swap, one, other)
            found = (await assert_found(sealed, time, *blocks)).found()
            assert found == {("ROOT_DIFFERS", block, 0) for block in blocks}


INSERTED = [
    # partition, position, and the block that is named
    (0, MIDDLE, 2),
    (0, LAST, 2),
    (0, 0, 0),
    (0, -7, 0),
    (0, BEYOND, 0),
    (1, 1, 0),
    (-1, 1, 0),
]


async def test_verify_finds_inserted_row(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A row that was put there is found, among sealed rows and wherever no block can hold it."""
    insert = (
        "INSERT INTO journal (program_id, request_id, leg, kind, partition, position, posted_at, occurred_at, amount) "
        "VALUES ('demo', gen_random_uuid(), 0, 'EARN', $1, $2, $3, $3, 1)"
    )
    for partition, position, block in INSERTED:
        async with tamperer.undone():
            await tamperer.execute(insert, partition, position, START)
            assert (await assert_found(sealed, time, block)).found() == {("ROW_SURPLUS", block, position)}


CHANGED_BLOCKS = [
    ("first_position = first_position + 1", {2, 3}),
    ("last_position = last_position - 1", {2, 3}),
    ("last_position = 4000000000000000000", {2, 3}),
    ("last_position = first_position - 1", {2, 3}),
    ("number = 7", {3, 7}),
    ("previous_hash = root", {2, 3}),
    ("root = previous_hash", {2, 3}),
    ("sealed_at = sealed_at + interval '1 microsecond'", {3}),
    ("sealed_at = 'infinity'", {3}),
    ("format = 99", {2}),
    ("program_id = 'other'", {3}),
    ("partition = 1", {2, 3}),
    ("partition = -1", {2, 3}),
]


async def test_verify_finds_changed_block(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A block that was changed is found at itself, or at the one behind it."""
    for change, blocks in CHANGED_BLOCKS:
        async with tamperer.undone():
            await tamperer.execute(f"UPDATE seal_blocks SET {change} WHERE number = 2")
            await assert_found(sealed, time, *blocks)


async def test_verify_finds_removed_block(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A block that was removed is found where the next one stands."""
    await tamperer.execute("DELETE FROM seal_blocks WHERE number = 2")

    assert {flaw for flaw, _, _ in (await assert_found(sealed, time, 3)).found()} >= {"NUMBER_GAP", "LINK_BROKEN"}


CUT_FEEDS = [
    # what is done, and what is found of it
    (("UPDATE feed_heads SET position = 9",), {("FEED_BEHIND", 3, 0)}),
    (("DELETE FROM feed_heads",), {("FEED_BEHIND", 3, 0)}),
    (
        ("DELETE FROM feed_heads", "DELETE FROM journal"),
        {("FEED_BEHIND", 3, 0), ("ROW_MISSING", 1, 1), ("ROW_MISSING", 2, FIRST), ("ROW_MISSING", 3, LAST + 1)},
    ),
    (
        ("DELETE FROM feed_heads", "DELETE FROM seal_blocks WHERE number = 3"),
        {("FEED_BEHIND", 2, 0), ("ROW_SURPLUS", 0, LAST + 1), ("ROW_SURPLUS", 0, LAST + 2)},
    ),
]


async def test_verify_finds_feed_that_was_cut_short(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """Where the feed ends before what was sealed, or is gone, that is found, and rows and blocks are verified still."""
    for changes, found in CUT_FEEDS:
        async with tamperer.undone():
            for change in changes:
                await tamperer.execute(change)
            assert (await assert_found(sealed, time, *(block for _, block, _ in found))).found() == found
    assert (await verify(sealed)).problems == []


async def test_verify_finds_partition_that_was_dropped(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """A partition without its head is verified as the others are, and has its place in the program's head."""
    await tamperer.execute("INSERT INTO feed_heads SELECT 'demo', number, 0 FROM generate_series(0, 1) AS number")
    await seal_each(ledger, time, [earn(f"e{number}", f"m{number}") for number in range(10)])
    assert (await verify(ledger)).problems == []
    await tamperer.execute("DELETE FROM feed_heads WHERE partition = 0")
    await tamperer.execute("UPDATE journal SET cause_rule_id = 'changed'")

    told = await assert_found(ledger, time, 1)
    assert {(flaw_of(each), each.partition) for each in told.problems} == {
        ("FEED_BEHIND", 0),
        ("ROOT_DIFFERS", 0),
        ("ROOT_DIFFERS", 1),
    }
    assert [tip.partition for tip in (await head_of(ledger)).tips] == [0, 1]


async def test_verify_finds_rows_without_feed(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """Rows that were never sealed are found where their partition has no head, also by the check of positions."""
    await tamperer.execute("INSERT INTO feed_heads SELECT 'demo', number, 0 FROM generate_series(0, 1) AS number")
    await ledger.post(*(earn(f"e{number}", f"m{number}") for number in range(10)))
    for partition in (0, 1):
        async with tamperer.undone():
            rows = await tamperer.connection.fetchval("SELECT count(*) FROM journal WHERE partition = $1", partition)
            await tamperer.execute("DELETE FROM feed_heads WHERE partition = $1", partition)
            found = (await assert_found(ledger, time, 0)).found()
            assert found == {("ROW_SURPLUS", 0, position) for position in range(1, rows + 1)}
            [problem] = (await complaints(ledger, time))[FEED]
            assert problem == f"demo/{partition}: head 0, but {rows} events up to {rows}"
    assert (await complaints(ledger, time))[FEED] == ()


async def sign_today(ledger: LedgerHarness, time: clock.ManualClock) -> str:
    """Lets the day end, and signs its head."""
    day = time.value.date().isoformat()
    time.value += DAY
    assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 1
    return day


@pytest.mark.parametrize("first", [1, 2, 3])
async def test_verify_finds_history_that_was_sealed_anew(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer, first: int
) -> None:
    """Whoever changes rows and seals everything from there on anew agrees with himself, and not with a signed head."""
    day = await sign_today(sealed, time)
    assert (await verify(sealed)).heads == 1
    await tamperer.execute(
        "UPDATE journal SET amount = amount + 1 WHERE position = "
        "(SELECT last_position FROM seal_blocks WHERE number = $1)",
        first,
    )
    await tamperer.execute("DELETE FROM seal_blocks WHERE number >= $1", first)
    await seal_now(sealed, time)

    told = await verify(sealed)
    assert [(each.flaw, each.partition, each.day) for each in told.problems] == [
        (seal_service_pb2.SEAL_FLAW_HEAD_DIFFERS, 0, day)
    ]
    assert told.blocks_named() == {3}


async def test_verify_finds_chain_that_was_cut_short(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """Newest blocks that were removed, with their rows and the head of the feed, are missed by a signed head."""
    await sign_today(sealed, time)
    await tamperer.execute("DELETE FROM seal_blocks WHERE number = 3")
    await tamperer.execute("DELETE FROM journal WHERE position > $1", LAST)
    await tamperer.execute("UPDATE feed_heads SET position = $1", LAST)

    assert (await verify(sealed)).found() == {("HEAD_DIFFERS", 3, 0)}


FORGED = [
    "content = convert_to(replace(convert_from(content, 'UTF8'), '0 3 ', '0 2 '), 'UTF8')",
    "content = 'plaudit'",
    "content = '\\xff'",
    "content = content || '\\x0a'::bytea",
    "signature = sha512(signature)",
    "signature = ''",
    "public_key = sha256(public_key)",
    "public_key = ''",
    "day = day - 1",
    "program_id = 'other'",
]


async def test_verify_finds_changed_head(sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A head that was changed in any part is found, and one that was removed is missed."""
    await sign_today(sealed, time)
    for change in FORGED:
        async with tamperer.undone():
            await tamperer.execute(f"UPDATE seal_heads SET {change}")
            flaws = {flaw for flaw, _, _ in (await assert_found(sealed, time, 0)).found()}
            assert flaws <= {"HEAD_FORGED", "HEAD_MISSING"}, change
    await tamperer.execute("DELETE FROM seal_heads")
    assert (await assert_found(sealed, time, 0)).found() == {("HEAD_MISSING", 0, 0)}


async def test_verify_finds_head_of_a_stranger(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """A head that is whole and signed by another key than those of the ledger is found where these are known."""
    await sign_today(sealed, time)
    stranger = Ed25519PrivateKey.generate()
    content = await tamperer.connection.fetchval("SELECT content FROM seal_heads")
    await tamperer.execute(
        "UPDATE seal_heads SET signature = $1, public_key = $2",
        stranger.sign(content),
        stranger.public_key().public_bytes_raw(),
    )

    assert (await verify(sealed)).found() == {("HEAD_FORGED", 0, 0)}
    pool = sealed.ledger.pool
    for keys, count in ((SEAL_KEYS.public_keys, 1), (None, 0)):
        rows = {row.subject: row.problems for row in await checks.check(pool, time, seal_keys=keys)}
        assert len(rows[SEALS]) == count


async def test_verify_reads_old_format_with_its_columns(
    sealed: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that was sealed before the journal had some column is verified with the columns of its time."""
    monkeypatch.setitem(formats.COLUMNS, 0, formats.COLUMNS[1][:-2])
    rows = await tamperer.connection.fetch(QUERIES["read_rows"], "demo", 0, LAST + 1, BEYOND, 10)
    leaves = [seal.leaf((0, *list(row)[:-2])) for row in rows]
    await tamperer.execute("UPDATE seal_blocks SET format = 0, root = $1 WHERE number = 3", seal.root(leaves))

    assert (await verify(sealed)).problems == []
    await tamperer.execute("UPDATE journal SET amount = amount + 1 WHERE position = $1", LAST + 1)
    assert (await verify(sealed)).found() == {("ROOT_DIFFERS", 3, 0)}


def test_flaw_is_in_the_contract() -> None:
    """Each flaw that can be found can be told, and each that can be told can be found."""
    told = {name.removeprefix("SEAL_FLAW_") for name in seal_service_pb2.SealFlaw.DESCRIPTOR.values_by_name}
    assert {str(flaw) for flaw in seal.Flaw} == told - {"UNSPECIFIED"}


async def test_format_has_every_column(databases: Databases, ledger_database: str) -> None:
    """The newest format seals every column of the journal; a column that comes later needs a new one."""
    connection = await databases.admin(ledger_database)
    rows = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'journal'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    prepared = await connection.prepare(QUERIES["read_rows"])
    read = [attribute.name for attribute in prepared.get_attributes()]
    await connection.close()

    assert sorted(seal.COLUMNS[seal.FORMAT]) == sorted(row["attname"] for row in rows)
    assert tuple(read) == seal.COLUMNS[seal.FORMAT]
