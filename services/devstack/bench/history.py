"""A past for a ledger: many earns, written straight into its tables, as they would be after years."""

import time
from datetime import UTC, datetime
from pathlib import Path

from services.devstack.bench.ledger_load import LOT_AMOUNT
from services.kernel import clock, db
from services.ledger.operations import sealing
from services.ledger.operations.posting import Ledger

QUERIES = db.Queries(Path(__file__).parent / "history.sql")
CHUNK = 200_000
PAST = datetime(2025, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
TABLES = ("wallets", "journal", "lots")


async def add_earns(pool: db.Pool, prefix: str, *, wallets: int, each: int, expires_at: datetime = FUTURE) -> None:
    """Gives new members of a prefix so many earns each."""
    async with pool.acquire() as connection:
        await connection.execute(QUERIES["make_wallets"], prefix, wallets)
        await connection.execute("ANALYZE wallets")
    total = wallets * each
    for start in range(0, total, CHUNK):
        end = min(total, start + CHUNK)
        async with pool.acquire() as connection, connection.transaction():
            await _add(connection, prefix, start, end, wallets, expires_at)
    async with pool.acquire() as connection:
        await connection.execute(QUERIES["sum_wallets"], prefix, each, LOT_AMOUNT, timeout=600)
        for table in TABLES:
            await connection.execute(f"VACUUM ANALYZE {table}", timeout=1800)
        # In years it would have been written long ago: what comes next does not pay for it.
        await connection.execute("CHECKPOINT", timeout=600)


async def _add(
    connection: db.Connection, prefix: str, start: int, end: int, wallets: int, expires_at: datetime
) -> None:
    for query in ("add_journal", "add_lots"):
        await connection.execute(QUERIES[query], prefix, start, end, wallets, PAST, LOT_AMOUNT, expires_at, timeout=600)
    await connection.execute(QUERIES["move_head"], end - start)


async def seal(pool: db.Pool) -> float:
    """Seals all that is not, and tells how many rows a second."""
    ledger = Ledger(pool, clock.DatabaseClock())
    begun, rows = time.perf_counter(), 0
    while sealed := await sealing.seal_due(ledger):
        rows += sealed
    await ledger.writes.close()
    return rows / (time.perf_counter() - begun)


async def is_due(pool: db.Pool) -> bool:
    """Tells whether anything is over and yet to be booked."""
    async with pool.acquire() as connection:
        return bool(await connection.fetchval(QUERIES["count_due"]))
