"""What a product and its members do over HTTP: a friend is brought, pays, goes through the onboarding, is refunded."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

WAIT_S = 90.0
POLL_S = 0.1
RETRY_S = 0.3
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HOLD_S = 3
REFERRAL_PROGRAM = "journey"
LANDING = "https://example.com/welcome"
# What makes the flow: definitions by the path that creates them. They are of their own types of events, so that nobody
# else's meet them.
DEFINITIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/referral-programs",
        {
            "referralProgramId": REFERRAL_PROGRAM,
            "displayName": "Bring a friend",
            "landingUrl": LANDING,
            "signupEventType": "journey.signed_up",
            "qualifyingEventType": "journey.paid",
            "refundEventTypes": ["journey.refunded"],
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
            "asset": "stars",
            "amount": "75",
        },
    ),
]


async def assert_becomes(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Looks until something is as wanted; fails with what it was last."""
    found: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while found != wanted:
                found = await look()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"It is {found} and never became {wanted}.") from None


def zone_where_it_is_noon() -> str:
    """Names a zone in which it is about noon now, where nobody is asleep."""
    ahead = 12 - datetime.now(UTC).hour
    # These names say how far behind the zone UTC is.
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


class Journey:
    """A referrer and a referee, told apart from others by a tag, and the product that they use.

    Whatever does not answer is asked again under the same id, as products do.
    """

    def __init__(self, client: httpx.AsyncClient, outside: httpx.AsyncClient, tag: str) -> None:
        self._client = client
        self._outside = outside
        self.tag = tag
        self.anna, self.ben = f"anna-{tag}", f"ben-{tag}"
        self.anna_mail = f"{self.anna}@acme.example"
        self._events = 0

    async def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        """Asks until there is an answer."""
        client = self._outside if path.startswith("/r/") else self._client
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    response = await client.request(method, path, **what)
                except httpx.TransportError:
                    await asyncio.sleep(RETRY_S)
                    continue
                if response.status_code not in (429, 503, 504):
                    return response
                await asyncio.sleep(RETRY_S)

    async def _get(self, path: str, **what: Any) -> Any:
        response = await self._ask("GET", path, **what)
        assert response.status_code == 200, f"{path}: {response.text}"
        return response.json()

    async def define(self) -> None:
        """Creates all definitions."""
        for number, (path, body) in enumerate(DEFINITIONS):
            response = await self._ask("POST", path, json=body, headers={"idempotency-key": f"journey-{number}"})
            assert response.status_code == 200, f"{path}: {response.text}"

    async def introduce(self, member_id: str, **known: str) -> None:
        """Tells what is known of a member."""
        response = await self._ask("PUT", f"/v1/members/{member_id}", json=known)
        assert response.status_code == 200, response.text

    async def happen(self, type_: str, member_id: str, **properties: Any) -> None:
        """Tells of an event that happens now."""
        self._events += 1
        event = {
            "eventId": f"journey-{self.tag}-{self._events}",
            "type": type_,
            "memberId": member_id,
            "occurTime": datetime.now(UTC).isoformat(),
            "properties": properties,
        }
        response = await self._ask("POST", "/v1/events", json={"events": [event]})
        assert response.status_code == 200, response.text
        assert [each["status"] for each in response.json()["results"]] in (["ACCEPTED"], ["DUPLICATE"])

    async def share(self) -> str:
        """Gives the path of the referrer's link."""
        body = {"referralProgramId": REFERRAL_PROGRAM}
        headers = {"idempotency-key": f"code-{self.tag}"}
        response = await self._ask("POST", f"/v1/members/{self.anna}/referral-codes", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return str(response.json()["linkPath"])

    async def click(self, path: str) -> str:
        """Follows a link in a browser and gives the click id that the landing page is told."""
        response = await self._ask("GET", path, headers={"user-agent": BROWSER}, follow_redirects=False)
        assert response.status_code == 302, response.text
        landing = urlsplit(response.headers["location"])
        assert f"{landing.scheme}://{landing.netloc}{landing.path}" == LANDING
        [click_id] = parse_qs(landing.query)["ref"]
        return click_id

    async def bring(self) -> None:
        """Has the referee come by the referrer's link and sign up."""
        await self.introduce(
            self.anna, email=self.anna_mail, locale="fr", displayName="Anna", timeZone=zone_where_it_is_noon()
        )
        click_id = await self.click(await self.share())
        await self.introduce(self.ben, email=f"{self.ben}@other.example", displayName="Ben")
        device = f"device-{self.tag}"
        await self.happen("journey.signed_up", self.ben, clickId=click_id, ip="198.51.100.7", deviceId=device)

    async def pay(self) -> None:
        """Has the referee pay."""
        await self.happen("journey.paid", self.ben, payment_id=f"p-{self.tag}", paymentFingerprint=f"card-{self.tag}")

    async def refund(self) -> None:
        """Gives the referee the money back."""
        await self.happen("journey.refunded", self.ben, payment_id=f"p-{self.tag}")

    async def learn(self, steps: int) -> None:
        """Has the referee do steps of the onboarding."""
        for _ in range(steps):
            await self.happen("journey.step_done", self.ben)

    async def stand(self, member_id: str, asset: str) -> tuple[int, int]:
        """Tells what a member can spend of an asset, and what waits."""
        balances = (await self._get(f"/v1/members/{member_id}/balances"))["balances"]
        return next(((int(b["available"]), int(b["pending"])) for b in balances if b["asset"] == asset), (0, 0))

    async def credits(self) -> list[tuple[int, int]]:
        """Tells what the referrer and the referee can spend of credits, and what waits."""
        return [await self.stand(member_id, "credits") for member_id in (self.anna, self.ben)]

    async def stars(self) -> tuple[int, int]:
        """Tells what the referee can spend of stars, and what waits."""
        return await self.stand(self.ben, "stars")

    async def states(self) -> list[str]:
        """Tells where the referrer's referrals stand."""
        found = (await self._get(f"/v1/members/{self.anna}/referrals"))["referrals"]
        return [each["state"] for each in found]

    async def mail_box(self) -> str:
        """Tells where the mails of the stack can be read."""
        response = await self._ask("GET", "/dev/mail", follow_redirects=False)
        return str(response.headers["location"])

    async def mails(self) -> list[dict[str, Any]]:
        """Lists the mails that the referrer has been sent, oldest first, each with its number, subject and text."""
        found = (await self._get(f"{await self.mail_box()}?json"))["mails"]
        return [each for each in reversed(found) if each["to"] == [self.anna_mail]]

    async def stream(self, told: list[dict[str, Any]], ids: list[str], *, last_id: str = "") -> None:
        """Reads the referrer's inbox as a browser does, from behind an id, until it is cancelled."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        path = f"/v1/members/{self.anna}/messages:stream"
        async with self._client.stream("GET", path, headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    ids.append(line.removeprefix("id: "))
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))

    async def mail_deliveries(self) -> list[dict[str, Any]]:
        """Tells of each mail to the referrer where it stands, with its attempts."""
        listed = (await self._get(f"/v1/deliveries?memberId={self.anna}&pageSize=100"))["deliveries"]
        return [
            await self._get(f"/v1/deliveries/{each['deliveryId']}") for each in listed if each["channel"] == "EMAIL"
        ]

    async def inbox(self) -> list[str]:
        """Lists the titles of what the referrer's inbox has, oldest first."""
        found = (await self._get(f"/v1/members/{self.anna}/messages?pageSize=100"))["messages"]
        return [each["title"] for each in reversed(found)]

    async def muted(self) -> list[tuple[str, str]]:
        """Tells of which topics the referrer wants nothing more, by channel."""
        found = await self._get(f"/v1/members/{self.anna}/preferences")
        return [(each["topic"], each["channel"]) for each in found["muted"]]

    async def level(self) -> str:
        """Tells which level of the onboarding the referee is on; none yet where the referee was not heard of."""
        response = await self._ask("GET", f"/v1/members/{self.ben}/progress")
        if response.status_code == 404:
            return ""
        assert response.status_code == 200, response.text
        levels = response.json()["levels"]
        return next((str(each["level"]) for each in levels if each["ladder"] == "journey"), "")
