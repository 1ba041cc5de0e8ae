"""The whole flow over HTTP: a link is shared, followed and signed up by; both sides are paid, and pay back."""

import asyncio
import html
import re
from typing import Any

import httpx

from tests.support.journey import Journey, assert_becomes
from tests.support.stack import Stack

SIGNED_UP = "Quelqu’un s’est inscrit par votre lien"
QUALIFIED = "Votre filleul est maintenant client"
REWARDED = "Merci : votre récompense est là"


async def test_friend_is_brought_paid_for_and_refunded(stack: Stack) -> None:
    """A link brings a friend: both are paid after the hold, told in their language, and pay back after a refund."""
    told: list[dict[str, Any]] = []
    ids: list[str] = []
    async with stack.client() as client, httpx.AsyncClient(base_url=stack.url, timeout=30) as outside:
        journey = Journey(client, outside, "one")
        await journey.define()
        inbox = asyncio.create_task(journey.stream(told, ids))
        await journey.bring()
        await assert_becomes(journey.states, ["SIGNED_UP"])

        await journey.pay()
        await assert_becomes(journey.credits, [(0, 500), (0, 200)])
        await assert_becomes(journey.states, ["REWARDED"])
        await assert_becomes(journey.credits, [(500, 0), (200, 0)])

        await journey.learn(3)
        await assert_becomes(journey.level, "builder")
        await assert_becomes(journey.stars, (75, 0))

        async def titles() -> list[str]:
            return [each["title"] for each in told if each["topic"] == "referrals"]

        await assert_becomes(titles, [SIGNED_UP, QUALIFIED, REWARDED])
        inbox.cancel()
        await asyncio.gather(inbox, return_exceptions=True)
        await assert_tells_what_was_missed(journey, told, ids)
        await assert_mail_can_be_stopped(journey, outside)

        await journey.refund()
        await assert_becomes(journey.states, ["REVERSED"])
        await assert_becomes(journey.credits, [(0, 0), (0, 0)])


async def assert_tells_what_was_missed(journey: Journey, told: list[dict[str, Any]], ids: list[str]) -> None:
    """Fails unless a stream that was broken off goes on behind the id that it is asked from, with nothing twice."""
    again: list[dict[str, Any]] = []
    places = [place for place in dict.fromkeys(ids) if place != "0"]
    inbox = asyncio.create_task(journey.stream(again, [], last_id=places[0]))

    async def count() -> int:
        return len(again)

    await assert_becomes(count, len(told) - 1)
    inbox.cancel()
    await asyncio.gather(inbox, return_exceptions=True)
    assert again == told[1:]


async def assert_mail_can_be_stopped(journey: Journey, outside: httpx.AsyncClient) -> None:
    """Fails unless a mail in French can be unsubscribed from by one click, which looking at the page is not."""
    found = [each for each in await journey.mails() if each["subject"] == "Quelqu’un a suivi votre recommandation"]
    assert len(found) == 1
    shown = await outside.get(f"{await journey.mail_box()}/{found[0]['number']}")
    page = html.unescape(shown.text)
    link = re.search(r"^List-Unsubscribe: .*?<(http[^>]+)>", page, re.MULTILINE)
    assert link is not None
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in page

    looked = await outside.get(link[1])
    wanted_still = await journey.muted()
    clicked = await outside.post(link[1], data={"List-Unsubscribe": "One-Click"})
    assert (looked.status_code, wanted_still, clicked.status_code) == (200, [], 200)
    assert await journey.muted() == [("referrals", "EMAIL")]
