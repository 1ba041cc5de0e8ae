"""K4: what must happen later or elsewhere is a row; a job only says "drain what is due".

A service that has due work has the table `due_work` (see its schema). A row is scheduled in the transaction that made
it necessary. Draining claims rows program by program with a lease, works each, and deletes it, puts it off with a
jittered backoff, or leaves it as a dead letter for people to see and to replay. Two workers never hold one row's lease
together; a worker that comes back after its lease was taken finds the fence raised and records nothing.

Work may run twice (a crash between the work and its record), so it is idempotent by the row's id.

Rows are written one by one, by their keys, many in one round trip. A join with what was worked would be planned while
the queue is short, and go through all of it once it is long; by key a thousand rows take 16 ms instead of 13 ms.
"""

import asyncio
import math
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.kernel import checks, clock, db, errors, logs, metrics

QUERIES = db.Queries(Path(__file__).parent / "sql" / "due.sql")

CLAIM_MAX = 100
CONCURRENT_MAX = 8
PROGRAMS_MAX = 1000
# A drain ends at some time, also where work makes work for ever; what is left is for the next one.
ROUNDS_MAX = 1000
LEASE_S = 60
ATTEMPTS_MAX = 20
BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 900.0
# Due work this old means that nobody drains it.
STALE_AFTER_S = 300


@dataclass(frozen=True, slots=True)
class DueItem:
    """One row of due work. `work_id` identifies the work for ever; `fence` rises with each claim."""

    program_id: str
    kind: str
    work_id: uuid.UUID
    payload: dict[str, Any]
    due_at: datetime
    attempts: int = 0
    fence: int = 0


Handler = Callable[[DueItem], Awaitable[None]]
PageHandler = Callable[[str, Sequence[DueItem]], Awaitable[None]]


async def schedule(connection: db.Connection, items: Sequence[DueItem]) -> None:
    """Adds rows in the caller's transaction; a row of the same kind and id stays as it is."""
    await connection.execute(
        QUERIES["schedule_due_work"],
        [item.program_id for item in items],
        [item.kind for item in items],
        [item.work_id for item in items],
        [item.payload for item in items],
        [item.due_at for item in items],
    )


async def complete(connection: db.Connection, program_id: str, kind: str, work_id: uuid.UUID) -> None:
    """Deletes a row whose work is done, whoever did it, in the caller's transaction."""
    await connection.execute(QUERIES["complete_due_work"], program_id, kind, work_id)


async def finish(connection: db.Connection, items: Sequence[DueItem]) -> None:
    """Deletes rows that were worked, in the caller's transaction, but those taken since."""
    await connection.executemany(QUERIES["finish_due_work"], [_lease(item) for item in items])


async def postpone(connection: db.Connection, items: Sequence[DueItem], due_at: Sequence[datetime]) -> None:
    """Puts rows off to other times, in the caller's transaction, but those taken since."""
    moved = [(*_lease(item), until) for item, until in zip(items, due_at, strict=True)]
    await connection.executemany(QUERIES["postpone_due_work"], moved)


async def extend(connection: db.Connection, items: Sequence[DueItem], now: datetime) -> set[uuid.UUID]:
    """Begins the leases of rows anew, and tells which are still the caller's to work."""
    until = now + timedelta(seconds=LEASE_S)
    rows = await connection.fetchmany(QUERIES["extend_lease"], [(*_lease(item), until) for item in items])
    return {row["work_id"] for row in rows}


def _lease(item: DueItem) -> tuple[str, str, uuid.UUID, int]:
    return item.program_id, item.kind, item.work_id, item.fence


async def drain(pool: db.Pool, kind: str, handler: Handler, time: clock.Clock) -> int:
    """Works everything of one kind that is due, fairly between programs, and tells how many rows it worked.

    Raises DEPENDENCY_UNAVAILABLE where the database is away; rows keep their lease until it ends.
    """

    async def work(program_id: str, items: Sequence[DueItem]) -> None:
        del program_id
        await _work_all(pool, items, handler, time)

    return await drain_pages(pool, kind, work, time)


async def drain_pages(
    pool: db.Pool, kind: str, handler: PageHandler, time: clock.Clock, *, within_s: float = math.inf
) -> int:
    """Works like `drain`, page by page: the handler gets the rows of one program and finishes or postpones each itself.

    What it leaves, and all of a page where it raises, comes again when its lease ends. After `within_s` no page begins.
    """
    worked = 0
    loop = asyncio.get_running_loop()
    ends_at_s = loop.time() + within_s
    for _ in range(ROUNDS_MAX):
        programs = await db.ask(pool, lambda connection: _programs(connection, kind, time))
        if not programs:
            break
        claimed = 0
        for program_id in programs:
            if loop.time() >= ends_at_s:
                return worked + claimed
            items = await db.transaction(pool, lambda c, p=program_id: _claim(c, p, kind, time))  # type: ignore[misc]
            claimed += len(items)
            if items:
                await handler(program_id, items)
        worked += claimed
        if not claimed:
            break  # Others hold what is left.
    return worked


