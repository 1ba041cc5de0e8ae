"""Sealing: every row is sealed once and in time, whoever seals at once, whatever dies or stands in the way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import structlog
from plaudit.ledger.v1 import ledger_pb2, seal_service_pb2

from services.devstack.redis import EmbeddedRedis
from services.kernel import clock, db
from services.ledger import checks
from services.ledger.operations import sealing
from services.ledger.operations.posting import Ledger
from services.ledger.operations.sealing import FILL_WAIT, ROWS_PER_BLOCK
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import capture, earn, hold, spend
from tests.support.processes import ledger_worker, run_process
from tests.support.seals import Tamperer, list_blocks, seal_each, seal_now, verify
from tests.support.waiting import eventually

SECOND = timedelta(seconds=1)
SEALS = "seals against the journal"


@pytest.fixture
async def tamperer(databases: Databases, ledger_database: str) -> AsyncIterator[Tamperer]:
    """Lends somebody who may change everything."""
    connection = await databases.admin(ledger_database)
    yield Tamperer(connection)
    await connection.close()


async def post_many(ledger: LedgerHarness, count: int, *, name: str = "e", program: str = "demo") -> None:
    """Posts so many earns, of several members."""
    for start in range(0, count, ROWS_PER_BLOCK):
        numbers = range(start, min(start + ROWS_PER_BLOCK, count))
        await ledger.post(*(earn(f"{name}{number}", f"m{number % 7}") for number in numbers), program=program)


def sizes(blocks: list[seal_service_pb2.SealBlock]) -> list[int]:
    """Gives the number of rows of each block."""
    return [block.last_position - block.first_position + 1 for block in blocks]


async def test_seal_waits_for_full_blocks(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A thousand rows are sealed at once, and fewer when the oldest has waited for half a minute."""
    await post_many(ledger, ROWS_PER_BLOCK)
    assert await sealing.seal_due(ledger.ledger) == ROWS_PER_BLOCK
    await post_many(ledger, 2 * ROWS_PER_BLOCK + 30, name="more")
    assert await sealing.seal_due(ledger.ledger) == 2 * ROWS_PER_BLOCK
    time.value += FILL_WAIT - SECOND
    await ledger.post(earn("late"))
    assert await sealing.seal_due(ledger.ledger) == 0
    time.value += SECOND
    assert await sealing.seal_due(ledger.ledger) == 31

    assert sizes(await list_blocks(ledger)) == [*3 * [ROWS_PER_BLOCK], 31]
    told = await verify(ledger)
    assert (told.problems, told.blocks, told.rows) == ([], 4, 3 * ROWS_PER_BLOCK + 31)


