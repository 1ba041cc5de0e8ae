"""arq: kicks and timers, nothing more. PostgreSQL has the truth; a job only says "drain what is due".

arq does not retry exceptions, loses payloads after a day, pickles by default and dies of a raised hook. So: msgpack,
no results, no hooks, a queue per service, and every job catches what its work raises. A kick that Redis loses is made
good by the sweep within its period; while Redis is away a worker goes on sweeping by itself.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import arq
import msgpack
import redis.exceptions
from arq import cron, func
from arq.connections import ArqRedis, RedisSettings, create_pool

from services.kernel import errors, ids, logs, metrics

SWEEP_EVERY_S = 5
# What waited while no worker was there need not wait for the next sweep too.
SWEEPS_AT_START = True
JOB_TIMEOUT_S = 120
POLL_DELAY_S = 0.2
JOBS_MAX = 10
HEALTH_EVERY_S = 10
# What a worker that is told to stop gives the jobs under way, so that few rows wait for the end of a lease.
COMPLETION_WAIT_S = 5.0
REDIS_FAILURES = (redis.exceptions.RedisError, OSError, asyncio.TimeoutError)

Job = Callable[[], Awaitable[int]]
WrappedJob = Callable[[dict[Any, Any]], Awaitable[None]]


def redis_settings(url: str) -> RedisSettings:
    """Reads a Redis URL; gives up on a connection soon, since nothing waits for Redis to be right."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout = 2
    settings.conn_retries = 0
    settings.retry_on_timeout = True
    return settings


def queue_name(service: str) -> str:
    """Names the queue of a service."""
    return f"plaudit:{service}"


class Kicker:
    """Tells a service's workers that there is work now. Never raises: the sweep finds the work anyway."""

    def __init__(self, redis_url: str, service: str) -> None:
        self._settings = redis_settings(redis_url)
        self._service = service
        self._pool: ArqRedis | None = None
        self._opening = asyncio.Lock()

    async def kick(self, job: str, after_s: float = 0) -> None:
        """Asks for one run of a job, now or after some seconds. Call it when the row that it is for is committed."""
        try:
            pool = self._pool or await self._open()
            await pool.enqueue_job(job, _job_id=f"{self._service}:{job}:{ids.new_id()}", _defer_by=after_s)
        except REDIS_FAILURES as error:
            logs.get_logger().warning("kick_lost", job=job, error=type(error).__name__)

    async def _open(self) -> ArqRedis:
        """Opens the pool, once for all that kick at the same time."""
        async with self._opening:
            if self._pool is None:
                self._pool = await create_pool(
                    self._settings,
                    job_serializer=msgpack.packb,
                    job_deserializer=msgpack.unpackb,
                    default_queue_name=queue_name(self._service),
                )
            return self._pool

    async def close(self) -> None:
        """Closes the connections."""
        if self._pool is not None:
            await self._pool.aclose()


class Worker:
    """Runs a service's jobs, each when it is kicked and in every sweep; while Redis is away it sweeps by itself.

    The first sweep is when it begins. Of each job one run at a time, or `at_once`: more would only get in each other's
    way. A kick that comes meanwhile leads to another run after it.
    """

    def __init__(self, service: str, redis_url: str, jobs: Mapping[str, Job], at_once: Mapping[str, int]) -> None:
        self._service = service
        self._redis_url = redis_url
        self._jobs = {name: _Runs(name, job, at_once.get(name, 1)).run for name, job in jobs.items()}
        self._inner: arq.Worker | None = None

    async def async_run(self) -> None:
        """Runs until it is cancelled; `close` follows."""
        while True:
            self._inner = _build(self._service, self._redis_url, self._jobs)
            try:
                await self._inner.async_run()
            except REDIS_FAILURES as error:
                logs.get_logger().warning("redis_lost", error=type(error).__name__)
            # arq cannot go on after a failure; another one begins anew.
            await self.close()
            for job in self._jobs.values():
                await job({})
            await asyncio.sleep(SWEEP_EVERY_S)

    async def close(self) -> None:
        """Lets the jobs under way end, cancels those that take too long, and closes the connections. Idempotent."""
        inner, self._inner = self._inner, None
        if inner is None or inner._pool is None:
            return
        under_way = list(inner.tasks.values())
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=COMPLETION_WAIT_S)
            for task in late:
                task.cancel()
            # Nothing of it is news: each job has logged its own outcome, and its rows stay due.
            await asyncio.gather(*under_way, return_exceptions=True)
            inner.tasks.clear()
        pool = inner.pool
        try:
            await inner.close()
        except REDIS_FAILURES as error:
            logs.get_logger().warning("redis_lost", error=type(error).__name__)
            await pool.aclose(close_connection_pool=True)


def build_worker(
    service: str, redis_url: str, jobs: Mapping[str, Job], *, at_once: Mapping[str, int] | None = None
) -> Worker:
    """Makes the worker of a service: each job runs when it is kicked and in every sweep, so often at once."""
    return Worker(service, redis_url, jobs, at_once or {})


def _build(service: str, redis_url: str, jobs: Mapping[str, WrappedJob]) -> arq.Worker:
    seconds = set(range(0, 60, SWEEP_EVERY_S))
    return arq.Worker(
        functions=[func(job, name=name, keep_result=0, max_tries=1) for name, job in jobs.items()],  # type: ignore[arg-type]
        cron_jobs=[
            cron(
                job,  # type: ignore[arg-type]
                name=f"{service}:sweep:{name}",
                second=seconds,
                run_at_startup=SWEEPS_AT_START,
                max_tries=1,
                keep_result=0,
            )
            for name, job in jobs.items()
        ],
        queue_name=queue_name(service),
        redis_settings=redis_settings(redis_url),
        job_serializer=msgpack.packb,
        job_deserializer=msgpack.unpackb,
        handle_signals=False,
        poll_delay=POLL_DELAY_S,
        max_jobs=JOBS_MAX,
        job_timeout=JOB_TIMEOUT_S,
        health_check_interval=HEALTH_EVERY_S,
        health_check_key=f"plaudit:{service}:health:{socket.gethostname()}:{os.getpid()}",
        ctx={},
    )


class _Runs:
    """The runs of one job: so many at once, and one more that waits for its turn."""

    def __init__(self, name: str, job: Job, at_once: int) -> None:
        self._name = name
        self._job = job
        self._turns = asyncio.Semaphore(at_once)
        self._is_awaited = False

    async def run(self, ctx: dict[Any, Any]) -> None:
        """Runs the job when it is its turn; does nothing where another run is to begin, which sees the same work."""
        del ctx
        if self._is_awaited:
            return
        self._is_awaited = True
        try:
            await self._turns.acquire()
        finally:
            self._is_awaited = False
        try:
            await self._run()
        finally:
            self._turns.release()

    async def _run(self) -> None:
        started, outcome, done = time.perf_counter(), "ok", 0
        try:
            done = await self._job()
        except Exception as error:  # noqa: BLE001 - the job runner: the rows stay due, the sweep comes back
            outcome = error.reason if isinstance(error, errors.DomainError) else "failed"
            log = logs.get_logger().warning if isinstance(error, errors.DomainError) else logs.get_logger().exception
            log("job_failed", job=self._name, error=str(error))
        duration_s = time.perf_counter() - started
        metrics.JOB_SECONDS.labels(self._name, outcome).observe(duration_s)
        if done or outcome != "ok":
            duration_ms = round(duration_s * 1000, 1)
            logs.get_logger().info("job", job=self._name, outcome=outcome, done=done, duration_ms=duration_ms)
