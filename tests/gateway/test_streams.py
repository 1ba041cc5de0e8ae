"""Server-sent events and the links in mails, over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from plaudit.notify.v1 import link_service_pb2, message_service_pb2, notify_pb2

from services.kernel import errors
from tests.gateway.backend import Script, refuse

STREAM = "/v1/members/m1/messages:stream"


def told(position: int) -> message_service_pb2.StreamMessagesResponse:
    """Makes what the stream of the service tells: a message at a position."""
    message = notify_pb2.InboxMessage(message_id=f"id-{position}", position=position, title="News")
    return message_service_pb2.StreamMessagesResponse(message=message, position=position)


def lines(response: httpx.Response, count: int) -> list[str]:
    """Reads the first lines of a stream that say something."""
    found: Iterator[str] = (line for line in response.iter_lines() if line and not line.startswith(":"))
    return [next(found) for _ in range(count)]


def test_stream_goes_on_behind_its_last_event(client: httpx.Client, script: Script) -> None:
    """A stream outlives the rpcs behind it: each goes on behind the last position, and ids are positions."""
    script.answers["StreamMessages"] = lambda request: told(request.after_position + 1)
    with client.stream("GET", STREAM, params={"afterPosition": 4}) as response:
        found = lines(response, 5)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert [line for line in found if line.startswith("id")] == ["id: 5", "id: 6"]
    assert '"position":"5"' in found[2]


def test_stream_resumes_where_the_reader_was(client: httpx.Client, script: Script) -> None:
    """A reader that comes back says what it saw last, and is told what came since."""
    script.answers["StreamMessages"] = lambda request: told(request.after_position + 1)
    with client.stream("GET", STREAM, headers={"last-event-id": "41"}) as response:
        found = lines(response, 2)
    with client.stream("GET", STREAM, headers={"last-event-id": "x"}) as refused:
        refused.read()

    assert found[1] == "id: 42"
    assert refused.status_code == 400


def test_stream_is_refused_before_it_begins(client: httpx.Client, stranger: httpx.Client, script: Script) -> None:
    """What may not be read is refused with problem details and no stream."""
    script.answers["StreamMessages"] = refuse(errors.scope_missing("messages.read"))
    refused = client.get(STREAM)

    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_MISSING")
    assert stranger.get(STREAM).status_code == 401


def link(script: Script) -> list[Any]:
    """Makes the service know a link; gives what it was asked to unsubscribe."""
    asked: list[Any] = []

    def unsubscribe(request: Any) -> link_service_pb2.UnsubscribeResponse:
        asked.append(request)
        return link_service_pb2.UnsubscribeResponse(brand="Acme", topic="tips", locale="fr")

    script.answers["GetLink"] = lambda _: link_service_pb2.GetLinkResponse(brand="Ac<me", topic="tips", locale="fr")
    script.answers["Unsubscribe"] = unsubscribe
    return asked


def test_look_at_a_link_changes_nothing(stranger: httpx.Client, script: Script) -> None:
    """To open a link, as scanners do, shows a button in the member's language and changes nothing."""
    asked = link(script)
    pages = [stranger.request(method, "/u/u_token") for method in ("GET", "HEAD", "GET")]

    assert [page.status_code for page in pages] == [200] * 3
    assert "Se désabonner" in pages[0].text
    assert "Ac&lt;me" in pages[0].text
    assert asked == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": {"List-Unsubscribe": "One-Click"}}, (False, True)),
        ({"files": {"List-Unsubscribe": (None, "One-Click")}}, (False, True)),
        ({"data": {"all": "1"}}, (True, False)),
        ({}, (False, False)),
    ],
)
def test_post_to_a_link_unsubscribes(
    stranger: httpx.Client, script: Script, values: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    """A POST unsubscribes, from a mail program in either form or by the button, without cookies or a redirect."""
    asked = link(script)
    response = stranger.post("/u/u_token", **values)

    assert response.status_code == 200
    assert [(each.all, each.one_click) for each in asked] == [expected]


def test_link_that_is_none_is_not_found(stranger: httpx.Client, script: Script) -> None:
    """A link that nobody made answers with a page that says so."""
    script.answers["GetLink"] = refuse(errors.credential_invalid("no"))
    response = stranger.get("/u/u_forged")

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
