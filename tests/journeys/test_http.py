"""Promises over HTTP, on a whole stack."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.devstack.data_dir import DataDir
from services.kernel.tokens import Minter
from tests.support.stack import Stack


def purchase(event_id: str, member_id: str, cents: int, **more: Any) -> dict[str, Any]:
    """Makes a purchase that happened just now."""
    return {
        "eventId": event_id,
        "type": "purchase.completed",
        "memberId": member_id,
        "occurTime": datetime.now(UTC).isoformat(),
        "properties": {"amount_cents": cents},
        **more,
    }


async def send(client: httpx.AsyncClient, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Sends events and gives their results."""
    response = await client.post("/v1/events", json={"events": events})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def key() -> dict[str, str]:
    """Makes a fresh idempotency key."""
    return {"idempotency-key": str(uuid.uuid4())}


async def points(client: httpx.AsyncClient, member_id: str) -> dict[str, Any]:
    """Reads a member's points."""
    response = await client.get(f"/v1/members/{member_id}/balances")
    [balance] = response.json()["balances"]
    result: dict[str, Any] = balance
    return result


async def test_200_concurrent_redemptions(stack: Stack) -> None:
    """On a balance of 1,000 exactly 10 of 200 redemptions of 100 succeed; cancelling one restores its lots."""
    async with stack.client() as client:
        await send(client, purchase("r-1", "redeemer", 60_000), purchase("r-2", "redeemer", 40_000))
        lots = (await client.get("/v1/members/redeemer/lots")).json()["lots"]
        reward = {"rewardId": "journey-mug", "displayName": "Mug", "cost": "100", "codes": [f"c{n}" for n in range(50)]}
        created = await client.post("/v1/rewards", json=reward, headers=key())
        assert created.status_code == 200, created.text
        answers = await asyncio.gather(
            *(
                client.post("/v1/members/redeemer/redemptions", json={"rewardId": "journey-mug"}, headers=key())
                for _ in range(200)
            )
        )
        done = [answer.json() for answer in answers if answer.status_code == 200]
        refused = [answer.json() for answer in answers if answer.status_code != 200]

        assert (len(done), len(refused)) == (10, 190)
        assert {each["reason"] for each in refused} == {"INSUFFICIENT_BALANCE"}
        assert len({each["code"] for each in done}) == 10
        assert (await points(client, "redeemer"))["available"] == "0"

        for each in done:
            path = f"/v1/members/redeemer/redemptions/{each['redemptionId']}:cancel"
            cancelled = await client.post(path, json={})
            assert (cancelled.status_code, cancelled.json()["state"]) == (200, "CANCELLED"), cancelled.text
        assert (await client.get("/v1/members/redeemer/lots")).json()["lots"] == lots


async def test_reused_event_id_names_fields(stack: Stack) -> None:
    """The same event is a duplicate with the same effects; other content is refused with the differing fields."""
    sent = purchase("reused-1", "reuser", 1_234)
    async with stack.client() as client:
        [first] = await send(client, sent)
        [again] = await send(client, sent)
        changed = {**sent, "memberId": "somebody", "properties": {"amount_cents": 1}}
        [reused] = await send(client, changed)

    assert (first["status"], again["status"], reused["status"]) == ("ACCEPTED", "DUPLICATE", "REFUSED")
    assert first["effects"] == again["effects"]
    assert (first["effects"][0]["amount"], first["effects"][0]["ruleVersion"]) == ("12", 1)
    assert reused["error"]["reason"] == "REQUEST_ID_REUSED"
    assert reused["error"]["fields"] == ["memberId", "properties.amount_cents"]


