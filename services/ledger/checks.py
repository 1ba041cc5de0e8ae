"""What `plaudit check` and `plaudit status` say of the ledger."""

import asyncio
from collections.abc import Collection
from datetime import timedelta

from services.kernel import clock, db, feed, times
from services.kernel.checks import CheckRow, StatusRow, compare
from services.ledger.operations import liability, sealing, verifying
from services.ledger.store import QUERIES
from services.ledger.store import sealing as sealing_store

# Rows that wait so long while others are posted are not merely late: nobody seals. Time alone would not do, since a
# stack that is stopped seals nothing and is sound.
SECOND = timedelta(seconds=1)
SEALS_STALE = timedelta(hours=1)
DATABASE_CLOCK = clock.DatabaseClock()


async def check(
    pool: db.Pool, time: clock.Clock = DATABASE_CLOCK, *, seal_keys: Collection[bytes] | None = None
) -> list[CheckRow]:
    """Replays the journal against balances and lots, holds against allocations, liability and seals against it.

    Without the public keys of seals, heads are taken to be signed by the keys that are stored beside them. Seals are
    verified beside all else: they keep this process busy, and the other checks the database.
    """
    sums, seals = await asyncio.gather(
        db.read(pool, lambda connection: _check_sums(connection, time)),
        db.read(pool, lambda connection: _check_seals(connection, time, seal_keys)),
    )
    return [*sums, seals]


async def _check_sums(connection: db.Connection, time: clock.Clock) -> list[CheckRow]:
    """Checks what is summed up against what it is the sum of; and the positions of the journal."""
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
        await _row(connection, "check_wallet_traits", "traits of wallets against lots", lots),
        await _row(connection, "check_lot_ends", "ends of lots against what was told", lots),
        await _row(connection, "check_takings", "what was taken against allocations", counts["holds"]),
        await _row(connection, "check_budgets", "budgets against the journal", counts["budgets"]),
        await _row(connection, "check_budget_uses", "what budgets gave against what was earned", counts["budgets"]),
        await _row(connection, "check_cashbacks", "cashbacks against purchases", entries),
        await _row(connection, "check_exchanges", "exchanges against their rates", entries),
        CheckRow("liability against balances", lots, tuple(await liability.find_problems(connection, now))),
        CheckRow("expiries against time", lots + counts["holds"], tuple(unbooked)),
        *await feed.check(connection, QUERIES["check_positions"]),
    ]


async def _row(connection: db.Connection, query: str, subject: str, examined: int) -> CheckRow:
    return await compare(connection, QUERIES[query], subject=subject, examined=examined)


async def _check_seals(connection: db.Connection, time: clock.Clock, seal_keys: Collection[bytes] | None) -> CheckRow:
    """Verifies everything that was sealed, and that sealing goes on."""
    now = await time.now(connection)
    rows, problems = 0, []
    for program_id in await sealing_store.list_sealed_programs(connection):
        tally = verifying.Tally()
        await verifying.verify_program(connection, program_id, tally, now=now, public_keys=seal_keys)
        rows += tally.rows
        problems += [f"{program_id}: {finding.message}" for finding in tally.findings]
        if tally.finding_count > len(tally.findings):
            problems.append(f"{program_id}: {tally.finding_count} problems in all")
    newest = await sealing_store.find_newest_posting(connection)
    for waiting, obstacle in await sealing.find_late(connection, now):
        place = f"{waiting.program_id}, partition {waiting.partition}"
        if obstacle is not None:
            problems.append(f"{place}: sealing cannot go on: {obstacle.message}")
        elif newest and waiting.posted_at and newest - waiting.posted_at > SEALS_STALE:
            problems.append(f"{place}: rows have waited since {times.to_text(waiting.posted_at)} to be sealed")
    return CheckRow("seals against the journal", rows, tuple(problems))


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells how much is over and not booked, and how far the feed reaches."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        due = await connection.fetchrow(QUERIES["measure_due"])
        assert due is not None, "An aggregate has a row."
        heads = await feed.read_heads(connection)
        return [
            StatusRow("expiries to book", str(due["count"]), f"oldest over for {due['oldest_age_s']} s"),
            *await _seals(connection),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
        ]

    return await db.read(pool, work)


async def _seals(connection: db.Connection) -> list[StatusRow]:
    now = await DATABASE_CLOCK.now(connection)
    waiting = await sealing_store.list_unsealed(connection, sealing.PARTITIONS_MAX)
    rows = sum(each.head_position - each.last_position for each in waiting)
    oldest_s = max(((now - each.posted_at) // SECOND for each in waiting if each.posted_at), default=0)
    stopped = [
        StatusRow(f"sealing {late.program_id}/{late.partition}", "stopped", obstacle.message)
        for late, obstacle in await sealing.find_late(connection, now)
        if obstacle is not None
    ]
    return [StatusRow("rows to seal", str(rows), f"oldest posted for {max(oldest_s, 0)} s"), *stopped]
