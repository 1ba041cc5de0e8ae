"""One HTTP request becomes one rpc: what the path, the query, the headers and the body say, at its place."""

from typing import Any

import httpx
import pytest
from plaudit.ledger.v1 import ledger_service_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.gateway import backends
from tests.gateway.backend import Script

RULE = {
    "ruleId": "purchase",
    "displayName": "A point for every euro",
    "eventType": "purchase.completed",
    "amount": "event.properties.amount_cents / 100",
}
KEY = {"idempotency-key": "key-1"}


def fields_of(response: httpx.Response) -> list[str]:
    """Lists the fields that a refusal names."""
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return [each["field"] for each in response.json()["errors"]]


def test_get_sets_path_and_query(client: httpx.Client, script: Script) -> None:
    """A GET calls the rpc with what its path and its query say, and answers with the whole response."""
    response = client.get("/v1/members/m%201/balances", params={"asOfTime": "2026-01-31T13:00:00+01:00"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    request = script.last("GetBalances").request
    assert (request.member_id, request.as_of_time.ToJsonString()) == ("m 1", "2026-01-31T12:00:00Z")
    assert response.json()["balances"][0]["available"] == "564"


def test_report_has_the_time_of_a_write(client: httpx.Client, script: Script) -> None:
    """A read is given up after a short time, but for one that looks at all that a program ever had."""
    assert client.get("/v1/members/m/balances").status_code == 200
    assert client.get("/v1/liability").status_code == 200

    between_s = (backends.READ_TIMEOUT_S + backends.WRITE_TIMEOUT_S) / 2
    assert script.last("GetBalances").time_left_s < between_s < script.last("GetLiability").time_left_s


@pytest.mark.parametrize(
    "query", ["pageSize=7&pageToken=a%2Bb+c", "page_size=7&page_token=a%2bb%20c", "&pageSize=7&&pageToken=a%2Bb%20c&"]
)
def test_get_takes_both_names_of_parameter(query: str, client: httpx.Client, script: Script) -> None:
    """A parameter is understood by its JSON name and by the contract's, with its escapes decoded."""
    assert client.get(f"/v1/members/m/statement?{query}").status_code == 200
    request = script.last("ListEntries").request
    assert (request.page_size, request.page_token) == (7, "a+b c")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("nope=1", "nope"),
        ("page_Size=1", "page_Size"),
        ("pageSize=1&pageSize=1", "pageSize"),
        ("pageSize=1&page_size=1", "pageSize"),
        ("pageSize=one", "pageSize"),
        ("pageSize=", "pageSize"),
        ("pageSize=99999999999", "pageSize"),
        ("pageSize=-1", "pageSize"),
        ("pageToken=%ff", "pageToken"),
        ("pageToken=%0", "pageToken"),
        ("pageToken=%00", "pageToken"),
        ("memberId=other", "memberId"),
        ("%ff=1", "query"),
        ("=1", "query"),
        ("&".join(f"a{number}=1" for number in range(200)), "query"),
    ],
    ids=lambda each: each[:24],
)
def test_get_refuses_bad_parameter_by_name(query: str, name: str, client: httpx.Client, script: Script) -> None:
    """An unknown, repeated or malformed parameter is refused by its name, and nothing is called."""
    assert fields_of(client.get(f"/v1/members/m/statement?{query}")) == [name]
    assert not [seen for seen in script.seen if seen.method == "ListEntries"]


def test_post_takes_no_parameters(client: httpx.Client) -> None:
    """A call whose body is the whole message has no parameters."""
    assert fields_of(client.post("/v1/members/m/redemptions?rewardId=mug", json={}, headers=KEY)) == ["rewardId"]


def test_post_body_is_one_field(client: httpx.Client, script: Script) -> None:
    """Where the contract says so, the body is one field of the request, and the answer one field of the response."""
    response = client.post("/v1/rules", json=RULE, headers=KEY)
    assert response.status_code == 200
    request = script.last("CreateRule").request
    assert (request.rule.rule_id, request.request_id) == ("purchase", "key-1")
    assert response.json()["ruleId"] == "purchase"
    assert response.json()["state"] == "ACTIVE"
    assert "rule" not in response.json()


