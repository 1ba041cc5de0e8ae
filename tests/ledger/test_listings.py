"""Statements and lots, page by page."""

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, pages, times
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import cancel, capture, confirm, earn, hold, release, reverse
from tests.support.refusals import refusal

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Listing:
    """One listing of a wallet: the field that it lists, its rpc, its request, and what else its token is bound to."""

    name: str
    rpc: str
    request: Callable[..., Any]
    arguments: tuple[str, ...] = ()

    async def page(self, ledger: LedgerHarness, token: str = "", size: int = 0, **other: str) -> Any:
        """Reads one page."""
        arguments: dict[str, Any] = {"member_id": "m1", "page_size": size, "page_token": token, **other}
        program = arguments.pop("program", "demo")
        call = getattr(ledger.stub, self.rpc)
        return await call(self.request(**arguments), metadata=credential(program, LEDGER_SCOPES))

    async def items(self, ledger: LedgerHarness, token: str = "", size: int = 0, **other: str) -> list[Any]:
        """Gives what one page lists."""
        return self.of(await self.page(ledger, token, size, **other))

    def of(self, response: Any) -> list[Any]:
        """Gives what a page lists."""
        return list(getattr(response, self.name))


ENTRIES = Listing("entries", "ListEntries", ledger_service_pb2.ListEntriesRequest)
LOTS = Listing("lots", "ListLots", ledger_service_pb2.ListLotsRequest)
HOLDS = Listing("holds", "ListHolds", ledger_service_pb2.ListHoldsRequest, ("all",))
EXPIRATIONS = Listing("expirations", "ListExpirations", ledger_service_pb2.ListExpirationsRequest, ("",))
ALL = (ENTRIES, LOTS, HOLDS, EXPIRATIONS)
LISTINGS = pytest.mark.parametrize("listing", ALL, ids=lambda listing: listing.name)


def made(number: int, member_id: str = "m1", asset: str = "points") -> list[ledger_pb2.Operation]:
    """Makes one more of everything that is listed: an entry, a lot, an end, and a hold of the first lot."""
    name, end = f"{member_id}-{asset}-{number}", START + YEAR + number * HOUR
    return [
        earn(f"e{name}", member_id, 2000 + number, asset=asset, at=START - number * HOUR, expires=end),
        hold(f"h{name}", member_id, 1, asset=asset),
    ]


async def make(ledger: LedgerHarness, count: int) -> None:
    """Makes so many of everything."""
    for start in range(0, count, 500):
        await ledger.post(*(each for number in range(start, min(count, start + 500)) for each in made(number)))


@LISTINGS
async def test_pages_are_the_whole(ledger: LedgerHarness, listing: Listing) -> None:
    """Pages of any size put together are the whole listing, and the last one has no token."""
    await make(ledger, 25)
    whole = await listing.items(ledger, size=1000)
    for size in (1, 7, 24, 25, 26):
        found, token = [], ""
        for _ in range(26):
            response = await listing.page(ledger, token, size)
            found += listing.of(response)
            token = response.next_page_token
            if not token:
                break
            assert len(listing.of(response)) == size
        assert found == whole
    assert len(whole) == 25


@LISTINGS
async def test_page_size_is_bounded(ledger: LedgerHarness, listing: Listing) -> None:
    """No size means 50, a size above 1,000 means 1,000, and a negative one is refused."""
    await make(ledger, 1060)

    assert [len(await listing.items(ledger, size=size)) for size in (0, 1001, 2**31 - 1)] == [50, 1000, 1000]
    assert (await refusal(listing.page(ledger, size=-1))).violations[0].field == "pageSize"


@LISTINGS
async def test_page_token_belongs_to_its_listing(ledger: LedgerHarness, listing: Listing) -> None:
    """A token is refused with another member, asset or program, and by other listings; another size is no matter."""
    for program in ("demo", "other"):
        for member_id, asset in (("m1", "points"), ("m2", "points"), ("m1", "credits"), ("m2", "credits")):
            for number in range(3):
                await ledger.post(*made(number, member_id, asset), program=program)
    token = (await listing.page(ledger, size=1)).next_page_token
    others: list[dict[str, str]] = [{"member_id": "m2"}, {"asset": "credits"}, {"program": "other"}]
    strange = [each for each in ALL if each is not listing]

    for call in [
        *(listing.page(ledger, token, 1, **other) for other in others),
        *(each.page(ledger, token, 1) for each in strange),
    ]:
        found = await refusal(call)
        assert (found.code, found.violations[0].field) == (errors.Code.INVALID_ARGUMENT, "pageToken")
    assert len(await listing.items(ledger, token, 2, asset="points")) == 2


async def test_page_token_belongs_to_its_filter(ledger: LedgerHarness) -> None:
    """A token of all holds is refused where active ones are asked for, and one of all ends where some are."""
    await make(ledger, 3)
    holds, ends = [(await listing.page(ledger, size=1)).next_page_token for listing in (HOLDS, EXPIRATIONS)]
    other: dict[str, Any] = {"active_only": True}
    until: dict[str, Any] = {"until_time": times.to_proto(START + 2 * YEAR)}

    for call in (HOLDS.page(ledger, holds, 1, **other), EXPIRATIONS.page(ledger, ends, 1, **until)):
        assert (await refusal(call)).violations[0].field == "pageToken"


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
async def test_garbage_token_is_refused(ledger: LedgerHarness, listing: Listing, token: str) -> None:
    """What is no token is refused by its field."""
    assert (await refusal(listing.page(ledger, token))).violations[0].field == "pageToken"


