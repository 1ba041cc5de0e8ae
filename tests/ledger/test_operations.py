"""Operations asked about by their request ids: the first answer again, and what it moved."""

import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors
from tests.conftest import START
from tests.ledger.histories import HOUR
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
    cashback,
    claw_back,
    confirm,
    earn,
    exchange,
    expire,
    hold,
    release,
    reverse,
    spend,
    unexpire,
)
from tests.support.refusals import refusal

DEBT = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT


async def operation(
    ledger: LedgerHarness, request_id: str, *, program: str = "demo"
) -> ledger_service_pb2.GetOperationResponse:
    """Asks how an operation ended."""
    request = ledger_service_pb2.GetOperationRequest(request_id=request_id)
    return await ledger.stub.GetOperation(request, metadata=credential(program, LEDGER_SCOPES))


async def post_every_kind(ledger: LedgerHarness, time: clock.ManualClock) -> list[ledger_pb2.OperationResult]:
    """Posts operations of every kind that concerns members, and some that are refused."""
    await ledger.ledger.pool.execute(
        "INSERT INTO exchange_rates VALUES ('demo', 'points', 'credits', 1, 1, 7, now(), gen_random_uuid(), '')"
    )
    first = await ledger.post(
        earn("e1", amount=100, expires=START + 3 * HOUR, cause=ledger_pb2.Cause(event_id="ev-1", rule_version=2)),
        earn("e2", amount=30, expires=START + HOUR, promotional=True),
        cashback("e3", 999, 125),
        earn("e4", amount=5, pending=True),
        earn("e5", amount=6, pending=True, expires=START + 2 * HOUR),
        confirm("c5", "e5"),
        cancel("x4", "e4"),
        spend("s1", amount=40),
        hold("h1", amount=20),
        capture("c1", "h1", 15),
        hold("h2", amount=10),
        release("l2", "h2"),
        reverse("r1", "s1", 25),
        adjust("a1", change=9, expires=START + 9 * HOUR),
        adjust("a2", change=-4),
        exchange("x1", amount=23),
        claw_back("b1", "e2", 10, DEBT),
        spend("s-refused", amount=10_000),
        capture("c-refused", "unknown"),
    )
    time.value = START + HOUR
    second = await ledger.post(
        unexpire("u1", since=START, until=START + 2 * HOUR, expires=START + 5 * HOUR), expire("x2")
    )
    return [*first, *second]


async def test_operation_is_told_as_first_answered(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each kind of operation, and each refusal, is told to the letter as whoever posted it was answered."""
    for result in await post_every_kind(ledger, time):
        assert (await operation(ledger, result.request_id)).result == result, result.request_id


async def test_operation_tells_its_entries(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The entries are those of the statement, in their order, each with its asset; what moved nothing has none."""
    await post_every_kind(ledger, time)
    lines = {line.entry_id: line for line in await ledger.statement("m1")}
    found = {
        name: list((await operation(ledger, name)).entries) for name in ("e1", "c1", "x1", "x2", "h1", "s-refused")
    }

    assert [lines[each.entry_id] for name in ("e1", "c1", "x2") for each in found[name]] == [
        each for name in ("e1", "c1", "x2") for each in found[name]
    ]
    assert [(each.asset, each.amount) for each in found["x1"]] == [("points", -21), ("credits", 3)]
    assert [each.kind for each in found["x2"]] == [ledger_pb2.ENTRY_KIND_EXPIRY] * len(found["x2"])
    assert {(each.reason, each.actor) for each in found["x2"]} == {("account closed", "staff-1")}
    assert [each.cause.event_id for each in found["e1"]] == ["ev-1"]
    assert found["h1"] == found["s-refused"] == []


async def test_operation_stays_as_answered(ledger: LedgerHarness) -> None:
    """What happens to the same lots later changes nothing of what was answered."""
    [first] = await ledger.post(earn("e1", amount=100, expires=START + HOUR))
    [spent] = await ledger.post(spend("s1", amount=60))
    await ledger.post(reverse("r1", "s1", 10), spend("s2", amount=20), expire("x1"), claw_back("b1", "e1"))

    assert (await operation(ledger, "e1")).result == first
    assert (await operation(ledger, "s1")).result == spent


@pytest.mark.parametrize(("request_id", "program"), [("unknown", "demo"), ("e1", "other")])
async def test_unknown_operation_is_not_found(ledger: LedgerHarness, request_id: str, program: str) -> None:
    """An operation that the program does not have, or that is another's, is not found."""
    await ledger.post(earn("e1"))
    found = await refusal(operation(ledger, request_id, program=program))

    assert (found.code, found.reason) == (errors.Code.NOT_FOUND, "OPERATION_NOT_FOUND")
    assert found.metadata == {"requestId": request_id}


async def test_operation_that_plaudit_made_is_found_by_nobody(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The ids under which Plaudit books what is over are no request ids of anybody."""
    await ledger.post(earn("e1", expires=START + HOUR))
    time.value = START + HOUR
    [line, _] = await ledger.statement("m1")
    stored = line.entry_id.rpartition(".")[0]

    assert (await refusal(operation(ledger, stored))).reason == "OPERATION_NOT_FOUND"
