"""Listings: entries, lots, holds and ends of one wallet, page by page."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, TypeVar

from services.kernel import db, pages, times
from services.ledger import views
from services.ledger.model import Owner
from services.ledger.operations.posting import Ledger
from services.ledger.operations.reading import read_booked
from services.ledger.store import holdings, reading, statements

# Behind every entry and every lot, where listings begin.
SEQUENCE_MAX = 2**63 - 1
# Characters that others gave the entries of one page, each of four bytes at most: with what else 1,000 entries have,
# that stays below the 4 MiB that clients of gRPC take unless told otherwise.
LENGTH_MAX = 950_000
HOLD_MAX = (datetime.max.replace(tzinfo=UTC), uuid.UUID(int=2**128 - 1))

Element = TypeVar("Element")


async def list_entries(
    ledger: Ledger, program_id: str, owner: Owner, *, page_size: int, page_token: str
) -> tuple[list[views.Entry], str]:
    """Lists a page of a statement, newest first, and the token of the next one.

    What is over and yet to be booked is booked first, so that a statement always adds up to the balance. A page of long
    words ends where it would be too large to be sent.
    """
    limit = pages.page_size(page_size)
    arguments = ("entries", program_id, *owner)
    before = pages.read_cursor(page_token, *arguments, parse=_parse_sequence) or SEQUENCE_MAX

    async def work(connection: db.Connection, wallet_id: int, now: datetime) -> list[views.Entry]:
        del now
        return await statements.list_entries(connection, program_id, wallet_id, before, limit + 1)

    entries = await read_booked(ledger, program_id, owner, work) or []
    return _page(entries, min(limit, _count_fitting(entries)), lambda entry: [entry.sequence], arguments)


def _count_fitting(entries: Sequence[views.Entry]) -> int:
    """Counts how many of the first entries fit into one answer: one always does."""
    lengths = accumulate(entry.length for entry in entries)
    return sum(1 for length in lengths if length <= LENGTH_MAX)


async def list_lots(
    ledger: Ledger, program_id: str, owner: Owner, *, page_size: int, page_token: str
) -> tuple[list[views.LotView], datetime, str]:
    """Lists a page of lots, the last made first, with the instant it is true for, and the token of the next one.

    By their numbers: when a lot takes effect changes as it is confirmed or cancelled, perhaps between two pages.
    """
    limit = pages.page_size(page_size)
    arguments = ("lots", program_id, *owner)
    before = pages.read_cursor(page_token, *arguments, parse=_parse_sequence) or SEQUENCE_MAX

    async def work(connection: db.Connection, wallet_id: int, now: datetime) -> tuple[list[views.LotView], datetime]:
        return await reading.list_lots(connection, program_id, wallet_id, before, limit + 1), now

    lots, now = await read_booked(ledger, program_id, owner, work) or ([], times.EARLIEST)
    shown, token = _page(lots, limit, lambda lot: [lot.number], arguments)
    return shown, now, token


async def list_holds(
    ledger: Ledger, program_id: str, owner: Owner, *, is_active: bool, page_size: int, page_token: str
) -> tuple[list[views.HoldView], str]:
    """Lists a page of holds as they stand now, newest first, and the token of the next one; books nothing."""
    limit = pages.page_size(page_size)
    arguments = ("holds", program_id, *owner, "active" if is_active else "all")
    before = pages.read_cursor(page_token, *arguments, parse=_parse_hold) or HOLD_MAX

    async def work(connection: db.Connection) -> list[views.HoldView]:
        now = await ledger.time.now(connection)
        return await holdings.list_holds(
            connection, program_id, owner, now=now, is_active=is_active, before=before, limit=limit + 1
        )

    holds = await db.read(ledger.pool, work)
    return _page(holds, limit, lambda hold: [hold.placed_at.isoformat(), str(hold.hold_id)], arguments)


async def list_expirations(
    ledger: Ledger, program_id: str, owner: Owner, *, until: datetime | None, page_size: int, page_token: str
) -> tuple[list[views.Expiration], str]:
    """Lists a page of the ends of what can be spent now, the earliest first, and the token of the next one."""
    limit = pages.page_size(page_size)
    arguments = ("expirations", program_id, *owner, until.isoformat() if until else "")
    after = pages.read_cursor(page_token, *arguments, parse=_parse_instant)

    async def work(connection: db.Connection, wallet_id: int, now: datetime) -> list[views.Expiration]:
        return await holdings.list_expirations(
            connection, program_id, wallet_id, now=now, after=max(after or now, now), until=until, limit=limit + 1
        )

    ends = await read_booked(ledger, program_id, owner, work) or []
    return _page(ends, limit, lambda end: [end.expires_at.isoformat()], arguments)


def _page(
    found: list[Element], limit: int, position: Callable[[Element], list[Any]], arguments: Sequence[str]
) -> tuple[list[Element], str]:
    """Cuts a page out of what was found, of which one too many was asked for, and makes the token of the next one."""
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token(position(found[limit - 1]), *arguments)


def _parse_sequence(sequence: Any) -> int:
    if type(sequence) is not int or not 0 < sequence <= SEQUENCE_MAX:
        raise ValueError("Entries and lots have numbers.")
    return sequence


def _parse_instant(text: Any) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("An instant has a zone.")
    return instant.astimezone(UTC)


def _parse_hold(placed_at: Any, hold_id: Any) -> tuple[datetime, uuid.UUID]:
    if not isinstance(hold_id, str):
        raise TypeError("A hold has an id.")
    return _parse_instant(placed_at), uuid.UUID(hold_id)
