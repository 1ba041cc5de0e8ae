"""Problem details: every refusal of a service, and every accident, is one."""

from typing import Any

import httpx
import pytest
from google.protobuf.message import Message

from services.kernel import errors
from services.kernel.errors import Code, DomainError, Violation
from tests.gateway import backend
from tests.gateway.backend import Script
from tests.gateway.stack import Stack

STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.INTERNAL: 500,
}


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.value)
def test_refusal_of_service_keeps_its_facts(code: Code, client: httpx.Client, script: Script) -> None:
    """Every code has its status, and reason, domain, metadata and fields arrive as the service gave them."""
    error = DomainError(
        code,
        "SOME_REASON",
        "A sentence — with a dash.",
        domain="program.plaudit",
        metadata={"available": "40"},
        violations=(Violation("a.b[0]", "is wrong"),),
    )
    script.answers["ListRules"] = backend.refuse(error)
    response = client.get("/v1/rules")
    assert response.status_code == STATUSES[code]
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:plaudit:problem:some-reason",
        "title": "Some reason",
        "status": STATUSES[code],
        "detail": "A sentence — with a dash.",
        "reason": "SOME_REASON",
        "domain": "program.plaudit",
        "metadata": {"available": "40"},
        "errors": [{"field": "a.b[0]", "message": "is wrong"}],
        "correlationId": response.headers["x-correlation-id"],
    }


@pytest.mark.parametrize(("retry_after_s", "header"), [(0.0, "0"), (0.2, "1"), (1.0, "1"), (1.5, "2"), (61.5, "62")])
def test_refusal_says_when_to_come_back(
    retry_after_s: float, header: str, client: httpx.Client, script: Script
) -> None:
    """Retry-After is in whole seconds, rounded up, so that whoever keeps to it is not too early."""
    error = DomainError(Code.UNAVAILABLE, "SOME_REASON", "Later.", retry_after_s=retry_after_s)
    script.answers["ListRules"] = backend.refuse(error)
    assert client.get("/v1/rules").headers["retry-after"] == header


def test_accident_in_service_tells_nothing_but_its_id(client: httpx.Client, script: Script) -> None:
    """A broken service is a 500 that tells nothing of what broke but the id under which its log has it."""

    def answer(_: Any) -> Message:
        raise RuntimeError("a secret of the house")

    script.answers["ListRules"] = answer
    response = client.get("/v1/rules")
    assert (response.status_code, response.json()["reason"]) == (500, "INVARIANT_BROKEN")
    assert response.json()["metadata"] == {"correlationId": response.headers["x-correlation-id"]}
    assert "secret" not in response.text


def test_accident_in_gateway_is_a_problem_too(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever breaks in the gateway is a 500 with a correlation id, and the traceback is in the log."""

    def broken(*_: object) -> object:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr("services.gateway.api.transcode.render", broken)
    response = client.get("/v1/rules", headers={"x-correlation-id": "broken-1"})
    assert (response.status_code, response.json()["reason"]) == (500, "INVARIANT_BROKEN")
    assert response.json()["correlationId"] == "broken-1"
    assert "secret" not in response.text
    assert "a secret of the house" in capsys.readouterr().out


def test_missing_scope_is_named(stack: Stack, script: Script) -> None:
    """A key that may not do this hears which scope it lacks."""
    del script
    headers = {"authorization": f"Bearer {backend.READ_ONLY_API_KEY}"}
    response = httpx.get(f"{stack.url}/v1/members/m", headers=headers)
    assert (response.status_code, response.json()["reason"]) == (403, "SCOPE_MISSING")
    assert response.json()["metadata"] == {"scope": "members.read"}


def test_late_service_is_a_timeout(client: httpx.Client, script: Script) -> None:
    """A service that does not answer in time is a 504 that says how to get the definite answer."""
    script.answers["ListRules"] = backend.refuse(errors.deadline_exceeded())
    response = client.get("/v1/rules")
    assert (response.status_code, response.json()["reason"]) == (504, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/nope", "/favicon.ico", "/docs/x", "/%00", "/%ff"])
def test_unknown_path_is_a_problem(path: str, stranger: httpx.Client) -> None:
    """What has no route is a 404 of ours, with or without a key."""
    response = stranger.get(path)
    assert (response.status_code, response.json()["reason"]) == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/rules", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/events", "POST"),
        ("TRACE", "/v1/events", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/openapi.json", "GET, HEAD"),
        ("PROPFIND", "/docs", "GET, HEAD"),
        # A verb behind an empty name is no verb: it is the name.
        ("POST", "/v1/budgets/:fund", "GET, HEAD"),
    ],
)
def test_other_method_is_a_problem(method: str, path: str, allow: str, stranger: httpx.Client) -> None:
    """A path under a method that it does not answer to is a 405 that says which ones it does."""
    response = stranger.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert response.json()["reason"] == "ROUTE_NOT_FOUND"
