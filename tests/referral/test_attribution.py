"""Attribution: which code or click a sign-up counts for, and which it does not."""

from datetime import timedelta
from typing import Any

import pytest
from plaudit.referral.v1 import referral_pb2, referral_service_pb2

from tests.conftest import START
from tests.support.program import event
from tests.support.referral import FRIENDS, ReferralHarness

FIRST = referral_pb2.ATTRIBUTION_MODEL_FIRST_TOUCH
DAY = timedelta(days=1)
SPELLINGS = ("referralCode", "referral_code", "clickId", "click_id", "clickIds", "click_ids")


async def click_of(referral: ReferralHarness, member_id: str) -> str:
    """Clicks on a member's link, and goes on a day later."""
    click = await referral.click(await referral.code(member_id))
    referral.time.value += DAY
    return click


@pytest.mark.parametrize("what", ["code", "link", "typed", "click"])
async def test_sign_up_names_how_it_came(referral: ReferralHarness, what: str) -> None:
    """A sign-up may name the code, what stands in the link, or the click, however it spells the property."""
    await referral.create()
    made = await referral.code("ann", "anna10")
    link = made.link_path.removeprefix("/r/")
    given = {"code": "ANNA10", "link": link, "typed": " anna-lo ", "click": await referral.click(made)}[what]
    for spelled in SPELLINGS:
        named: dict[str, Any] = {spelled: [given, 7] if spelled.endswith("s") else given}
        await referral.sign_up(f"by-{spelled}", **named)

    found = await referral.listed()
    assert [(each.referrer_id, each.code) for each in found] == [("ann", "ANNA10")] * len(SPELLINGS)
    assert {each.HasField("click_time") for each in found} == {what == "click"}


@pytest.mark.parametrize(
    ("model", "named", "referrer"),
    [
        ({}, ["ann", "zoe"], "zoe"),
        ({}, ["zoe", "ann"], "zoe"),
        ({"attribution_model": FIRST}, ["ann", "zoe"], "ann"),
        ({"attribution_model": FIRST}, ["zoe", "ann"], "ann"),
        ({"attribution_model": FIRST, "attribution_days": 2}, ["ann", "zoe"], "zoe"),
        ({"attribution_days": 1}, ["ann", "zoe"], ""),
    ],
)
async def test_touch_is_chosen_by_the_model(
    referral: ReferralHarness, model: dict[str, Any], named: list[str], referrer: str
) -> None:
    """Of several clicks the last one counts, or the first one, of those within the days; their order says nothing."""
    await referral.create(**model)
    clicks = {each: await click_of(referral, each) for each in ("ann", "zoe")}
    await referral.sign_up("bob", clickIds=[clicks[each] for each in named])

    assert [each.referrer_id for each in await referral.listed()] == ([referrer] if referrer else [])


async def test_typed_code_is_the_last_touch(referral: ReferralHarness) -> None:
    """A code that is typed at the sign-up comes after every click."""
    await referral.create()
    click = await click_of(referral, "zoe")
    await referral.sign_up("bob", clickId=click, referralCode=(await referral.code("ann")).code)

    assert (await referral.of("bob")).referrer_id == "ann"


@pytest.mark.parametrize(("days", "count"), [(90 - 1e-9, 1), (90, 0)])
async def test_click_counts_for_ninety_days(referral: ReferralHarness, days: float, count: int) -> None:
    """A click leads to a referral for exactly 90 days."""
    await referral.create()
    click = await referral.click(await referral.code("ann"))
    referral.time.value += timedelta(days=days)
    await referral.sign_up("bob", clickId=click)

    assert len(await referral.listed()) == count


async def test_member_is_referred_once(referral: ReferralHarness) -> None:
    """The first sign-up of a member counts, for ever."""
    await referral.create()
    codes = {each: (await referral.code(each)).code for each in ("ann", "zoe")}
    await referral.sign_up("bob", referralCode=codes["ann"])
    await referral.record(event("again", "user.signed_up", "bob", at=START, referralCode=codes["zoe"]))

    assert (await referral.of("bob")).referrer_id == "ann"


async def test_unknown_code_is_no_referral(referral: ReferralHarness) -> None:
    """A sign-up with a code that is none, or is no text, is a sign-up like any."""
    await referral.create()
    await referral.code("ann", "anna10")
    given: list[Any] = ["NOPE", "", "x" * 500, "7KRMD-NOPE", 12, None, ["ANNA10"], {"code": "ANNA10"}]
    for number, each in enumerate(given):
        await referral.sign_up(f"m{number}", referralCode=each)

    assert await referral.listed() == []


async def test_forged_click_is_no_referral(referral: ReferralHarness) -> None:
    """A click id that was changed, or is another program's, leads to nothing."""
    for program in ("demo", "other"):
        await referral.create(program=program)
    click = await referral.click(await referral.code("ann"))
    foreign = await referral.click(await referral.code("ann", program="other"))
    forged = [click[:-1] + ("A" if click[-1] != "A" else "Q"), ("B" if click[0] != "B" else "C") + click[1:], foreign]
    for number, each in enumerate(forged):
        await referral.sign_up(f"m{number}", clickId=each)

    assert await referral.listed() == []


async def test_only_live_programs_and_their_sign_ups_count(referral: ReferralHarness) -> None:
    """Another type of event is no sign-up, and a referral program that is paused takes none."""
    await referral.create(signup_event_type="account.created")
    code = (await referral.code("ann")).code
    await referral.sign_up("bob", referralCode=code)
    assert await referral.listed() == []
    request = referral_service_pb2.UpdateReferralProgramRequest(
        referral_program=referral_pb2.ReferralProgram(
            referral_program_id=FRIENDS, state=referral_pb2.REFERRAL_PROGRAM_STATE_PAUSED
        ),
        request_id="pause",
    )
    await referral.record(event("a1", "account.created", "bob", at=START, referralCode=code))
    await referral.stub.UpdateReferralProgram(request, metadata=referral.metadata())
    await referral.record(event("a2", "account.created", "cid", at=START, referralCode=code))

    assert [each.referee_id for each in await referral.listed()] == ["bob"]


async def test_referral_goes_by_its_version(referral: ReferralHarness) -> None:
    """A referral goes by the referral program as it was at the sign-up, whatever has become of it since."""
    await referral.create(hold_seconds=60)
    await referral.sign_up("bob", referralCode=(await referral.code("ann")).code)
    request = referral_service_pb2.UpdateReferralProgramRequest(
        referral_program=referral_pb2.ReferralProgram(
            referral_program_id=FRIENDS, qualifying_event_type="plan.upgraded", hold_seconds=7
        ),
        request_id="change",
    )
    await referral.stub.UpdateReferralProgram(request, metadata=referral.metadata())
    await referral.pay("bob")

    found = await referral.of("bob")
    assert found.referral_program_version == 1
    assert found.hold_end_time.seconds - found.qualify_time.seconds == 60
