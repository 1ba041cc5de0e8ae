"""Reading: balances, statements and lots, at any instant."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.kernel import db, pages
from services.ledger import model
from services.ledger.model import Booking, Owner
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading

# Behind every entry and every lot, where listings begin.
SEQUENCE_MAX = 2**63 - 1
PLACE_MAX = (datetime.max.replace(tzinfo=UTC), SEQUENCE_MAX)


async def get_balances(
    ledger: Ledger, program_id: str, member_ids: Sequence[str], as_of: datetime | None
) -> dict[str, list[model.Balance]]:
    """Tells how members stand at an instant, now where none is given; one who is unknown here has no points."""

    async def work(connection: db.Connection) -> dict[str, list[model.Balance]]:
        instant = as_of or await ledger.time.now(connection)
        return await reading.read_balances(connection, program_id, member_ids, instant)

    found = await db.read(ledger.pool, work)
    return {member_id: found.get(member_id) or [model.Balance(model.DEFAULT_ASSET)] for member_id in member_ids}


async def list_entries(
    ledger: Ledger, program_id: str, owner: Owner, *, page_size: int, page_token: str
) -> tuple[list[model.Entry], str]:
    """Lists a page of a statement, newest first, and the token of the next one.

    What is over and yet to be booked is booked first, so that a statement always adds up to the balance.
    """
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, "entries", program_id, *owner, parse=_parse_sequence) or SEQUENCE_MAX
    wallet_id = await booked_wallet(ledger, program_id, owner)
    if wallet_id is None:
        return [], ""
    entries = await db.read(
        ledger.pool, lambda connection: reading.list_entries(connection, program_id, wallet_id, before, limit + 1)
    )
    if len(entries) <= limit:
        return entries, ""
    token = pages.encode_token([entries[limit - 1].sequence], "entries", program_id, *owner)
    return entries[:limit], token


async def list_lots(
    ledger: Ledger, program_id: str, owner: Owner, *, page_size: int, page_token: str
) -> tuple[list[model.LotView], datetime, str]:
    """Lists a page of lots, the latest first, with the instant it is true for, and the token of the next one."""
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, "lots", program_id, *owner, parse=_parse_place) or PLACE_MAX
    wallet_id = await booked_wallet(ledger, program_id, owner)

    async def work(connection: db.Connection) -> tuple[list[model.LotView], datetime]:
        now = await ledger.time.now(connection)
        if wallet_id is None:
            return [], now
        return await reading.list_lots(connection, program_id, wallet_id, before, limit + 1), now

    lots, now = await db.read(ledger.pool, work)
    if len(lots) <= limit:
        return lots, now, ""
    last = lots[limit - 1]
    position = [last.shown_at.isoformat(), last.number]
    return lots[:limit], now, pages.encode_token(position, "lots", program_id, *owner)


async def booked_wallet(ledger: Ledger, program_id: str, owner: Owner) -> int | None:
    """Finds a wallet in which all that is over is booked; None where the member has none."""

    async def work(connection: db.Connection) -> tuple[int, bool] | None:
        return await reading.find_wallet(connection, program_id, owner, await ledger.time.now(connection))

    found = await db.read(ledger.pool, work)
    if found is None:
        return None
    wallet_id, is_due = found
    if is_due:
        await ledger.writes.submit(program_id, [Booking(owner)])
    return wallet_id


def _parse_sequence(sequence: Any) -> int:
    if type(sequence) is not int or not 0 < sequence <= SEQUENCE_MAX:
        raise ValueError("An entry has a number.")
    return sequence


def _parse_place(shown_at: Any, number: Any) -> tuple[datetime, int]:
    instant = datetime.fromisoformat(shown_at)
    if instant.tzinfo is None:
        raise ValueError("An instant has a zone.")
    return instant.astimezone(UTC), _parse_sequence(number)
