"""Reviews: what is held waits for a person, who decides once; what nobody decides stays held."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from plaudit.referral.v1 import referral_pb2, referral_service_pb2

from tests.conftest import START
from tests.support.referral import ReferralHarness, decided, told
from tests.support.refusals import refusal

QUEUE: dict[str, Any] = {"state": referral_pb2.REFERRAL_STATE_HELD, "decision": referral_pb2.REFERRAL_DECISION_HOLD}
MONTH = timedelta(days=30)


async def held(referral: ReferralHarness, *, hold: timedelta = timedelta(0)) -> referral_pb2.Referral:
    """Brings a friend with an address to throw away, whose payment is held for a reviewer."""
    await referral.create(hold_seconds=hold // timedelta(seconds=1))
    code = await referral.code("ann")
    await referral.address("bob", "bob@mailinator.com")
    await referral.sign_up("bob", referralCode=code.code)
    await referral.pay("bob")
    await referral.drain()
    return await referral.of("bob")


async def test_held_referral_waits_for_ever(referral: ReferralHarness) -> None:
    """What waits for a reviewer is in the queue, and no end of any time releases it."""
    waiting = await held(referral, hold=MONTH)
    referral.time.value += 20 * MONTH
    await referral.drain()
    queue = await referral.listed(**QUEUE)

    assert (told(waiting), decided(waiting)) == ("HELD", "HOLD")
    assert queue == [waiting]
    await referral.assert_sound()


@pytest.mark.parametrize("hold", [timedelta(0), MONTH])
async def test_approved_referral_is_rewarded_after_its_hold(referral: ReferralHarness, hold: timedelta) -> None:
    """An approval releases the reward when the hold is over, at once where it is, and the queue is empty."""
    waiting = await held(referral, hold=hold)
    response = await referral.review(waiting, etag=waiting.etag)
    queue = await referral.listed(**QUEUE)
    await referral.drain()
    before = await referral.state("bob")
    referral.time.value += hold
    await referral.drain()

    assert queue == []
    assert (response.referral.review.approved, response.referral.review.actor) == (True, "Kim")
    assert before == ("HELD" if hold else "REWARDED")
    assert await referral.state("bob") == "REWARDED"
    await referral.assert_sound()


async def test_approval_that_came_late_still_releases(referral: ReferralHarness) -> None:
    """An approval long after the end of the hold rewards at once, though the end of the hold has passed before."""
    waiting = await held(referral, hold=MONTH)
    referral.time.value += 2 * MONTH
    await referral.drain()
    assert told((await referral.review(waiting)).referral) == "REWARDED"
    await referral.assert_sound()


async def test_rejected_referral_ends(referral: ReferralHarness) -> None:
    """A rejection voids the reward, and no later time or refund changes that."""
    waiting = await held(referral)
    rejected = (await referral.review(waiting, "Reject")).referral
    await referral.refund("bob")
    await referral.drain()

    assert (told(rejected), rejected.end_reason) == ("REJECTED", referral_pb2.REFERRAL_END_REASON_REVIEW)
    assert await referral.of("bob") == rejected
    await referral.assert_sound()


async def test_review_happens_once(referral: ReferralHarness) -> None:
    """Of 64 reviewers one decides; the same request again is told again, and another content of it is refused."""
    waiting = await held(referral)
    calls = (
        referral.review(waiting, "Approve" if n % 2 else "Reject", request_id=f"r{n}", etag=waiting.etag)
        for n in range(64)
    )
    answers = await asyncio.gather(*calls, return_exceptions=True)
    [winner] = [n for n, answer in enumerate(answers) if not isinstance(answer, grpc.aio.AioRpcError)]
    verb = "Approve" if winner % 2 else "Reject"
    again = await referral.review(waiting, verb, request_id=f"r{winner}", etag=waiting.etag)
    reused = await refusal(referral.review(waiting, verb, request_id=f"r{winner}", etag=waiting.etag, actor="Lee"))

    assert again.replayed
    assert (reused.reason, reused.metadata["fields"]) == ("REQUEST_ID_REUSED", "actor")
    assert await referral.context.pool.fetchval("SELECT count(*) FROM reviews") == 1
    await referral.assert_sound()


async def test_review_is_refused_with_reasons(referral: ReferralHarness) -> None:
    """A lost etag, a referral that does not wait, and one that is not there are refused."""
    waiting = await held(referral)
    stale = await refusal(referral.review(waiting, etag="99"))
    await referral.review(waiting)
    again = await refusal(referral.review(waiting, request_id="other"))
    unknown = [
        await refusal(referral.review(referral_pb2.Referral(referral_id=each), request_id="u"))
        for each in ("nope", "00000000-0000-0000-0000-000000000000")
    ]

    assert stale.reason == "CONCURRENT_UPDATE"
    assert (again.reason, again.metadata["state"]) == ("REFERRAL_STATE_INVALID", "REWARDED")
    assert {each.reason for each in unknown} == {"REFERRAL_NOT_FOUND"}


async def test_refund_reverses_what_waits(referral: ReferralHarness) -> None:
    """A refund ends what waits for a reviewer, who then has nothing to decide."""
    waiting = await held(referral)
    await referral.refund("bob")

    assert await referral.state("bob") == "REVERSED"
    assert await referral.listed(**QUEUE) == []
    assert (await refusal(referral.review(waiting))).reason == "REFERRAL_STATE_INVALID"
    await referral.assert_sound()


async def test_referrals_are_listed_in_pages(referral: ReferralHarness) -> None:
    """Referrals are listed newest first, all or one member's, in pages that fit together, and alone by id."""
    await referral.create()
    codes = {each: (await referral.code(each)).code for each in ("ann", "zoe")}
    for number in range(5):
        await referral.sign_up(f"m{number}", at=START, referralCode=codes["zoe" if number == 2 else "ann"])
    token = ""
    found: list[referral_pb2.Referral] = []
    while True:
        request = referral_service_pb2.ListMemberReferralsRequest(member_id="ann", page_size=2, page_token=token)
        response = await referral.stub.ListMemberReferrals(request, metadata=referral.metadata())
        found += response.referrals
        token = response.next_page_token
        if not token:
            break
    alone = await referral.stub.GetReferral(
        referral_service_pb2.GetReferralRequest(referral_id=found[0].referral_id), metadata=referral.metadata()
    )
    paid = await referral.listed(state=referral_pb2.REFERRAL_STATE_REWARDED)

    assert [each.referee_id for each in found] == ["m4", "m3", "m1", "m0"]
    assert [each.referee_id for each in await referral.listed()] == ["m4", "m3", "m2", "m1", "m0"]
    assert alone.referral == found[0]
    assert paid == []
