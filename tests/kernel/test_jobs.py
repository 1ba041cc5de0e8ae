"""arq: a kick says "drain what is due"; PostgreSQL has the truth, so that Redis may lose anything at any moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio
import structlog

from services.devstack.redis import EmbeddedRedis
from services.kernel import clock, db, due, errors, jobs
from tests.conftest import START
from tests.support.due import KIND, left, record, rows, schedule, worked
from tests.support.waiting import eventually

# arq closes its connections by a name that redis has given up.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

SERVICE = "test"
# What Redis answers for a key that does not expire.
FOR_EVER = -1


@pytest.fixture(autouse=True)
def rare_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the work to kicks, but for tests that ask for sweeps."""
    monkeypatch.setattr(jobs, "SWEEP_EVERY_S", 60)
    monkeypatch.setattr(jobs, "SWEEPS_AT_START", False)


@pytest.fixture
def frequent_sweep(rare_sweep: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps every second."""
    del rare_sweep
    monkeypatch.setattr(jobs, "SWEEP_EVERY_S", 1)


@pytest.fixture(autouse=True)
async def empty_redis(redis_server: EmbeddedRedis) -> None:
    """Lets every test begin with nothing in Redis."""
    await flush(redis_server)


def client_of(server: EmbeddedRedis) -> Any:
    """Makes a client, for looking at what is in Redis."""
    return redis.asyncio.from_url(server.url)  # type: ignore[no-untyped-call]


async def flush(server: EmbeddedRedis) -> None:
    """Makes Redis forget everything."""
    async with client_of(server) as client:
        await client.flushall()


@pytest.fixture
async def kicker_of() -> AsyncIterator[Callable[..., jobs.Kicker]]:
    """Makes kickers that are closed at the end, however the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        def make(server: EmbeddedRedis, service: str = SERVICE) -> jobs.Kicker:
            kicker = jobs.Kicker(server.url, service)
            stack.push_async_callback(kicker.close)
            return kicker

        yield make


def drain_job(pool: db.Pool, time: clock.Clock) -> jobs.Job:
    """Makes the job that drains what is due."""

    async def handle(item: due.DueItem) -> None:
        await record(pool, item)

    return lambda: due.drain(pool, KIND, handle, time)


@contextlib.asynccontextmanager
async def working(server: EmbeddedRedis, job: jobs.Job) -> AsyncIterator["asyncio.Task[None]"]:
    """Runs a worker until the block ends."""
    worker = jobs.build_worker(SERVICE, server.url, {"drain": job})
    running = asyncio.create_task(worker.async_run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()


def is_done(pool: db.Pool, count: int) -> Callable[[], Awaitable[bool]]:
    """Makes the condition that so much was worked and nothing is left."""

    async def check() -> bool:
        return len(await worked(pool)) == count and not await left(pool)

    return check


async def test_kick_drains_at_once(
    due_pool: db.Pool, redis_server: EmbeddedRedis, time: clock.ManualClock, kicker_of: Callable[..., jobs.Kicker]
) -> None:
    """A kick after the commit makes a worker drain, with no sweep at work."""
    kicker = kicker_of(redis_server)
    async with working(redis_server, drain_job(due_pool, time)):
        for program in ("one", "two"):
            await schedule(due_pool, rows(30, START, program=program))
            await kicker.kick("drain")
        await eventually(is_done(due_pool, 60))

    assert set((await worked(due_pool)).values()) == {1}


@pytest.mark.usefixtures("frequent_sweep")
async def test_sweep_drains_without_a_kick(
    due_pool: db.Pool, redis_server: EmbeddedRedis, time: clock.ManualClock
) -> None:
    """What was due before anybody kicked, or became due by itself, is drained by the sweep."""
    await schedule(due_pool, rows(3, START))
    async with working(redis_server, drain_job(due_pool, time)):
        await eventually(is_done(due_pool, 3))
        await schedule(due_pool, rows(5, START, program="later"))
        await eventually(is_done(due_pool, 8))

    assert set((await worked(due_pool)).values()) == {1}


async def test_worker_that_begins_drains_at_once(
    due_pool: db.Pool, redis_server: EmbeddedRedis, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was due while no worker was there is drained as one begins, long before its next sweep."""
    monkeypatch.setattr(jobs, "SWEEPS_AT_START", True)
    await schedule(due_pool, rows(3, START))
    async with working(redis_server, drain_job(due_pool, time)):
        await eventually(is_done(due_pool, 3), within_s=15)

    assert set((await worked(due_pool)).values()) == {1}


@pytest.mark.usefixtures("frequent_sweep")
async def test_flushed_redis_loses_nothing(
    due_pool: db.Pool, redis_server: EmbeddedRedis, time: clock.ManualClock, kicker_of: Callable[..., jobs.Kicker]
) -> None:
    """Where Redis forgets the kicks before and while a worker runs, the sweep drains what they were about."""
    kicker = kicker_of(redis_server)
    await schedule(due_pool, rows(3, START))
    await kicker.kick("drain")
    await flush(redis_server)
    async with working(redis_server, drain_job(due_pool, time)):
        await eventually(is_done(due_pool, 3))
        for number in range(5):
            await schedule(due_pool, rows(2, START, program=f"p{number}"))
            await kicker.kick("drain")
            await flush(redis_server)
        await eventually(is_done(due_pool, 13))

    assert set((await worked(due_pool)).values()) == {1}


@pytest.mark.usefixtures("frequent_sweep")
async def test_killed_redis_loses_nothing(
    due_pool: db.Pool,
    time: clock.ManualClock,
    tmp_path_factory: pytest.TempPathFactory,
    kicker_of: Callable[..., jobs.Kicker],
) -> None:
    """While Redis is away a worker lives and sweeps by itself, and when Redis is back it takes kicks again."""
    with EmbeddedRedis(tmp_path_factory.mktemp("killed") / "data") as server:
        kicker = kicker_of(server)
        async with working(server, drain_job(due_pool, time)) as running:
            await schedule(due_pool, rows(2, START))
            await kicker.kick("drain")
            await eventually(is_done(due_pool, 2))
            server.kill()
            for number in range(2):
                await schedule(due_pool, rows(3, START, program=f"away-{number}"))
                await kicker.kick("drain")
                await eventually(is_done(due_pool, 5 + 3 * number))
            await server.start_async()
            await eventually(lambda: _is_kicked(kicker))
            assert not running.done()

    assert set((await worked(due_pool)).values()) == {1}


async def _is_kicked(kicker: jobs.Kicker) -> bool:
    """Kicks, and tells whether Redis took it."""
    with structlog.testing.capture_logs() as lines:
        await kicker.kick("drain")
    return not any(line["event"] == "kick_lost" for line in lines)


async def test_worker_begins_without_redis(
    due_pool: db.Pool,
    time: clock.ManualClock,
    tmp_path_factory: pytest.TempPathFactory,
    kicker_of: Callable[..., jobs.Kicker],
) -> None:
    """A worker that begins while Redis is away works what is due, and begins to take kicks when it is there."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("away") / "data")
    kicker = kicker_of(server)
    await schedule(due_pool, rows(2, START))
    async with working(server, drain_job(due_pool, time)):
        await eventually(is_done(due_pool, 2))
    for number in range(2):
        await server.start_async()
        await schedule(due_pool, rows(2, START, program=f"p{number}"))
        async with working(server, drain_job(due_pool, time)):

            async def drained() -> bool:
                await kicker.kick("drain")
                return not await left(due_pool)

            await eventually(drained)
        server.kill()
        await kicker.kick("drain")

    assert len(await worked(due_pool)) == 6


async def test_stopped_worker_lets_jobs_end(redis_server: EmbeddedRedis, kicker_of: Callable[..., jobs.Kicker]) -> None:
    """A worker that is told to stop lets the job under way end, and takes no other."""
    began, may_end, runs = asyncio.Event(), asyncio.Event(), []

    async def job() -> int:
        began.set()
        await may_end.wait()
        runs.append(1)
        return 1

    kicker = kicker_of(redis_server)
    await kicker.kick("drain")
    worker = jobs.build_worker(SERVICE, redis_server.url, {"drain": job})
    running = asyncio.create_task(worker.async_run())
    await began.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await kicker.kick("drain")
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0)
    may_end.set()
    await closing

    assert runs == [1]


async def test_stopped_worker_does_not_wait_for_ever(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, kicker_of: Callable[..., jobs.Kicker]
) -> None:
    """A worker that is told to stop cancels a job that does not end in time, and ends in order."""
    monkeypatch.setattr(jobs, "COMPLETION_WAIT_S", 0.05)
    began, cancelled = asyncio.Event(), []

    async def job() -> int:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)
        return 1

    kicker = kicker_of(redis_server)
    await kicker.kick("drain")
    async with working(redis_server, job):
        await began.wait()

    assert cancelled == [1]


async def test_kicks_raced_share_one_connection(redis_server: EmbeddedRedis) -> None:
    """Many first kicks at once are all queued, and closing leaves no connection behind."""
    async with client_of(redis_server) as client:
        before = len(await client.client_list())
        kicker = jobs.Kicker(redis_server.url, SERVICE)
        await asyncio.gather(*(kicker.kick("drain") for _ in range(20)))
        queued = await client.zcard(jobs.queue_name(SERVICE))
        await kicker.close()

        async def all_closed() -> bool:
            return len(await client.client_list()) == before

        assert queued == 20
        await eventually(all_closed)


async def test_job_that_fails_does_not_stop_the_worker(
    redis_server: EmbeddedRedis, kicker_of: Callable[..., jobs.Kicker]
) -> None:
    """Whatever a job raises, the worker lives, and the next kick runs it again."""
    failures: list[Exception] = [ValueError("for once"), errors.dependency_unavailable("database"), TimeoutError()]
    runs = []

    async def job() -> int:
        runs.append(len(failures))
        if failures:
            raise failures.pop()
        return 1

    kicker = kicker_of(redis_server)
    async with working(redis_server, job) as running:
        for number in range(4):
            await kicker.kick("drain")
            await eventually(lambda: len(runs) > number)  # noqa: B023 - it is called within the round that made it
        assert not running.done()

    assert runs == [3, 2, 1, 0]


async def test_kicks_leave_nothing_in_redis(redis_server: EmbeddedRedis, kicker_of: Callable[..., jobs.Kicker]) -> None:
    """Kicks that were worked leave no result and no queue behind, so that Redis does not fill up."""
    runs = []

    async def job() -> int:
        runs.append(1)
        return 1

    kicker = kicker_of(redis_server)
    async with working(redis_server, job):
        await asyncio.gather(*(kicker.kick("drain") for _ in range(10)))
        await eventually(lambda: len(runs) == 10)
        async with client_of(redis_server) as client:

            async def is_clean() -> bool:
                # What the worker itself keeps, of its health and of a sweep that fell into this test, ends by itself.
                kept = [key for key in await client.keys("*") if b":health" in key or b":sweep:" in key]
                ends = [await client.pttl(key) != FOR_EVER for key in kept]
                return len(kept) == await client.dbsize() and all(ends)

            await eventually(is_clean)


async def test_runs_of_a_job_do_not_meet(redis_server: EmbeddedRedis, kicker_of: Callable[..., jobs.Kicker]) -> None:
    """However often a job is kicked while it runs, it runs alone, and once more afterwards: no kick is lost."""
    under_way, most, runs = 0, 0, 0
    may_end = asyncio.Event()

    async def job() -> int:
        nonlocal under_way, most, runs
        under_way, runs = under_way + 1, runs + 1
        most = max(most, under_way)
        await may_end.wait()
        under_way -= 1
        return 1

    kicker = kicker_of(redis_server)
    async with working(redis_server, job), client_of(redis_server) as client:
        await kicker.kick("drain")
        await eventually(lambda: runs == 1)
        for _ in range(7):
            await kicker.kick("drain")

        async def are_all_taken() -> bool:
            # A run leaves the queue when it has ended: the one under way and the one that waits are there still.
            return bool(await client.zcard(jobs.queue_name(SERVICE)) == 2)

        await eventually(are_all_taken)
        may_end.set()
        await eventually(lambda: runs == 2 and not under_way)
        # Kicks are taken in their order: whatever the others had led to would come before this one.
        await kicker.kick("drain")
        await eventually(lambda: runs >= 3 and not under_way)

    assert (runs, most) == (3, 1)


async def test_services_do_not_take_each_others_kicks(
    redis_server: EmbeddedRedis, kicker_of: Callable[..., jobs.Kicker]
) -> None:
    """A worker runs the kicks of its own service only."""
    runs = []

    async def job() -> int:
        runs.append(1)
        return 1

    other, own = kicker_of(redis_server, "other"), kicker_of(redis_server)
    async with working(redis_server, job):
        await other.kick("drain")
        await own.kick("drain")
        await eventually(lambda: runs)
        async with client_of(redis_server) as client:
            assert await client.zcard(jobs.queue_name("other")) == 1

    assert runs == [1]
