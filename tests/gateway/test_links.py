"""Links: whoever follows one is sent on, without a credential, and nowhere else than the service says."""

from collections.abc import Iterator

import httpx
import pytest
from plaudit.referral.v1 import link_service_pb2

from services.devstack.redis import EmbeddedRedis
from services.gateway.limits import Policy
from services.kernel.errors import Code, DomainError
from tests.gateway.backend import Script
from tests.gateway.stack import Stack

LOCATION = "https://acme.example/welcome?plan=free&ref=x7Kq-_"
AGENT = {"user-agent": "Mozilla/5.0 (X11)"}


@pytest.fixture
def leading(script: Script) -> Script:
    """Lets every link lead to one page."""
    script.answers["FollowLink"] = lambda _: link_service_pb2.FollowLinkResponse(
        location=LOCATION, counted=True, program_id="demo"
    )
    return script


def test_link_leads_to_its_landing_page(leading: Script, stranger: httpx.Client) -> None:
    """A link needs no credential; it is answered by a redirect that nobody keeps, and the service learns who asks."""
    response = stranger.get("/r/7KRMD-ANNA?next=https://evil.example/", headers=AGENT)
    seen = leading.last("FollowLink")

    assert (response.status_code, response.headers["location"]) == (302, LOCATION)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert (seen.request.code, seen.request.user_agent) == ("7KRMD-ANNA", AGENT["user-agent"])
    assert (seen.request.client_ip, seen.request.headers_only) == ("127.0.0.1", False)
    assert (seen.program, seen.correlation_id) == ("", response.headers["x-correlation-id"])


def test_head_of_a_link_says_so(leading: Script, stranger: httpx.Client) -> None:
    """Whoever asks for headers gets the same ones, and the service is told that nobody will see the page."""
    response = stranger.head("/r/7KRMD-ANNA", headers=AGENT)
    assert (response.status_code, response.headers["location"]) == (302, LOCATION)
    assert leading.last("FollowLink").request.headers_only


@pytest.mark.parametrize("path", ["/r/", "/r/a/b", "/r/a%2Fb", "/r/%0d%0aset-cookie:x", "/r/" + "a" * 65, "/r/a_b"])
def test_what_is_no_link_is_no_route(leading: Script, stranger: httpx.Client, path: str) -> None:
    """What can be no code is refused like any path of nobody's, and never asked for."""
    assert stranger.get(path).status_code in (401, 404)
    assert leading.calls_of("FollowLink") == []


def test_refusals_of_links_are_told(leading: Script, stranger: httpx.Client) -> None:
    """A link of no code is not found, and one is followed and not posted to."""

    def refuse(_: object) -> link_service_pb2.FollowLinkResponse:
        raise DomainError(Code.NOT_FOUND, "CODE_NOT_FOUND", "No.", domain="referral.plaudit", metadata={"code": "x"})

    assert stranger.post("/r/7KRMD-ANNA").status_code == 405
    leading.answers["FollowLink"] = refuse
    response = stranger.get("/r/7KRMD-ANNA")
    assert (response.status_code, response.json()["reason"]) == (404, "CODE_NOT_FOUND")


@pytest.fixture
def behind_proxies(redis_server: EmbeddedRedis) -> Iterator[Stack]:
    """Runs a gateway behind two proxies, where a client may follow two links at once."""
    with Stack(redis_server.url, link_policy=Policy(1, 2), proxies=2) as running:
        running.script.answers["FollowLink"] = lambda _: link_service_pb2.FollowLinkResponse(location=LOCATION)
        yield running


def test_client_is_known_behind_proxies(behind_proxies: Stack) -> None:
    """The address that our outermost proxy was called from is the client's, whatever the client claims before it."""
    stack = behind_proxies
    for forwarded in ("198.51.100.1, 203.0.113.5, 10.0.0.1", "203.0.113.5, 10.0.0.1"):
        httpx.get(f"{stack.url}/r/7KRMD-ANNA", headers={**AGENT, "x-forwarded-for": forwarded})
    assert [each.request.client_ip for each in stack.script.calls_of("FollowLink")] == ["203.0.113.5"] * 2


def test_links_are_followed_at_a_limited_rate(behind_proxies: Stack) -> None:
    """A client that follows links faster than people do is told to come back, and no other client is."""

    def follow(address: str) -> int:
        headers = {**AGENT, "x-forwarded-for": f"{address}, 10.0.0.1"}
        return httpx.get(f"{behind_proxies.url}/r/7KRMD-ANNA", headers=headers).status_code

    assert [follow("203.0.113.6") for _ in range(3)] == [302, 302, 429]
    assert follow("203.0.113.7") == 302
