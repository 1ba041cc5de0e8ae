"""K3: what a service did, gapless and in commit order, followed from any position exactly once.

Publishing: `append` writes events in the transaction that made them true. Their positions come from one head row per
(program, partition), locked last and in order, so that position order is commit order and a reader can never pass a
transaction that has yet to commit. A service whose own rows say already what happened keeps the positions there
instead: `place` gives them, and a `Read` of its own makes events of those rows.

Following: a `Follower` keeps its cursors in its own database and moves them in the transaction of what it did about
the events. An event that breaks its handler is tried alone, then set aside as a dead letter; its neighbours go on.
"""

import asyncio
import uuid
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from services.kernel import checks, db, errors, ids, logs, metrics

QUERIES = db.Queries(Path(__file__).parent / "sql" / "feed.sql")

PARTITIONS_MAX = 64
READ_MAX = 1000
# How long a call for heads waits for news before it answers that there are none.
WAIT_S = 5.0
RETRY_S = 1.0
# How long events wait for what led to them, before they are read again.
CAUSES_WAIT_S = 5.0
# How often the heads are looked at while somebody waits: the latency that polling adds.
POLL_S = 0.05
EVENT_ATTEMPTS_MAX = 3
EVENT_COLUMNS = ("program_id", "posted_at", "partition", "position", "event_id", "member_id", "type", "payload")
PARTITIONS_AT_ONCE = 4
# The number of a program's partitions as this process last saw it. What it remembers may be old, or of a program of
# the same name in another database: the statement that takes positions compares, and a wrong one costs a round trip.
_partitions_seen: dict[str, int] = {}
PROGRAMS_SEEN_MAX = 1000
# The number changes once in years; twice within one batch would mean that something else is wrong.
PLACE_ATTEMPTS_MAX = 4


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event to publish: whose it is, its message type by full name, and its serialised message."""

    member_id: str
    type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event as it was published."""

    program_id: str
    partition: int
    position: int
    event_id: uuid.UUID
    member_id: str
    type: str
    payload: bytes
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """How far one partition of one program reaches."""

    program_id: str
    partition: int
    position: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, and the position up to which nothing else is to be seen."""

    events: list[Incoming]
    through_position: int


class Source(Protocol):
    """A feed to follow, wherever it is."""

    def list_heads(self, wait_s: float) -> Awaitable[list[Head]]:
        """Tells the heads, after waiting for news for at most `wait_s`."""
        ...

    def read(self, program_id: str, partition: int, after_position: int) -> Awaitable[Page]:
        """Reads at most `READ_MAX` events behind a position."""
        ...


def partition_of(member_id: str, partitions: int) -> int:
    """Gives the partition of a member: the same for ever as long as their number is."""
    return zlib.crc32(member_id.encode()) % partitions


async def place(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Takes the next position for an event of each member, in order, and gives (partition, position) of each.

    Call it last in a transaction: it locks heads that every writer needs. One round trip, but for a program whose
    number of partitions is new to this process.
    """
    if not member_ids:
        return []
    for _ in range(PLACE_ATTEMPTS_MAX):
        partitions = _partitions_seen.get(program_id, 1)
        placed = [0] * len(member_ids) if partitions == 1 else [partition_of(each, partitions) for each in member_ids]
        counts = sorted(Counter(placed).items())
        advanced = await connection.fetch(
            QUERIES["advance_heads"],
            program_id,
            partitions,
            [each for each, _ in counts],
            [count for _, count in counts],
        )
        if advanced:
            assert len(advanced) == len(counts), "Every partition of a program has a head."
            return _number(placed, {row["partition"]: row["first_position"] for row in advanced})
        await _see_partitions(connection, program_id)
    raise AssertionError("The number of a program's partitions stands still while it is looked at.")


def _number(placed: Sequence[int], first_positions: dict[int, int]) -> list[tuple[int, int]]:
    """Counts positions up in each partition, from its first."""
    following = dict(first_positions)
    positions = []
    for partition in placed:
        position = following[partition]
        following[partition] = position + 1
        positions.append((partition, position))
    return positions


async def _see_partitions(connection: db.Connection, program_id: str) -> None:
    """Remembers the number of a program's partitions as it is; a program without any gets its first."""
    partitions = await connection.fetchval(QUERIES["count_partitions"], program_id)
    if not partitions:
        await connection.execute(QUERIES["create_head"], program_id)
        partitions = await connection.fetchval(QUERIES["count_partitions"], program_id)
    if len(_partitions_seen) >= PROGRAMS_SEEN_MAX:
        _partitions_seen.clear()
    _partitions_seen[program_id] = partitions


