"""What the demo program pays, over HTTP."""

from typing import Any

import pytest

from tests.devstack.stacks import UpProcess


def post(stack: UpProcess, event_id: str, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Sends one event of member `buyer` and gives its result."""
    event = {
        "eventId": f"demo-{event_id}",
        "type": kind,
        "memberId": "buyer",
        "occurTime": "2026-02-28T12:00:00Z",
        "properties": properties,
    }
    with stack.client() as client:
        answer = client.post("/v1/events", json={"events": [event]}).raise_for_status().json()
    result: dict[str, Any] = answer["results"][0]
    return result


@pytest.mark.parametrize(
    ("kind", "properties", "member_id", "amount"),
    [
        ("subscription.started", {"term": "monthly"}, "buyer", "100"),
        ("subscription.renewed", {"term": "yearly"}, "buyer", "1200"),
        ("referral.qualified", {"referrer_id": "friend"}, "friend", "200"),
        ("referral.qualified", {}, "buyer", "200"),
        ("survey.completed", {"survey_id": "s1"}, "buyer", "50"),
        ("review.submitted", {"review_id": "r1"}, "buyer", "50"),
        ("purchase.completed", {"amount_cents": 1199}, "buyer", "11"),
    ],
)
def test_pays_what_rule_says(
    stack: UpProcess, request: pytest.FixtureRequest, kind: str, properties: dict[str, Any], member_id: str, amount: str
) -> None:
    """Each rule pays what it says to whom it says, for a year."""
    result = post(stack, request.node.name, kind, properties)

    [effect] = result["effects"]
    assert (effect["memberId"], effect["asset"], effect["amount"]) == (member_id, "points", amount)
    assert effect["expireTime"] == "2027-02-28T12:00:00Z"


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ("subscription.started", {"term": "yearly"}),
        ("subscription.renewed", {"term": "monthly"}),
        ("purchase.completed", {"amount_cents": 99}),
        ("purchase.returned", {"amount_cents": 1199}),
    ],
)
def test_pays_nothing(stack: UpProcess, request: pytest.FixtureRequest, kind: str, properties: dict[str, Any]) -> None:
    """What no rule is about is accepted and pays nothing."""
    result = post(stack, request.node.name, kind, properties)

    assert result["status"] == "ACCEPTED"
    assert result.get("effects", []) == []


@pytest.mark.parametrize(("kind", "key"), [("survey.completed", "survey_id"), ("review.submitted", "review_id")])
def test_pays_once_for_each(stack: UpProcess, kind: str, key: str) -> None:
    """A survey or a review pays once, and another one pays again."""
    paid = [
        [effect["amount"] for effect in post(stack, f"{key}-{number}", kind, {key: subject}).get("effects", [])]
        for number, subject in enumerate(["first", "first", "second"])
    ]

    assert paid == [["50"], [], ["50"]]
