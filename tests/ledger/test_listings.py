"""Statements and lots, page by page."""

import base64
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, interceptors, pages
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import capture, earn, hold, release, reverse

HOUR = timedelta(hours=1)


async def entries_page(ledger: LedgerHarness, token: str = "", size: int = 0, **other: str) -> Any:
    """Reads one page of a statement."""
    arguments: dict[str, Any] = {"member_id": "m1", "page_size": size, "page_token": token, **other}
    program = arguments.pop("program", "demo")
    request = ledger_service_pb2.ListEntriesRequest(**arguments)
    return await ledger.stub.ListEntries(request, metadata=credential(program, LEDGER_SCOPES))


async def lots_page(ledger: LedgerHarness, token: str = "", size: int = 0, **other: str) -> Any:
    """Reads one page of lots."""
    arguments: dict[str, Any] = {"member_id": "m1", "page_size": size, "page_token": token, **other}
    program = arguments.pop("program", "demo")
    request = ledger_service_pb2.ListLotsRequest(**arguments)
    return await ledger.stub.ListLots(request, metadata=credential(program, LEDGER_SCOPES))


Page = Callable[..., Awaitable[Any]]
LISTINGS = pytest.mark.parametrize("page", [entries_page, lots_page], ids=["entries", "lots"])


def items(response: Any) -> list[Any]:
    """Gives what a page lists."""
    return list(response.entries if isinstance(response, ledger_service_pb2.ListEntriesResponse) else response.lots)


