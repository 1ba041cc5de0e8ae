"""Booking: what time has ended becomes entries. Nothing that a member can see depends on when."""

from services.kernel import db, errors
from services.ledger.model import Booking
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading

# Lots, and holds, that one transaction books: few enough that an earn which waits for it does not wait long.
BOOKINGS_PER_ROUND = 1000
# With that, a million: more than one sweep should take on before the next begins.
BOOKING_ROUNDS_MAX = 1000
PROGRAMS_MAX = 1000


async def book_due(ledger: Ledger) -> int:
    """Books lots and holds that are over, program by program, and tells in how many wallets it did."""
    booked = 0
    for _ in range(BOOKING_ROUNDS_MAX):
        before = booked
        for program_id, bookings in await db.read(ledger.pool, lambda connection: _find_due(ledger, connection)):
            outcomes = await ledger.writes.submit(program_id, bookings)
            booked += sum(not isinstance(outcome, errors.DomainError) for outcome in outcomes)
        if booked == before:
            break  # Nothing is due but what cannot be booked, which the log and `plaudit check` tell.
    return booked


async def _find_due(ledger: Ledger, connection: db.Connection) -> list[tuple[str, list[Booking]]]:
    now = await ledger.time.now(connection)
    found = []
    for program_id in await reading.list_programs_to_book(connection, now, PROGRAMS_MAX):
        due = await reading.list_to_book(connection, program_id, now, BOOKINGS_PER_ROUND)
        if due:
            found.append((program_id, [Booking(owner, frozenset(numbers)) for owner, numbers in due.items()]))
    return found
