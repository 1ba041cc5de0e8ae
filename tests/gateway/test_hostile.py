"""Bad input over HTTP, down to the bytes on the wire: refused as problem details, never a 500, nothing passed on."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway import body, protocol
from tests.gateway.backend import API_KEY, Script
from tests.gateway.stack import Stack
from tests.gateway.test_calls import KEY, RULE
from tests.gateway.test_events import event

JSON = {"content-type": "application/json"}
HEAD = f"Host: gateway\r\nAuthorization: Bearer {API_KEY}\r\n"


def problem(response: httpx.Response, status: int) -> Any:
    """Gives the problem of an answer, which has this status."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    found = response.json()
    assert found["status"] == status
    assert found["correlationId"] == response.headers["x-correlation-id"]
    return found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nope",
        b"\x00",
        b"\xff\xfe",
        b'{"events": [{"eventId": "\xff"}]}',
        b'{"events": [{"eventId": "\\ud800"}]}',
        b'{"events": NaN}',
        b'{"events": [] } x',
        b"[" * 100_000,
        b'{"events":' * 100_000,
        '{"events": []}'.encode("utf-16"),
    ],
    ids=lambda content: repr(content[:16]),
)
def test_body_that_is_not_json_is_refused(content: bytes, client: httpx.Client, script: Script) -> None:
    """A body that is no JSON in UTF-8 is refused as the body."""
    found = problem(client.post("/v1/events", content=content, headers=JSON), 400)
    assert [each["field"] for each in found["errors"]] == ["body"]
    assert not script.calls_of("RecordEvents")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"nope": 1}, "nope"),
        ({"eventId": ""}, "eventId"),
        ({"eventId": "a" * 129}, "eventId"),
        ({"eventId": "a\0b"}, "eventId"),
        ({"eventId": " a"}, "eventId"),
        ({"eventId": "a/b"}, "eventId"),
        ({"eventId": 7}, "eventId"),
        ({"memberId": None}, "memberId"),
        ({"memberId": "\u202e"}, "memberId"),
        ({"type": "Purchase"}, "type"),
        ({"orgId": "a" * 200_000}, "orgId"),
        ({"occurTime": None}, "occurTime"),
        ({"occurTime": "2026-01-31"}, "occurTime"),
        ({"occurTime": {"seconds": 1}}, "occurTime"),
        ({"properties": []}, "properties"),
        ({"properties": {"a": "\0"}}, "properties.a"),
        ({"properties": {"\0": 1}}, "properties"),
        ({"properties": {"a": 2**53 + 1}}, "properties.a"),
        ({"properties": {"a": "x" * 40_000}}, "properties"),
        ({"properties": {str(number): 1 for number in range(101)}}, "properties"),
        ({"properties": json.loads('{"a":' * 9 + "1" + "}" * 9)}, "properties.a.a.a.a.a.a.a.a"),
        ({"properties": json.loads('{"a":' * 200 + "1" + "}" * 200)}, "properties" + ".a" * 24),
        ({"properties": {"a": json.loads("[" * 500 + "]" * 500)}}, "properties.a" + "[0]" * 23),
    ],
    ids=lambda value: str(value)[:32],
)
def test_bad_event_is_refused_by_field(changes: Any, field: str, client: httpx.Client) -> None:
    """An event with something wrong is refused under the field at fault, alone and beside a good one."""
    bad = event(2, **changes)
    alone = problem(client.post("/v1/events", json={"events": [bad]}), 400)
    assert [each["field"] for each in alone["errors"]] == [f"events[0].{field}"]
    beside = client.post("/v1/events", json={"events": [event(1), bad]})
    assert [each["status"] for each in beside.json()["results"]] == ["ACCEPTED", "REFUSED"]
    assert beside.json()["results"][1]["error"]["field"] == field


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/xml"]
)
def test_other_media_type_is_refused(media_type: str, client: httpx.Client, script: Script) -> None:
    """A body of another type is a 415 that names the header."""
    headers = {"content-type": media_type} if media_type else {}
    found = problem(client.post("/v1/events", content=b'{"events": []}', headers=headers), 415)
    assert found["errors"][0]["field"] == "Content-Type"
    assert not script.calls_of("RecordEvents")


def test_json_of_any_charset_name_is_taken(client: httpx.Client) -> None:
    """Parameters behind the media type, and its case, change nothing."""
    content = orjson.dumps({"events": [event()]})
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/events", content=content, headers=headers).status_code == 200


def test_compressed_body_is_refused(client: httpx.Client) -> None:
    """A compressed body is refused by the name of the header, so that nothing small becomes large."""
    found = problem(client.post("/v1/events", content=b"x", headers={**JSON, "content-encoding": "gzip"}), 415)
    assert found["errors"][0]["field"] == "Content-Encoding"


def padded(size: int) -> bytes:
    """Makes a good batch of exactly so many bytes."""
    content = orjson.dumps({"events": [event()]})
    return content + b" " * (size - len(content))


def chunks(content: bytes) -> Iterator[bytes]:
    """Sends a body without saying how long it is."""
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


def test_body_may_have_four_mebibytes(client: httpx.Client) -> None:
    """A body of exactly the limit is taken, whether its length is announced or not."""
    content = padded(body.BODY_BYTES_MAX)
    assert client.post("/v1/events", content=content, headers=JSON).status_code == 200
    assert client.post("/v1/events", content=chunks(content), headers=JSON).status_code == 200


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_body_past_limit_is_refused(announced: bool, client: httpx.Client, script: Script) -> None:
    """A body of one byte more is a 413, whether its length is announced or not, and the connection lives on."""
    content = padded(body.BODY_BYTES_MAX + 1)
    found = problem(client.post("/v1/events", content=content if announced else chunks(content), headers=JSON), 413)
    assert (found["reason"], found["metadata"]) == ("BODY_TOO_LARGE", {"limitBytes": "4194304"})
    assert not script.calls_of("RecordEvents")
    assert client.get("/v1/rules").status_code == 200


