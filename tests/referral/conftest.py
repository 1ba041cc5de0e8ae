"""What tests of the referral service can have: the service beside a program of its own."""

from collections.abc import AsyncIterator

import pytest

from services.kernel import clock
from tests.support.databases import Databases
from tests.support.program import ProgramHarness, run_program
from tests.support.referral import ReferralHarness, run_referral

NOBODY = "127.0.0.1:1"


@pytest.fixture
async def program(
    databases: Databases, program_database: str, time: clock.ManualClock
) -> AsyncIterator[ProgramHarness]:
    """Runs a program of its own for the test, with the tenant `demo`; without rules it never asks the ledger."""
    async with run_program(databases.dsn(program_database, "program"), time, NOBODY) as harness:
        await harness.create()
        yield harness


@pytest.fixture
async def referral_database(databases: Databases) -> AsyncIterator[str]:
    """Lends a fresh referral database, by name."""
    async with databases.copy("referral") as name:
        yield name


@pytest.fixture
async def referral(
    databases: Databases, referral_database: str, program: ProgramHarness, time: clock.ManualClock
) -> AsyncIterator[ReferralHarness]:
    """Runs a referral service of its own for the test."""
    async with run_referral(databases.dsn(referral_database, "referral"), time, program) as harness:
        yield harness
