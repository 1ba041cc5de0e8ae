"""The way of a referral: clicked, signed up, qualified, held, rewarded; or expired, rejected, reversed."""

from datetime import timedelta

import pytest
from plaudit.referral.v1 import referral_pb2

from services.referral.operations.context import CHECK, EXPIRE
from tests.conftest import START
from tests.support.program import event
from tests.support.referral import ReferralHarness, decided, told

HOLD_S = 30 * 86_400


async def refer(referral: ReferralHarness, referee_id: str = "bob") -> None:
    """Lets Ann bring somebody, who signs up a minute after the click."""
    click = await referral.click(await referral.code("ann"))
    await referral.sign_up(referee_id, at=referral.time.value + timedelta(minutes=1), clickId=click)


async def test_friend_is_rewarded_after_the_hold(referral: ReferralHarness) -> None:
    """A friend who clicks, signs up and pays qualifies at once, is allowed, and is rewarded when the hold is over."""
    await referral.create(hold_seconds=HOLD_S)
    await refer(referral)
    signed_up = await referral.of("bob")
    await referral.pay("bob", at=START + timedelta(minutes=2))
    await referral.drain()
    waiting = await referral.of("bob")
    referral.time.value += timedelta(seconds=HOLD_S + 120)
    await referral.drain()
    rewarded = await referral.of("bob")

    assert (signed_up.referrer_id, told(signed_up), decided(signed_up)) == ("ann", "SIGNED_UP", "PENDING")
    assert (told(waiting), decided(waiting), waiting.qualifying_event_id) == ("QUALIFIED", "ALLOW", "payment-bob")
    assert told(rewarded) == "REWARDED"
    published = await referral.published()
    assert [(told(each.referral), each.member_id, each.causation_depth) for each in published] == [
        ("SIGNED_UP", "ann", 0),
        ("QUALIFIED", "ann", 0),
        ("REWARDED", "ann", 0),
    ]
    assert [each.previous_state for each in published] == [0, 1, 2]
    assert referral.kicks == [CHECK]
    await referral.assert_sound()


async def test_refund_in_the_hold_voids(referral: ReferralHarness) -> None:
    """A refund of the payment in the hold reverses the referral; nothing releases it any more."""
    await referral.create(hold_seconds=HOLD_S)
    await refer(referral)
    await referral.pay("bob", at=START + timedelta(minutes=2))
    await referral.drain()
    await referral.refund("bob")
    referral.time.value += timedelta(seconds=HOLD_S + 120)
    await referral.drain()

    reversed_ = await referral.of("bob")
    assert (told(reversed_), reversed_.end_reason) == ("REVERSED", referral_pb2.REFERRAL_END_REASON_REFUND)
    assert [told(each.referral) for each in await referral.published()] == ["SIGNED_UP", "QUALIFIED", "REVERSED"]
    await referral.assert_sound()


async def test_refund_after_the_hold_takes_back(referral: ReferralHarness) -> None:
    """A refund after the reward reverses it once, however often the refund is told."""
    await referral.create()
    await refer(referral)
    await referral.pay("bob", at=START + timedelta(minutes=2), payment_id="p-1")
    referral.time.value += timedelta(minutes=3)
    await referral.drain()
    await referral.refund("bob", "p-2", name="of-another-payment")
    assert await referral.state("bob") == "REWARDED"
    await referral.refund("bob", "p-1")
    await referral.refund("bob", "p-1", name="told-again")

    states = [told(each.referral) for each in await referral.published()]
    assert states == ["SIGNED_UP", "QUALIFIED", "REWARDED", "REVERSED"]
    await referral.assert_sound()


async def test_referral_that_does_not_qualify_expires(referral: ReferralHarness) -> None:
    """What has not qualified in its days expires, and a payment after that changes nothing."""
    await referral.create(qualification_days=30)
    await refer(referral)
    referral.time.value += timedelta(days=30, minutes=1)
    await referral.drain(EXPIRE)
    await referral.pay("bob")

    expired = await referral.of("bob")
    assert (told(expired), expired.end_reason) == ("EXPIRED", referral_pb2.REFERRAL_END_REASON_NOT_QUALIFIED)
    await referral.assert_sound()


@pytest.mark.parametrize(("days", "state"), [(29, "SIGNED_UP"), (30, "QUALIFIED")])
async def test_friend_who_stays_qualifies(referral: ReferralHarness, days: int, state: str) -> None:
    """With days of retention a referral qualifies by the first activity from that day on, and by no event of ours."""
    await referral.create(qualifying_event_type="", retention_days=30)
    await refer(referral)
    at = START + timedelta(days=days, minutes=1)
    referral.time.value = at
    await referral.record(event("own", "referral.qualified", "bob", at=at))
    assert await referral.state("bob") == "SIGNED_UP"
    await referral.record(event("active", "report.generated", "bob", at=at))

    assert await referral.state("bob") == state


async def test_condition_decides_what_qualifies(referral: ReferralHarness) -> None:
    """Only an event of which the condition is true qualifies; one that lacks what it asks for does not."""
    await referral.create(condition="event.properties.amount_cents >= 1000")
    await refer(referral)
    at = START + timedelta(minutes=2)
    await referral.record(event("none", "payment.succeeded", "bob", at=at))
    await referral.record(event("small", "payment.succeeded", "bob", at=at, amount_cents=999))
    assert await referral.state("bob") == "SIGNED_UP"
    await referral.record(event("large", "payment.succeeded", "bob", at=at, amount_cents=1000))

    assert (await referral.of("bob")).qualifying_event_id == "large"


async def test_events_told_again_change_nothing(referral: ReferralHarness) -> None:
    """A follower that begins anew at the start of the feed finds all done, and publishes nothing twice."""
    await referral.create()
    await refer(referral)
    await referral.pay("bob", at=START + timedelta(minutes=2))
    referral.time.value += timedelta(minutes=3)
    await referral.drain()
    before = await referral.published()
    await referral.context.pool.execute("UPDATE feed_cursors SET position = 0")
    await referral.catch_up()
    await referral.drain()

    assert await referral.published() == before
    await referral.assert_sound()


async def test_page_of_events_is_taken_in_order(referral: ReferralHarness) -> None:
    """A sign-up, a payment and its refund that are told at once go the same way as one by one."""
    await referral.create()
    code = await referral.code("ann")
    at = START + timedelta(minutes=1)
    await referral.record(
        event("s", "user.signed_up", "bob", at=at, referralCode=code.code),
        event("p", "payment.succeeded", "bob", at=at),
        event("r", "payment.refunded", "bob", at=at, payment_id="p"),
    )

    assert [told(each.referral) for each in await referral.published()] == ["SIGNED_UP", "QUALIFIED", "REVERSED"]
    await referral.assert_sound()