async def append(connection: db.Connection, program_id: str, now: datetime, events: Sequence[Outgoing]) -> None:
    """Publishes events with the caller's transaction. Call it last: it locks heads that every writer needs."""
    positions = await place(connection, program_id, [event.member_id for event in events])
    rows = [
        (program_id, now, partition, position, ids.new_id(), event.member_id, event.type, event.payload)
        for event, (partition, position) in zip(events, positions, strict=True)
    ]
    if rows:
        await db.copy_rows(connection, "feed_events", EVENT_COLUMNS, rows)


async def read_heads(connection: db.Connection) -> list[Head]:
    """Tells the heads of every program."""
    rows = await connection.fetch(QUERIES["list_heads"])
    return [Head(**dict(row)) for row in rows]


class Read(Protocol):
    """Reads a page of a feed, wherever its events are kept; `read_events` is the one for `feed_events`.

    An event has the same id and content however often it is read. Positions without an event are allowed.
    """

    def __call__(
        self,
        connection: db.Connection,
        program_id: str,
        partition: int,
        after_position: int,
        *,
        limit: int = READ_MAX,
        types: Sequence[str] = (),
    ) -> Awaitable[Page]:
        """Reads what stands behind a position, up to `limit` positions; skipped types still move through_position."""
        ...


async def reach(
    connection: db.Connection, program_id: str, partition: int, after_position: int, *, limit: int = READ_MAX
) -> int:
    """Tells up to which position a page goes: at most `limit` further and not beyond the head."""
    head = await connection.fetchval(QUERIES["get_head"], program_id, partition) or 0
    return max(after_position, min(head, after_position + limit))


async def read_events(
    connection: db.Connection,
    program_id: str,
    partition: int,
    after_position: int,
    *,
    limit: int = READ_MAX,
    types: Sequence[str] = (),
) -> Page:
    """Reads what stands behind a position; skipped types still move `through_position`."""
    through = await reach(connection, program_id, partition, after_position, limit=limit)
    if through == after_position:
        return Page([], after_position)
    rows = await connection.fetch(
        QUERIES["read_events"], program_id, partition, after_position, through, list(types) or None
    )
    assert types or len(rows) == through - after_position, "A feed has no gaps."
    return Page([Incoming(**dict(row)) for row in rows], through)


class HeadWatch:
    """Lets any number of callers wait for news with one poll between them."""

    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool
        self._heads: list[Head] = []
        self._task: asyncio.Task[list[Head]] | None = None

    async def wait(self, wait_s: float) -> list[Head]:
        """Tells the heads at once where `wait_s` is 0, else as soon as they differ from what is now, or time is up."""
        first = await db.ask(self._pool, read_heads)
        deadline = asyncio.get_running_loop().time() + wait_s
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(POLL_S, left))
            heads = await self._poll()
            if heads != first:
                return heads
        return first

    async def _poll(self) -> list[Head]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(db.ask(self._pool, read_heads))
        return await asyncio.shield(self._task)


Handler = Callable[[db.Connection, str, list[Incoming]], Awaitable[None]]


class After:
    """A feed whose events are handled only once another one has been followed as far as it reached by then.

    What one service publishes follows from what it had read of another: who follows both would otherwise meet effects
    whose causes it has yet to see. `first` is the other feed and `follower` the one that follows it, here or in another
    replica. Where that one does not come on, the events are read again later.
    """

    def __init__(self, source: Source, *, first: Source, follower: "Follower") -> None:
        self._source = source
        self._first = first
        self._follower = follower

    async def list_heads(self, wait_s: float) -> list[Head]:
        """Tells the heads, after waiting for news."""
        return await self._source.list_heads(wait_s)

    async def read(self, program_id: str, partition: int, after_position: int) -> Page:
        """Reads events, and waits until what led to them was seen. Raises DEPENDENCY_UNAVAILABLE."""
        page = await self._source.read(program_id, partition, after_position)
        if page.events:
            heads = [head for head in await self._first.list_heads(0) if head.program_id == program_id]
            deadline = asyncio.get_running_loop().time() + CAUSES_WAIT_S
            while not await self._follower.has_reached(heads):
                if asyncio.get_running_loop().time() > deadline:
                    raise errors.dependency_unavailable("feed")
                await asyncio.sleep(POLL_S)
        return page