async def _programs(connection: db.Connection, kind: str, time: clock.Clock) -> list[str]:
    now = await time.now(connection)
    rows = await connection.fetch(QUERIES["list_programs_with_due_work"], kind, now, PROGRAMS_MAX)
    return [row["program_id"] for row in rows]


async def _claim(connection: db.Connection, program_id: str, kind: str, time: clock.Clock) -> list[DueItem]:
    now = await time.now(connection)
    lease_until = now + timedelta(seconds=LEASE_S)
    rows = await connection.fetch(QUERIES["lock_due_work"], program_id, kind, now, CLAIM_MAX)
    leases = [(program_id, kind, row["work_id"], lease_until) for row in rows]
    await connection.executemany(QUERIES["lease_due_work"], leases)
    return [DueItem(**{**row, "attempts": row["attempts"] + 1, "fence": row["fence"] + 1}) for row in map(dict, rows)]


async def _work_all(pool: db.Pool, items: Sequence[DueItem], handler: Handler, time: clock.Clock) -> None:
    slots = asyncio.Semaphore(CONCURRENT_MAX)

    async def work(item: DueItem) -> None:
        async with slots:
            await _work_one(pool, item, handler, time)

    # All of them end before the first failure is told, so that nothing works on behind the back of its caller.
    for outcome in await asyncio.gather(*(work(item) for item in items), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _work_one(pool: db.Pool, item: DueItem, handler: Handler, time: clock.Clock) -> None:
    try:
        await handler(item)
    except Exception as error:  # noqa: BLE001 - the job runner: one bad row never stops the others
        refusal = error if isinstance(error, errors.DomainError) else None
        log = logs.get_logger().warning if refusal else logs.get_logger().exception
        log("due_work_failed", kind=item.kind, work_id=str(item.work_id), attempts=item.attempts, error=str(error))
        message = f"{error!r}"[:1000]
        # What is away is waited for, however long; only what fails by itself is given up in the end.
        is_last = item.attempts >= ATTEMPTS_MAX and not (refusal and refusal.is_transient)
        await db.transaction(pool, lambda connection: _put_off(connection, item, message, time, is_last=is_last))
        return
    await db.transaction(pool, lambda connection: finish(connection, [item]))


async def _put_off(connection: db.Connection, item: DueItem, message: str, time: clock.Clock, *, is_last: bool) -> None:
    now = await time.now(connection)
    delay_s = random.uniform(0.5, 1.0) * min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(item.attempts, ATTEMPTS_MAX))
    await connection.execute(
        QUERIES["put_off_due_work"],
        item.program_id,
        item.kind,
        item.work_id,
        item.fence,
        "DEAD" if is_last else "WAITING",
        now + timedelta(seconds=delay_s),
        message,
    )
    if is_last:
        metrics.DUE_DEAD.labels(item.kind).inc()
        logs.get_logger().error("due_work_dead", kind=item.kind, work_id=str(item.work_id))


async def replay_dead(connection: db.Connection, program_id: str, kind: str, time: clock.Clock) -> int:
    """Makes the dead letters of one kind due again, and tells how many they were."""
    now = await time.now(connection)
    rows = await connection.fetch(QUERIES["replay_dead_due_work"], program_id, kind, now)
    return len(rows)


async def check(connection: db.Connection) -> checks.CheckRow:
    """Compares due work with its age: what is dead or long overdue is a problem."""
    rows = await connection.fetch(QUERIES["summarise_due_work"])
    problems = []
    for row in rows:
        if row["state"] == "DEAD":
            problems.append(f"{row['count']} {row['kind']} ended as dead letters; the newest says: {row['last_error']}")
        elif row["oldest_age_s"] > STALE_AFTER_S:
            problems.append(f"{row['count']} {row['kind']} wait, the oldest for {row['oldest_age_s']} s")
    return checks.CheckRow("due work against ages", sum(row["count"] for row in rows), tuple(problems))


async def status(connection: db.Connection) -> list[checks.StatusRow]:
    """Tells how much waits of each kind, and for how long the oldest has been due."""
    rows = await connection.fetch(QUERIES["summarise_due_work"])
    return [
        checks.StatusRow(
            f"due work {row['kind']} {row['state'].lower()}",
            str(row["count"]),
            f"oldest due for {max(0, row['oldest_age_s'])} s",
        )
        for row in rows
    ]
