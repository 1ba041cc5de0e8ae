"""K4: what must happen later is a row; whoever dies, it happens, and to the outside once."""

import asyncio
import itertools
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from services.kernel import checks, clock, db, due, errors
from tests.conftest import START
from tests.support.due import KIND, left, record, rows, schedule, work_ids, worked
from tests.support.processes import ServedProcess, run_process
from tests.support.waiting import eventually

LEASE = timedelta(seconds=due.LEASE_S)
SECOND = timedelta(seconds=1)


def working(pool: db.Pool) -> due.Handler:
    """Makes a handler that does the work."""

    async def handle(item: due.DueItem) -> None:
        await record(pool, item)

    return handle


def failing(error: Exception | None = None) -> due.Handler:
    """Makes a handler that fails every time."""

    async def handle(item: due.DueItem) -> None:
        raise error or ValueError(f"failed at attempt {item.attempts}")

    return handle


async def drain(pool: db.Pool, time: clock.Clock, handler: due.Handler | None = None) -> int:
    """Drains what is due."""
    return await due.drain(pool, KIND, handler or working(pool), time)


async def test_drain_works_what_is_due_once(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Everything that is due is worked once and gone; what is due later or is of another kind stays."""
    await schedule(due_pool, rows(250, START))
    await schedule(due_pool, rows(3, START, program="other", kind="another"))
    later = due.DueItem("demo", KIND, uuid.uuid4(), {}, START + SECOND)
    await schedule(due_pool, [later])

    assert await drain(due_pool, time) == 250
    assert await worked(due_pool) == dict.fromkeys(work_ids(250), 1)
    assert [row["kind"] for row in await left(due_pool)] == ["another"] * 3 + [KIND]
    assert await drain(due_pool, time) == 0
    time.value = later.due_at
    assert await drain(due_pool, time) == 1


async def test_schedule_again_leaves_the_row(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """A row of the same kind and id stays as it is, and one whose work is done by others is completed."""
    [row] = rows(1, START)
    await schedule(due_pool, [row])
    await schedule(due_pool, [due.DueItem(row.program_id, row.kind, row.work_id, {"other": 1}, START + 9 * SECOND)])

    assert [(each["payload"], each["due_at"]) for each in await left(due_pool)] == [(row.payload, row.due_at)]
    await db.transaction(due_pool, lambda connection: due.complete(connection, "demo", KIND, row.work_id))
    assert await drain(due_pool, time) == 0


async def test_schedule_belongs_to_its_transaction(due_pool: db.Pool) -> None:
    """A row that was scheduled by a transaction that is rolled back never was."""

    async def breaks(connection: db.Connection) -> None:
        await due.schedule(connection, rows(3, START))
        raise ValueError("for once")

    with pytest.raises(ValueError, match="for once"):
        await db.transaction(due_pool, breaks)
    assert await left(due_pool) == []


async def test_claim_takes_no_more_than_it_may(due_pool: db.Pool) -> None:
    """One claim leases at most so many rows, the longest due ones, whatever plan the database chooses."""
    await schedule(due_pool, rows(2 * due.CLAIM_MAX, START))
    claimed: set[uuid.UUID] = set()
    for setting in ("enable_hashjoin", "enable_hashagg", "enable_sort", "enable_seqscan", "enable_material"):
        async with due_pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL {setting} = off; SET LOCAL plan_cache_mode = force_custom_plan")
            found = await connection.fetch(due.QUERIES["lock_due_work"], "demo", KIND, START, 7)
            leases = [("demo", KIND, row["work_id"], START + LEASE) for row in found]
            await connection.executemany(due.QUERIES["lease_due_work"], leases)
            claimed |= {row["work_id"] for row in found}
            assert len(found) == 7

    assert claimed == set(work_ids(2 * due.CLAIM_MAX)[:35])


async def test_plans_of_a_short_queue_serve_a_long_one(due_pool: db.Pool, due_dsn: str) -> None:
    """What a connection planned while the queue was empty does not go through all of it once it is long."""
    connection = await asyncpg.connect(due_dsn, server_settings={"plan_cache_mode": "force_generic_plan"})
    statements = {
        "lease_due_work": ("demo", KIND, work_ids(1)[0], START),
        "finish_due_work": ("demo", KIND, work_ids(1)[0], 0),
        "postpone_due_work": ("demo", KIND, work_ids(1)[0], 0, START),
        "extend_lease": ("demo", KIND, work_ids(1)[0], 0, START),
    }
    try:
        prepared = {name: await connection.prepare(due.QUERIES[name]) for name in statements}
        for name, arguments in statements.items():
            await prepared[name].fetch(*arguments)
        await schedule(due_pool, rows(3000, START))
        plans = {name: await prepared[name].explain(*arguments, analyze=True) for name, arguments in statements.items()}
    finally:
        await connection.close()

    touched = {name: plan[0]["Plan"]["Plans"][0] for name, plan in plans.items()}
    assert {each["Index Name"] for each in touched.values()} == {"due_work_key"}
    assert {each.get("Rows Removed by Filter", 0) for each in touched.values()} <= {0, 1}


async def test_two_drainers_share_without_overlap(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Drainers at the same time work everything once between them."""
    for program in ("one", "two", "three"):
        await schedule(due_pool, rows(150, START, program=program))
    counts = await asyncio.gather(*(drain(due_pool, time) for _ in range(4)))

    assert sum(counts) == 450
    done = await worked(due_pool)
    assert (len(done), set(done.values())) == (450, {1})
    assert await left(due_pool) == []


async def test_killed_drainer_loses_nothing(
    due_pool: db.Pool, due_dsn: str, time: clock.ManualClock, tmp_path: Path
) -> None:
    """What a killed process had leased is worked when the leases end; what it had recorded is not worked again."""
    await schedule(due_pool, rows(250, START))
    command = ["-m", "tests.support.due", due_dsn, START.isoformat(), "40"]
    async with run_process(ServedProcess(command, {}, tmp_path / "log")) as drainer:

        async def is_stuck() -> bool:
            return len(await worked(due_pool)) == 40 + due.CONCURRENT_MAX

        await eventually(is_stuck)
        await drainer.kill()
    held = {row["work_id"] for row in await left(due_pool) if row["lease_until"]}
    before = await worked(due_pool)
    meanwhile = await drain(due_pool, time)
    time.value = START + LEASE
    after = await drain(due_pool, time)

    assert (len(held), meanwhile, after) == (due.CLAIM_MAX - 40, 250 - due.CLAIM_MAX, len(held))
    done = await worked(due_pool)
    assert done.keys() == set(work_ids(250))
    assert {work_id for work_id, times in done.items() if times > 1} == held & before.keys()
    assert await left(due_pool) == []


class Held:
    """A handler that stands still within its first item until the test lets it go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reached, self.release = asyncio.Event(), asyncio.Event()
        self._error = error

    async def __call__(self, item: due.DueItem) -> None:
        """Waits, then ends as it was made to."""
        del item
        self.reached.set()
        await self.release.wait()
        if self._error:
            raise self._error


@pytest.mark.parametrize("error", [None, ValueError("too late")], ids=["done", "failed"])
async def test_late_worker_records_nothing(due_pool: db.Pool, time: clock.ManualClock, error: Exception | None) -> None:
    """A worker that comes back after its lease was taken changes nothing, whether it did the work or failed."""
    await schedule(due_pool, rows(1, START))
    late = Held(error)
    task = asyncio.create_task(drain(due_pool, time, late))
    await late.reached.wait()
    assert await drain(due_pool, time) == 0
    time.value = START + LEASE
    assert await drain(due_pool, time, failing()) == 1
    [taken] = await left(due_pool)
    late.release.set()
    await task

    assert await left(due_pool) == [taken]
    assert (taken["attempts"], taken["fence"], taken["last_error"]) == (2, 2, repr(ValueError("failed at attempt 2")))


async def test_lease_is_respected_until_its_end(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Until the instant at which its lease ends nobody else takes a row."""
    await schedule(due_pool, rows(1, START))
    slow = Held()
    task = asyncio.create_task(drain(due_pool, time, slow))
    await slow.reached.wait()
    time.value = START + LEASE - timedelta(microseconds=1)
    assert await drain(due_pool, time) == 0
    slow.release.set()

    assert await task == 1
    assert await left(due_pool) == []


async def test_backoff_grows_with_jitter_and_is_bounded(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Each failure puts a row off by half to all of a delay that doubles up to its bound, and not all rows alike."""
    await schedule(due_pool, rows(20, START))
    for attempt in range(1, due.ATTEMPTS_MAX):
        began = time.value
        assert await drain(due_pool, time, failing()) == 20
        delays = [(row["due_at"] - began).total_seconds() for row in await left(due_pool)]
        full = min(due.BACKOFF_MAX_S, due.BACKOFF_BASE_S * 2**attempt)
        assert all(full / 2 - 0.001 <= delay <= full + 0.001 for delay in delays)
        assert len(set(delays)) > 10
        time.value = max(row["due_at"] for row in await left(due_pool))


async def test_backoff_is_bounded_after_years(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """However often a row was tried, the next failure puts it off like the one before."""
    await schedule(due_pool, rows(1, START))
    await due_pool.execute("UPDATE due_work SET attempts = 1000000")
    await drain(due_pool, time, failing(errors.dependency_unavailable("ledger")))

    [row] = await left(due_pool)
    assert SECOND <= row["due_at"] - START <= timedelta(seconds=due.BACKOFF_MAX_S)


async def test_drain_ends_where_work_never_does(
    due_pool: db.Pool, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain ends after so many rounds even where every piece of work makes another one."""
    monkeypatch.setattr(due, "ROUNDS_MAX", 7)
    await schedule(due_pool, rows(1, START))

    async def handle(item: due.DueItem) -> None:
        await schedule(due_pool, [due.DueItem("demo", KIND, uuid.uuid4(), item.payload, START)])

    assert await drain(due_pool, time, handle) == 7
    assert len(await left(due_pool)) == 1


async def exhaust(pool: db.Pool, time: clock.ManualClock, handler: due.Handler, attempts: int) -> None:
    """Lets everything that is there fail so many times."""
    for _ in range(attempts):
        await drain(pool, time, handler)
        time.value += timedelta(seconds=due.BACKOFF_MAX_S)


async def problems(pool: db.Pool) -> list[str]:
    """Compares due work with its age."""
    row: checks.CheckRow = await db.read(pool, due.check)
    return list(row.problems)


async def test_dead_letter_is_visible_and_can_be_replayed(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """After its last attempt a row is a dead letter that is shown, not worked, and can be made due again."""
    await schedule(due_pool, rows(3, START))
    await schedule(due_pool, rows(1, START, program="other"))
    await exhaust(due_pool, time, failing(), due.ATTEMPTS_MAX - 1)
    assert {row["state"] for row in await left(due_pool)} == {"WAITING"}
    await exhaust(due_pool, time, failing(), 1)

    assert await drain(due_pool, time) == 0
    [told] = await problems(due_pool)
    assert told == f"4 test ended as dead letters; the newest says: {ValueError('failed at attempt 20')!r}"
    shown = await db.read(due_pool, due.status)
    assert [(row.subject, row.value) for row in shown] == [("due work test dead", "4")]
    again = await db.transaction(due_pool, lambda connection: due.replay_dead(connection, "demo", KIND, time))
    assert (again, await drain(due_pool, time)) == (3, 3)
    assert (await worked(due_pool)).keys() == set(work_ids(3))
    assert [row["program_id"] for row in await left(due_pool)] == ["other"]


async def test_newest_dead_letter_is_quoted(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """What is said of dead letters is the error of the one that died last."""
    for number, text in enumerate(["zzz", "aaa"]):
        await schedule(due_pool, [due.DueItem("demo", KIND, uuid.uuid4(), {}, time.value)])
        await exhaust(due_pool, time, failing(ValueError(text)), due.ATTEMPTS_MAX)
        assert len(await left(due_pool)) == number + 1

    assert (await problems(due_pool))[0].endswith("ValueError('aaa')")


async def test_unavailable_dependency_never_makes_a_dead_letter(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """What waits for a dependency that is away waits for as long as it takes, and then happens once."""
    await schedule(due_pool, rows(2, START))
    await exhaust(due_pool, time, failing(errors.dependency_unavailable("ledger")), 2 * due.ATTEMPTS_MAX)

    assert {row["state"] for row in await left(due_pool)} == {"WAITING"}
    assert await drain(due_pool, time) == 2
    assert set((await worked(due_pool)).values()) == {1}


async def test_bad_row_never_stops_others(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Whatever is wrong with some rows, all others of the same claim are worked."""
    await schedule(due_pool, rows(150, START))

    async def handle(item: due.DueItem) -> None:
        if item.payload["number"] % 50 == 0:
            raise errors.field_invalid(errors.Violation("x", "is bad")) if item.payload["number"] else OSError("away")
        await record(due_pool, item)

    assert await drain(due_pool, time, handle) == 150
    assert len(await worked(due_pool)) == 147
    assert sorted(row["payload"]["number"] for row in await left(due_pool)) == [0, 50, 100]


async def test_programs_take_turns(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """A program with much to do does not hold up others: each gets a claim before any gets a second one."""
    await schedule(due_pool, rows(5 * due.CLAIM_MAX, START - timedelta(days=1), program="big"))
    for program in ("small", "tiny"):
        await schedule(due_pool, rows(2, START, program=program))
    order = []

    async def handle(item: due.DueItem) -> None:
        order.append(item.program_id)

    await drain(due_pool, time, handle)
    turns = [program for program, _ in itertools.groupby(order)]
    assert sorted(turns[:3]) == ["big", "small", "tiny"]
    assert len(order) == 5 * due.CLAIM_MAX + 4


async def test_work_scheduled_by_work_is_drained_too(due_pool: db.Pool, time: clock.ManualClock) -> None:
    """Work that makes more work due is drained to the end, and drains at the same time do not stop it."""
    await schedule(due_pool, rows(1, START))

    async def handle(item: due.DueItem) -> None:
        if item.payload.get("number", 0) < 20:
            after = {"number": item.payload["number"] + 1}
            await schedule(due_pool, [due.DueItem("demo", KIND, uuid.uuid4(), after, START)])

    assert await drain(due_pool, time, handle) == 21


async def test_check_tells_what_is_overdue(due_pool: db.Pool) -> None:
    """Work that has been due for minutes is a problem, since nobody drains it; what is due later is none."""
    real = clock.DatabaseClock()
    now: datetime = await db.read(due_pool, real.now)
    await schedule(due_pool, [due.DueItem("demo", "soon", uuid.uuid4(), {}, now + timedelta(hours=1))])
    assert await problems(due_pool) == []
    await schedule(due_pool, [due.DueItem("demo", "late", uuid.uuid4(), {}, now - timedelta(hours=1))])

    [told] = await problems(due_pool)
    assert told.startswith("1 late wait, the oldest for 36")
    shown = {row.subject: row.detail for row in await db.read(due_pool, due.status)}
    assert shown["due work soon waiting"] == "oldest due for 0 s"


async def test_drain_without_database_is_unavailable(due_pool: db.Pool, due_dsn: str, time: clock.ManualClock) -> None:
    """A drain that loses the database says so, and its rows are worked when their leases end."""
    own_pool = await db.create_pool(due_dsn, service="test-drainer")
    await schedule(due_pool, rows(20, START))

    async def cut(_: due.DueItem) -> None:
        own_pool.terminate()

    with pytest.raises(errors.DomainError) as caught:
        await drain(own_pool, time, cut)
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    assert await drain(due_pool, time) == 0
    time.value += LEASE
    assert await drain(due_pool, time) == 20
