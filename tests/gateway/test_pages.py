"""Liveness, readiness and metrics: what machines ask."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.devstack.redis import EmbeddedRedis
from services.gateway.backends import CONTRACTS
from tests.gateway.backend import Script
from tests.gateway.stack import Stack


def test_healthz_says_alive(stranger: httpx.Client) -> None:
    """A gateway that answers is alive, whatever else is not."""
    assert stranger.get("/healthz").json()["status"] == "alive"
    assert stranger.head("/healthz").status_code == 200


def test_root_leads_to_docs(stranger: httpx.Client) -> None:
    """Who comes by without a path is shown the documentation."""
    response = stranger.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")


def test_readyz_lists_services(redis_server: EmbeddedRedis) -> None:
    """A gateway is ready while the program service is; while only the ledger is away it goes on, and says so."""
    with Stack(redis_server.url) as running:
        ready = httpx.get(f"{running.url}/readyz")
        assert (ready.status_code, ready.json()) == (
            200,
            {"status": "ready", "services": dict.fromkeys(CONTRACTS, "serving")},
        )
        running.loop.run(running.ledger.stop())
        degraded = httpx.get(f"{running.url}/readyz")
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        assert degraded.json()["services"] == {**dict.fromkeys(CONTRACTS, "serving"), "ledger": "unreachable"}
        running.loop.run(running.program.stop())
        unready = httpx.get(f"{running.url}/readyz")
        assert (unready.status_code, unready.json()["status"]) == (503, "unready")


def test_call_says_which_service_is_away(redis_server: EmbeddedRedis, api_key: str) -> None:
    """A call of a service that is away is a 503 that names it and says when to try again, and other calls go on."""
    with Stack(redis_server.url) as running:
        headers = {"authorization": f"Bearer {api_key}"}
        assert httpx.get(f"{running.url}/v1/rules", headers=headers).status_code == 200
        running.loop.run(running.ledger.stop())
        response = httpx.get(f"{running.url}/v1/members/m/balances", headers=headers)
        assert (response.status_code, response.json()["reason"]) == (503, "DEPENDENCY_UNAVAILABLE")
        assert response.json()["metadata"] == {"dependency": "ledger"}
        assert response.headers["retry-after"] == "1"
        assert httpx.get(f"{running.url}/v1/rules", headers=headers).status_code == 200


def test_metrics_tell_requests_by_route(client: httpx.Client) -> None:
    """Metrics count requests by method, route and status; a path that is not there makes no series of its own."""

    def counts() -> dict[tuple[str, str, str], float]:
        text = client.get("/metrics").text
        return {
            (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "plaudit_http_seconds_count"
        }

    before = counts()
    client.get("/v1/members/somebody")
    client.get("/v1/nowhere")
    client.request("BREW", "/v1/rules")
    client.request("PROPFIND", "/v1/rules")
    after = counts()
    grown = {key for key, value in after.items() if value > before.get(key, 0)}
    assert ("GET", "/v1/members/{memberId}", "200") in grown
    assert ("GET", "none", "404") in grown
    assert ("OTHER", "none", "405") in grown
    assert not [key for key in after if "somebody" in key[1] or "nowhere" in key[1]]


def test_request_leaves_one_line(client: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """A request leaves one line in the log, with its route and not its path, its program and its correlation id."""
    client.get("/v1/members/somebody?nope=1", headers={"x-correlation-id": "line-1"})
    client.get("/healthz")  # What is answered has been logged by the time that the next request is.
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "line-1" in each and "'http'" in each]
    for part in ("'/v1/members/{memberId}'", "'demo'", "400", "'FIELD_INVALID'", "duration_ms="):
        assert part in line
    assert "somebody" not in line


def test_client_that_goes_away_breaks_nothing(stack: Stack, script: Script, client: httpx.Client) -> None:
    """A client that leaves before its answer costs nobody else anything."""
    script.gates["ListRules"] = gate = stack.loop.run(_event())
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{stack.url}/v1/rules", headers=client.headers, timeout=0.05)
    stack.loop.loop.call_soon_threadsafe(gate.set)
    assert client.get("/v1/members/m").status_code == 200


async def _event() -> asyncio.Event:
    return asyncio.Event()
