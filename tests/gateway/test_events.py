"""Events in batches: each is read by itself, and one that cannot be read refuses no other."""

from typing import Any

import httpx
import orjson
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plaudit.program.v1 import program_pb2

from services.kernel import errors
from services.kernel.errors import Violation
from tests.gateway import backend
from tests.gateway.backend import Script


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Makes an event."""
    return {
        "eventId": f"order-{number}",
        "type": "purchase.completed",
        "memberId": "m-1",
        "occurTime": "2026-01-31T12:00:00Z",
        "properties": {"amount_cents": 6499},
    } | changes


def post(client: httpx.Client, *events: Any) -> httpx.Response:
    """Sends a batch."""
    return client.post("/v1/events", json={"events": list(events)})


def test_record_answers_each_event(client: httpx.Client, script: Script) -> None:
    """Events are answered one by one, in their order, with their effects, and need no Idempotency-Key."""
    response = post(client, event(1), event(2))
    assert response.status_code == 200
    assert response.json()["results"] == [
        {
            "eventId": f"order-{number}",
            "status": "ACCEPTED",
            "effects": [
                {
                    "ruleId": "purchase",
                    "ruleVersion": 1,
                    "memberId": "m-1",
                    "asset": "points",
                    "amount": "64",
                    "expireTime": "2026-02-02T02:40:00Z",
                    "state": "POSTED",
                }
            ],
            "denials": [],
        }
        for number in (1, 2)
    ]
    (sent, _) = script.last("RecordEvents").request.events
    assert sent.properties["amount_cents"] == 6499


def test_record_refuses_unreadable_event_alone(client: httpx.Client, script: Script) -> None:
    """An event that cannot be read is refused at its place with every field at fault, and the others go on."""
    response = post(client, event(1), event(2, memberId=5, nope=1), 7, {"eventId": {}}, event(3), event(4, memberId=""))
    assert response.status_code == 200
    results = response.json()["results"]
    assert [each["status"] for each in results] == ["ACCEPTED", "REFUSED", "REFUSED", "REFUSED", "ACCEPTED", "REFUSED"]
    assert [each["eventId"] for each in results] == ["order-1", "order-2", "", "", "order-3", "order-4"]
    assert results[1] == {
        "eventId": "order-2",
        "status": "REFUSED",
        "effects": [],
        "denials": [],
        "error": {
            "reason": "FIELD_INVALID",
            "message": "memberId: must be a string",
            "field": "memberId",
            "fields": ["memberId", "nope"],
            "metadata": {"field": "memberId"},
        },
    }
    assert results[2]["error"]["field"] == ""
    assert results[2]["error"]["message"] == "must be an object"
    assert results[5]["error"]["field"] == "memberId"
    assert [each.event_id for each in script.last("RecordEvents").request.events] == ["order-1", "order-3", "order-4"]


def test_record_fails_where_no_event_is_readable(client: httpx.Client, script: Script) -> None:
    """A batch in which no event can be read fails as a whole, with one entry for each field at fault."""
    response = post(client, {"memberId": 1, "orgId": 2}, "x", {"occurTime": "yesterday"})
    assert response.status_code == 400
    problem = response.json()
    assert problem["reason"] == "FIELD_INVALID"
    expected = ["events[0].memberId", "events[0].orgId", "events[1]", "events[2].occurTime"]
    assert [each["field"] for each in problem["errors"]] == expected
    assert problem["metadata"] == {"field": "events[0].memberId"}
    assert problem["detail"].startswith("events[0].memberId: ")
    assert not script.calls_of("RecordEvents")


def test_record_fails_where_service_refuses_the_rest(client: httpx.Client) -> None:
    """Where some events cannot be read and the service takes none of the others, each is named by its own place."""
    response = post(
        client, {"memberId": 1}, event(1, memberId=""), event(2, type="NOT A SLUG", nope=1), event(3, orgId="/")
    )
    assert response.status_code == 400
    expected = ["events[0].memberId", "events[1].memberId", "events[2].nope", "events[3].orgId"]
    assert [each["field"] for each in response.json()["errors"]] == expected


def test_record_fails_where_service_refuses_all(client: httpx.Client) -> None:
    """What the service refuses as a whole arrives as it said it."""
    response = post(client, event(1, memberId=""), event(2, eventId="a" * 129))
    assert [each["field"] for each in response.json()["errors"]] == ["events[0].memberId", "events[1].eventId"]


def test_record_passes_other_refusals_on(client: httpx.Client, script: Script) -> None:
    """A refusal that speaks of the whole call is passed on as it is, also where some events could not be read."""
    script.answers["RecordEvents"] = backend.refuse(errors.queue_full(20_000))
    response = post(client, event(1), 7)
    assert (response.status_code, response.json()["reason"], response.headers["retry-after"]) == (
        429,
        "QUEUE_FULL",
        "1",
    )
    whole = errors.field_invalid(Violation("events", "must have 1 to 1000 items"))
    script.answers["RecordEvents"] = backend.refuse(whole)
    assert [each["field"] for each in post(client, event(1), 7).json()["errors"]] == ["events"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "events"),
        ({"events": None}, "events"),
        ({"events": []}, "events"),
        ({"events": {}}, "events"),
        ({"events": "x"}, "events"),
        ({"events": [{}] * 1001}, "events"),
        ({"events": [], "nope": 1}, "nope"),
        ([], "body"),
        (None, "body"),
        ("x", "body"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_record_refuses_what_is_no_batch(body: Any, field: str, client: httpx.Client) -> None:
    """A body that is no batch of 1 to 1,000 events is refused by the field at fault."""
    response = client.post("/v1/events", content=orjson.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert {each["field"] for each in response.json()["errors"]} == {field}


def test_record_takes_a_thousand_events(client: httpx.Client) -> None:
    """A batch may have 1,000 events, good and bad ones mixed."""
    events = [event(number) if number % 3 else {"eventId": f"order-{number}", "nope": 1} for number in range(1000)]
    results = post(client, *events).json()["results"]
    assert [each["eventId"] for each in results] == [f"order-{number}" for number in range(1000)]
    assert [each["status"] == "REFUSED" for each in results] == [number % 3 == 0 for number in range(1000)]


def test_record_names_faults_of_a_thousand_events(client: httpx.Client) -> None:
    """A batch of 1,000 unreadable events is refused in one answer, which stays small."""
    response = post(client, *[{f"nope{number}": 1 for number in range(30)}] * 1000)
    assert response.status_code == 400
    assert len(response.json()["errors"]) == 1000
    assert len(response.content) < 200_000


readable = st.builds(event, st.integers(0, 99))
unreadable: st.SearchStrategy[Any] = st.sampled_from(
    [1, None, [], {"nope": 1}, {"eventId": "x", "memberId": []}, {"properties": 1}]
)
refused = st.builds(lambda number: event(number, memberId=""), st.integers(0, 99))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(readable | unreadable | refused, min_size=1, max_size=8))
def test_record_keeps_order_and_neighbours(events: list[Any], client: httpx.Client) -> None:
    """Whatever stands in a batch, readable events are accepted, others refused, each at its place."""
    response = post(client, *events)
    good = [isinstance(each, dict) and bool(each.get("memberId")) and "type" in each for each in events]
    if not any(good):
        assert response.status_code == 400
        places = {int(each["field"].split("[")[1].split("]")[0]) for each in response.json()["errors"]}
        assert places == set(range(len(events)))
        return
    assert [each["status"] == "ACCEPTED" for each in response.json()["results"]] == good


def test_record_refuses_what_grows_too_large(client: httpx.Client, script: Script) -> None:
    """A body within its limit whose message would pass that of the services is too large, and says so."""
    numbers = [1] * 2900
    response = post(client, *(event(number, properties={"a": numbers}) for number in range(300)))
    assert (response.status_code, response.json()["reason"]) == (413, "BODY_TOO_LARGE")
    assert not script.calls_of("RecordEvents")


def test_record_answers_duplicates(client: httpx.Client, script: Script) -> None:
    """A duplicate and a reused id are told as the service tells them."""

    def answer(request: Any) -> Message:
        response = backend.USUAL["RecordEvents"](request)
        first, second = response.results  # type: ignore[attr-defined]
        first.status = program_pb2.EVENT_STATUS_DUPLICATE
        second.Clear()
        second.event_id, second.status = "order-2", program_pb2.EVENT_STATUS_REFUSED
        second.error.reason, second.error.field = "REQUEST_ID_REUSED", "memberId"
        second.error.fields.extend(["memberId", "properties"])
        return response

    script.answers["RecordEvents"] = answer
    first, second = post(client, event(1), event(2)).json()["results"]
    assert (first["status"], len(first["effects"])) == ("DUPLICATE", 1)
    assert (second["error"]["reason"], second["error"]["fields"]) == ("REQUEST_ID_REUSED", ["memberId", "properties"])
