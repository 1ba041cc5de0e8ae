"""Rules: data that is checked when it is written, versioned, and shown to members."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.kernel import errors, pages
from services.program.rules import JSON_NAMES
from tests.conftest import START
from tests.support.program import ProgramHarness, event
from tests.support.refusals import refusal


async def update(program: ProgramHarness, request_id: str, mask: str = "", **values: Any) -> program_pb2.Rule:
    """Changes the rule `login`."""
    request = program_service_pb2.UpdateRuleRequest(
        rule=program_pb2.Rule(**{"rule_id": "login", **values}), update_mask=mask, request_id=request_id
    )
    return (await program.stub.UpdateRule(request, metadata=program.metadata())).rule


@pytest.mark.parametrize(
    ("field", "text", "fault"),
    [
        ("condition", "event.type ==", "does not compile"),
        ("amount", "evnt.properties.x", "knows event and member only, not evnt"),
        ("condition", "launch(event.type)", "has no function launch"),
        ("condition", "event.properties.a.exists(x, event.properties.b.exists(y, x == y))", "within another one"),
        ("recipient", "(" * 400, "does not compile"),
        ("once_per", "event.properties.a.map(x, [1].map(x, x))", "within another one"),
    ],
)
async def test_create_rule_refuses_bad_expression(program: ProgramHarness, field: str, text: str, fault: str) -> None:
    """An expression that does not compile, looks elsewhere or could run for ever is refused by field."""
    values = {"event_type": "a.b", "amount": "1", field: text}
    error = await refusal(program.rule("bad", **values))

    assert (error.reason, error.code) == ("EXPRESSION_INVALID", errors.Code.INVALID_ARGUMENT)
    assert fault in error.violations[0].message
    assert error.violations[0].field == error.metadata["field"] == f"rule.{JSON_NAMES[field]}"


async def test_create_rule_refuses_a_cap_without_a_bound(program: ProgramHarness) -> None:
    """A cap that bounds neither the amount nor the count is refused by its place in the request."""
    cap = program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY)
    error = await refusal(program.rule("bad", event_type="a.b", amount="1", caps=[cap]))

    assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "rule.caps[0]")


async def test_macros_one_after_the_other_are_allowed(program: ProgramHarness) -> None:
    """List macros beside each other are fine, also around text that looks like one."""
    condition = 'event.properties.a.exists(x, x == ").map(y, y)") && event.properties.b.all(z, z > 1)'
    await program.rule("lists", event_type="a.b", amount="1", condition=condition)
    [result] = await program.record(event("e1", "a.b", at=START, a=[").map(y, y)"], b=[2, 3]))

    assert [effect.amount for effect in result.effects] == [1]


async def test_create_rule_is_idempotent_and_exclusive(program: ProgramHarness) -> None:
    """The same request makes one rule; another content or another request for the same id is refused."""
    rule = program_pb2.Rule(rule_id="login", display_name="Log in", event_type="user.logged_in", amount="5")

    def create(request_id: str, amount: str) -> Any:
        changed = program_pb2.Rule()
        changed.CopyFrom(rule)
        changed.amount = amount
        request = program_service_pb2.CreateRuleRequest(rule=changed, request_id=request_id)
        return program.stub.CreateRule(request, metadata=program.metadata())

    responses = await asyncio.gather(*(create("r1", "5") for _ in range(16)))

    assert sorted(response.replayed for response in responses) == [False] + [True] * 15
    assert (await refusal(create("r1", "6"))).reason == "REQUEST_ID_REUSED"
    assert (await refusal(create("r2", "5"))).reason == "RULE_EXISTS"


async def test_update_rule_makes_a_version(program: ProgramHarness) -> None:
    """A change makes the next version and leaves the one before as it was; a lost etag is told."""
    await program.rule("login", event_type="user.logged_in", amount="5")
    second = await update(program, "u1", amount="7")
    replayed = await update(program, "u1", amount="7")
    lost = await refusal(update(program, "u2", amount="9", etag="1"))
    unknown = await refusal(update(program, "u3", mask="nope", amount="9"))
    request = program_service_pb2.GetRuleRequest(rule_id="login", version=1)
    first = (await program.stub.GetRule(request, metadata=program.metadata())).rule

    assert (second.version, second.amount, second.event_type) == (2, "7", "user.logged_in")
    assert replayed == second
    assert (first.version, first.amount) == (1, "5")
    assert lost.reason == "CONCURRENT_UPDATE"
    assert (unknown.reason, unknown.violations[0].field) == ("FIELD_INVALID", "updateMask")


async def test_update_mask_clears_what_it_names(program: ProgramHarness) -> None:
    """A field that the mask names and the request leaves out is cleared; a required one cannot be."""
    await program.rule("login", event_type="user.logged_in", amount="5", condition="true", description="Daily")
    changed = await update(program, "u1", mask="condition,description")
    required = await refusal(update(program, "u2", mask="amount"))

    assert (changed.condition, changed.description, changed.amount) == ("", "", "5")
    assert required.violations[0].field == "rule.amount"


async def test_request_that_says_nothing_new_is_what_it_was(program: ProgramHarness) -> None:
    """A request of before rules could say more is the same request since, and gets its answer again."""
    expiry = program_pb2.Expiry(months=12)
    await program.rule("lesson", event_type="lesson.done", amount="10", expiry=expiry)
    await update(program, "u1", rule_id="lesson", amount="20", expiry=program_pb2.Expiry(months=6))
    rows = await program.context.pool.fetch("SELECT definition, fingerprint FROM rule_versions ORDER BY version")

    assert [row["definition"]["expiry"] for row in rows] == [{"months": 12, "days": 0}, {"months": 6, "days": 0}]
    assert [row["fingerprint"].hex() for row in rows] == [
        "32768460f9d8e242427a",
        "254bb34f53210f677a6535656565656565ea656565596565",
    ]


async def test_archived_rule_pays_no_more_and_stays(program: ProgramHarness) -> None:
    """A paused rule pays again once active; an archived one never changes again."""
    await program.rule("login", event_type="user.logged_in", amount="5")
    amounts = []
    for number, state in enumerate(("PAUSED", "ACTIVE", "ARCHIVED")):
        await update(program, f"u{number}", state=program_pb2.RuleState.Value(f"RULE_STATE_{state}"))
        [result] = await program.record(event(f"e{number}", "user.logged_in", at=START))
        amounts.append(sum(effect.amount for effect in result.effects))

    assert amounts == [0, 5, 0]
    assert (await refusal(update(program, "u9", amount="1"))).reason == "RULE_ARCHIVED"
    assert (await refusal(update(program, "u8", rule_id="nope", amount="1"))).reason == "RULE_NOT_FOUND"


async def test_earning_table_shows_live_rules(program: ProgramHarness) -> None:
    """The table has the rules that hold now, with the same amounts and versions that pay."""
    await program.rule("login", event_type="user.logged_in", amount="5", expiry=program_pb2.Expiry(months=12))
    await program.rule("later", event_type="a.b", amount="1", start_time={"seconds": int(START.timestamp()) + 1})
    await program.rule("buy", event_type="purchase.completed", amount="event.properties.amount_cents / 100")
    request = program_service_pb2.GetEarningTableRequest()
    table = await program.stub.GetEarningTable(request, metadata=program.metadata())

    assert [(row.rule_id, row.amount, row.fixed, row.expiry.months) for row in table.rows] == [
        ("buy", "event.properties.amount_cents / 100", False, 0),
        ("login", "5", True, 12),
    ]


async def test_rule_holds_in_its_window_only(program: ProgramHarness) -> None:
    """A rule decides by the time of the event: from its start on, and not from its end on."""
    hour = timedelta(hours=1)
    await program.rule(
        "window",
        event_type="a.b",
        amount="1",
        start_time={"seconds": int((START - hour).timestamp())},
        end_time={"seconds": int(START.timestamp())},
    )
    results = await program.record(
        event("before", "a.b", at=START - hour - timedelta(microseconds=1)),
        event("first", "a.b", at=START - hour),
        event("last", "a.b", at=START - timedelta(microseconds=1)),
        event("after", "a.b", at=START),
    )

    assert [len(result.effects) for result in results] == [0, 1, 1, 0]


async def test_list_rules_pages_through_all(program: ProgramHarness) -> None:
    """Pages give every rule once, and a token of another program is refused."""
    for number in range(5):
        await program.rule(f"r{number}", event_type="a.b", amount="1")
    found, token = [], ""
    while True:
        request = program_service_pb2.ListRulesRequest(page_size=2, page_token=token)
        page = await program.stub.ListRules(request, metadata=program.metadata())
        found += [rule.rule_id for rule in page.rules]
        token = page.next_page_token or token
        if not page.next_page_token:
            break

    assert found == [f"r{number}" for number in range(5)]
    request = program_service_pb2.ListRulesRequest(page_token=token)
    error = await refusal(program.stub.ListRules(request, metadata=program.metadata("other")))
    assert error.violations[0].field == "pageToken"


@pytest.mark.parametrize("cursor", [[], [1], ["a\0b"], [None], ["a", "b"], [{}]])
async def test_list_rules_refuses_a_made_up_token(program: ProgramHarness, cursor: list[Any]) -> None:
    """Anybody can make a token: one whose cursor is none of this listing is refused by field, whatever is in it."""
    token = pages.encode_token(cursor, "rules", "demo")
    request = program_service_pb2.ListRulesRequest(page_token=token)
    error = await refusal(program.stub.ListRules(request, metadata=program.metadata()))

    assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "pageToken")
