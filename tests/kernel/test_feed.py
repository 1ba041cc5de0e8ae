"""K3, publishing and reading: gapless and in commit order, and no reader passes what has yet to commit."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from services.kernel import checks, db, errors, feed
from tests.conftest import START
from tests.support.feeds import TYPE, happened, heads, page, publish, split
from tests.support.waiting import PATIENCE_S, eventually, settle

WRITERS = 64
MEMBERS = [f"m{number}" for number in range(20)]


async def place(pool: db.Pool, *member_ids: str, program: str = "demo") -> list[tuple[int, int]]:
    """Takes positions in a transaction of their own."""
    return await db.transaction(pool, lambda connection: feed.place(connection, program, member_ids))


async def counted_place(pool: db.Pool, member_ids: Sequence[str]) -> tuple[list[tuple[int, int]], int]:
    """Takes positions, and tells by how many statements."""
    statements: list[Any] = []

    async def work(connection: db.Connection) -> list[tuple[int, int]]:
        with connection.query_logger(statements.append):
            return await feed.place(connection, "demo", member_ids)

    return await db.transaction(pool, work), len(statements)


async def problems(pool: db.Pool) -> list[str]:
    """Replays the feed against its heads."""
    rows: list[checks.CheckRow] = await db.read(pool, feed.check)
    return [problem for row in rows for problem in row.problems]


async def test_append_counts_from_one(feed_pool: db.Pool) -> None:
    """The events of a program get positions from 1 in their order, and are read as they were published."""
    await publish(feed_pool, happened("m1", "a"), happened("m2", "b"))
    await publish(feed_pool, happened("m1", "c"))
    read = await page(feed_pool)

    assert [(event.position, event.member_id, event.payload) for event in read.events] == [
        (1, "m1", b"a"),
        (2, "m2", b"b"),
        (3, "m1", b"c"),
    ]
    assert {(event.program_id, event.type, event.posted_at) for event in read.events} == {("demo", TYPE, START)}
    assert read.through_position == 3
    assert await heads(feed_pool) == [feed.Head("demo", 0, 3)]


async def test_append_of_nothing_leaves_nothing(feed_pool: db.Pool) -> None:
    """Publishing no events makes no head and no position."""
    await publish(feed_pool)

    assert await feed_pool.fetchval("SELECT count(*) FROM feed_heads") == 0
    assert await page(feed_pool) == feed.Page([], 0)


async def test_append_that_rolls_back_leaves_no_gap(feed_pool: db.Pool) -> None:
    """Positions of a transaction that is rolled back are given to the next one."""

    async def breaks(connection: db.Connection) -> None:
        await feed.append(connection, "demo", START, [happened("m1")] * 5)
        raise ValueError("for once")

    await publish(feed_pool, happened("m1"))
    with pytest.raises(ValueError, match="for once"):
        await db.transaction(feed_pool, breaks)
    await publish(feed_pool, happened("m1", "next"))

    assert [(event.position, event.payload) for event in (await page(feed_pool)).events] == [(1, b""), (2, b"next")]


async def test_place_counts_up_by_partition(feed_pool: db.Pool) -> None:
    """Each member gets the next position of its partition, in the order in which they were given."""
    await split(feed_pool, 3)
    first, second = await place(feed_pool, *MEMBERS), await place(feed_pool, *reversed(MEMBERS))

    assert [partition for partition, _ in first] == [feed.partition_of(member_id, 3) for member_id in MEMBERS]
    assert [partition for partition, _ in second] == [feed.partition_of(each, 3) for each in reversed(MEMBERS)]
    for partition in range(3):
        positions = [position for where, position in first + second if where == partition]
        assert positions == list(range(1, len(positions) + 1))
        assert feed.Head("demo", partition, len(positions)) in await heads(feed_pool)


async def test_place_of_nothing_takes_nothing(feed_pool: db.Pool) -> None:
    """Where nothing happened no position is taken and no head made."""
    assert await place(feed_pool) == []
    assert await feed_pool.fetchval("SELECT count(*) FROM feed_heads") == 0


async def test_place_is_one_statement(feed_pool: db.Pool) -> None:
    """Once this process knows the number of a program's partitions, any number of positions takes one statement."""
    await split(feed_pool, 5)
    await place(feed_pool, "m1")
    placed, statements = await counted_place(feed_pool, MEMBERS * 50)

    assert (len(placed), statements) == (1000, 1)


