"""Rate limits: one bucket for each credential, shared by all gateways, and never in the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from services.devstack.redis import EmbeddedRedis
from services.gateway import limits
from services.gateway.limits import Limiter, Policy
from tests.gateway import backend
from tests.gateway.stack import Stack
from tests.support.waiting import PATIENCE_S

# A bucket that does not fill again while a test looks at it.
SLOW = Policy(rate_per_s=1, burst=5)


class Turned:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Tells the time."""
        return self.now_s


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """Runs a Valkey that the test may stop."""
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def slow_stack(redis_server: EmbeddedRedis) -> Iterator[Stack]:
    """Runs a gateway with small buckets, which waits for Redis however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "TIMEOUT_S", PATIENCE_S)
        with Stack(redis_server.url, SLOW) as running:
            yield running


def skipped_count() -> float:
    """Tells how many calls were not counted."""
    return REGISTRY.get_sample_value("plaudit_gateway_limit_skipped_total") or 0.0


def call(stack: Stack, subject: str, program: str = "demo") -> httpx.Response:
    """Makes one call as somebody."""
    headers = {"authorization": f"Bearer {backend.token(program, subject=subject)}"}
    return httpx.get(f"{stack.url}/v1/rules", headers=headers)


def test_limit_refuses_past_burst(slow_stack: Stack) -> None:
    """A credential may make as many calls at once as its bucket holds, and hears after how long it has the next."""
    responses = [call(slow_stack, "key:burst") for _ in range(6)]
    assert [each.status_code for each in responses] == [200] * 5 + [429]
    last = responses[-1]
    assert (last.json()["reason"], last.json()["metadata"]) == ("RATE_LIMITED", {"limit": "1"})
    assert last.headers["retry-after"] == "1"
    assert [each.headers["ratelimit-remaining"] for each in responses] == ["4", "3", "2", "1", "0", "0"]


def test_limit_is_told_with_every_answer(slow_stack: Stack) -> None:
    """Every answer to a caller who is known tells the policy and how the caller stands, refusals too."""
    for path, status in (("/v1/rules", 200), ("/v1/rules?nope=1", 400)):
        headers = {"authorization": f"Bearer {backend.token(subject=f'key:{status}')}"}
        response = httpx.get(slow_stack.url + path, headers=headers)
        assert response.status_code == status
        assert response.headers["ratelimit-policy"] == '"default";q=5;w=5'
        assert response.headers["ratelimit"] == '"default";r=4;t=1'
        assert response.headers["ratelimit-limit"] == "5"
        assert response.headers["ratelimit-remaining"] == "4"
        assert response.headers["ratelimit-reset"] == "1"


def test_limit_is_counted_for_each_credential(slow_stack: Stack) -> None:
    """One credential's calls, or another program's of the same name, leave the others' buckets alone."""
    for subject, program in (("key:a", "demo"), ("key:b", "demo"), ("key:a", "other")):
        assert call(slow_stack, subject, program).headers["ratelimit-remaining"] == "4"


async def test_limit_fills_by_the_time_of_redis(redis_server: EmbeddedRedis) -> None:
    """A bucket fills at its rate by the clock of Redis, and all gateways draw from the same one."""
    first, second = (Limiter(redis_server.url, Policy(1000, 3), timeout_s=PATIENCE_S) for _ in range(2))
    try:
        standings = [await limiter.count("fills") for limiter in (first, second) * 50]
    finally:
        await first.close()
        await second.close()
    allowed = [each for each in standings if each is not None and each.allowed]
    # However long a call takes, the bucket never holds more than its three.
    assert 3 < len(allowed) <= 100
    assert all(each is not None and 0 <= each.remaining <= 2 for each in standings)


async def test_limit_is_exact_under_race(redis_server: EmbeddedRedis) -> None:
    """Sixty-four calls at once get exactly what the bucket holds."""
    limiter = Limiter(redis_server.url, Policy(1, 10), timeout_s=PATIENCE_S)
    try:
        standings = await asyncio.gather(*(limiter.count("race") for _ in range(64)))
    finally:
        await limiter.close()
    assert sum(each is not None and each.allowed for each in standings) == 10


async def test_limit_steps_aside_without_redis(own_redis: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
    """While Redis is away calls go on, it is left alone for a while, and one line a minute says so."""
    clock = Turned()
    limiter = Limiter(own_redis.url, SLOW, clock)
    before = skipped_count()
    try:
        assert await limiter.count("away") is not None
        own_redis.stop()
        for _ in range(10):
            assert await limiter.count("away") is None
        own_redis.start()
        assert await limiter.count("away") is None
        clock.now_s += limits.PAUSE_S
        standing = await limiter.count("away")
    finally:
        await limiter.close()
    assert standing is not None
    assert skipped_count() == before + 11
    assert capsys.readouterr().out.count("limits_suspended") == 1
    assert limiter.headers(None) == {"ratelimit-policy": '"default";q=5;w=5', "ratelimit-limit": "5"}


def test_calls_go_on_without_redis(own_redis: EmbeddedRedis) -> None:
    """A gateway without Redis answers as before, and comes back to counting when Redis does."""
    with Stack(own_redis.url, SLOW) as running:
        assert call(running, "key:away").headers["ratelimit-remaining"] == "4"
        own_redis.kill()
        for _ in range(8):
            response = call(running, "key:away")
            assert response.status_code == 200
            assert "ratelimit" not in response.headers
