"""Reading: how members stand at any instant, and wallets in which all that is over is booked."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from services.kernel import db, errors
from services.ledger import model, views
from services.ledger.model import Booking, Owner
from services.ledger.operations.posting import Ledger
from services.ledger.store import holdings, reading

# A batch takes its time once it holds a wallet's lock, and commits within this: what was posted before is seen by all.
SETTLING = timedelta(seconds=60)

Result = TypeVar("Result")
# Reads a wallet, by its id, at an instant by which all that is over in it is booked.
ReadWallet = Callable[[db.Connection, int, datetime], Awaitable[Result]]


async def get_balances(
    ledger: Ledger, program_id: str, member_ids: Sequence[str], as_of: datetime | None
) -> dict[str, list[views.Balance]]:
    """Tells how members stand at an instant, now where none is given; one who is unknown here has no points."""

    async def work(connection: db.Connection) -> dict[str, list[views.Balance]]:
        if as_of is not None:
            return await reading.read_balances(connection, program_id, member_ids, as_of)
        return await read_balances_now(connection, program_id, member_ids, await ledger.time.now(connection))

    found = await db.read(ledger.pool, work)
    return {member_id: found.get(member_id) or [views.Balance(model.DEFAULT_ASSET)] for member_id in member_ids}


async def read_balances_now(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], now: datetime
) -> dict[str, list[views.Balance]]:
    """Tells how members stand now, by what wallets keep; where a hold has yet to be booked, by what happened."""
    found, due = await holdings.read_balances_now(connection, program_id, member_ids, now)
    if due:
        found |= await reading.read_balances(connection, program_id, due, now)
    return found


async def read_booked(
    ledger: Ledger, program_id: str, owner: Owner, work: ReadWallet[Result], *, until: datetime | None = None
) -> Result | None:
    """Reads a wallet, in one snapshot, in which all that is over is booked; None where the member has none.

    With `until`, all is there, too, that was posted before that instant, as far as it has passed: a writer who took
    its time before then and has yet to commit is waited for.
    """
    instant: datetime | None = None

    async def look(connection: db.Connection) -> tuple[datetime, bool, Result | None]:
        now = instant or await ledger.time.now(connection)
        found = await reading.find_wallet(connection, program_id, owner, now)
        if found is None:
            return now, False, None
        wallet_id, is_due = found
        is_settling = until is not None and now - SETTLING < until <= now
        if instant is None and (is_due or is_settling):
            return now, True, None
        return now, False, await work(connection, wallet_id, now)

    # The instant stays for the second look, so that what ends meanwhile does not ask for a third.
    instant, is_due, result = await db.read(ledger.pool, look)
    if is_due:
        [outcome] = await ledger.writes.submit(program_id, [Booking(owner)])
        if isinstance(outcome, errors.DomainError):
            raise outcome
        _, _, result = await db.read(ledger.pool, look)
    return result
