"""Caps: how many referrals of one referrer may qualify in a period, whatever happens at the same time."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from plaudit.referral.v1 import referral_pb2

from services.kernel import db
from services.referral import convert
from services.referral.operations import following
from tests.conftest import START
from tests.support.feeds import split
from tests.support.program import event
from tests.support.referral import ReferralHarness, told

CAPPED = referral_pb2.REFERRAL_END_REASON_CAP_REACHED


def cap(period: str, count: int) -> referral_pb2.ReferralCap:
    """Makes a cap."""
    return referral_pb2.ReferralCap(
        period=referral_pb2.ReferralCapPeriod.Value(f"REFERRAL_CAP_PERIOD_{period}"), max_count=count
    )


async def bring(referral: ReferralHarness, referee_id: str, at: datetime) -> str:
    """Lets Ann bring somebody who pays at an instant; tells where that leads."""
    referral.time.value = at
    await referral.sign_up(referee_id, at=at, referralCode=(await referral.code("ann")).code)
    await referral.pay(referee_id, at=at)
    return await referral.state(referee_id)


@pytest.mark.parametrize(
    ("period", "last", "following_"),
    [
        ("DAY", "2026-03-02T04:59:59+00:00", "2026-03-02T05:00:00+00:00"),
        ("WEEK", "2026-03-02T04:59:59+00:00", "2026-03-02T05:00:00+00:00"),
        ("MONTH", "2026-04-01T03:59:59+00:00", "2026-04-01T04:00:00+00:00"),
        ("YEAR", "2027-01-01T04:59:59+00:00", "2027-01-01T05:00:00+00:00"),
    ],
)
async def test_cap_counts_within_its_local_period(
    referral: ReferralHarness, period: str, last: str, following_: str
) -> None:
    """A cap bounds what qualifies from the first to the last second of its period where the program is."""
    await referral.create(caps=[cap(period, 2)], time_zone="America/New_York")
    states = [await bring(referral, f"m{n}", START + timedelta(seconds=n)) for n in range(3)]
    states.append(await bring(referral, "late", datetime.fromisoformat(last)))
    states.append(await bring(referral, "next", datetime.fromisoformat(following_)))

    assert states == ["QUALIFIED", "QUALIFIED", "REJECTED", "REJECTED", "QUALIFIED"]
    late = await referral.of("late")
    assert (late.end_reason, late.qualifying_event_id, late.HasField("qualify_time")) == (CAPPED, "payment-late", False)


async def test_place_of_what_ended_is_free_again(referral: ReferralHarness) -> None:
    """What was reversed counts no more, and what was capped stays so."""
    await referral.create(caps=[cap("LIFETIME", 1), cap("DAY", 5)])
    states = [await bring(referral, each, START) for each in ("bob", "cid")]
    await referral.refund("bob")
    states.append(await bring(referral, "dan", START))

    assert states == ["QUALIFIED", "REJECTED", "QUALIFIED"]
    assert await referral.state("cid") == "REJECTED"
    await referral.drain()
    await referral.assert_sound()


async def test_no_race_passes_a_cap(referral: ReferralHarness) -> None:
    """64 payments of one member's referees that are taken in at once, each by itself, qualify 10 for a cap of 10."""
    await referral.create(caps=[cap("MONTH", 10)])
    code = (await referral.code("ann")).code
    members = [f"m{number}" for number in range(64)]
    await referral.record(
        *(event(f"s-{each}", "user.signed_up", each, at=START, referralCode=code) for each in members)
    )
    paid = [event(f"p-{each}", "payment.succeeded", each, at=START) for each in members]

    async def take(one: Any) -> None:
        told_of = [(convert.event(one, 0), START)]
        await db.transaction(
            referral.context.pool, lambda connection: following.take(referral.context, connection, "demo", told_of)
        )

    await asyncio.gather(*(take(each) for each in paid))
    states = [told(each) for each in await referral.listed()]

    assert (states.count("QUALIFIED"), states.count("REJECTED")) == (10, 54)
    await referral.drain()
    await referral.assert_sound()


async def test_partitions_of_the_feed_share_a_cap(referral: ReferralHarness) -> None:
    """Followers of 8 partitions at once, in two processes, pass no cap and take nothing twice."""
    await split(referral.program.context.pool, 8)
    await referral.create(caps=[cap("MONTH", 3)])
    code = (await referral.code("ann")).code
    members = [f"m{number}" for number in range(32)]
    recorded = [
        each
        for member in members
        for each in (
            event(f"s-{member}", "user.signed_up", member, at=START, referralCode=code),
            event(f"p-{member}", "payment.succeeded", member, at=START),
        )
    ]
    await referral.program.record(*recorded)
    await asyncio.gather(referral.catch_up(), referral.catch_up())
    await referral.catch_up()
    states = [told(each) for each in await referral.listed()]

    assert (states.count("QUALIFIED"), states.count("REJECTED")) == (3, 29)
