"""The ledger's rows: one function per named query, rows to values and back."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from services.kernel import db, errors
from services.ledger import model
from services.ledger.model import Hold, Lot, Owner, Wallet

QUERIES = db.Queries(Path(__file__).parent / "sql" / "queries.sql")

JOURNAL_COLUMNS = (
    *(
        "program_id",
        "request_id",
        "leg",
        "kind",
        "fingerprint",
        "wallet_id",
        "account",
        "amount",
        "sequence",
        "balance",
    ),
    *("held_amount", "target_id", "occurred_at", "posted_at", "expires_at", "refusal"),
    *("cause_event_id", "cause_rule_id", "cause_rule_version", "cause_redemption_id"),
)
LOT_COLUMNS = (
    *("program_id", "wallet_id", "lot_id", "amount", "remaining", "expired", "priority"),
    *("occurred_at", "effective_at", "expires_at"),
)
ALLOCATION_COLUMNS = (
    *("program_id", "wallet_id", "operation_id", "lot_id", "hold_id", "amount", "allocated_at", "place"),
)

# Sorts after every id, where a listing starts from the newest.
UUID_MAX = uuid.UUID(int=2**128 - 1)


async def create_wallets(connection: db.Connection, program_id: str, owners: Sequence[tuple[uuid.UUID, Owner]]) -> None:
    """Makes wallets for owners who have none; others stay as they are."""
    await connection.execute(
        QUERIES["create_wallets"],
        program_id,
        [wallet_id for wallet_id, _ in owners],
        [member_id for _, (member_id, _) in owners],
        [asset for _, (_, asset) in owners],
    )


async def lock_wallets(connection: db.Connection, program_id: str, owners: Sequence[Owner]) -> dict[Owner, Wallet]:
    """Locks and reads the wallets of some owners, in the order of their ids."""
    rows = await connection.fetch(
        QUERIES["lock_wallets"],
        program_id,
        [member_id for member_id, _ in owners],
        [asset for _, asset in owners],
    )
    return {(row[1], row[2]): Wallet(row[0], row[1], row[2], row[3], row[4]) for row in rows}


async def find_hold_owners(
    connection: db.Connection, program_id: str, keys: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[uuid.UUID, Owner]]:
    """Tells, by the id of a hold or of its capture, the hold and whose it is."""
    rows = await connection.fetch(QUERIES["find_hold_owners"], program_id, keys)
    found: dict[uuid.UUID, tuple[uuid.UUID, Owner]] = {}
    for row in rows:
        for key in (row["hold_id"], row["capture_id"]):
            if key is not None:
                found[key] = (row["hold_id"], (row["member_id"], row["asset"]))
    return found


async def find_outcomes(connection: db.Connection, program_id: str, keys: Sequence[uuid.UUID]) -> list[Any]:
    """Reads the outcomes that stand already for some request ids."""
    rows: list[Any] = await connection.fetch(QUERIES["find_outcomes"], program_id, keys)
    return rows


def to_prior(row: Any, parts: tuple[model.Part, ...]) -> model.Prior:
    """Makes the outcome that a row of the journal holds."""
    refusal, posting = None, None
    if row["refusal"] is not None:
        stored = row["refusal"]
        refusal = errors.DomainError(
            errors.Code(stored["code"]),
            stored["reason"],
            stored["message"],
            domain=stored.get("domain", "ledger.plaudit"),
            metadata=stored["metadata"],
        )
    else:
        amount = abs(row["amount"]) or row["held_amount"]
        posting = model.Posting(row["posted_at"], amount, row["expires_at"], parts)
    outcome = model.Outcome(replayed=True, posting=posting, refusal=refusal)
    return model.Prior(row["request_id"], model.Kind(row["kind"]), row["fingerprint"], outcome, row["target_id"])


async def read_holds(
    connection: db.Connection,
    program_id: str,
    *,
    hold_ids: Sequence[uuid.UUID],
    wallet_ids: Sequence[uuid.UUID],
    now: datetime,
) -> dict[uuid.UUID, Hold]:
    """Reads the named holds and those of some wallets that are over, each with the lots it took."""
    rows = await connection.fetch(QUERIES["read_holds"], program_id, hold_ids, wallet_ids, now)
    holds = {row["hold_id"]: Hold(**{**dict(row), "state": model.HoldState(row["state"])}) for row in rows}
    if holds:
        for row in await connection.fetch(QUERIES["read_allocations"], program_id, list(holds)):
            if row["operation_id"] == row["hold_id"]:
                holds[row["hold_id"]].parts.append((row["lot_id"], row["amount"]))
    return holds


async def read_lots(
    connection: db.Connection, program_id: str, wallet_ids: Sequence[uuid.UUID], lot_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[uuid.UUID, Lot]]:
    """Reads, by wallet, the lots that have something left and those that were named."""
    rows = await connection.fetch(QUERIES["read_lots"], program_id, wallet_ids, lot_ids)
    lots: dict[uuid.UUID, dict[uuid.UUID, Lot]] = {}
    for row in rows:
        lots.setdefault(row[0], {})[row[1]] = Lot(*row)
    return lots


async def insert_journal(
    connection: db.Connection, program_id: str, posted_at: datetime, rows: Sequence[model.Row]
) -> None:
    """Writes outcomes and entries."""
    records = [
        (
            program_id,
            row.request_id,
            row.leg,
            row.kind,
            row.fingerprint,
            row.wallet_id,
            row.account,
            row.amount,
            row.sequence,
            row.balance,
            row.held_amount,
            row.target_id,
            row.occurred_at,
            posted_at,
            row.expires_at,
            row.refusal,
            row.cause.event_id,
            row.cause.rule_id,
            row.cause.rule_version,
            row.cause.redemption_id,
        )
        for row in rows
    ]
    await db.copy_rows(connection, "journal", JOURNAL_COLUMNS, records)


async def write_lots(connection: db.Connection, program_id: str, lots: Iterable[Lot]) -> None:
    """Writes new lots, and what is left of others."""
    lots = list(lots)
    new = [
        (
            program_id,
            lot.wallet_id,
            lot.lot_id,
            lot.amount,
            lot.remaining,
            lot.expired,
            lot.priority,
            lot.occurred_at,
            lot.effective_at,
            lot.expires_at,
        )
        for lot in lots
        if lot.is_new
    ]
    if new:
        await db.copy_rows(connection, "lots", LOT_COLUMNS, new)
    old = [lot for lot in lots if not lot.is_new]
    if old:
        await connection.execute(
            QUERIES["update_lots"],
            program_id,
            [lot.wallet_id for lot in old],
            [lot.lot_id for lot in old],
            [lot.remaining for lot in old],
            [lot.expired for lot in old],
        )


async def write_holds(connection: db.Connection, program_id: str, holds: Iterable[Hold]) -> None:
    """Writes new holds, and how others stand now. A hold that is new and ends in the same batch is written once."""
    holds = list(holds)
    new = [hold for hold in holds if hold.is_new]
    if new:
        await connection.execute(
            QUERIES["insert_holds"],
            program_id,
            [hold.hold_id for hold in new],
            [hold.wallet_id for hold in new],
            [hold.amount for hold in new],
            [hold.state for hold in new],
            [hold.placed_at for hold in new],
            [hold.expires_at for hold in new],
            [hold.ended_at for hold in new],
            [hold.capture_id for hold in new],
            [hold.reversed_at for hold in new],
            [hold.cause_redemption_id for hold in new],
        )
    old = [hold for hold in holds if not hold.is_new]
    if old:
        await connection.execute(
            QUERIES["update_holds"],
            program_id,
            [hold.hold_id for hold in old],
            [hold.state for hold in old],
            [hold.ended_at for hold in old],
            [hold.capture_id for hold in old],
            [hold.reversed_at for hold in old],
        )


async def insert_allocations(
    connection: db.Connection, program_id: str, allocations: Sequence[model.Allocation]
) -> None:
    """Writes what was taken from lots and given back to them."""
    records = [
        (
            program_id,
            each.wallet_id,
            each.operation_id,
            each.lot_id,
            each.hold_id,
            each.amount,
            each.allocated_at,
            each.place,
        )
        for each in allocations
    ]
    await db.copy_rows(connection, "allocations", ALLOCATION_COLUMNS, records)


async def update_wallets(connection: db.Connection, program_id: str, wallets: Sequence[Wallet]) -> None:
    """Writes the new balances of wallets."""
    await connection.execute(
        QUERIES["update_wallets"],
        program_id,
        [wallet.wallet_id for wallet in wallets],
        [wallet.sequence for wallet in wallets],
        [wallet.balance for wallet in wallets],
    )


async def read_balances(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], as_of: datetime
) -> dict[str, list[model.Balance]]:
    """Tells how members stand at an instant, by asset; members without a wallet are left out."""
    found: dict[str, list[model.Balance]] = {}
    for row in await connection.fetch(QUERIES["read_balances"], program_id, member_ids, as_of):
        member_id, *values = row.values()
        found.setdefault(member_id, []).append(model.Balance(*values))
    return found


async def find_wallet(
    connection: db.Connection, program_id: str, owner: Owner, now: datetime
) -> tuple[uuid.UUID, bool] | None:
    """Finds a wallet, and tells whether something in it is over and yet to be booked."""
    row = await connection.fetchrow(QUERIES["find_wallet"], program_id, *owner, now)
    return (row["wallet_id"], row["is_due"]) if row else None


async def list_entries(
    connection: db.Connection, program_id: str, wallet_id: uuid.UUID, before: int, limit: int
) -> list[model.Entry]:
    """Lists entries below a number, newest first."""
    rows = await connection.fetch(QUERIES["list_entries"], program_id, wallet_id, before, limit)
    return [
        model.Entry(
            entry_id=f"{row['request_id']}.{row['leg']}",
            kind=model.Kind(row["kind"]),
            amount=row["amount"],
            balance=row["balance"],
            sequence=row["sequence"],
            occurred_at=row["occurred_at"],
            posted_at=row["posted_at"],
            cause=_cause(row),
        )
        for row in rows
    ]


async def list_lots(
    connection: db.Connection, program_id: str, wallet_id: uuid.UUID, before: tuple[datetime, uuid.UUID], limit: int
) -> list[model.LotView]:
    """Lists lots that took effect before an instant, the latest first."""
    rows = await connection.fetch(QUERIES["list_lots"], program_id, wallet_id, *before, limit)
    return [
        model.LotView(
            lot_id=row["lot_id"],
            amount=row["amount"],
            remaining=row["remaining"],
            held=row["held"],
            expired=row["expired"],
            priority=row["priority"],
            effective_at=row["effective_at"],
            expires_at=row["expires_at"],
            origin=_cause(row),
        )
        for row in rows
    ]


async def list_programs_to_book(connection: db.Connection, now: datetime, limit: int) -> list[str]:
    """Lists the programs in which something is over and yet to be booked."""
    return [row["program_id"] for row in await connection.fetch(QUERIES["list_programs_to_book"], now, limit)]


async def list_wallets_to_book(connection: db.Connection, program_id: str, now: datetime, limit: int) -> list[Owner]:
    """Lists the owners of wallets in which something is over and yet to be booked."""
    rows = await connection.fetch(QUERIES["list_wallets_to_book"], program_id, now, limit)
    return [(row["member_id"], row["asset"]) for row in rows]


def _cause(row: Any) -> model.Cause:
    return model.Cause(
        row["cause_event_id"], row["cause_rule_id"], row["cause_rule_version"], row["cause_redemption_id"]
    )
