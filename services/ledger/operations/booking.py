"""Booking: what time has ended becomes entries. Nothing that a member can see depends on when."""

import asyncio
from collections.abc import Mapping, Set

from services.kernel import db, errors
from services.ledger.model import Booking, Owner
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading

# Lots, and holds, that one transaction books: few enough that an earn which waits for it does not wait long.
BOOKINGS_MAX = 500
# Transactions of one round, of different wallets: while one is written another one is decided.
AT_ONCE = 2
# With that, a million: more than one sweep should take on before the next begins.
BOOKING_ROUNDS_MAX = 1000
PROGRAMS_MAX = 1000


async def book_due(ledger: Ledger) -> int:
    """Books lots and holds that are over, program by program, and tells in how many wallets it did."""
    booked = 0
    for _ in range(BOOKING_ROUNDS_MAX):
        before = booked
        for program_id, due in await db.read(ledger.pool, lambda connection: _find_due(ledger, connection)):
            submitted = (ledger.writes.submit(program_id, share) for share in _shares(due))
            for outcomes in await asyncio.gather(*submitted):
                booked += sum(not isinstance(outcome, errors.DomainError) for outcome in outcomes)
        if booked == before:
            break  # Nothing is due but what cannot be booked, which the log and `plaudit check` tell.
    return booked


async def _find_due(ledger: Ledger, connection: db.Connection) -> list[tuple[str, dict[Owner, set[int]]]]:
    now = await ledger.time.now(connection)
    found = []
    for program_id in await reading.list_programs_to_book(connection, now, PROGRAMS_MAX):
        due = await reading.list_to_book(connection, program_id, now, AT_ONCE * BOOKINGS_MAX)
        if due:
            found.append((program_id, due))
    return found


def _shares(due: Mapping[Owner, Set[int]]) -> list[list[Booking]]:
    """Shares what is due out to transactions, a wallet to one of them; what finds no room waits for the next round."""
    shares: list[list[Booking]] = [[] for _ in range(AT_ONCE)]
    weights = [0] * AT_ONCE
    for owner, numbers in due.items():
        lightest = weights.index(min(weights))
        room = BOOKINGS_MAX - weights[lightest]
        if room:
            booking = Booking(owner, frozenset(sorted(numbers)[:room]))
            shares[lightest].append(booking)
            weights[lightest] += booking.weight
    return [share for share in shares if share]
