"""What `plaudit check` and `plaudit status` say of the ledger."""

from services.kernel import clock, db, feed
from services.kernel.checks import CheckRow, StatusRow, compare
from services.ledger.operations import liability
from services.ledger.store import QUERIES

DATABASE_CLOCK = clock.DatabaseClock()


async def check(pool: db.Pool, time: clock.Clock = DATABASE_CLOCK) -> list[CheckRow]:
    """Replays the journal against balances and lots, holds against allocations, liability against balances."""
    return await db.read(pool, lambda connection: _check(connection, time))


async def _check(connection: db.Connection, time: clock.Clock) -> list[CheckRow]:
    counts = await connection.fetchrow(QUERIES["count_rows"])
    assert counts is not None, "An aggregate has a row."
    now = await time.now(connection)
    unbooked = [
        f"{row['count']} {row['subject']} have been over for more than an hour and are not booked"
        for row in await connection.fetch(QUERIES["check_unbooked"], now)
        if row["count"]
    ]
    entries, lots, wallets = counts["entries"], counts["lots"], counts["wallets"]
    return [
        await _row(connection, "check_wallets", "journal against balances", entries),
        await _row(connection, "check_lots", "lots against allocations", lots),
        await _row(connection, "check_wallet_lots", "balances against lots and holds", wallets),
        await _row(connection, "check_takings", "what was taken against allocations", counts["holds"]),
        await _row(connection, "check_budgets", "budgets against the journal", counts["budgets"]),
        await _row(connection, "check_budget_uses", "what budgets gave against what was earned", counts["budgets"]),
        await _row(connection, "check_cashbacks", "cashbacks against purchases", entries),
        CheckRow("liability against balances", lots, tuple(await liability.find_problems(connection, now))),
        CheckRow("expiries against time", lots + counts["holds"], tuple(unbooked)),
        *await feed.check(connection, QUERIES["check_positions"]),
    ]


async def _row(connection: db.Connection, query: str, subject: str, examined: int) -> CheckRow:
    return await compare(connection, QUERIES[query], subject=subject, examined=examined)


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells how much is over and not booked, and how far the feed reaches."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        due = await connection.fetchrow(QUERIES["measure_due"])
        assert due is not None, "An aggregate has a row."
        heads = await feed.read_heads(connection)
        return [
            StatusRow("expiries to book", str(due["count"]), f"oldest over for {due['oldest_age_s']} s"),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
        ]

    return await db.read(pool, work)