async def test_seal_keeps_its_promise_of_lag(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """With a sweep every 15 s, which is slower than the worker's, no row waits for longer than a minute."""
    lags = []
    for step in range(40):
        await ledger.post(earn(f"e{step}"))
        time.value += 5 * SECOND
        if step % 3 == 0:
            await sealing.seal_due(ledger.ledger)
        [partition] = (await verify(ledger)).partitions
        lags.append(partition.lag_s)

    assert 30 <= max(lags) <= 60
    assert (await verify(ledger)).problems == []
    assert len(await list_blocks(ledger)) <= 8


async def test_seal_covers_every_kind_of_row(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Entries, holds and refusals are sealed alike, with what Plaudit books by itself."""
    await ledger.post(
        earn("e1", "m2", expires=START + SECOND), earn("e2"), hold("h"), capture("c", "h"), spend("s", amount=999)
    )
    time.value += SECOND
    assert (await ledger.statement("m2"))[0].kind == ledger_pb2.ENTRY_KIND_EXPIRY
    await seal_now(ledger, time)

    told = await verify(ledger)
    assert (told.problems, told.rows) == ([], told.partitions[0].head_position)
    assert told.rows > 6


async def test_seal_takes_each_partition_by_itself(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """Each partition of each program has a chain of its own, and verifies alone or with the others."""
    await tamperer.execute(
        "INSERT INTO feed_heads (program_id, partition, position) SELECT 'wide', n, 0 FROM generate_series(0, 2) AS n"
    )
    await ledger.post(*(earn(f"e{number}", f"m{number}") for number in range(40)), program="wide")
    await ledger.post(earn("e"))
    assert await seal_now(ledger, time) == 41

    told = await verify(ledger, program="wide")
    assert (told.problems, told.blocks, told.rows) == ([], 3, 40)
    assert [each.partition for each in told.partitions] == [0, 1, 2]
    assert all(each.sealed_position == each.head_position > 0 == each.lag_s for each in told.partitions)
    alone = await verify(ledger, program="wide", partition=1)
    assert [each.partition for each in alone.partitions] == [1]
    assert (alone.blocks, alone.rows) == (1, told.partitions[1].head_position)
    assert [block.partition for block in await list_blocks(ledger, program="wide", partition=2)] == [2]


async def test_seal_is_raced_by_others(databases: Databases, ledger: LedgerHarness, ledger_database: str) -> None:
    """Of workers that seal at once each row is sealed by one, and none fails."""
    await post_many(ledger, 7 * ROWS_PER_BLOCK)
    await post_many(ledger, 3 * ROWS_PER_BLOCK, program="other")
    pools = [await db.create_pool(databases.dsn(ledger_database, "ledger"), service="work") for _ in range(2)]
    workers = [Ledger(pools[number % 2], ledger.ledger.time) for number in range(8)]
    sealed = await asyncio.gather(*(sealing.seal_due(each) for each in workers))
    for each in workers:
        await each.writes.close()
    for pool in pools:
        await pool.close()

    assert sum(sealed) == 10 * ROWS_PER_BLOCK
    for program, blocks in (("demo", 7), ("other", 3)):
        told = await verify(ledger, program=program)
        assert (told.problems, told.blocks, told.rows) == ([], blocks, blocks * ROWS_PER_BLOCK)


async def test_seal_does_not_wait_for_writers(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What is committed is sealed while a writer holds the head of the feed, and that writer is never passed."""
    await ledger.post(earn("e1"))
    time.value += FILL_WAIT
    async with ledger.ledger.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT position FROM feed_heads WHERE program_id = 'demo' FOR UPDATE")
        assert await sealing.seal_due(ledger.ledger) == 1
        writer = asyncio.create_task(ledger.post(earn("e2")))
        time.value += FILL_WAIT
        assert await sealing.seal_due(ledger.ledger) == 0
        assert not writer.done()
    await writer
    time.value += FILL_WAIT
    assert await sealing.seal_due(ledger.ledger) == 1
    assert (await verify(ledger)).problems == []


BROKEN = [
    (
        "UPDATE journal SET detail = '{\"x\": 1.5}' WHERE program_id = 'demo' AND position = 3",
        "row 3 cannot be encoded",
    ),
    ("UPDATE journal SET detail = 'null' WHERE program_id = 'demo' AND position = 3", "row 3 cannot be encoded"),
    ("UPDATE journal SET posted_at = 'infinity' WHERE program_id = 'demo' AND position = 3", "row 3 cannot be encoded"),
    ("UPDATE journal SET occurred_at = '20000-01-01' WHERE program_id = 'demo' AND position = 3", "row 3 cannot be"),
    ("DELETE FROM journal WHERE program_id = 'demo' AND position = 3", "row 3 is missing"),
    ("DELETE FROM journal WHERE program_id = 'demo' AND position > 2", "row 3 is missing"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
async def test_seal_tells_what_stands_in_its_way(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer, change: str, message: str
) -> None:
    """A row that cannot be sealed stops its partition there and no other, and shows in the log, check and status."""
    for program in ("demo", "other"):
        await ledger.post(*(earn(f"e{number}") for number in range(5)), program=program)
    await tamperer.execute(change.replace("{}", "WHERE program_id = 'demo' AND position"))
    with structlog.testing.capture_logs() as lines:
        assert await seal_now(ledger, time) == 7
        time.value += timedelta(minutes=5)
        assert await sealing.seal_due(ledger.ledger) == 0

    stopped = [line for line in lines if line["event"] == "sealing_stopped"]
    assert {(line["program"], line["partition"], line["position"]) for line in stopped} == {("demo", 0, 3)}
    assert all(message in line["error"] and line["log_level"] == "error" for line in stopped)
    rows = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    [problem] = rows[SEALS]
    assert f"demo, partition 0: sealing cannot go on: {message}" in problem
    [row] = [row for row in await checks.status(ledger.ledger.pool) if row.value == "stopped"]
    assert (row.subject, message in row.detail) == ("sealing demo/0", True)


async def test_seal_misses_the_last_row(ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer) -> None:
    """A row that is missing at the very end of the feed is missed, too."""
    await ledger.post(*(earn(f"e{number}") for number in range(5)))
    await tamperer.execute("DELETE FROM journal WHERE position = 5")
    with structlog.testing.capture_logs() as lines:
        assert await seal_now(ledger, time) == 4
        assert await sealing.seal_due(ledger.ledger) == 0

    assert [line["position"] for line in lines if line["event"] == "sealing_stopped"][-1:] == [5]


async def test_seal_goes_on_once_the_way_is_free(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """When what stood in the way is mended, sealing goes on from there and all is well."""
    await ledger.post(*(earn(f"e{number}") for number in range(5)))
    await tamperer.execute("UPDATE journal SET detail = '{\"x\": 1.5}' WHERE position = 3")
    assert await seal_now(ledger, time) == 2
    await tamperer.execute("UPDATE journal SET detail = NULL WHERE position = 3")
    assert await seal_now(ledger, time) == 3

    told = await verify(ledger)
    assert (told.problems, told.rows) == ([], 5)


async def test_check_misses_whoever_should_seal(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The check complains where rows wait for an hour while others are posted, and status tells how many wait."""
    await seal_each(ledger, time, [earn("e1")])
    await ledger.post(earn("e2"))
    time.value += timedelta(hours=2)
    assert await complaints(ledger, time) == ()
    await ledger.post(earn("e3"))

    [problem] = await complaints(ledger, time)
    assert problem.startswith("demo, partition 0: rows have waited since 2026-03-01T12:01:00Z")
    [row] = [row for row in await checks.status(ledger.ledger.pool) if row.subject == "rows to seal"]
    assert row.value == "2"
    await seal_now(ledger, time)
    assert await complaints(ledger, time) == ()


async def complaints(ledger: LedgerHarness, time: clock.ManualClock) -> tuple[str, ...]:
    """Gives what the check says of the seals."""
    rows = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    return rows[SEALS]


async def test_forgotten_member_leaves_seals_valid(
    ledger: LedgerHarness, time: clock.ManualClock, tamperer: Tamperer
) -> None:
    """A wallet that names nobody any more changes nothing that was sealed."""
    await seal_each(ledger, time, [earn("e1"), spend("s1", amount=10)])
    await tamperer.execute("UPDATE wallets SET member_id = 'nobody' WHERE member_id = 'm1'")

    told = await verify(ledger)
    assert (told.problems, told.rows) == ([], 2)


async def test_verify_goes_on_call_by_call(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A long chain is verified in calls of 64 blocks, and any range of its blocks alone."""
    for number in range(70):
        await seal_each(ledger, time, [earn(f"e{number}")])

    told = await verify(ledger)
    assert (told.problems, told.blocks, told.rows, told.calls) == ([], 70, 70, 2)
    for first, last, blocks in ((3, 5, 3), (66, 0, 5), (1, 64, 64), (70, 99, 1), (71, 0, 0)):
        part = await verify(ledger, first_block=first, last_block=last)
        assert (part.problems, part.blocks) == ([], blocks)


@pytest.fixture
async def busy(databases: Databases, ledger_database: str) -> AsyncIterator[LedgerHarness]:
    """Runs a ledger by the clock of its database, as its workers do."""
    async with run_ledger(databases.dsn(ledger_database, "ledger"), clock.DatabaseClock()) as harness:
        yield harness


async def flush(server: EmbeddedRedis) -> None:
    """Makes Redis forget everything."""
    client: Any = redis.asyncio.from_url(server.url)  # type: ignore[no-untyped-call]
    async with client:
        await client.flushall()


async def test_killed_worker_leaves_chain_whole(
    databases: Databases, ledger_database: str, busy: LedgerHarness, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """When a worker is killed half-way and Redis forgets everything, each row is sealed once by the next one."""
    worker = ledger_worker(databases.dsn(ledger_database, "ledger"), redis_server.url, tmp_path / "log")

    async def sealed() -> int:
        return sum((each.sealed_position for each in (await verify(busy, first_block=2**40)).partitions), 0)

    await post_many(busy, 16 * ROWS_PER_BLOCK)
    async with run_process(worker):
        await eventually(lambda: _is_beyond(sealed, 0))
        await worker.kill()
        await flush(redis_server)
        await post_many(busy, 2 * ROWS_PER_BLOCK, name="later")
        worker.start()
        await eventually(lambda: _is_beyond(sealed, 18 * ROWS_PER_BLOCK - 1))

    told = await verify(busy)
    assert (told.problems, told.rows) == ([], 18 * ROWS_PER_BLOCK)
    assert sizes(await list_blocks(busy)) == [ROWS_PER_BLOCK] * 18


async def _is_beyond(sealed: Any, position: int) -> bool:
    return bool(await sealed() > position)