class Follower:
    """Follows one feed: reads what is new and calls the handler in the transaction that moves the cursor.

    `handler(connection, program_id, events)` must have no effect but through the connection. Several replicas may run
    the same follower: each cursor is locked by the one that works it.
    """

    def __init__(self, name: str, *, source: Source, pool: db.Pool, handler: Handler) -> None:
        self._name = name
        self._source = source
        self._pool = pool
        self._handler = handler
        self._failures: dict[tuple[str, int, int], int] = {}

    async def run(self) -> None:
        """Follows until it is cancelled; goes on by itself after any failure."""
        behind = True
        while True:
            try:
                heads = await self._source.list_heads(0 if behind else WAIT_S)
                behind = await self.catch_up(heads)
            except Exception as error:  # noqa: BLE001 - the follower: it never stops following
                expected = isinstance(error, errors.DomainError)
                log = logs.get_logger().warning if expected else logs.get_logger().exception
                log("follower_failed", follower=self._name, error=str(error))
                await asyncio.sleep(RETRY_S)

    async def catch_up(self, heads: Sequence[Head]) -> bool:
        """Works one page of each partition that is behind its head, and tells whether any was."""
        cursors = await db.ask(self._pool, self._read_cursors)
        behind = [head for head in heads if head.position > cursors.get((head.program_id, head.partition), 0)]
        for head in heads:
            lag = max(0, head.position - cursors.get((head.program_id, head.partition), 0))
            metrics.FEED_LAG_EVENTS.labels(self._name, f"{head.program_id}/{head.partition}").set(lag)
        slots = asyncio.Semaphore(PARTITIONS_AT_ONCE)

        async def advance(head: Head) -> bool:
            async with slots:
                return await self._advance(head, cursors.get((head.program_id, head.partition), 0))

        # All of them end before the first failure is told: no partition is worked behind the back of the next round.
        moved = await asyncio.gather(*(advance(head) for head in behind), return_exceptions=True)
        for outcome in moved:
            if isinstance(outcome, BaseException):
                raise outcome
        return any(moved)

    async def has_reached(self, heads: Sequence[Head]) -> bool:
        """Tells whether all before some heads is dealt with."""
        cursors = await db.ask(self._pool, self._read_cursors)
        return all(cursors.get((head.program_id, head.partition), 0) >= head.position for head in heads)

    async def _read_cursors(self, connection: db.Connection) -> dict[tuple[str, int], int]:
        rows = await connection.fetch(QUERIES["list_cursors"], self._name)
        return {(row["program_id"], row["partition"]): row["position"] for row in rows}

    async def _advance(self, head: Head, position: int) -> bool:
        # Read before the transaction: no connection and no lock is held while another service is waited for.
        page = await self._source.read(head.program_id, head.partition, position)
        if page.through_position == position:
            return False
        try:
            return await db.transaction(
                self._pool, lambda connection: self._work_page(connection, head, page, position)
            )
        except Exception as error:
            if _is_awaited(error):
                raise
            logs.get_logger().warning("feed_page_failed", follower=self._name, error=str(error))
            return await self._advance_one_by_one(head, page, position)

    async def _work_page(self, connection: db.Connection, head: Head, page: Page, after: int) -> bool:
        """Works a page where the cursor stands right before it still, and tells whether there may be more."""
        position = await self._lock_cursor(connection, head, after)
        if position != after:
            return position is not None
        if page.events:
            await self._handler(connection, head.program_id, page.events)
        await self._move_cursor(connection, head, page.through_position)
        return True

    async def _advance_one_by_one(self, head: Head, page: Page, position: int) -> bool:
        """Works the page that failed event by event, up to the first that fails; gives up on it in the end."""
        for event in page.events:
            try:
                ours = await db.transaction(self._pool, lambda c, e=event, p=position: self._work_event(c, head, e, p))  # type: ignore[misc]
            except Exception as error:
                if _is_awaited(error):
                    raise
                if self._fails_again(head, event):
                    await asyncio.sleep(RETRY_S)
                    return True
                message = f"{error!r}"[:1000]
                ours = await db.transaction(
                    self._pool,
                    lambda c, e=event, p=position, m=message: self._set_aside(c, head, e, p, m),  # type: ignore[misc]
                )
            if not ours:
                return True  # Another replica is at it; what this one has read may be old.
            position = event.position
        return bool(page.events)

    def _fails_again(self, head: Head, event: Incoming) -> bool:
        """Counts a failure of an event, logs it, and tells whether the event is to be tried again."""
        key = (head.program_id, head.partition, event.position)
        self._failures[key] = self._failures.get(key, 0) + 1
        logs.get_logger().exception("feed_event_failed", follower=self._name, position=event.position)
        if self._failures[key] < EVENT_ATTEMPTS_MAX:
            return True
        del self._failures[key]
        return False

    async def _work_event(self, connection: db.Connection, head: Head, event: Incoming, after: int) -> bool:
        """Works one event where the cursor stands right before it still, and tells whether it did."""
        if await self._lock_cursor(connection, head, after) != after:
            return False
        await self._handler(connection, head.program_id, [event])
        await self._move_cursor(connection, head, event.position)
        return True

    async def _set_aside(self, connection: db.Connection, head: Head, event: Incoming, after: int, error: str) -> bool:
        if await self._lock_cursor(connection, head, after) != after:
            return False
        await connection.execute(
            QUERIES["insert_dead_letter"],
            event.program_id,
            self._name,
            event.partition,
            event.position,
            event.event_id,
            event.member_id,
            event.type,
            event.payload,
            event.posted_at,
            error,
        )
        await self._move_cursor(connection, head, event.position)
        return True

    async def replay_dead_letters(self, program_id: str) -> int:
        """Works the dead letters of a program once more; tells how many are done. One that fails again stays."""
        rows = await db.ask(self._pool, lambda c: c.fetch(QUERIES["list_dead_letters"], program_id, self._name))
        done = 0
        for row in rows:
            event = Incoming(**dict(row))
            try:
                done += await db.transaction(self._pool, lambda c, e=event: self._replay(c, e))  # type: ignore[misc]
            except Exception:  # noqa: BLE001 - the follower: it stays where it is, with its error in the log
                logs.get_logger().exception("dead_letter_failed", follower=self._name, position=event.position)
        return done

    async def _replay(self, connection: db.Connection, event: Incoming) -> bool:
        # Deleted first, which whoever replays the same letter waits for.
        deleted = await connection.fetchval(
            QUERIES["delete_dead_letter"], event.program_id, self._name, event.partition, event.position
        )
        if deleted is None:
            return False
        await self._handler(connection, event.program_id, [event])
        return True

    async def _lock_cursor(self, connection: db.Connection, head: Head, expected: int) -> int | None:
        """Locks the cursor and tells where it stands; None where another replica has it."""
        if expected == 0:
            await connection.execute(QUERIES["create_cursor"], head.program_id, self._name, head.partition)
        position = await connection.fetchval(QUERIES["lock_cursor"], head.program_id, self._name, head.partition)
        assert position is None or isinstance(position, int)
        return position

    async def _move_cursor(self, connection: db.Connection, head: Head, position: int) -> None:
        await connection.execute(QUERIES["move_cursor"], head.program_id, self._name, head.partition, position)


