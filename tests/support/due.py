"""Due work without a service: rows, a record of what was worked, and a drainer that can be killed."""

import asyncio
import sys
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from services.kernel import clock, db, due

KIND = "test"
WORKED = """
CREATE TABLE worked (work_id uuid PRIMARY KEY, times integer NOT NULL DEFAULT 1);
GRANT SELECT, INSERT, UPDATE ON worked TO program_service
"""


def work_ids(count: int, *, program: str = "demo") -> list[uuid.UUID]:
    """Names some pieces of work."""
    return [uuid.uuid5(uuid.NAMESPACE_OID, f"{program}/{number}") for number in range(count)]


def rows(count: int, at: datetime, *, program: str = "demo", kind: str = KIND) -> list[due.DueItem]:
    """Makes rows of due work, the first one the longest due."""
    return [
        due.DueItem(program, kind, work_id, {"number": number}, at - timedelta(seconds=count - number))
        for number, work_id in enumerate(work_ids(count, program=program))
    ]


async def schedule(pool: db.Pool, items: Sequence[due.DueItem]) -> None:
    """Schedules rows in a transaction of their own."""
    await db.transaction(pool, lambda connection: due.schedule(connection, items))


async def record(pool: db.Pool, item: due.DueItem) -> None:
    """Does the work of an item: counts how often it was done, which a real handler makes harmless by the id."""
    query = "INSERT INTO worked (work_id) VALUES ($1) ON CONFLICT (work_id) DO UPDATE SET times = worked.times + 1"
    await pool.execute(query, item.work_id)


async def worked(pool: db.Pool) -> dict[uuid.UUID, int]:
    """Tells how often each piece of work was done."""
    return {row["work_id"]: row["times"] for row in await pool.fetch("SELECT work_id, times FROM worked")}


async def left(pool: db.Pool) -> list[Any]:
    """Lists the rows that are there still."""
    return list(await pool.fetch("SELECT * FROM due_work ORDER BY due_at, work_id"))


async def drain_and_hang(dsn: str, at: datetime, hang_after: int) -> None:
    """Drains, and from some item on works without ever recording that it did, holding its leases."""
    pool = await db.create_pool(dsn, service="drainer")
    count = 0

    async def handle(item: due.DueItem) -> None:
        nonlocal count
        count += 1
        mine = count
        await record(pool, item)
        if mine > hang_after:
            await asyncio.Event().wait()

    await due.drain(pool, KIND, handle, clock.ManualClock(at))


if __name__ == "__main__":
    asyncio.run(drain_and_hang(sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])))
