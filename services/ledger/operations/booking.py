"""Booking: what time has ended becomes entries. Nothing that a member can see depends on when."""

from services.kernel import db, errors
from services.ledger.model import Booking, Owner
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading

BOOKINGS_PER_ROUND = 500
BOOKING_ROUNDS_MAX = 200
PROGRAMS_MAX = 1000


async def book_due(ledger: Ledger) -> int:
    """Books lots and holds that are over, program by program, and tells in how many wallets it did."""
    booked = 0
    for _ in range(BOOKING_ROUNDS_MAX):
        before = booked
        for program_id, owners in await db.read(ledger.pool, lambda connection: _find_due(ledger, connection)):
            outcomes = await ledger.writes.submit(program_id, [Booking(owner) for owner in owners])
            booked += sum(not isinstance(outcome, errors.DomainError) for outcome in outcomes)
        if booked == before:
            break  # Nothing is due but what cannot be booked, which the log and `plaudit check` tell.
    return booked


async def _find_due(ledger: Ledger, connection: db.Connection) -> list[tuple[str, list[Owner]]]:
    now = await ledger.time.now(connection)
    found = []
    for program_id in await reading.list_programs_to_book(connection, now, PROGRAMS_MAX):
        owners = await reading.list_wallets_to_book(connection, program_id, now, BOOKINGS_PER_ROUND)
        if owners:
            found.append((program_id, owners))
    return found