def test_post_names_fault_from_request_message(client: httpx.Client) -> None:
    """A fault is named from the request message, whether the gateway or the service finds it."""
    by_gateway = client.post("/v1/rules", json={**RULE, "caps": [{"maxAmount": "x"}]}, headers=KEY)
    assert fields_of(by_gateway) == ["rule.caps[0].maxAmount"]
    by_service = client.post("/v1/rules", json={**RULE, "ruleId": "NOT A SLUG"}, headers=KEY)
    assert fields_of(by_service) == ["rule.ruleId"]


def test_put_sets_nested_field_from_path(client: httpx.Client, script: Script) -> None:
    """A path can set a field of a nested message, with or without the same value in the body."""
    for body in ({"email": "ada@example.com"}, {"memberId": "m-1", "email": "ada@example.com"}):
        response = client.put("/v1/members/m-1", json=body)
        assert response.status_code == 200, response.text
        request = script.last("UpdateMember").request
        assert (request.member.member_id, request.member.email) == ("m-1", "ada@example.com")
        assert response.json()["memberId"] == "m-1"


def test_put_refuses_body_that_contradicts_path(client: httpx.Client, script: Script) -> None:
    """A body that names another resource than the path is refused by the name of the field."""
    assert fields_of(client.put("/v1/members/m-1", json={"memberId": "m-2"})) == ["member.memberId"]
    response = client.post("/v1/members/m/redemptions", json={"memberId": "n", "rewardId": "mug"}, headers=KEY)
    assert fields_of(response) == ["memberId"]
    assert not script.calls_of("UpdateMember")
    assert not script.calls_of("CreateRedemption")


@pytest.mark.parametrize("query", ["updateMask=displayName,amount", "update_mask=displayName,amount"])
def test_patch_takes_mask_from_query(query: str, client: httpx.Client, script: Script) -> None:
    """A PATCH takes its mask from the query, and its path and body make the message."""
    response = client.patch(f"/v1/rules/purchase?{query}", json={"amount": "2"}, headers=KEY)
    assert response.status_code == 200, response.text
    request = script.last("UpdateRule").request
    assert (request.rule.rule_id, request.rule.amount) == ("purchase", "2")
    assert (request.update_mask, request.request_id) == ("displayName,amount", "key-1")


def test_patch_without_key_gets_one(client: httpx.Client, script: Script) -> None:
    """A PATCH that brings no Idempotency-Key is given a new one each time, since the contract wants one."""
    for _ in range(2):
        assert client.patch("/v1/rules/purchase", json={"amount": "2"}).status_code == 200
    first, second = (seen.request.request_id for seen in script.calls_of("UpdateRule"))
    assert len(first) == len(second) == 36
    assert first != second


def test_post_without_key_is_refused(client: httpx.Client, script: Script) -> None:
    """A POST whose contract wants a request id is refused without an Idempotency-Key, which it names."""
    assert fields_of(client.post("/v1/rules", json=RULE)) == ["Idempotency-Key"]
    assert not script.calls_of("CreateRule")


def test_post_needs_no_key_where_contract_does_not(client: httpx.Client, script: Script) -> None:
    """A POST whose contract can do without a request id goes through without one, with a body or without."""
    path = "/v1/members/m/redemptions/r:cancel"
    for response in (client.post(path), client.post(path, json={}), client.post(path, headers=KEY)):
        assert response.status_code == 200, response.text
    assert [seen.request.request_id for seen in script.calls_of("CancelRedemption")] == ["", "", "key-1"]


def test_post_takes_request_id_in_body(client: httpx.Client, script: Script) -> None:
    """The request id may stand in the body, alone or beside the same key, but not beside another."""
    path, body = "/v1/members/m/redemptions", {"rewardId": "mug", "requestId": "key-1"}
    assert client.post(path, json=body).status_code == 200
    assert client.post(path, json=body, headers=KEY).status_code == 200
    assert [seen.request.request_id for seen in script.calls_of("CreateRedemption")] == ["key-1", "key-1"]
    assert fields_of(client.post(path, json=body, headers={"idempotency-key": "key-2"})) == ["requestId"]