async def test_one_bad_event_never_refuses_others(stack: Stack) -> None:
    """Each malformed event is refused at its place by field, and its neighbours are accepted."""
    bad: list[tuple[Any, str]] = [
        ({**purchase("b1", "bad", 100), "memberId": 5}, "memberId"),
        ({**purchase("b2", "bad", 100), "surprise": 1}, "surprise"),
        ({**purchase("b3", "bad", 100), "eventId": ""}, "eventId"),
        ({**purchase("b4", "bad", 100), "eventId": "x" * 129}, "eventId"),
        ({**purchase("b5", "bad", 100), "occurTime": "2999-01-01T00:00:00Z"}, "occurTime"),
        ({**purchase("b6", "bad", 100), "occurTime": "yesterday"}, "occurTime"),
        ({**purchase("b7", "bad", 100), "properties": {"text": "a\0b"}}, "properties.text"),
        ("not an event", ""),
    ]
    async with stack.client() as client:
        for number, (event, field) in enumerate(bad):
            before, refused, after = await send(
                client, purchase(f"good-{number}-a", "good", 100), event, purchase(f"good-{number}-b", "good", 100)
            )
            assert (before["status"], refused["status"], after["status"]) == ("ACCEPTED", "REFUSED", "ACCEPTED")
            assert field in refused["error"]["field"]
            assert refused["error"]["message"]
        assert (await points(client, "good"))["available"] == str(2 * len(bad))
        assert (await client.get("/v1/members/bad")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/members/secret/balances"),
        ("GET", "/v1/members/secret/statement"),
        ("GET", "/v1/members/secret/lots"),
        ("GET", "/v1/members/secret/statement:summarize"),
        ("GET", "/v1/members/secret/expirations"),
        ("GET", "/v1/members/secret/spends:preview?amount=1"),
        ("GET", "/v1/members/secret"),
        ("GET", "/v1/events/secret-1"),
        ("GET", "/v1/rules"),
        ("GET", "/v1/rules/purchase-completed"),
        ("GET", "/v1/earning-table"),
    ],
)
async def test_programs_never_see_each_other(stack: Stack, other_api_key: str, method: str, path: str) -> None:
    """With the key of another program the same ids tell nothing of this one's, by any call."""
    async with stack.client() as mine, stack.client(other_api_key) as theirs:
        await send(mine, purchase("secret-1", "secret", 777_00))
        owned = await mine.request(method, path)
        seen = await theirs.request(method, path)
        nothing = await theirs.request(method, path.replace("secret", "nobody"))

    assert owned.status_code == 200
    assert seen.status_code == nothing.status_code
    if seen.status_code == 200:
        assert seen.json() == nothing.json() != owned.json()
    elif seen.status_code == 409:
        assert seen.json()["metadata"] == nothing.json()["metadata"] == {"available": "0", "requested": "1"}
    else:
        assert (seen.status_code, seen.json()["reason"][-10:]) == (404, "_NOT_FOUND")


def staff_token(stack: Stack) -> str:
    """Makes what a member of the staff is signed in with."""
    minter = Minter(DataDir.open(stack.data_dir).token_key())
    scopes = ("ledger.read", "ledger.write")
    return minter.mint(subject="staff", program_id="demo", scopes=scopes, lifetime_s=600)


async def test_staff_adjusts_with_a_reason(stack: Stack) -> None:
    """An adjustment by the staff happens once, and the statement tells it with its reason and who decided."""
    path, headers = "/v1/members/adjusted", key()
    decided = {"asset": "points", "change": "30", "reason": "Goodwill after the outage", "actor": "staff-7"}
    async with stack.client() as product, stack.client(staff_token(stack)) as staff:
        await send(product, purchase("adjusted-1", "adjusted", 1_000))
        refused = await product.post(f"{path}/adjustments", json=decided, headers=headers)
        first = await staff.post(f"{path}/adjustments", json=decided, headers=headers)
        again = await staff.post(f"{path}/adjustments", json=decided, headers=headers)
        [line, _] = (await product.get(f"{path}/statement")).json()["entries"]
        summary = (await product.get(f"{path}/statement:summarize")).json()
        told = (await product.get(f"/v1/operations/{headers['idempotency-key']}")).json()

    assert (refused.status_code, refused.json()["reason"]) == (403, "SCOPE_MISSING")
    assert (first.status_code, again.headers["idempotency-replayed"]) == (200, "true"), first.text
    assert first.json()["posting"] == again.json()["posting"] == told["result"]["posting"]
    assert told["entries"] == [line]
    assert {name: line[name] for name in ("kind", "amount", "balance", "reason", "actor")} == {
        "kind": "ADJUSTMENT",
        "amount": "30",
        "balance": "40",
        "reason": "Goodwill after the outage",
        "actor": "staff-7",
    }
    assert {name: value for name, value in summary.items() if value != "0"} == {
        "earned": "10",
        "adjusted": "30",
        "closing": "40",
    }


