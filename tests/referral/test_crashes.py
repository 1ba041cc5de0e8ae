"""Workers that are killed and a Redis that forgets everything: each friend is rewarded once all the same."""

import base64
from datetime import timedelta
from pathlib import Path

import redis.asyncio

from services.devstack.redis import EmbeddedRedis
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import PRIVATE_KEY
from tests.support.processes import ServedProcess, run_process
from tests.support.program import event
from tests.support.referral import KEY, ReferralHarness, told
from tests.support.waiting import eventually

ROUNDS = 4
FRIENDS_A_ROUND = 8


def worker_process(dsn: str, program_address: str, redis_url: str, log_path: Path) -> ServedProcess:
    """Makes a process that follows the program and does what is due."""
    variables = {
        "PLAUDIT_REFERRAL_DSN": dsn,
        "PLAUDIT_PROGRAM_ADDRESS": program_address,
        "PLAUDIT_REDIS_URL": redis_url,
        "PLAUDIT_SERVICE_PRIVATE_KEY": base64.b64encode(PRIVATE_KEY).decode(),
        "PLAUDIT_REFERRAL_SIGNAL_KEY": base64.b64encode(KEY).decode(),
    }
    return ServedProcess(["-m", "services.referral", "work"], variables, log_path)


async def test_killed_workers_reward_everybody_once(
    referral: ReferralHarness, databases: Databases, referral_database: str, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Workers killed in the midst of it, and all keys of Redis flushed, change nothing of what comes out."""
    await referral.create()
    code = (await referral.code("ann")).code
    dsn = databases.dsn(referral_database, "referral")
    client = redis.asyncio.from_url(redis_server.url)  # type: ignore[no-untyped-call]
    process = worker_process(dsn, referral.program.address, redis_server.url, tmp_path / "work.log")
    async with run_process(process):
        for number in range(ROUNDS):
            before = len(await referral.published())
            for each in range(FRIENDS_A_ROUND):
                friend = f"m{number}-{each}"
                # A day apart, so that nobody brings more in a time than people do.
                at = START - timedelta(days=FRIENDS_A_ROUND * number + each)
                await referral.program.record(
                    event(f"s-{friend}", "user.signed_up", friend, at=at, referralCode=code),
                    event(f"p-{friend}", "payment.succeeded", friend, at=at, payment_id=f"p-{friend}"),
                )
            await eventually(lambda: _grown(referral, before))  # noqa: B023 - it is awaited before the next round
            await process.kill()
            await client.flushall()
            process.start()
        # What a dead worker held is free when its lease ends; nobody need wait for that here.
        await referral.context.pool.execute("UPDATE due_work SET lease_until = NULL")
        await eventually(lambda: _rewarded(referral))
    await client.aclose()

    published = [(each.referral.referee_id, told(each.referral)) for each in await referral.published()]
    assert len(published) == len(set(published)) == 3 * ROUNDS * FRIENDS_A_ROUND
    await referral.assert_sound()


async def _grown(referral: ReferralHarness, before: int) -> bool:
    return len(await referral.published()) > before


async def _rewarded(referral: ReferralHarness) -> bool:
    states = [told(each) for each in await referral.listed()]
    return states == ["REWARDED"] * (ROUNDS * FRIENDS_A_ROUND)
