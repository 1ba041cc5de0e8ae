"""Processes that die in the middle: nothing that was acknowledged is lost, nothing happens twice."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grpc
import pytest

from services.devstack.postgres import EmbeddedPostgres
from services.kernel import db, migrations
from services.ledger import checks
from tests.ledger.callers import Callers
from tests.ledger.mixture import FLEETING, Mixture
from tests.support.databases import SERVICES
from tests.support.listeners import Listener
from tests.support.processes import (
    ROOT,
    ServedProcess,
    children_of,
    environment,
    free_address,
    ledger_process,
    ledger_worker,
    run_process,
)
from tests.support.starter import Starter
from tests.support.waiting import PATIENCE_S, eventually

SEED = int(os.environ.get("PLAUDIT_TEST_SEED") or secrets.randbelow(10**9))
ROUNDS = 100
CALLERS = 6
# PostgreSQL takes longer to come back than all else.
ROUNDS_PER_DATABASE_DEATH = 8
ROUNDS_PER_CHECK = 10
# Deaths come after so many new answers and so many new questions at most, which takes a fraction of a second.
ANSWERS_MAX = 20
QUESTIONS_MAX = 10
# A process that was killed is found again within a few of these.
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 40),
]


@contextmanager
def telling_seed() -> Iterator[None]:
    """Tells with a failure how to draw the same calls and deaths again; when each comes is left to the machine."""
    try:
        yield
    except (AssertionError, grpc.RpcError, ExceptionGroup) as error:
        error.add_note(f"PLAUDIT_TEST_SEED={SEED} draws the same calls and deaths.")
        raise


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """Runs a PostgreSQL of its own, which keeps what it was told through a crash, with a ledger's database."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("durable") / "data") as running:
        running.create_databases(["ledger"])
        folder = SERVICES / "ledger" / "sql" / "migrations"
        await migrations.migrate(running.dsn("ledger", "ledger_owner"), folder, role="ledger_service")
        yield running


@dataclass
class Scene:
    """All that dies, and those who watch it."""

    database: EmbeddedPostgres
    serve: ServedProcess
    work: ServedProcess
    callers: Callers
    listener: Listener
    fate: Random
    checks: list[Path] = field(default_factory=list)

    async def run(self) -> None:
        """Lives and dies, round by round."""
        for number in range(1, ROUNDS + 1):
            # Now and then a process dies that has barely begun.
            if number % ROUNDS_PER_DATABASE_DEATH < 2 or self.fate.random() < 0.9:
                await self.live()
            await self.die(number)
            if number % ROUNDS_PER_CHECK == 0:
                await self.live()
                await self.check()

    async def live(self) -> None:
        """Lets some calls be answered, and some more be asked: what dies next dies in the middle."""
        answers = len(self.callers.account.results) + self.fate.randint(0, ANSWERS_MAX)

        def is_answered() -> bool:
            self.start_what_ended()
            return len(self.callers.account.results) > answers

        await eventually(is_answered)
        questions = self.callers.asked + self.fate.randint(0, QUESTIONS_MAX)
        await eventually(lambda: self.callers.asked >= questions)

    def start_what_ended(self) -> None:
        """Starts again what has ended by itself, as a supervisor does: who finds no database ends."""
        for process in (self.serve, self.work):
            assert process.process is not None
            if process.process.poll() is not None:
                assert "DEPENDENCY_UNAVAILABLE" in process.log()[-1]
                process.start()

    async def die(self, number: int) -> None:
        """Kills some of it, and starts it again."""
        if number % ROUNDS_PER_DATABASE_DEATH == 0:
            await self.kill_database()
            return
        for process in self.fate.choice(((self.serve,), (self.serve,), (self.work,), (self.serve, self.work))):
            await process.kill()
            process.start()

    async def kill_database(self) -> None:
        """Kills PostgreSQL as a whole, or one of its processes, upon which it begins anew by itself."""
        assert self.database.process is not None
        main = self.database.process.pid
        if self.fate.random() < 0.5:
            os.kill(self.fate.choice(children_of(main)), signal.SIGKILL)
            return
        self.database.kill()
        await self.database.start_async()
        # Who serves waits for the database to come back.
        assert self.serve.process is not None
        assert self.serve.process.poll() is None

    async def check(self) -> None:
        """Runs `check` while the calls go on; nothing may be amiss at any instant at which the database answers."""
        lines = await eventually(self.run_check)
        rows = [json.loads(line) for line in lines]
        assert len(rows) > 1
        assert [problem for row in rows for problem in row["problems"]] == []

    async def run_check(self) -> list[str]:
        """Gives what `check` wrote; nothing where the database was away."""
        output = self.serve.log_path.with_name(f"check-{len(self.checks)}")
        self.checks.append(output)
        process = ServedProcess(["-m", "services.ledger", "check"], self.serve.variables, output)
        process.starter = self.serve.starter
        async with run_process(process):
            await process.ended()
        lines = process.log()
        return [] if "DEPENDENCY_UNAVAILABLE" in lines[-1] else lines

    async def listen(self) -> None:
        """Reads the feed as it grows."""
        while not self.callers.stopped:
            await self.listener.advance()