@pytest.mark.parametrize("key", ["", "x" * 129, "a/b", ".", "a\tb", "\u200b".encode(), b"\xff"])
def test_post_refuses_key_that_is_no_id(key: str | bytes, client: httpx.Client) -> None:
    """An Idempotency-Key that could not be a request id is refused by its name."""
    headers = [(b"idempotency-key", key if isinstance(key, bytes) else key.encode())]
    assert fields_of(client.post("/v1/rules", json=RULE, headers=headers)) == ["Idempotency-Key"]


def test_post_refuses_two_keys(client: httpx.Client) -> None:
    """Two Idempotency-Keys are refused rather than one of them chosen."""
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert fields_of(client.post("/v1/rules", json=RULE, headers=headers)) == ["Idempotency-Key"]


def test_post_takes_key_of_any_script(client: httpx.Client, script: Script) -> None:
    """An Idempotency-Key may have 128 characters of any script, sent as UTF-8."""
    key = "é" * 128
    headers = [(b"idempotency-key", key.encode())]
    assert client.post("/v1/rules", json=RULE, headers=headers).status_code == 200
    assert script.last("CreateRule").request.request_id == key


def test_answer_says_that_it_is_replayed(client: httpx.Client, script: Script) -> None:
    """An answer that stood before the call says so in a header, and only such a one does."""
    assert "idempotency-replayed" not in client.post("/v1/rules", json=RULE, headers=KEY).headers
    rule = program_pb2.Rule(rule_id="purchase", state=program_pb2.RULE_STATE_ACTIVE)
    script.answers["CreateRule"] = lambda _: program_service_pb2.CreateRuleResponse(rule=rule, replayed=True)
    assert client.post("/v1/rules", json=RULE, headers=KEY).headers["idempotency-replayed"] == "true"


def test_answer_of_absent_message_has_its_fields(client: httpx.Client, script: Script) -> None:
    """A response without its one message is answered as an empty one, so that readers find what they look for."""
    script.answers["GetMember"] = lambda _: program_service_pb2.GetMemberResponse()
    assert client.get("/v1/members/m").json()["memberId"] == ""


def test_head_answers_like_get_without_body(client: httpx.Client) -> None:
    """A HEAD has the status and the headers of the GET and no body."""
    got, asked = client.get("/v1/rules"), client.head("/v1/rules")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == got.headers["content-length"]


def test_call_carries_correlation_id(client: httpx.Client, script: Script) -> None:
    """A correlation id travels from the request to the service and back in the answer."""
    response = client.get("/v1/rules", headers={"x-correlation-id": "order-1.a_b"})
    assert response.headers["x-correlation-id"] == "order-1.a_b"
    assert script.last("ListRules").correlation_id == "order-1.a_b"


@pytest.mark.parametrize("given", [b"", b"a b", b"a" * 65, b"\xc3\xa9", b'{"a":1}', b"a,b"])
def test_call_gets_correlation_id_of_its_own(given: bytes, client: httpx.Client, script: Script) -> None:
    """A correlation id that is none is replaced by a new one, which the service sees too."""
    response = client.get("/v1/rules", headers=[(b"x-correlation-id", given)])
    made = response.headers["x-correlation-id"]
    assert len(made) == 36
    assert script.last("ListRules").correlation_id == made


def test_answer_has_security_headers(client: httpx.Client) -> None:
    """No answer of the API is stored or guessed at."""
    for response in (client.get("/v1/rules"), client.get("/v1/rules?nope=1"), client.get("/nope")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_large_answer_goes_through(client: httpx.Client, script: Script) -> None:
    """An answer may be as large as a message may."""

    def answer(_: Any) -> ledger_service_pb2.ListLotsResponse:
        response = ledger_service_pb2.ListLotsResponse()
        for number in range(1000):
            response.lots.add(lot_id=f"{number}-" + "x" * 1000)
        return response

    script.answers["ListLots"] = answer
    assert len(client.get("/v1/members/m/lots?pageSize=1000").json()["lots"]) == 1000