async def test_staff_keeps_a_budget(stack: Stack) -> None:
    """A budget is made, funded once however often it is asked for, shown and closed by the staff alone."""
    path, funding = "/v1/budgets/spring", key()
    async with stack.client() as product, stack.client(staff_token(stack)) as staff:
        made = await staff.post("/v1/budgets", json={"budgetId": "spring", "asset": "points"}, headers=key())
        refused = await product.post(f"{path}:fund", json={"amount": "500"}, headers=funding)
        for _ in range(2):
            funded = await staff.post(f"{path}:fund", json={"amount": "500"}, headers=funding)
        open_one = (await staff.get(path)).json()
        closed = await staff.post(f"{path}:close", json={}, headers=key())
        shown = (await staff.get(path)).json()
        late = await staff.post(f"{path}:fund", json={"amount": "1"}, headers=key())

    assert (made.status_code, refused.status_code, refused.json()["reason"]) == (200, 403, "SCOPE_MISSING"), made.text
    assert (funded.json()["posting"]["amount"], funded.headers["idempotency-replayed"]) == ("500", "true")
    assert (open_one["left"], open_one["closed"]) == ("500", False)
    assert (closed.json()["posting"]["amount"], shown["left"], shown["closed"]) == ("500", "0", True)
    assert (late.status_code, late.json()["reason"]) == (409, "BUDGET_CLOSED")


async def test_same_event_id_in_two_programs(stack: Stack, other_api_key: str) -> None:
    """The same event id is new to each program and pays in the one that has a rule for it."""
    sent = purchase("shared-1", "shared", 900)
    async with stack.client() as mine, stack.client(other_api_key) as theirs:
        [first], [second] = await send(mine, sent), await send(theirs, sent)
        assert (await points(theirs, "shared"))["available"] == "0"

    assert (first["status"], second["status"]) == ("ACCEPTED", "ACCEPTED")
    assert (len(first["effects"]), len(second["effects"])) == (1, 0)


async def test_earning_table_pays_what_it_shows(stack: Stack) -> None:
    """The demo program's table and its payments agree: 100, 1,200, 200 to the referrer, 50 once a survey or review."""
    now = datetime.now(UTC).isoformat()

    def fact(event_id: str, type_: str, **properties: Any) -> dict[str, Any]:
        return {"eventId": event_id, "type": type_, "memberId": "payee", "occurTime": now, "properties": properties}

    async with stack.client() as client:
        table = (await client.get("/v1/earning-table")).json()["rows"]
        results = await send(
            client,
            fact("t1", "subscription.started", term="monthly"),
            fact("t2", "subscription.started", term="yearly"),
            fact("t3", "subscription.renewed", term="yearly"),
            fact("t4", "referral.qualified", referrer_id="advocate"),
            fact("t5", "survey.completed", survey_id="s1"),
            fact("t6", "survey.completed", survey_id="s1"),
            fact("t7", "review.submitted", review_id="v1"),
        )
        amounts = [[effect["amount"] for effect in result["effects"]] for result in results]
        assert amounts == [["100"], [], ["1200"], ["200"], ["50"], [], ["50"]]
        assert [denial["reason"] for denial in results[5]["denials"]] == ["ALREADY_PAID"]
        waiting = await points(client, "advocate")
        confirmed = await client.post("/v1/events/t4:confirm", json={})
        assert (waiting["available"], waiting["pending"], confirmed.status_code) == ("0", "200", 200)
        assert (await points(client, "advocate"))["available"] == "200"
        assert (await points(client, "payee"))["available"] == str(100 + 1200 + 50 + 50)
    shown = {row["ruleId"]: row["amount"] for row in table if row["fixed"] and not row["ruleId"].startswith("journey-")}
    assert shown == {
        "subscription-started-monthly": "100",
        "subscription-renewed-yearly": "1200",
        "referral-qualified": "200",
        "referral-welcomed": "100",
        "survey-completed": "50",
        "review-submitted": "50",
    }