async def test_place_sees_that_partitions_were_added_or_are_others(feed_pool: db.Pool) -> None:
    """However often the number of partitions changes, the next position is taken by what it is then."""
    counts = [1, 2, 64, 3, 1]
    for partitions in counts:
        await feed_pool.execute("DELETE FROM feed_heads")
        await split(feed_pool, partitions)
        (placed, _), (_, one) = [await counted_place(feed_pool, MEMBERS) for _ in range(2)]
        assert [partition for partition, _ in placed] == [feed.partition_of(each, partitions) for each in MEMBERS]
        assert one == 1


async def test_place_raced_with_new_partitions_is_gapless(feed_pool: db.Pool) -> None:
    """Partitions may be added while 64 writers are at it: no position is lost or given twice, and all see them."""
    await split(feed_pool, 2)
    placed: list[tuple[int, int]] = []

    async def write() -> None:
        for _ in range(3):
            placed.extend(await place(feed_pool, *MEMBERS))

    async def add() -> None:
        for partition in range(2, 10):
            await feed_pool.execute("INSERT INTO feed_heads VALUES ('demo', $1, 0)", partition)

    await asyncio.gather(add(), *(write() for _ in range(WRITERS)))

    reach = {head.partition: head.position for head in await heads(feed_pool)}
    assert sorted(placed) == [(each, position) for each in sorted(reach) for position in range(1, reach[each] + 1)]
    assert {partition for partition, _ in await place(feed_pool, *MEMBERS)} == {
        feed.partition_of(member_id, 10) for member_id in MEMBERS
    }


async def test_place_forgets_rather_than_grows(feed_pool: db.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of programs is bounded, and forgetting costs nothing but a look."""
    monkeypatch.setattr(feed, "PROGRAMS_SEEN_MAX", 3)
    monkeypatch.setattr(feed, "_partitions_seen", {})
    for number in range(10):
        assert await place(feed_pool, "m1", program=f"p{number}") == [(0, 1)]
        assert len(feed._partitions_seen) <= 3
    assert await place(feed_pool, "m1", program="p0") == [(0, 2)]


@pytest.mark.parametrize("partitions", [1, 5])
async def test_append_raced_is_gapless(feed_pool: db.Pool, partitions: int) -> None:
    """64 writers with several partitions between them leave no gap, no position twice, and each member's order."""
    await split(feed_pool, partitions)

    async def write(number: int) -> None:
        for step in range(3):
            member_ids = [f"m{(number + place) % 9}" for place in range(4)]
            await publish(feed_pool, *(happened(each, f"{number}.{step}") for each in member_ids))

    await asyncio.gather(*(write(number) for number in range(WRITERS)))

    total = 0
    for partition in range(partitions):
        read = await page(feed_pool, partition)
        assert [event.position for event in read.events] == list(range(1, len(read.events) + 1))
        assert {feed.partition_of(event.member_id, partitions) for event in read.events} <= {partition}
        for number in range(WRITERS):
            steps = [event.payload for event in read.events if event.payload.startswith(b"%d." % number)]
            assert steps == sorted(steps)
        total += len(read.events)
    assert total == WRITERS * 3 * 4
    assert await problems(feed_pool) == []


async def test_position_order_is_commit_order(feed_pool: db.Pool) -> None:
    """Whatever a reader has once seen of a partition is all that was ever to be seen up to there."""
    await split(feed_pool, 3)
    writing = asyncio.gather(*(publish(feed_pool, happened(f"m{number}")) for number in range(300)))
    known: dict[int, list[uuid.UUID]] = {0: [], 1: [], 2: []}
    while not writing.done():
        for partition, before in known.items():
            now = [event.event_id for event in (await page(feed_pool, partition)).events]
            assert now[: len(before)] == before
            known[partition] = now
    await writing

    assert sum([len((await page(feed_pool, partition)).events) for partition in known]) == 300


async def test_reader_never_passes_what_has_yet_to_commit(feed_pool: db.Pool) -> None:
    """While a transaction has published and not committed, later ones wait, and readers see neither them nor a hole."""
    await publish(feed_pool, happened("m1", "before"))
    async with feed_pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await feed.append(slow, "demo", START, [happened("m1", "slow")])
        later = [asyncio.create_task(publish(feed_pool, happened(f"m{number}", "later"))) for number in range(5)]
        await eventually(lambda: _waiting(feed_pool, 5))
        during = await page(feed_pool)
        await transaction.commit()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*later)

    assert [event.payload for event in during.events] == [b"before"]
    assert during.through_position == 1
    after = await page(feed_pool, after=during.through_position)
    assert [event.payload for event in after.events] == [b"slow", *[b"later"] * 5]


