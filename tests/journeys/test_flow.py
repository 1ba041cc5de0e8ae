"""The whole flow over HTTP: a link is shared, followed and signed up by; both sides are paid, and pay back."""

import httpx

from tests.support.journey import Journey, assert_becomes
from tests.support.stack import Stack


async def test_friend_is_brought_paid_for_and_refunded(stack: Stack) -> None:
    """A link brings a friend; both are paid after the hold; a level pays; a refund takes back what the link gave."""
    async with stack.client() as client, httpx.AsyncClient(base_url=stack.url, timeout=30) as outside:
        journey = Journey(client, outside, "one")
        await journey.define()
        await journey.bring()
        await assert_becomes(journey.states, ["SIGNED_UP"])

        await journey.pay()
        await assert_becomes(journey.credits, [(0, 500), (0, 200)])
        await assert_becomes(journey.states, ["REWARDED"])
        await assert_becomes(journey.credits, [(500, 0), (200, 0)])

        await journey.learn(3)
        await assert_becomes(journey.level, "builder")
        await assert_becomes(journey.stars, (75, 0))

        await journey.refund()
        await assert_becomes(journey.states, ["REVERSED"])
        await assert_becomes(journey.credits, [(0, 0), (0, 0)])
