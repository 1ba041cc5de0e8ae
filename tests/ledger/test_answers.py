"""Answers are small enough to be sent, however much was posted: what is committed can always be told."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from plaudit.ledger.v1 import (
    ledger_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
)

from services.ledger import convert, model
from services.ledger.decisions import giving
from services.ledger.operations import statements
from tests.conftest import START
from tests.ledger.test_operations import operation
from tests.ledger.test_previews import preview
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import adjust, claw_back, earn, expire, reverse, spend
from tests.support.outcomes import happen, reasons

# What a client of gRPC takes unless told otherwise.
ANSWER_BYTES_MAX = 4 * 1024 * 1024
LAST = datetime.max.replace(tzinfo=UTC)
# The longest that an id may be: 128 characters of four bytes.
LONG = "𠮷" * 128


async def post_plainly(
    ledger: LedgerHarness, *operations: ledger_pb2.Operation, linked: bool = False
) -> ledger_service_pb2.PostOperationsResponse:
    """Posts over a channel as gRPC makes it."""
    request = ledger_service_pb2.PostOperationsRequest(operations=operations, linked=linked)
    async with grpc.aio.insecure_channel(ledger.address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        return await stub.PostOperations(request, metadata=credential("demo", LEDGER_SCOPES))


def listed(results: Any) -> list[tuple[int, bool]]:
    """Tells how many allocations each posting lists, and whether there were more."""
    return [(len(each.posting.allocations), each.posting.allocations_truncated) for each in results]


async def test_answer_about_many_lots_can_be_sent(ledger: LedgerHarness) -> None:
    """A call that takes from 100 lots or gives back to them 1,000 times is answered, and so when it is repeated."""
    await happen(ledger, *(earn(f"e{number}", amount=1, expires=START + YEAR) for number in range(100)))
    asked = [each for n in range(500) for each in (spend(f"s{n}"), reverse(f"r{n}", f"s{n}"))]
    first = await post_plainly(ledger, *asked)
    again = await post_plainly(ledger, *asked)

    assert listed(first.results) == [(100, False)] * 200 + [(0, True)] * 800
    assert {each.posting.amount for each in first.results} == {100}
    assert [each.posting for each in again.results] == [each.posting for each in first.results]
    assert all(each.replayed for each in again.results)
    await assert_sound(ledger)


async def test_allocations_are_cut_in_order(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first operations of a call are told whole, one is cut, and of those behind it no lot is listed."""
    monkeypatch.setattr(convert, "ALLOCATIONS_MAX", 5)
    await happen(ledger, *(earn(f"e{number}", amount=1) for number in range(4)))
    asked = [spend("s1", amount=3), spend("refused", amount=9), reverse("r1", "s1"), spend("s2", amount=4), earn("e4")]
    first = await ledger.post(*asked)
    again = await ledger.post(*asked)

    assert listed(first) == listed(again) == [(3, False), (0, False), (2, True), (0, True), (0, False)]
    assert [each.posting for each in again] == [each.posting for each in first]
    whole = [(await operation(ledger, name)).result for name in ("s1", "r1", "s2")]
    assert listed(whole) == [(3, False), (3, False), (4, False)]
    assert first[2].posting.allocations == whole[1].posting.allocations[:2]


