"""Rate limits: one bucket of tokens for each credential, in Redis, so that all gateways count together.

Redis is a help and never a hindrance: where it does not answer within 100 ms calls go on unlimited, it is left alone
for a few seconds, and a metric and one line a minute say so.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio
from prometheus_client import Counter
from redis.exceptions import RedisError

from services.kernel import errors, logs

SCRIPT = Path(__file__).with_name("limits.lua").read_text()
KEY_PREFIX = "plaudit:rate:"
TIMEOUT_S = 0.1
# How long Redis is left alone after it did not answer.
PAUSE_S = 3.0
COMPLAINT_EVERY_S = 60.0
CONNECTIONS_MAX = 64
POLICY_NAME = "default"

SKIPPED = Counter("plaudit_gateway_limit_skipped", "Calls that were not counted, since Redis did not answer.")


@dataclass(frozen=True, slots=True)
class Policy:
    """What one credential may do: so many calls a second on average, so many at once."""

    rate_per_s: int
    burst: int

    @property
    def window_s(self) -> int:
        """Is the time in which an empty bucket fills."""
        return math.ceil(self.burst / self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a credential stands after a call."""

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float


class Limiter:
    """Counts calls."""

    def __init__(
        self,
        url: str,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
        *,
        timeout_s: float | None = None,
    ) -> None:
        self.policy = policy
        self._clock = clock
        timeout_s = timeout_s or TIMEOUT_S
        self._timeout_s = timeout_s
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        self._script = self._redis.register_script(SCRIPT)
        self._paused_until_s = 0.0
        self._complain_from_s = 0.0

    async def count(self, subject: str) -> Standing | None:
        """Counts one call of a subject and tells how it stands, None where nobody can tell."""
        if self._clock() < self._paused_until_s:
            SKIPPED.inc()
            return None
        arguments = [1_000_000 / self.policy.rate_per_s, self.policy.burst]
        try:
            async with asyncio.timeout(self._timeout_s):
                answer: Any = await self._script(keys=[KEY_PREFIX + subject], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._pause(error)
            return None
        allowed, remaining, reset_us, retry_us = answer
        return Standing(bool(allowed), remaining, reset_us / 1e6, retry_us / 1e6)

    def _pause(self, error: Exception) -> None:
        SKIPPED.inc()
        now = self._clock()
        self._paused_until_s = now + PAUSE_S
        if now >= self._complain_from_s:
            self._complain_from_s = now + COMPLAINT_EVERY_S
            logs.get_logger().warning("limits_suspended", error=repr(error))

    def headers(self, standing: Standing | None) -> dict[str, str]:
        """Gives the headers of an answer, in the current form (draft-ietf-httpapi-ratelimit-headers) and the older one.

        Where nobody could tell how the caller stands, only the policy is said.
        """
        policy = self.policy
        headers = {
            "ratelimit-policy": f'"{POLICY_NAME}";q={policy.burst};w={policy.window_s}',
            "ratelimit-limit": str(policy.burst),
        }
        if standing is not None:
            reset = math.ceil(standing.reset_s)
            headers["ratelimit"] = f'"{POLICY_NAME}";r={standing.remaining};t={reset}'
            headers["ratelimit-remaining"] = str(standing.remaining)
            headers["ratelimit-reset"] = str(reset)
        return headers

    def check(self, standing: Standing | None) -> None:
        """Raises RATE_LIMITED where the bucket was empty."""
        if standing is not None and not standing.allowed:
            raise errors.rate_limited(self.policy.rate_per_s, standing.retry_after_s)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose(close_connection_pool=True)