async def refusal(call: Awaitable[Any]) -> errors.DomainError:
    """Gives the refusal of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return interceptors.from_error(caught.value, dependency="ledger")


async def earned(ledger: LedgerHarness, count: int) -> None:
    """Earns so many lots, an hour apart."""
    await ledger.post(*(earn(f"e{number}", amount=number + 1, at=START - number * HOUR) for number in range(count)))


@LISTINGS
async def test_pages_are_the_whole(ledger: LedgerHarness, page: Page) -> None:
    """Pages of any size put together are the whole listing, and the last one has no token."""
    await earned(ledger, 25)
    whole = items(await page(ledger, size=1000))
    for size in (1, 7, 24, 25, 26):
        found, token = [], ""
        for _ in range(26):
            response = await page(ledger, token, size)
            found += items(response)
            token = response.next_page_token
            if not token:
                break
            assert len(items(response)) == size
        assert found == whole
    assert len(whole) == 25


@LISTINGS
async def test_page_size_is_bounded(ledger: LedgerHarness, page: Page) -> None:
    """No size means 50, a size above 1,000 means 1,000, and a negative one is refused."""
    await earned(ledger, 60)
    for number in range(60, 1060, 500):
        await ledger.post(*(earn(f"x{number + each}", amount=1, at=START) for each in range(500)))

    assert [len(items(await page(ledger, size=size))) for size in (0, 1001, 2**31 - 1)] == [50, 1000, 1000]
    assert (await refusal(page(ledger, size=-1))).violations[0].field == "pageSize"


@LISTINGS
async def test_page_token_belongs_to_its_listing(ledger: LedgerHarness, page: Page) -> None:
    """A token is refused with another member, asset or program, and by the other listing; another size is no matter."""
    for program in ("demo", "other"):
        await ledger.post(
            *(earn(f"{m}{a}{n}", m, asset=a) for m in ("m1", "m2") for a in ("points", "credits") for n in range(3)),
            program=program,
        )
    token = (await page(ledger, size=1)).next_page_token
    others: list[dict[str, str]] = [{"member_id": "m2"}, {"asset": "credits"}, {"program": "other"}]
    strange = lots_page if page is entries_page else entries_page

    for call in [*(page(ledger, token, 1, **other) for other in others), strange(ledger, token, 1)]:
        found = await refusal(call)
        assert (found.code, found.violations[0].field) == (errors.Code.INVALID_ARGUMENT, "pageToken")
    assert len(items(await page(ledger, token, 2, asset="points"))) == 2


GARBAGE = [
    "x",
    "é",
    "=" * 8,
    "A" * 1024,
    base64.urlsafe_b64encode(b"\xff" * 30).decode(),
    base64.urlsafe_b64encode(b"[1]").decode(),
]


@LISTINGS
@pytest.mark.parametrize("token", GARBAGE)
async def test_garbage_token_is_refused(ledger: LedgerHarness, page: Page, token: str) -> None:
    """What is no token is refused by its field."""
    await earned(ledger, 3)

    assert (await refusal(page(ledger, token))).violations[0].field == "pageToken"


ID = str(uuid.UUID(int=7))
FORGED: list[list[Any]] = [
    [],
    [None],
    ["x"],
    [1.5],
    [True],
    [-1],
    [0],
    [2**63],
    [1, 2],
    [[1]],
    [{}],
    [ID, ID],
    ["2026-03-01T12:00:00+00:00"],
    ["2026-03-01T12:00:00+00:00", "x"],
    ["2026-03-01T12:00:00", ID],
    ["2026-03-01", ID],
    ["2026-13-01T12:00:00+00:00", ID],
    ["0001-01-01T00:00:00+23:59", ID],
    ["2026-03-01T12:00:00+00:00", 7.5],
    ["2026-03-01T12:00:00+00:00", 0],
    ["2026-03-01T12:00:00", 7],
    [7, ID],
    ["2026-03-01T12:00:00+00:00", ID, 1],
]


@LISTINGS
@pytest.mark.parametrize("cursor", FORGED, ids=str)
async def test_token_with_odd_cursor_is_refused(ledger: LedgerHarness, page: Page, cursor: list[Any]) -> None:
    """A token that is made well around a cursor that no page ends at is refused like garbage, and breaks nothing."""
    await earned(ledger, 3)
    listing = "entries" if page is entries_page else "lots"
    token = pages.encode_token(cursor, listing, "demo", "m1", "points")

    found = await refusal(page(ledger, token))
    assert (found.code, found.violations[0].field) == (errors.Code.INVALID_ARGUMENT, "pageToken")


@LISTINGS
async def test_cursor_is_stable_under_inserts(ledger: LedgerHarness, page: Page) -> None:
    """What is added while somebody pages appears on the pages before or nowhere: nothing is shown twice or left out."""
    await earned(ledger, 12)
    whole = items(await page(ledger, size=1000))
    found, token = [], ""
    for number in range(4):
        response = await page(ledger, token, 3)
        found += items(response)
        token = response.next_page_token
        await ledger.post(earn(f"late{number}", amount=99, at=START + (number + 1) * HOUR))

    assert [each.amount for each in found] == [each.amount for each in whole]
    assert [each.amount for each in items(await page(ledger))][:4] == [99] * 4


async def test_statement_tells_each_entry(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A statement has each change with its kind, balance, times and cause, and what moved nothing is not in it."""
    cause = ledger_pb2.Cause(event_id="ev-1", rule_id="r-1", rule_version=3)
    await ledger.post(
        earn("e1", amount=30, at=START - HOUR, expires=START + 2 * HOUR, cause=cause),
        hold("h1", amount=10),
        release("l1", "h1"),
        hold("h2", amount=12, timeout_s=7200),
        hold("h-refused", amount=999),
    )
    time.value = START + HOUR
    await ledger.post(capture("c2", "h2"), reverse("r2", "c2"))
    time.value = START + 2 * HOUR
    entries = await ledger.statement("m1")

    kinds = [ledger_pb2.EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_") for entry in entries]
    assert kinds == ["EXPIRY", "REVERSAL", "SPEND", "EARN"]
    assert [(entry.amount, entry.balance) for entry in entries] == [(-30, 0), (12, 30), (-12, 18), (30, 30)]
    assert [entry.occur_time.ToDatetime(UTC) for entry in entries] == [
        START + 2 * HOUR,
        START + HOUR,
        START + HOUR,
        START - HOUR,
    ]
    assert entries[-1].cause == cause
    assert len({entry.entry_id for entry in entries}) == 4
    await assert_sound(ledger)


async def test_lots_tell_where_value_is(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each lot tells what of it is left, held and over, and its state, newest effect first."""
    await ledger.post(
        earn("pending", amount=1, effective=START + HOUR),
        earn("active", amount=2),
        earn("held", amount=4, at=START - HOUR),
        earn("spent", amount=8, at=START - 2 * HOUR, expires=START + YEAR),
        earn("over", amount=16, at=START - 3 * HOUR, expires=START + 60 * timedelta(seconds=1), priority=1),
        earn("other", amount=32, asset="credits"),
        hold("h1", amount=8),
        capture("c1", "h1"),
        hold("h2", amount=4),
    )
    time.value = START + timedelta(minutes=1)
    lots = await ledger.lots("m1")

    told = [
        (
            ledger_pb2.LotState.Name(lot.state).removeprefix("LOT_STATE_"),
            lot.amount,
            lot.remaining,
            lot.held,
            lot.expired,
        )
        for lot in lots
    ]
    assert [each for each in told if each[1] in (1, 8, 16)] == [
        ("PENDING", 1, 1, 0, 0),
        ("SPENT", 8, 0, 0, 0),
        ("EXPIRED", 16, 0, 0, 16),
    ]
    assert sum(lot.held for lot in lots) == 4
    effective = [lot.effective_time.ToDatetime(UTC) for lot in lots]
    assert effective == sorted(effective, reverse=True)
    assert await ledger.lots("m2") == []


async def test_lots_of_one_instant_are_paged_by_id(ledger: LedgerHarness) -> None:
    """Lots that took effect at one instant are told page by page without loss."""
    await ledger.post(*(earn(f"e{number}", amount=number + 1) for number in range(20)))
    found, token = [], ""
    for _ in range(7):
        response = await lots_page(ledger, token, 3)
        found += items(response)
        token = response.next_page_token

    assert sorted(lot.amount for lot in found) == list(range(1, 21))
    assert not token


async def test_lots_at_the_edges_of_time_are_listed(ledger: LedgerHarness) -> None:
    """Lots that take effect in the first and in the last instant there is are listed like others."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    await ledger.post(earn("first", amount=1, at=first), earn("last", amount=2, effective=last), earn("now", amount=4))
    found, token = [], ""
    for _ in range(3):
        response = await lots_page(ledger, token, 1)
        found += items(response)
        token = response.next_page_token

    assert [lot.amount for lot in found] == [2, 4, 1]
    assert (await ledger.balance("m1", last)).available == 7
    assert (await ledger.balance("m1", first)).available == 1