async def test_answer_about_one_operation_is_cut(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of one operation, a question about it and a preview list the first lots, and say that there are more."""
    monkeypatch.setattr(convert, "ALLOCATIONS_MAX", 3)
    await happen(ledger, *(earn(f"e{number}", amount=1) for number in range(4)))
    stub = operation_service_pb2_grpc.OperationServiceStub(ledger.channel)
    metadata = credential("demo", LEDGER_SCOPES)
    enough, previewed = await preview(ledger, 3), await preview(ledger, 4)
    request = operation_service_pb2.SpendRequest(request_id="s1", spend=spend("s1", amount=4).spend)
    spent = [await stub.Spend(request, metadata=metadata) for _ in range(2)]

    assert (len(enough.allocations), enough.allocations_truncated) == (3, False)
    assert (len(previewed.allocations), previewed.allocations_truncated, previewed.available_after) == (3, True, 0)
    assert listed([*spent, (await operation(ledger, "s1")).result]) == [(3, True)] * 3
    assert list(spent[0].posting.allocations) == list(previewed.allocations)


async def test_entries_of_an_operation_are_cut(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an operation that made more entries than an answer tells the first ones are told."""
    await happen(ledger, *(earn(f"e{number}", amount=1 + number) for number in range(4)), expire("x1"))
    monkeypatch.setattr(statements, "ENTRIES_MAX", 4)
    whole = await operation(ledger, "x1")
    monkeypatch.setattr(statements, "ENTRIES_MAX", 3)
    cut = await operation(ledger, "x1")

    assert ([each.amount for each in whole.entries], whole.entries_truncated) == ([-1, -2, -3, -4], False)
    assert (list(cut.entries), cut.entries_truncated) == (list(whole.entries[:3]), True)
    assert cut.result == whole.result


def test_largest_postings_fit() -> None:
    """With all numbers and names as long as they may be, an answer about 1,000 operations that list all it can fits."""
    part = model.Part(model.lot_id(2**63 - 1, 2**63 - 1), model.BALANCE_MAX, LAST)
    count = convert.ALLOCATIONS_MAX // 1000
    value = model.BALANCE_MAX
    done = model.Posting(LAST, value, LAST, (part,) * (count + 1), value, value, value, model.BURN_ORDER_VERSION)
    response = ledger_service_pb2.PostOperationsResponse()
    for _ in range(1000):
        convert.fill_result(response.results.add(request_id=LONG), model.Outcome(True, done), count)

    assert sum(len(each.posting.allocations) for each in response.results) == convert.ALLOCATIONS_MAX
    assert response.ByteSize() < ANSWER_BYTES_MAX


def test_largest_operation_fits() -> None:
    """An operation that made as many entries and touched as many lots as are told of one fits, whatever it was for."""
    part = model.Part(model.lot_id(2**63 - 1, 2**63 - 1), model.BALANCE_MAX, LAST)
    outcome = model.Outcome(False, model.Posting(LAST, model.BALANCE_MAX, LAST, (part,) * (giving.LOTS_MAX * 2)))
    cause = ledger_pb2.Cause(event_id=LONG, rule_id=LONG, rule_version=2**31 - 1, redemption_id=LONG, campaign_id=LONG)
    entry = ledger_pb2.Entry(
        entry_id=f"{START:x<36}.10000"[-42:],
        kind=ledger_pb2.ENTRY_KIND_UNEXPIRY,
        asset="a" * 32,
        amount=-model.BALANCE_MAX,
        balance=model.BALANCE_MAX,
        occur_time=convert.time(LAST),
        post_time=convert.time(LAST),
        cause=cause,
        reason="𠮷" * 500,
        actor=LONG,
    )
    response = ledger_service_pb2.GetOperationResponse(
        result=convert.result(LONG, outcome), entries=[entry] * statements.ENTRIES_MAX, entries_truncated=True
    )

    assert response.ByteSize() < ANSWER_BYTES_MAX


def numbered(number: int) -> str:
    """Makes one of the longest ids."""
    return f"{number:04}" + LONG[4:]


def malformed(number: int) -> ledger_pb2.Operation:
    """Makes an operation of which as much is wrong as can be, with an id that is far too long."""
    broken = earn("x" * 5000 + str(number), LONG + "/", -1, asset="A", priority=-1, allocated_value=-1, budget_id="/")
    broken.earn.cashback.SetInParent()
    broken.earn.expiry.SetInParent()
    broken.earn.expiry.months = broken.earn.expiry.days = -1
    for instant in (broken.occur_time, broken.earn.effective_time, broken.earn.expire_time):
        instant.nanos = -1
    for name in ("event_id", "rule_id", "redemption_id", "campaign_id"):
        setattr(broken.cause, name, LONG + "x")
    broken.cause.rule_version = -1
    return broken


REFUSED = {
    "FIELD_INVALID": malformed,
    "EARN_NOT_FOUND": lambda number: claw_back(numbered(number), LONG),
    "BUDGET_NOT_FOUND": lambda number: earn(numbered(number), LONG, budget_id=LONG),
    "LINKED_REFUSED": lambda number: (
        spend(numbered(number), LONG, 10**12) if number == 999 else earn(numbered(number), LONG)
    ),
    "REQUEST_ID_REUSED": lambda number: earn(
        numbered(number % 500), LONG, 1 + number, priority=number // 500, pending=number >= 500, promotional=True
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_largest_refusals_fit(ledger: LedgerHarness, reason: str) -> None:
    """A thousand refusals fit one answer, with ids as long as they may be and as many fields at fault as are told."""
    make = REFUSED[reason]
    response = await post_plainly(ledger, *map(make, range(1000)), linked=reason == "LINKED_REFUSED")

    assert reasons(response.results).count(reason) >= 499
    assert response.ByteSize() < ANSWER_BYTES_MAX


async def test_statement_of_long_texts_can_be_sent(ledger: LedgerHarness) -> None:
    """A page of entries with the longest texts has fewer of them than were asked for, and the next one has the rest."""
    cause = ledger_pb2.Cause(event_id=LONG, rule_id=LONG, rule_version=1, redemption_id=LONG, campaign_id=LONG)
    for start in range(0, 1000, 250):
        asked = [adjust(f"a{start + number}", change=1) for number in range(250)]
        for each in asked:
            each.cause.CopyFrom(cause)
            each.adjust.reason, each.adjust.actor = "𠮷" * 500, LONG
        await happen(ledger, *asked)
    found, token = [], ""
    async with grpc.aio.insecure_channel(ledger.address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        for _ in range(2):
            request = ledger_service_pb2.ListEntriesRequest(member_id="m1", page_size=1000, page_token=token)
            page = await stub.ListEntries(request, metadata=credential("demo", LEDGER_SCOPES))
            found += [entry.balance for entry in page.entries]
            token = page.next_page_token

    assert (found, token) == (list(range(1000, 0, -1)), "")