def _is_awaited(error: Exception) -> bool:
    """Tells whether a failure is no fault of the event: what is away is waited for, however long."""
    return isinstance(error, errors.DomainError) and error.is_transient


async def check(connection: db.Connection, heads_query: str = QUERIES["check_heads"]) -> list[checks.CheckRow]:
    """Replays this service's own feed against its heads: no gap, none beyond, each position once.

    A service that keeps positions in rows of its own gives the query that counts those: for each head its program_id,
    partition and position, the `count` of rows that have a position there, and the `last` of these positions or 0.
    """
    rows = await connection.fetch(heads_query)
    problems = [
        f"{row['program_id']}/{row['partition']}: head {row['position']}, but {row['count']} events up to {row['last']}"
        for row in rows
        if not row["position"] == row["count"] == row["last"]
    ]
    dead = await connection.fetch(QUERIES["count_dead_letters"])
    problems_dead = tuple(f"{row['follower']}: {row['count']} dead letters of {row['program_id']}" for row in dead)
    return [
        checks.CheckRow("feed without gaps", sum(row["count"] for row in rows), tuple(problems)),
        checks.CheckRow("feed dead letters", sum(row["count"] for row in dead), problems_dead),
    ]


def compare(follower: str, stands: dict[tuple[str, int], int], heads: Sequence[Head]) -> checks.CheckRow:
    """Compares a follower's cursors with the heads of the feed that it follows: none stands beyond what there is."""
    reach = {(head.program_id, head.partition): head.position for head in heads}
    problems = (
        f"{program_id}/{partition}: the cursor stands at {position}, the feed ends at {reach.get(key, 0)}"
        for key, position in stands.items()
        for program_id, partition in [key]
        if position > reach.get(key, 0)
    )
    return checks.CheckRow(f"cursors of {follower} against their feed", len(stands), tuple(problems))


def lag(follower: str, stands: dict[tuple[str, int], int], heads: Sequence[Head]) -> list[checks.StatusRow]:
    """Tells how many events a follower has yet to see, by program and partition."""
    return [
        checks.StatusRow(
            f"lag of {follower} {head.program_id}/{head.partition}",
            str(max(0, head.position - stands.get((head.program_id, head.partition), 0))),
            "events to come",
        )
        for head in heads
    ]


async def cursors(connection: db.Connection) -> dict[str, dict[tuple[str, int], int]]:
    """Tells where each follower of this database stands: by follower, then by program and partition."""
    rows = await connection.fetch(QUERIES["list_all_cursors"])
    found: dict[str, dict[tuple[str, int], int]] = {}
    for row in rows:
        found.setdefault(row["follower"], {})[row["program_id"], row["partition"]] = row["position"]
    return found
