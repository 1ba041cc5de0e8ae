"""Booking: what time has ended becomes entries. Nothing that a member can see depends on when."""

import asyncio
from collections.abc import Iterator, Mapping, Set

from services.kernel import db, errors
from services.ledger.model import Booking, Owner
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading

# Lots, and holds, that one transaction books: few enough that an earn which waits for it does not wait long.
BOOKINGS_MAX = 500
# Transactions, of different wallets, that are under way at once: while one is written another one is decided.
AT_ONCE = 2
# Transactions that come of one look at what is due.
SHARES_MAX = 10
# With that, a million: more than one sweep should take on before the next begins.
BOOKING_ROUNDS_MAX = 200
PROGRAMS_MAX = 1000


async def book_due(ledger: Ledger) -> int:
    """Books lots and holds that are over, program by program, and tells in how many wallets it did.

    What another worker is at is left to it.
    """
    booked = 0
    for _ in range(BOOKING_ROUNDS_MAX):
        before = booked
        for program_id in await db.read(ledger.pool, lambda connection: _find_programs(ledger, connection)):
            booked += await _book_program(ledger, program_id)
        if booked == before:
            break  # Nothing is due but what cannot be booked, which the log and `plaudit check` tell.
    return booked


async def _find_programs(ledger: Ledger, connection: db.Connection) -> list[str]:
    return await reading.list_programs_to_book(connection, await ledger.time.now(connection), PROGRAMS_MAX)


async def _book_program(ledger: Ledger, program_id: str) -> int:
    """Books some of what is due in a program, while nobody else does."""

    async def work(connection: db.Connection) -> int:
        if not await reading.lock_booking(connection, program_id):
            return 0
        now = await ledger.time.now(connection)
        due = await reading.list_to_book(
            connection, program_id, now, limit=SHARES_MAX * BOOKINGS_MAX, limit_per_wallet=BOOKINGS_MAX
        )
        return await _book(ledger, program_id, due)

    # Its connection changes nothing and holds the lock until the end; what is posted meanwhile happens once, however
    # often it is asked for.
    return await db.transaction(ledger.pool, work)


async def _book(ledger: Ledger, program_id: str, due: Mapping[Owner, Set[int]]) -> int:
    """Books what is due in a program, in several transactions of which some are under way at once."""
    shares = _shares(due)
    booked = 0

    async def work() -> None:
        nonlocal booked
        for share in shares:
            for outcome in await ledger.writes.submit(program_id, share):
                booked += not isinstance(outcome, errors.DomainError)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return booked


def _shares(due: Mapping[Owner, Set[int]]) -> Iterator[list[Booking]]:
    """Shares what is due out to transactions, each wallet to one of them."""
    share: list[Booking] = []
    weight = 0
    for owner, numbers in due.items():
        booking = Booking(owner, frozenset(numbers))
        if share and weight + booking.weight > BOOKINGS_MAX:
            yield share
            share, weight = [], 0
        share.append(booking)
        weight += booking.weight
    if share:
        yield share
