"""Posts batches of events, several at once, and again after whatever may pass.

Posting again is safe: an event is the same event by its id, for ever.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import orjson

from services.devstack.api import Api, problem_of
from services.devstack.errors import CannotRunError
from services.devstack.replay.rows import Event
from services.devstack.replay.tally import Tally

RETRYABLE = frozenset({429, 502, 503, 504})
GIVE_UP_AFTER_S = 300.0  # without any answer that counts
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
RETRY_AFTER_MAX_S = 60.0
ANSWER_WAIT_S = 60.0
CONNECT_WAIT_S = 5.0
PATH = "/v1/events"


@dataclass(frozen=True, slots=True)
class Target:
    """Is where events go, and how many at once."""

    api: Api
    batch_size: int
    in_flight: int


class Sender:
    """Sends events and counts in `tally` what became of them; `observe` is called after each batch.

    `complain` is told when the target is away. Raises CannotRunError where it stays away, or refuses the caller.
    """

    def __init__(
        self, target: Target, tally: Tally, *, observe: Callable[[], None], complain: Callable[[str], None]
    ) -> None:
        self._target = target
        self._tally = tally
        self._observe = observe
        self._complain = complain
        self._progress_at = time.monotonic()
        self._away = False

    async def send(self, events: Iterator[Event]) -> None:
        """Sends all events and returns when each is answered."""
        try:
            async with self._client() as client, asyncio.TaskGroup() as group:
                for _ in range(self._target.in_flight):
                    group.create_task(self._send_batches(client, events))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first ended the others

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._target.api.url,
            headers={**self._target.api.headers, "content-type": "application/json"},
            timeout=httpx.Timeout(ANSWER_WAIT_S, connect=CONNECT_WAIT_S),
            limits=httpx.Limits(max_connections=self._target.in_flight),
            trust_env=self._target.api.trust_env,
        )

    async def _send_batches(self, client: httpx.AsyncClient, events: Iterator[Event]) -> None:
        while batch := list(itertools.islice(events, self._target.batch_size)):
            response = await self._post(client, orjson.dumps({"events": batch}))
            self._count(batch, response)
            self._progress_at = time.monotonic()
            self._away = False
            self._observe()

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> httpx.Response:
        """Posts one batch until it is answered by something other than "not now"."""
        for attempt in itertools.count():
            wait_s = min(BACKOFF_MIN_S * 2 ** min(attempt, 16), BACKOFF_MAX_S) * random.uniform(0.5, 1.0)
            try:
                response = await client.post(PATH, content=body)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.status_code not in RETRYABLE:
                    return response
                problem = f"HTTP {response.status_code}"
                wait_s = max(wait_s, retry_after_s(response))
            self._not_now(problem)
            await asyncio.sleep(wait_s)
        raise AssertionError("an endless loop has ended")

    def _not_now(self, problem: str) -> None:
        if time.monotonic() - self._progress_at >= GIVE_UP_AFTER_S:
            minutes = GIVE_UP_AFTER_S / 60
            raise CannotRunError(f"{self._target.api.url} did not answer for {minutes:.0f} minutes ({problem})")
        if not self._away:
            self._away = True
            self._complain(f"{self._target.api.url} is away ({problem}); trying again")

    def _count(self, batch: list[Event], response: httpx.Response) -> None:
        if response.status_code == httpx.codes.OK:
            self._tally.add(orjson.loads(response.content)["results"])
            return
        problem = problem_of(response)
        if response.status_code != httpx.codes.BAD_REQUEST:
            words = problem.get("detail") or problem.get("title") or "no reason given"
            raise CannotRunError(f"{self._target.api.url} refused the call: {words} (HTTP {response.status_code})")
        # No event of the batch was well-formed. The errors name fields such as events[3].memberId.
        errors = problem.get("errors") or [{}]
        for place, event in enumerate(batch):
            own = [error for error in errors if f"events[{place}]" in error.get("field", "")]
            self._tally.refuse(
                event["eventId"],
                {"reason": problem.get("reason", "FIELD_INVALID"), **(own or errors)[0]},
            )


def retry_after_s(response: httpx.Response) -> float:
    """Reads for how long the target wants to be left alone."""
    text = response.headers.get("retry-after", "")
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else 0.0