ID = str(uuid.UUID(int=7))
INSTANT = "2026-03-01T12:00:00+00:00"
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
    [INSTANT, "x"],
    ["2026-03-01T12:00:00"],
    ["2026-03-01T12:00:00", ID],
    ["2026-03-01", ID],
    ["2026-13-01T12:00:00+00:00", ID],
    ["0001-01-01T00:00:00+23:59"],
    ["0001-01-01T00:00:00+23:59", ID],
    # What pages of lots ended at before.
    [INSTANT, 7],
    [INSTANT, 7.5],
    [INSTANT, 0],
    [INSTANT, -1],
    [INSTANT, [ID]],
    ["2026-03-01T12:00:00", 7],
    [7, ID],
    [INSTANT, ID, 1],
]


@LISTINGS
async def test_token_with_odd_cursor_is_refused(ledger: LedgerHarness, listing: Listing) -> None:
    """A token that is made well around a cursor that no page ends at is refused like garbage, and breaks nothing."""
    await make(ledger, 3)
    # What another listing's pages end at is odd here as well.
    cursors: dict[str, list[Any]] = {
        "entries": [1],
        "lots": [1],
        "holds": [INSTANT, ID],
        "expirations": [INSTANT],
    }
    for cursor in [*FORGED, *(each for each in cursors.values() if each != cursors[listing.name])]:
        token = pages.encode_token(cursor, listing.name, "demo", "m1", "points", *listing.arguments)
        found = await refusal(listing.page(ledger, token))
        assert (found.code, found.violations[0].field) == (errors.Code.INVALID_ARGUMENT, "pageToken"), cursor
    good = pages.encode_token(cursors[listing.name], listing.name, "demo", "m1", "points", *listing.arguments)
    assert len(await listing.items(ledger, good)) <= 3


@pytest.mark.parametrize("listing", [ENTRIES, LOTS, HOLDS], ids=lambda listing: listing.name)
async def test_cursor_is_stable_under_inserts(ledger: LedgerHarness, time: clock.ManualClock, listing: Listing) -> None:
    """What is added while somebody pages appears on the pages before or nowhere: nothing is shown twice or left out."""
    await make(ledger, 12)
    whole = await listing.items(ledger, size=1000)
    found, token = [], ""
    for number in range(4):
        response = await listing.page(ledger, token, 3)
        found += listing.of(response)
        token = response.next_page_token
        time.value = START + (number + 1) * timedelta(minutes=1)
        await ledger.post(earn(f"late{number}", amount=99), hold(f"held{number}", amount=99))

    named = [each.SerializeToString() for each in found] if listing is not LOTS else [each.lot_id for each in found]
    expected = [each.SerializeToString() for each in whole] if listing is not LOTS else [each.lot_id for each in whole]
    assert named == expected
    assert len(await listing.items(ledger)) > 12


@LISTINGS
async def test_listing_of_another_program_is_empty(ledger: LedgerHarness, listing: Listing) -> None:
    """A program sees nothing of a member of that id in another one."""
    await make(ledger, 1)

    assert len(await listing.items(ledger)) == 1
    assert await listing.items(ledger, program="other") == []


async def test_statement_tells_each_entry(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A statement has each change with its kind, balance, times and cause, and what moved nothing is not in it."""
    cause, no_cause = ledger_pb2.Cause(event_id="ev-1", rule_id="r-1", rule_version=3), ledger_pb2.Cause()
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
    # What expires tells why it had been earned.
    assert [entry.cause for entry in entries] == [cause, no_cause, no_cause, cause]
    assert len({entry.entry_id for entry in entries}) == 4
    await assert_sound(ledger)


async def test_lots_tell_where_value_is(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each lot tells what of it is left, held and over, and its state, the last made first."""
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
        ("EXPIRED", 16, 0, 0, 16),
        ("SPENT", 8, 0, 0, 0),
        ("PENDING", 1, 1, 0, 0),
    ]
    assert sum(lot.held for lot in lots) == 4
    assert [lot.amount for lot in lots] == [16, 8, 4, 2, 1]
    assert await ledger.lots("m2") == []


async def test_lots_that_move_are_told_once(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Lots that are confirmed or cancelled between two pages are told once all the same, the last made first."""
    await ledger.post(
        *(earn(f"e{number}", amount=1 + number, pending=True) for number in range(6)),
        *(earn(f"e{number}", amount=1 + number, effective=START + number * HOUR) for number in range(6, 12)),
    )
    found, token = [], ""
    for number in range(4):
        response = await LOTS.page(ledger, token, 3)
        found += LOTS.of(response)
        token = response.next_page_token
        time.value = START + (number + 1) * timedelta(minutes=1)
        # Of either kind one that was told, and one that was not.
        moved = [confirm(f"c{number}", f"e{number}"), cancel(f"x{number}", f"e{11 - number}")]
        await ledger.post(*moved, confirm(f"d{number}", f"e{5 - number}"), cancel(f"y{number}", f"e{6 + number}"))

    assert [lot.amount for lot in found] == list(range(12, 0, -1))
    assert not token


async def test_lots_at_the_edges_of_time_are_listed(ledger: LedgerHarness) -> None:
    """Lots that take effect in the first and in the last instant there is are listed like others."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    await ledger.post(earn("first", amount=1, at=first), earn("last", amount=2, effective=last), earn("now", amount=4))
    found, token = [], ""
    for _ in range(3):
        response = await LOTS.page(ledger, token, 1)
        found += LOTS.of(response)
        token = response.next_page_token

    assert [lot.amount for lot in found] == [4, 2, 1]
    assert (await ledger.balance("m1", last)).available == 7
    assert (await ledger.balance("m1", first)).available == 1
