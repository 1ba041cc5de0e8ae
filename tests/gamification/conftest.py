"""What tests of gamification share: a service of their own that follows a feed of their own."""

from collections.abc import AsyncIterator

import pytest

from services.kernel import clock
from tests.support.databases import Databases
from tests.support.gamification import GamificationHarness, run_gamification


@pytest.fixture
async def gamification(databases: Databases, time: clock.ManualClock) -> AsyncIterator[GamificationHarness]:
    """Runs gamification beside the feed of a program."""
    async with databases.copy("gamification") as name, databases.copy("program") as program:
        dsns = databases.dsn(name, "gamification"), databases.dsn(program, "program")
        async with run_gamification(*dsns, time) as harness:
            yield harness