@pytest.fixture
async def scene(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Scene]:
    """Runs a ledger's processes over a PostgreSQL of their own; the worker has no Redis, and sweeps as it starts."""
    address, log_path = free_address(), tmp_path / "serve.log"
    serve = ledger_process(server.dsn("ledger", "ledger"), address, log_path)
    work = ledger_worker(server.dsn("ledger", "ledger"), f"unix://{tmp_path}/nothing.sock", tmp_path / "work.log")
    async with AsyncExitStack() as stack:
        serve.starter = work.starter = stack.enter_context(Starter("services.ledger", environment()))
        await stack.enter_async_context(run_process(serve))
        await stack.enter_async_context(run_process(work))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS))
        fate = Random(SEED)
        callers = Callers(channel, Mixture(fate))
        yield Scene(server, serve, work, callers, Listener(channel), fate)


async def test_killed_processes_lose_nothing(scene: Scene) -> None:
    """While servers, workers and PostgreSQL are killed 100 times, callers who ask again are told what then stands."""
    with telling_seed():
        await scene.callers.prepare()
        async with asyncio.TaskGroup() as running:
            for number in range(CALLERS):
                running.create_task(scene.callers.run(number))
            running.create_task(scene.listen())
            await scene.run()
            scene.callers.stopped = True

        await scene.callers.assert_told()
        await assert_booked(scene)
        await assert_heard(scene)
        assert scene.callers.asked_again > 0
        assert scene.callers.told_late > 0
        await assert_sound(scene)


async def assert_booked(scene: Scene) -> None:
    """Waits for the worker to have booked all that is over."""
    await scene.work.kill()
    scene.work.start()
    pool = await db.create_pool(scene.database.dsn("ledger", "ledger"), service="test")
    await eventually(lambda: is_booked(pool))
    booked = await pool.fetchval("SELECT count(*) FROM journal WHERE kind IN ('EXPIRY', 'TIMEOUT') AND leg = 0")
    await pool.close()
    assert booked > 0


async def is_booked(pool: db.Pool) -> bool:
    """Tells whether nothing is over that is yet to be booked."""
    [due, *_] = await checks.status(pool)
    return due.value == "0"


async def assert_heard(scene: Scene) -> None:
    """Compares what was heard while the feed was cut off again and again with what it says now."""
    # What it would book or tell between the two readings, only the second one would hear.
    await scene.work.kill()
    await scene.listener.catch_up()
    again = Listener(scene.callers.channel)
    await again.catch_up()
    scene.listener.assert_equal(again)
    assert {event.member_id for event in again.events} > {FLEETING}


async def assert_sound(scene: Scene) -> None:
    """Counts outcomes, one for each id that was asked for and no other, and lets the ledger check itself."""
    pool = await db.create_pool(scene.database.dsn("ledger", "ledger"), service="test")
    outcomes = await pool.fetchval("SELECT count(*) FROM journal WHERE fingerprint IS NOT NULL")
    await pool.close()
    assert outcomes == len(scene.callers.account.results)

    command = [sys.executable, "-m", "services.ledger", "check"]
    checked = await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment(**scene.serve.variables),
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, b"")