def test_body_without_end_is_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that goes on and on is not read to its end."""
    monkeypatch.setattr(body, "DISCARD_BYTES_MAX", body.BODY_BYTES_MAX + 1_000_000)
    content = padded(body.BODY_BYTES_MAX + 3_000_000)
    response = client.post("/v1/events", content=chunks(content), headers=JSON)
    assert problem(response, 413)["reason"] == "BODY_TOO_LARGE"
    assert response.headers["connection"] == "close"


def test_body_that_does_not_come_is_refused(stack: Stack, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that announces a body and does not send it is a 408 when its time is over."""
    del script
    monkeypatch.setattr(body, "READ_TIMEOUT_S", 0.05)
    request = f"POST /v1/events HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\nContent-Length: 10\r\n\r\nx"
    status, answer = exchange(stack, request.encode())
    assert (status, json.loads(answer)["reason"]) == (408, "DEADLINE_EXCEEDED")


def exchange(stack: Stack, request: bytes) -> tuple[int, bytes]:
    """Sends bytes and gives the status and the body of the answer, when the gateway has closed the connection."""
    parts = urlsplit(stack.url)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while True:
            piece = connection.recv(65536)
            received += piece
            if not piece:
                break
    head, _, content = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, received
    return int(head.split()[1]), content


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"BREW /v1/rules HTTP/1.1\r\nHost: g\r\n\r\n", 400),
        (b"GET /v1/\xff HTTP/1.1\r\nHost: g\r\n\r\n", 400),
        (b"GET http://elsewhere HTTP/1.1\r\nHost: g\r\n\r\n", 400),
        (b"GET /v1/rules HTTP/1.1\r\nHost: g\r\nX-A: a\x00b\r\n\r\n", 400),
        (b"POST /v1/events HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST /v1/events HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /v1/events HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /" + b"a" * (protocol.URL_BYTES_MAX + 1) + b" HTTP/1.1\r\nHost: g\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (protocol.HEADER_BYTES_MAX + 1) + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 9000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (protocol.URL_BYTES_MAX + protocol.HEADER_BYTES_MAX), 431),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_bytes_that_are_no_request_are_refused(request_bytes: bytes, status: int, stack: Stack) -> None:
    """What is no HTTP, or too much of it, gets a problem and the connection ends."""
    found_status, content = exchange(stack, request_bytes)
    found = json.loads(content)
    assert (found_status, found["status"], found["reason"]) == (status, status, "FIELD_INVALID")


def test_headers_that_do_not_come_end_the_connection(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects and does not send its headers in time is cut off."""
    monkeypatch.setattr(protocol, "HEADERS_TIMEOUT_S", 0.05)
    parts = urlsplit(stack.url)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost:")
        try:
            received = connection.recv(1)
        except ConnectionResetError:
            received = b""  # The other way in which a connection ends.
    assert received == b""


def test_connection_past_limit_is_cut(stack: Stack, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for which there is no room is cut at once, and those that stand are served on."""
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 1)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{stack.url}/healthz")
    assert client.get("/healthz").status_code == 200


def test_requests_past_limit_are_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for which there is no room is refused with the time to come back."""
    monkeypatch.setattr("services.gateway.edge.REQUESTS_MAX", 0)
    response = client.get("/v1/rules")
    assert problem(response, 429)["reason"] == "QUEUE_FULL"
    assert response.headers["retry-after"] == "1"


def test_upgrade_is_answered_as_http(stack: Stack, script: Script) -> None:
    """A client that would rather speak another protocol is answered in this one."""
    del script
    for upgrade in ("h2c", "websocket"):
        headers = {"connection": "Upgrade", "upgrade": upgrade, "authorization": f"Bearer {API_KEY}"}
        assert httpx.get(f"{stack.url}/v1/rules", headers=headers).status_code == 200


def test_request_of_unknown_caller_is_not_read(stranger: httpx.Client) -> None:
    """A large body of a stranger is refused for the stranger, before it is read."""
    assert problem(stranger.post("/v1/events", content=padded(8_000_000), headers=JSON), 401)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*RULE, "caps", "expiry", "period", "months", "state", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values, keeps_good=st.booleans())
def test_any_json_is_answered(value: Any, keeps_good: bool, client: httpx.Client) -> None:
    """Whatever JSON is sent as a rule is taken, or refused with a field that is at fault."""
    sent = {**RULE, **value} if keeps_good and isinstance(value, dict) else value
    response = client.post("/v1/rules", content=json.dumps(sent).encode(), headers={**JSON, **KEY})
    if response.status_code != 200:
        assert problem(response, 400)["errors"][0]["field"]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.binary(max_size=40).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)), query=st.text(max_size=20)
)
def test_any_path_and_query_are_answered(target: str, query: str, client: httpx.Client) -> None:
    """Whatever is asked for is answered, or refused as not there or malformed."""
    url = httpx.URL(client.base_url, raw_path=f"/v1/members/{target}/lots?{httpx.QueryParams({query: '1'})}".encode())
    response = client.get(url)
    if response.status_code != 200:
        problem(response, response.status_code)
        assert response.status_code in (400, 404)
