"""Codes, links and clicks: unguessable, hard to mistake, and counted for people only."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from plaudit.referral.v1 import link_service_pb2, referral_pb2, referral_service_pb2

from services.kernel import due
from services.referral.operations import links
from services.referral.operations.context import FORGET
from tests.support.program import ProgramHarness
from tests.support.referral import FRIENDS, LANDING, ReferralHarness
from tests.support.refusals import refusal


async def listed(referral: ReferralHarness, member_id: str = "ann") -> list[referral_pb2.ReferralCode]:
    """Lists the codes of a member, page by page."""
    token = ""
    found: list[referral_pb2.ReferralCode] = []
    while True:
        request = referral_service_pb2.ListReferralCodesRequest(member_id=member_id, page_size=1, page_token=token)
        response = await referral.stub.ListReferralCodes(request, metadata=referral.metadata())
        found += response.referral_codes
        token = response.next_page_token
        if not token:
            return found


async def test_member_has_one_random_code(referral: ReferralHarness) -> None:
    """64 requests for a random code, each its own, give one code, which is spelled without look-alikes."""
    await referral.create()
    made = await asyncio.gather(*(referral.code("ann", request_id=f"r{n}") for n in range(64)))
    other = await referral.code("bob")

    assert len({each.code for each in made}) == 1
    assert len(made[0].code) == 10
    assert not set(made[0].code) & set("0OQ1IL2Z5S6G8BUV")
    assert other.code != made[0].code
    assert made[0].link_path.startswith("/r/")
    assert made[0].link_path.partition("-")[2] == made[0].code


async def test_vanity_code_is_one_members(referral: ReferralHarness) -> None:
    """A wished-for code is given once, and so is what looks like it; its request told again gives it again."""
    await referral.create()
    made = await referral.code("ann", "Anna10")
    again = await referral.code("ann", "Anna10")

    assert (made.code, made.vanity, again) == ("ANNA10", True, made)
    for taken in ("anna10", "ANNAIO", "annalo"):
        error = await refusal(referral.code("bob", taken))
        assert (error.reason, error.metadata["code"]) == ("CODE_TAKEN", taken.upper())
    assert [each.code for each in await listed(referral)] == ["ANNA10"]


async def test_codes_are_refused_with_reasons(referral: ReferralHarness) -> None:
    """A code that is no code, of no referral program, one too many, or of a request for another one is refused."""
    assert (await refusal(referral.code("ann"))).reason == "REFERRAL_PROGRAM_NOT_FOUND"
    await referral.create()
    for wrong in ("abc", "a-b-c-d", "änna", "a" * 25):
        assert (await refusal(referral.code("ann", wrong))).violations[0].field == "vanityCode"
    await referral.code("ann", "first", request_id="r1")
    assert (await refusal(referral.code("ann", "second", request_id="r1"))).reason == "REQUEST_ID_REUSED"
    for number in range(links.CODES_PER_MEMBER_MAX - 1):
        await referral.code("ann", f"more{number}")
    assert (await refusal(referral.code("ann", "toomuch"))).reason == "CODE_LIMIT"


async def test_no_race_makes_too_many_codes(referral: ReferralHarness) -> None:
    """Of 64 codes that a member wishes for at once 20 are made, and the others are refused."""
    await referral.create()
    wishes = (referral.code("ann", f"wish{number}") for number in range(64))
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    made = [each for each in answers if isinstance(each, referral_pb2.ReferralCode)]

    assert len(made) == len(await listed(referral)) == links.CODES_PER_MEMBER_MAX


async def test_click_leads_to_the_landing_page(referral: ReferralHarness) -> None:
    """A person is sent to the landing page with a signed click id and nothing else that is new, and is counted."""
    await referral.create()
    code = await referral.code("ann")
    followed = await referral.follow_link(code, ip="203.0.113.9")
    again = await referral.follow_link(code.link_path.removeprefix("/r/").lower(), ip="203.0.113.9")

    assert (followed.counted, followed.program_id) == (True, "demo")
    parts = urlsplit(followed.location)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == LANDING.partition("?")[0]
    query = dict(parse_qsl(parts.query))
    assert (query["plan"], set(query), len(query["ref"])) == ("free", {"plan", "ref"}, 38)
    assert again.location != followed.location
    assert [each.click_count for each in await listed(referral)] == [2]


BOTS: list[dict[str, Any]] = [
    {"head": True},
    {"agent": ""},
    {"agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
    {"agent": "WhatsApp/2.23.20.0"},
    {"agent": "facebookexternalhit/1.1"},
    {"agent": "curl/8.5.0"},
]


async def test_bots_are_sent_on_and_not_counted(referral: ReferralHarness) -> None:
    """Bots, link previews and those who only ask for headers see where the link leads, with the code and no click."""
    await referral.create()
    code = await referral.code("ann")
    followed = [await referral.follow_link(code, **what) for what in BOTS]

    assert not any(each.counted for each in followed)
    refs = {dict(parse_qsl(urlsplit(each.location).query))["ref"] for each in followed}
    assert refs == {code.link_path.removeprefix("/r/")}
    assert [each.click_count for each in await listed(referral)] == [0]


async def test_paused_program_counts_nothing(referral: ReferralHarness) -> None:
    """Links of a referral program that is not live lead where they did, and are not counted."""
    await referral.create()
    code = await referral.code("ann")
    request = referral_service_pb2.UpdateReferralProgramRequest(
        referral_program=referral_pb2.ReferralProgram(
            referral_program_id=FRIENDS, state=referral_pb2.REFERRAL_PROGRAM_STATE_PAUSED
        ),
        request_id="pause",
    )
    await referral.stub.UpdateReferralProgram(request, metadata=referral.metadata())
    followed = await referral.follow_link(code)

    assert followed.location.startswith("https://acme.example/welcome?")
    assert not followed.counted


async def test_unknown_link_is_not_found(referral: ReferralHarness) -> None:
    """What is no link, or one of no code, is not found."""
    await referral.create()
    tag = (await referral.code("ann")).link_path.removeprefix("/r/").partition("-")[0]
    for text in ("nope", "7KRMD-NOPE", "7KRMD-", "-", "ÄÄÄÄÄ-ANNA", f"{tag}-NOPE"):
        assert (await refusal(referral.follow_link(text))).reason == "CODE_NOT_FOUND"


async def test_only_the_gateway_follows_links(referral: ReferralHarness) -> None:
    """A product cannot make clicks by itself."""
    await referral.create()
    code = await referral.code("ann")
    request = link_service_pb2.FollowLinkRequest(code=code.link_path.removeprefix("/r/"))
    error = await refusal(referral.link_stub.FollowLink(request, metadata=referral.metadata()))
    assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", "links.follow")


async def test_codes_of_programs_are_apart(referral: ReferralHarness, program: ProgramHarness) -> None:
    """Two programs may have the same code: the links tell which is meant."""
    await program.create("other")
    for each in ("demo", "other"):
        await referral.create(program=each, landing_url=f"https://{each}.example/")
    codes = {each: await referral.code("ann", "anna", program=each) for each in ("demo", "other")}
    followed = {each: await referral.follow_link(code) for each, code in codes.items()}

    assert codes["demo"].code == codes["other"].code
    assert {each: urlsplit(answer.location).netloc for each, answer in followed.items()} == {
        "demo": "demo.example",
        "other": "other.example",
    }
    assert [followed[each].program_id for each in ("demo", "other")] == ["demo", "other"]


async def test_clicks_of_many_at_once_are_all_counted(referral: ReferralHarness) -> None:
    """200 people who click at the same time on two links are 200 clicks, each with an id of its own."""
    await referral.create()
    codes = [await referral.code("ann"), await referral.code("ann", "anna")]
    followed = await asyncio.gather(*(referral.follow_link(codes[n % 2]) for n in range(200)))

    assert len({each.location for each in followed}) == 200
    assert [each.click_count for each in await listed(referral)] == [100, 100]


async def test_click_keeps_no_address(referral: ReferralHarness) -> None:
    """Neither the address of a client nor its user agent stands anywhere in the database as it is."""
    await referral.create()
    await referral.follow_link(await referral.code("ann"), ip="203.0.113.77")
    rows = await referral.context.pool.fetch("SELECT clicks::text AS text FROM clicks")

    assert len(rows) == 1
    assert not any(word in rows[0]["text"] for word in ("203.0.113", "Mozilla", b"203.0.113".hex(), b"Mozilla".hex()))


async def test_old_clicks_are_forgotten(referral: ReferralHarness) -> None:
    """Clicks are deleted when they can no longer lead to a referral; how many they were is still told."""
    await referral.create()
    await referral.click(await referral.code("ann"))
    pool = referral.context.pool
    [row] = await pool.fetch("SELECT due_at FROM due_work WHERE kind = $1", FORGET)
    assert (row["due_at"] - referral.time.value).days >= 365
    await pool.execute('UPDATE due_work SET payload = \'{"month": "2100-01-01T00:00:00+00:00"}\'')
    referral.time.value = row["due_at"]
    await due.drain(pool, FORGET, lambda item: links.forget_clicks(referral.context, item), referral.time)

    assert await pool.fetchval("SELECT count(*) FROM clicks") == 0
    assert [each.click_count for each in await listed(referral)] == [1]
