"""Whatever happens in whatever order, the ledger says what its promises say.

1,000 sequences of 200 operations each, drawn anew in every run. What fails is shortened and printed with its seed;
`PLAUDIT_TEST_SEED=<seed> pytest tests/ledger/test_oracle.py` draws that sequence again. Whoever changes the ledger
searches longer: `PLAUDIT_TEST_SEARCH=10000 pytest tests/ledger/test_oracle.py`.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import grpc
import pytest
import structlog
import uvloop

from services.kernel import clock, ids
from services.ledger import checks
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.chooser import Chooser, Step
from tests.ledger.sequences import SEQUENCES
from tests.ledger.shrinking import shrink, told
from tests.ledger.world import World
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.oracle import Oracle

SEED = os.environ.get("PLAUDIT_TEST_SEED")
DRAWN = 1 if SEED else int(os.environ.get("PLAUDIT_TEST_SEARCH", "1000"))
DRAWN_PER_TEST = 100
OPERATIONS = 200
# Ledgers at once, each with a database and a clock of its own: while one waits for PostgreSQL, another one thinks.
LANES = 3

FAILURES = (AssertionError, grpc.RpcError)


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    """Keeps a line a call out of the log: there are some 100,000."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)


@dataclass
class Sequence:
    """What was done in a program, and the seed that drew it."""

    seed: int
    start: datetime
    steps: list[Step] = field(default_factory=list)


@dataclass
class Lane:
    """A running ledger in which one world is after the other, each a program."""

    ledger: LedgerHarness
    time: clock.ManualClock
    drawn: dict[str, Sequence] = field(default_factory=dict)
    latest: datetime = START

    @asynccontextmanager
    async def world(self, start: datetime) -> AsyncIterator[World]:
        """Lends a world that begins at an instant."""
        world = World(self.ledger, self.time, f"p{ids.new_id().hex}")
        await world.begin(start)
        try:
            yield world
        finally:
            self.latest = max(self.latest, self.time.value)

    async def draw(self, seed: int) -> Sequence | None:
        """Draws a sequence and takes it, step by step; gives it where the ledger and its oracle differ."""
        chooser = Chooser(Random(seed), Oracle(), OPERATIONS)
        sequence = Sequence(seed, chooser.start)
        try:
            async with self.world(chooser.start) as world:
                self.drawn[world.program], chooser.oracle = sequence, world.oracle
                while step := chooser.step(self.time.value):
                    sequence.steps.append(step)
                    await world.take(step)
                await world.assert_sound()
        except FAILURES:
            return sequence
        return None

    async def search(self, seeds: Iterator[int]) -> Sequence | None:
        """Draws sequences until one fails, or none is left; at last the ledger checks itself."""
        for seed in seeds:
            failure = await self.draw(seed)
            if failure is not None:
                return failure
        problems = await self.check()
        failures = [sequence for program, sequence in self.drawn.items() if program in str(problems)]
        assert failures or not problems, problems
        return failures[0] if failures else None

    async def check(self) -> list[str]:
        """Books what is over in any program, and lists the problems of all."""
        self.time.value = self.latest
        await booking.book_due(self.ledger.ledger)
        rows = await checks.check(self.ledger.ledger.pool, self.time)
        return [problem for row in rows for problem in row.problems]

    async def replay(self, start: datetime, steps: Iterable[Step]) -> BaseException | None:
        """Takes steps in a new world, and gives what it fails with."""
        try:
            async with self.world(start) as world:
                for step in steps:
                    await world.take(step)
                await world.assert_sound()
            problems = [problem for problem in await self.check() if world.program in problem]
            assert problems == []
        except FAILURES as error:
            return error
        return None

    async def explain(self, failure: Sequence) -> str:
        """Shortens what failed, and tells how to see it again."""

        async def fails(steps: Iterable[Step]) -> bool:
            return await self.replay(failure.start, steps) is not None

        steps = await shrink(failure.steps, fails)
        error = await self.replay(failure.start, steps)
        return (
            f"PLAUDIT_TEST_SEED={failure.seed} draws this again. From {failure.start} on:\n{told(steps)}\n"
            f"{error or 'It does not fail again.'}"
        )


async def search(databases: Databases, seeds: Iterator[int]) -> str:
    """Draws sequences in several ledgers at once; tells of the first that fails, or nothing."""
    async with AsyncExitStack() as stack:
        lanes = []
        for _ in range(LANES):
            time = clock.ManualClock(START)
            name = await stack.enter_async_context(databases.copy("ledger"))
            lanes.append(Lane(await stack.enter_async_context(run_ledger(databases.dsn(name, "ledger"), time)), time))
        found = await asyncio.gather(*(lane.search(seeds) for lane in lanes))
        for lane, failure in zip(lanes, found, strict=True):
            if failure is not None:
                return await lane.explain(failure)
    return ""


@pytest.mark.parametrize("first", range(0, DRAWN, DRAWN_PER_TEST))
def test_ledger_agrees_with_its_oracle(databases: Databases, first: int) -> None:
    """Every result, balance at any instant, statement, lot, budget and event is what the oracle computes."""
    number = min(DRAWN_PER_TEST, DRAWN - first)
    seeds = [int(SEED)] if SEED else [secrets.randbelow(10**9) for _ in range(number)]
    # The loop of production: it leaves more time to search.
    failure = uvloop.run(search(databases, iter(seeds)))
    if failure:
        pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize("name", SEQUENCES)
async def test_ledger_keeps_what_it_learned(ledger: LedgerHarness, time: clock.ManualClock, name: str) -> None:
    """What the ledger once did otherwise than its oracle it does no more."""
    error = await Lane(ledger, time).replay(START, SEQUENCES[name])
    assert error is None, error