async def _waiting(pool: db.Pool, count: int) -> bool:
    """Tells whether so many transactions wait for a lock in this database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await pool.fetchval(query) == count)


async def test_writers_of_other_partitions_do_not_wait(feed_pool: db.Pool) -> None:
    """A transaction that has yet to commit holds up its own partitions only."""
    await split(feed_pool, 2)
    mine = next(f"m{n}" for n in range(100) if feed.partition_of(f"m{n}", 2) == 0)
    other = next(f"m{n}" for n in range(100) if feed.partition_of(f"m{n}", 2) == 1)
    async with feed_pool.acquire() as slow, slow.transaction():
        await feed.append(slow, "demo", START, [happened(mine)])
        async with asyncio.timeout(PATIENCE_S):
            await publish(feed_pool, happened(other))
        assert len((await page(feed_pool, 1)).events) == 1


async def test_programs_do_not_share_positions(feed_pool: db.Pool) -> None:
    """Each program counts for itself and is read by itself."""
    await publish(feed_pool, happened("m1"), happened("m1"), program="other")
    await publish(feed_pool, happened("m1"))

    assert {(head.program_id, head.position) for head in await heads(feed_pool)} == {("other", 2), ("demo", 1)}
    assert {event.program_id for event in (await page(feed_pool)).events} == {"demo"}


async def test_first_events_of_a_program_raced(feed_pool: db.Pool) -> None:
    """The very first events of a program may come from many writers at once."""
    await asyncio.gather(*(publish(feed_pool, happened(f"m{number}")) for number in range(WRITERS)))

    assert await heads(feed_pool) == [feed.Head("demo", 0, WRITERS)]
    assert await problems(feed_pool) == []


async def test_read_pages_meet_without_gap_or_overlap(feed_pool: db.Pool) -> None:
    """Pages of any size put together are the whole feed."""
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(25)))
    position, found = 0, []
    while (read := await page(feed_pool, after=position, limit=7)).through_position > position:
        assert len(read.events) <= 7
        found += [int(event.payload) for event in read.events]
        position = read.through_position

    assert found == list(range(25))
    assert await page(feed_pool, after=25) == feed.Page([], 25)
    assert await page(feed_pool, after=2**62) == feed.Page([], 2**62)
    assert await page(feed_pool, partition=7) == feed.Page([], 0)


async def test_read_of_some_types_moves_past_the_others(feed_pool: db.Pool) -> None:
    """Events of other types are left out, and the position still moves past them."""
    await publish(feed_pool, happened("m1", kind="a"), happened("m1", kind="b"), happened("m1", kind="c"))

    some = await page(feed_pool, types=["a", "b"])
    none = await page(feed_pool, types=["x"])
    assert [event.type for event in some.events] == ["a", "b"]
    assert (some.through_position, none) == (3, feed.Page([], 3))


def test_member_stays_in_its_partition() -> None:
    """A member's partition is the same for ever on every machine, and members spread over all of them."""
    assert [feed.partition_of(member_id, 64) for member_id in ("m1", "m2", "Zoë")] == [47, 21, 42]
    assert {feed.partition_of(f"m{number}", 64) for number in range(2000)} == set(range(64))
    assert {feed.partition_of(f"m{number}", 1) for number in range(100)} == {0}


