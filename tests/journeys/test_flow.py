"""The whole flow over HTTP: a link is shared, followed and signed up by; both sides are paid, and pay back."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.support.stack import Stack

WAIT_S = 45.0
POLL_S = 0.1
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HOLD_S = 3
REFERRAL_PROGRAM = "journey"
# What makes the flow: definitions by the path that creates them. They are this test's own, so that nobody else's
# events meet them.
DEFINITIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/referral-programs",
        {
            "referralProgramId": REFERRAL_PROGRAM,
            "displayName": "Bring a friend",
            "landingUrl": "https://example.com/welcome",
            "qualifyingEventType": "payment.succeeded",
            "holdSeconds": str(HOLD_S),
        },
    ),
    (
        "/v1/rules",
        {
            "ruleId": "journey-referrer",
            "displayName": "For who brings a friend",
            "eventType": "referral.qualified",
            "condition": f'event.properties.referral_program_id == "{REFERRAL_PROGRAM}"',
            "asset": "credits",
            "amount": "500",
            "pending": True,
        },
    ),
    (
        "/v1/rules",
        {
            "ruleId": "journey-referee",
            "displayName": "For the friend",
            "eventType": "referral.qualified",
            "condition": f'event.properties.referral_program_id == "{REFERRAL_PROGRAM}"',
            "recipient": "event.properties.referee_id",
            "asset": "credits",
            "amount": "200",
            "pending": True,
        },
    ),
    (
        "/v1/metrics",
        {"metricId": "journey-steps", "displayName": "Steps of the journey", "eventType": "journey.step_done"},
    ),
    (
        "/v1/ladders",
        {
            "ladderId": "journey",
            "displayName": "Onboarding",
            "metricId": "journey-steps",
            "levels": [
                {"levelId": "explorer", "displayName": "Explorer", "threshold": "1"},
                {"levelId": "builder", "displayName": "Builder", "threshold": "3", "unlocks": "Exports"},
                {"levelId": "integrator", "displayName": "Integrator", "threshold": "5"},
            ],
        },
    ),
    (
        "/v1/rules",
        {
            "ruleId": "journey-builder",
            "displayName": "Become a Builder",
            "eventType": "gamification.level_reached",
            "condition": 'event.properties.ladder_id == "journey" && event.properties.level_id == "builder"',
            "amount": "75",
        },
    ),
]


async def becomes(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Looks until something is as wanted; fails with what it was last."""
    found: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while found != wanted:
                found = await look()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        assert found == wanted


class Journey:
    """What a product and its members do, each over HTTP."""

    def __init__(self, client: httpx.AsyncClient, outside: httpx.AsyncClient, stack: Stack) -> None:
        self.client = client
        self.outside = outside
        self.url = stack.url
        self._events = 0

    async def define(self) -> None:
        """Creates all definitions."""
        for number, (path, body) in enumerate(DEFINITIONS):
            response = await self.client.post(path, json=body, headers={"idempotency-key": f"journey-{number}"})
            assert response.status_code == 200, f"{path}: {response.text}"

    async def introduce(self, member_id: str, **known: str) -> None:
        """Tells what is known of a member."""
        response = await self.client.put(f"/v1/members/{member_id}", json=known)
        assert response.status_code == 200, response.text

    async def happen(self, type_: str, member_id: str, **properties: Any) -> None:
        """Tells of an event that happens now."""
        self._events += 1
        event = {
            "eventId": f"journey-{self._events}",
            "type": type_,
            "memberId": member_id,
            "occurTime": datetime.now(UTC).isoformat(),
            "properties": properties,
        }
        response = await self.client.post("/v1/events", json={"events": [event]})
        assert response.status_code == 200, response.text
        assert [each["status"] for each in response.json()["results"]] == ["ACCEPTED"]

    async def share(self, member_id: str) -> str:
        """Gives the path of a member's link."""
        body = {"referralProgramId": REFERRAL_PROGRAM}
        headers = {"idempotency-key": f"code-{member_id}"}
        response = await self.client.post(f"/v1/members/{member_id}/referral-codes", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return str(response.json()["linkPath"])

    async def click(self, path: str) -> str:
        """Follows a link in a browser and gives the click id that the landing page is told."""
        response = await self.outside.get(path, headers={"user-agent": BROWSER}, follow_redirects=False)
        assert response.status_code == 302, response.text
        landing = urlsplit(response.headers["location"])
        assert f"{landing.scheme}://{landing.netloc}{landing.path}" == "https://example.com/welcome"
        [click_id] = parse_qs(landing.query)["ref"]
        return click_id

    async def stand(self, member_id: str, asset: str) -> tuple[int, int]:
        """Tells what a member can spend of an asset, and what waits."""
        balances = (await self.client.get(f"/v1/members/{member_id}/balances")).json()["balances"]
        return next(((int(b["available"]), int(b["pending"])) for b in balances if b["asset"] == asset), (0, 0))

    async def both(self) -> list[tuple[int, int]]:
        """Tells what the referrer and the referee can spend of credits, and what waits."""
        return [await self.stand(member_id, "credits") for member_id in ("anna", "ben")]

    async def states(self) -> list[str]:
        """Tells where the referrer's referrals stand."""
        found = (await self.client.get("/v1/members/anna/referrals")).json()["referrals"]
        return [each["state"] for each in found]

    async def level(self, member_id: str) -> str:
        """Tells which level of the onboarding a member is on."""
        levels = (await self.client.get(f"/v1/members/{member_id}/progress")).json()["levels"]
        return next((each["level"] for each in levels if each["ladder"] == "journey"), "")


async def test_friend_is_brought_paid_for_and_refunded(stack: Stack) -> None:
    """A link brings a friend; both are paid after the hold; levels pay; a refund takes back what the referral gave."""
    async with stack.client() as client, httpx.AsyncClient(base_url=stack.url, timeout=30) as outside:
        journey = Journey(client, outside, stack)
        await journey.define()
        await journey.introduce("anna", email="anna@acme.example", locale="fr", displayName="Anna")
        link = await journey.share("anna")
        click_id = await journey.click(link)
        await journey.introduce("ben", email="ben.b@other.example", displayName="Ben")
        await journey.happen("user.signed_up", "ben", clickId=click_id, ip="198.51.100.7", deviceId="d-ben")
        await becomes(journey.states, ["SIGNED_UP"])

        await journey.happen("payment.succeeded", "ben", payment_id="p-1", paymentFingerprint="card-ben")
        await becomes(journey.both, [(0, 500), (0, 200)])
        await becomes(journey.states, ["REWARDED"])
        await becomes(journey.both, [(500, 0), (200, 0)])

        for _ in range(3):
            await journey.happen("journey.step_done", "ben")
        await becomes(lambda: journey.level("ben"), "builder")
        await becomes(lambda: journey.stand("ben", "points"), (75, 0))

        await journey.happen("payment.refunded", "ben", payment_id="p-1")
        await becomes(journey.states, ["REVERSED"])
        await becomes(journey.both, [(0, 0), (0, 0)])
