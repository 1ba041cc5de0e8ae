"""What a batch writes once it has decided."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from services.kernel import db
from services.ledger import model
from services.ledger.model import Hold, Lot, Wallet
from services.ledger.store import QUERIES

JOURNAL_COLUMNS = (
    *("partition", "position", "program_id", "request_id", "leg", "kind", "posted_at", "occurred_at", "wallet_id"),
    *("amount", "sequence", "balance", "expires_at", "held_amount", "lot_number", "budget_amount", "debt_amount"),
    *("allocated_value", "target_id", "burn_order_version", "fingerprint", "cause_event_id", "cause_rule_id"),
    *("cause_rule_version", "cause_redemption_id", "cause_campaign_id", "budget_id", "refusal", "detail"),
)
LOT_COLUMNS = (
    *("program_id", "wallet_id", "number", "amount", "remaining", "effective_at", "expires_at", "occurred_at"),
    *("clawed_back", "priority", "is_promotional", "is_open", "expiry_policy", "origin"),
)
HOLD_COLUMNS = (
    *("program_id", "hold_id", "wallet_id", "amount", "captured", "state", "placed_at", "expires_at", "ended_at"),
    *("capture_id", "cause_redemption_id", "request_name"),
)
ALLOCATION_COLUMNS = (
    *("program_id", "wallet_id", "lot_number", "amount", "allocated_at", "lot_expires_at", "root_id"),
    *("operation_id", "place", "kind"),
)


def journal_records(program_id: str, posted_at: datetime, rows: Sequence[model.Row]) -> list[tuple[object, ...]]:
    """Gives outcomes and entries as `insert_journal` writes them, all but their places in the feed."""
    return [
        (
            program_id,
            row.request_id,
            row.leg,
            row.kind,
            posted_at,
            row.occurred_at,
            row.wallet_id,
            row.amount,
            row.sequence,
            row.balance,
            row.expires_at,
            row.held_amount,
            row.lot_number,
            row.budget_amount,
            row.debt_amount,
            row.allocated_value,
            row.target_id,
            row.burn_order_version,
            row.fingerprint,
            row.cause.event_id,
            row.cause.rule_id,
            row.cause.rule_version,
            row.cause.redemption_id,
            row.cause.campaign_id,
            row.budget_id,
            row.refusal,
            row.detail,
        )
        for row in rows
    ]


async def insert_journal(
    connection: db.Connection, records: Sequence[tuple[object, ...]], places: Sequence[tuple[int, int]]
) -> None:
    """Writes outcomes and entries, each at its place in the feed: partition and position."""
    placed = [place + record for place, record in zip(places, records, strict=True)]
    await db.copy_rows(connection, "journal", JOURNAL_COLUMNS, placed)


async def write_lots(connection: db.Connection, program_id: str, lots: Iterable[Lot]) -> None:
    """Writes new lots, and how others stand that were changed."""
    new, spent, old = [], [], []
    for lot in lots:
        if lot.is_new:
            new.append(lot)
        elif lot.is_redated:
            old.append(lot)
        elif lot.is_changed:
            spent.append(lot)
    if spent:
        await connection.execute(
            QUERIES["update_spent_lots"],
            program_id,
            [lot.wallet_id for lot in spent],
            [lot.number for lot in spent],
            [lot.remaining for lot in spent],
            [lot.is_open for lot in spent],
        )
    if new:
        await db.copy_rows(connection, "lots", LOT_COLUMNS, [_lot_record(program_id, lot) for lot in new])
    if old:
        await connection.execute(
            QUERIES["update_lots"],
            program_id,
            [lot.wallet_id for lot in old],
            [lot.number for lot in old],
            [lot.remaining for lot in old],
            [lot.effective_at for lot in old],
            [lot.expires_at for lot in old],
            [lot.occurred_at for lot in old],
            [lot.clawed_back for lot in old],
            [lot.is_open for lot in old],
        )


def _lot_record(program_id: str, lot: Lot) -> tuple[object, ...]:
    return (
        program_id,
        lot.wallet_id,
        lot.number,
        lot.amount,
        lot.remaining,
        lot.effective_at,
        lot.expires_at,
        lot.occurred_at,
        lot.clawed_back,
        lot.priority,
        lot.is_promotional,
        lot.is_open,
        lot.expiry_policy,
        lot.origin,
    )


async def write_holds(connection: db.Connection, program_id: str, holds: Iterable[Hold]) -> None:
    """Writes new holds, and how others stand now. A hold that is new and ends in the same batch is written once."""
    holds = list(holds)
    new = [_hold_record(program_id, hold) for hold in holds if hold.is_new]
    if new:
        await db.copy_rows(connection, "holds", HOLD_COLUMNS, new)
    old = [hold for hold in holds if hold.is_changed and not hold.is_new]
    if old:
        await connection.execute(
            QUERIES["update_holds"],
            program_id,
            [hold.hold_id for hold in old],
            [hold.state for hold in old],
            [hold.ended_at for hold in old],
            [hold.capture_id for hold in old],
            [hold.captured for hold in old],
        )


def _hold_record(program_id: str, hold: Hold) -> tuple[object, ...]:
    return (
        program_id,
        hold.hold_id,
        hold.wallet_id,
        hold.amount,
        hold.captured,
        hold.state,
        hold.placed_at,
        hold.expires_at,
        hold.ended_at,
        hold.capture_id,
        hold.cause_redemption_id,
        hold.request_name,
    )


async def insert_allocations(
    connection: db.Connection, program_id: str, allocations: Sequence[model.Allocation]
) -> None:
    """Writes what was taken from lots and given back to them."""
    if not allocations:
        return
    records = [
        (
            program_id,
            each.wallet_id,
            each.lot_number,
            each.amount,
            each.allocated_at,
            each.lot_expires_at,
            each.root_id,
            each.operation_id,
            each.place,
            each.kind,
        )
        for each in allocations
    ]
    await db.copy_rows(connection, "allocations", ALLOCATION_COLUMNS, records)


async def insert_wallets(connection: db.Connection, program_id: str, wallets: Sequence[Wallet]) -> bool:
    """Stores new wallets; tells whether none of their owners has one by now."""
    made = await connection.fetch(
        QUERIES["insert_wallets"],
        program_id,
        [wallet.wallet_id for wallet in wallets],
        [wallet.member_id for wallet in wallets],
        [wallet.asset for wallet in wallets],
        [wallet.sequence for wallet in wallets],
        [wallet.balance for wallet in wallets],
        [wallet.earned for wallet in wallets],
        [wallet.spent for wallet in wallets],
        [wallet.expired for wallet in wallets],
        [wallet.clawed_back for wallet in wallets],
        [wallet.adjusted for wallet in wallets],
        [wallet.debt for wallet in wallets],
        [wallet.remainder for wallet in wallets],
        [wallet.has_rolling for wallet in wallets],
        [wallet.has_priorities for wallet in wallets],
        [wallet.has_waiting for wallet in wallets],
        [wallet.cashback_due for wallet in wallets],
    )
    return len(made) == len(wallets)


async def update_wallets(connection: db.Connection, program_id: str, wallets: Sequence[Wallet]) -> None:
    """Writes how wallets stand that were changed."""
    changed = [wallet for wallet in wallets if wallet.is_changed]
    if not changed:
        return
    if not any(wallet.is_more_than_earned for wallet in changed):
        # What most batches do, and the driver looks at every element of every array.
        await connection.execute(
            QUERIES["update_earning_wallets"],
            program_id,
            [wallet.wallet_id for wallet in changed],
            [wallet.sequence for wallet in changed],
            [wallet.balance for wallet in changed],
            [wallet.earned for wallet in changed],
        )
        return
    await connection.execute(
        QUERIES["update_wallets"],
        program_id,
        [wallet.wallet_id for wallet in changed],
        [wallet.sequence for wallet in changed],
        [wallet.balance for wallet in changed],
        [wallet.earned for wallet in changed],
        [wallet.spent for wallet in changed],
        [wallet.expired for wallet in changed],
        [wallet.clawed_back for wallet in changed],
        [wallet.adjusted for wallet in changed],
        [wallet.debt for wallet in changed],
        [wallet.remainder for wallet in changed],
        [wallet.has_rolling for wallet in changed],
        [wallet.has_priorities for wallet in changed],
        [wallet.has_waiting for wallet in changed],
        [wallet.cashback_due for wallet in changed],
    )


async def update_budgets(connection: db.Connection, program_id: str, budgets: Iterable[model.Budget]) -> None:
    """Writes how the shards of budgets stand that were changed."""
    shards = [(budget.budget_id, shard) for budget in budgets if budget.is_changed for shard in budget.shards]
    if not shards:
        return
    await connection.execute(
        QUERIES["update_budgets"],
        program_id,
        [budget_id for budget_id, _ in shards],
        [shard.shard for _, shard in shards],
        [shard.remaining for _, shard in shards],
        [shard.held for _, shard in shards],
        [shard.given for _, shard in shards],
        [shard.is_closed for _, shard in shards],
    )