async def test_check_sees_what_is_missing(feed_pool: db.Pool) -> None:
    """An event that was removed, or a head that was moved, is told by the check."""
    await publish(feed_pool, *(happened("m1") for _ in range(3)))
    assert await problems(feed_pool) == []
    await feed_pool.execute("DELETE FROM feed_events WHERE position = 2")
    assert await problems(feed_pool) == ["demo/0: head 3, but 2 events up to 3"]
    with pytest.raises(AssertionError):
        await page(feed_pool)


async def test_check_counts_where_the_service_says(feed_pool: db.Pool) -> None:
    """The positions of a service that keeps them in rows of its own are counted there, not in `feed_events`."""
    query = """
        SELECT head.program_id, head.partition, head.position, count(entry.position), coalesce(max(entry.position), 0)
            AS last
        FROM feed_heads AS head LEFT JOIN entries AS entry USING (program_id, partition)
        GROUP BY head.program_id, head.partition, head.position
    """
    await feed_pool.execute("CREATE TABLE entries (program_id text, partition integer, position bigint)")
    for partition, position in await place(feed_pool, "m1", "m2", "m3"):
        await feed_pool.execute("INSERT INTO entries VALUES ('demo', $1, $2)", partition, position)

    [row, _] = await db.read(feed_pool, lambda connection: feed.check(connection, query))
    assert (row.examined, row.problems) == (3, ())
    assert await problems(feed_pool) == ["demo/0: head 3, but 0 events up to 0"]
    await feed_pool.execute("DELETE FROM entries WHERE position = 3")
    [row, _] = await db.read(feed_pool, lambda connection: feed.check(connection, query))
    assert row.problems == ("demo/0: head 3, but 2 events up to 2",)


async def test_watch_tells_heads_at_once_without_wait(feed_pool: db.Pool) -> None:
    """Without a wait the heads are told as they are."""
    watch = feed.HeadWatch(feed_pool)
    await publish(feed_pool, happened("m1"))

    assert await watch.wait(0) == [feed.Head("demo", 0, 1)]


async def test_watch_wakes_every_waiter_on_news(feed_pool: db.Pool) -> None:
    """Whoever waits is told of news as it comes, all of them by the same few looks."""
    watch = feed.HeadWatch(feed_pool)
    waiters = [asyncio.create_task(watch.wait(PATIENCE_S)) for _ in range(20)]

    async def tell() -> bool:
        await publish(feed_pool, happened("m1"))
        return all(waiter.done() for waiter in waiters)

    await eventually(tell)
    assert all(head.position > 0 for waiter in waiters for head in waiter.result())


async def test_watch_gives_up_in_time(feed_pool: db.Pool) -> None:
    """Without news the heads are told as they were when the time is up."""
    await publish(feed_pool, happened("m1"))

    assert await feed.HeadWatch(feed_pool).wait(0.06) == [feed.Head("demo", 0, 1)]


async def test_watch_outlives_a_waiter_that_goes_away(feed_pool: db.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of those who share a look goes away, the others are told what it saw."""
    compared: list[list[feed.Head]] = []
    gate, look = asyncio.Event(), feed.read_heads

    async def slow_look(connection: db.Connection) -> list[feed.Head]:
        is_shared = asyncio.current_task() not in (gone, stays)
        if is_shared:
            await gate.wait()
        heads = await look(connection)
        if not is_shared:  # That is what a waiter compares with.
            compared.append(heads)
        return heads

    monkeypatch.setattr(feed, "POLL_S", 0)
    monkeypatch.setattr(feed, "read_heads", slow_look)
    watch = feed.HeadWatch(feed_pool)
    gone, stays = (asyncio.create_task(watch.wait(PATIENCE_S)) for _ in range(2))
    await eventually(lambda: compared == [[], []])
    await settle()
    await publish(feed_pool, happened("m1"))
    gone.cancel()
    await settle()
    gate.set()

    assert await stays == [feed.Head("demo", 0, 1)]
    assert gone.cancelled()


async def test_watch_tells_that_the_database_is_away(feed_pool: db.Pool) -> None:
    """A wait ends as DEPENDENCY_UNAVAILABLE where the database goes away."""
    watch = feed.HeadWatch(feed_pool)
    assert await watch.wait(0) == []
    await feed_pool.close()
    with pytest.raises(errors.DomainError) as caught:
        await watch.wait(0)
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
