"""What a batch reads and locks before it decides."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from services.kernel import db, ids
from services.ledger import model, refusals
from services.ledger.model import Hold, Kind, Lot, Owner, Taking, Wallet
from services.ledger.store import QUERIES

# These take from lots under their own request id; what a release or a reversal has under its own comes back.
RETURNING_KINDS = (Kind.RELEASE, Kind.REVERSE)
# Of a wallet with a long history so many lots are read at first: more than most spends need.
FIRST_LOTS = 32


async def find_wallets(
    connection: db.Connection, program_id: str, owners: Sequence[Owner]
) -> tuple[dict[Owner, int], list[Wallet]]:
    """Tells the wallets of owners, and gives an empty one, not stored yet, for each who has none."""
    names = ([member_id for member_id, _ in owners], [asset for _, asset in owners])
    rows = await connection.fetch(QUERIES["find_wallets"], program_id, *names)
    found = {(row["member_id"], row["asset"]): row["wallet_id"] for row in rows}
    missing = [owner for owner in owners if owner not in found]
    numbers = ids.new_numbers(len(missing))
    return found, [
        Wallet(number, *owner, sequence=0, balance=0, is_new=True)
        for number, owner in zip(numbers, missing, strict=True)
    ]


async def lock_wallets(connection: db.Connection, program_id: str, wallet_ids: Iterable[int]) -> list[Wallet]:
    """Locks wallets in the order of their ids, and reads them."""
    rows = await connection.fetch(QUERIES["lock_wallets"], program_id, list(wallet_ids))
    return [Wallet(*row) for row in rows]


async def find_targets(
    connection: db.Connection, program_id: str, keys: Sequence[uuid.UUID]
) -> dict[uuid.UUID, model.Target]:
    """Finds what operations are about, by request id."""
    rows = await connection.fetch(QUERIES["find_targets"], program_id, keys)
    return {
        row["request_id"]: model.Target(
            row["request_id"],
            Kind(row["kind"]),
            row["wallet_id"],
            row["number"],
            row["hold_id"],
            row["budget_id"],
            row["share"],
        )
        for row in rows
    }


async def find_undone(connection: db.Connection, program_id: str, earns: dict[uuid.UUID, int]) -> dict[uuid.UUID, bool]:
    """Tells which of some cashbacks that gave nothing, by the wallet of each, were taken back."""
    rows = await connection.fetch(QUERIES["find_undone"], program_id, sorted(set(earns.values())), sorted(earns))
    return {row["target_id"]: True for row in rows}


async def find_outcomes(
    connection: db.Connection, program_id: str, keys: Sequence[uuid.UUID]
) -> tuple[datetime, dict[uuid.UUID, model.Prior]]:
    """Tells the database's time, and reads the outcomes that stand already for some request ids."""
    rows = await connection.fetch(QUERIES["find_outcomes"], program_id, keys)
    stored = [row for row in rows if row["request_id"] is not None]
    parts = await _read_parts(connection, program_id, stored) if stored else {}
    return rows[0]["now"], {row["request_id"]: _prior(row, parts.get(row["request_id"], ())) for row in stored}


async def _read_parts(
    connection: db.Connection, program_id: str, rows: Sequence[Any]
) -> dict[uuid.UUID, tuple[model.Part, ...]]:
    """Reads what each outcome answered of lots; a capture answered what it spent of its hold."""
    happened = [row for row in rows if row["refusal"] is None and row["wallet_id"] is not None]
    source = {
        row["request_id"]: row["target_id"] if row["kind"] == Kind.CAPTURE else row["request_id"] for row in happened
    }
    wallet_ids = sorted({row["wallet_id"] for row in happened})
    found: dict[uuid.UUID, list[Any]] = {}
    for part in await connection.fetch(QUERIES["read_parts"], program_id, wallet_ids, list(source.values())):
        found.setdefault(part["operation_id"], []).append(part)
    answers = {}
    for row in happened:
        is_return = row["kind"] in RETURNING_KINDS
        limit = row["held_amount"] if row["kind"] == Kind.CAPTURE else None
        answers[row["request_id"]] = _answer_parts(found.get(source[row["request_id"]], []), is_return, limit)
    return answers


def _answer_parts(rows: Sequence[Any], is_return: bool, limit: int | None) -> tuple[model.Part, ...]:
    parts = []
    for row in rows:
        amount = -row["amount"] if is_return else row["amount"]
        if limit is not None:
            amount = min(amount, limit)
            limit -= amount
        if amount > 0:
            parts.append(model.Part(model.lot_id(row["wallet_id"], row["lot_number"]), amount, row["lot_expires_at"]))
    return tuple(parts)


def _prior(row: Any, parts: tuple[model.Part, ...]) -> model.Prior:
    stored = row["refusal"]
    if stored is not None:
        refused = model.Outcome(replayed=True, refusal=refusals.from_stored(stored))
        return model.Prior(row["fingerprint"] or b"", refused, row["member_id"])
    detail = row["detail"] or {}
    posting = model.Posting(
        row["posted_at"],
        detail.get("amount") or abs(row["amount"]) or row["held_amount"] or abs(row["budget_amount"] or 0),
        row["expires_at"],
        parts,
        written_off=detail.get("written_off", 0),
        debt=detail.get("debt", 0),
        given=detail.get("given", 0),
        burn_order_version=row["burn_order_version"] or 0,
    )
    return model.Prior(row["fingerprint"] or b"", model.Outcome(replayed=True, posting=posting), row["member_id"])


async def read_holds(
    connection: db.Connection,
    program_id: str,
    hold_ids: Sequence[uuid.UUID],
    *,
    over: Sequence[int],
    active: Sequence[int],
    now: datetime,
) -> dict[uuid.UUID, Hold]:
    """Reads the named holds, those of some wallets that are over, and all active ones of others."""
    rows = await connection.fetch(QUERIES["read_holds"], program_id, hold_ids, over, now, active)
    return {row["hold_id"]: Hold(**{**dict(row), "state": model.HoldState(row["state"])}) for row in rows}


async def read_takings(
    connection: db.Connection, program_id: str, wallet_ids: Sequence[int], root_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Taking]:
    """Reads what operations took from lots, less what came back."""
    takings: dict[uuid.UUID, Taking] = {}
    for row in await connection.fetch(QUERIES["read_takings"], program_id, wallet_ids, root_ids):
        taking = takings.setdefault(row["root_id"], Taking(row["root_id"], row["wallet_id"], row["kind"]))
        taking.places += 1
        if row["amount"] > 0:
            taking.parts.append(model.TakenPart(row["lot_number"], row["amount"], row["amount"], row["lot_expires_at"]))
        else:
            part = next(part for part in taking.parts if part.lot_number == row["lot_number"])
            part.left += row["amount"]
    return takings


async def read_lots(
    connection: db.Connection,
    program_id: str,
    *,
    whole: Sequence[int],
    opened: Sequence[int],
    over: Sequence[int],
    named: Sequence[tuple[int, int]],
    now: datetime,
) -> list[Lot]:
    """Reads lots: all of some wallets, the open ones of others, those that are over, and named ones."""
    rows = await connection.fetch(
        QUERIES["read_lots"],
        program_id,
        whole,
        opened,
        over,
        now,
        [wallet_id for wallet_id, _ in named],
        [number for _, number in named],
    )
    return [Lot(*row) for row in rows]


async def read_restored_lots(
    connection: db.Connection, program_id: str, sources: Sequence[tuple[int, int]]
) -> list[Lot]:
    """Reads the lots in which some were given back after their end, and those in which these were in turn."""
    wallet_ids, numbers = [wallet_id for wallet_id, _ in sources], [number for _, number in sources]
    rows = await connection.fetch(QUERIES["read_restored_lots"], program_id, wallet_ids, numbers)
    return [Lot(*row) for row in rows]


async def read_burnable_lots(
    connection: db.Connection, program_id: str, needed: dict[int, int], *, ordered: Collection[int], now: datetime
) -> list[Lot]:
    """Reads the lots that are spent first, by wallet as many as come to the amount that is needed, or more.

    Of wallets whose lots are `ordered` by an index the first few are read, and all only where those do not do.
    """
    lots: dict[int, list[Lot]] = {}
    if ordered:
        for row in await connection.fetch(QUERIES["read_first_lots"], program_id, list(ordered), now, FIRST_LOTS):
            lots.setdefault(row["wallet_id"], []).append(Lot(*row))
    missing = {
        wallet_id: amount
        for wallet_id, amount in needed.items()
        if wallet_id not in ordered or not _are_enough(lots.get(wallet_id, ()), amount)
    }
    if missing:
        for wallet_id in missing:
            lots.pop(wallet_id, None)
        arguments = (list(missing), list(missing.values()), now)
        for row in await connection.fetch(QUERIES["read_burnable_lots"], program_id, *arguments):
            lots.setdefault(row["wallet_id"], []).append(Lot(*row))
    return [lot for some in lots.values() for lot in some]


def _are_enough(first: Sequence[Lot], amount: int) -> bool:
    """Tells whether the first lots of a wallet come to an amount, or are all that there are."""
    return len(first) < FIRST_LOTS or sum(lot.remaining for lot in first) >= amount


async def lock_budgets(connection: db.Connection, program_id: str, picks: dict[str, int]) -> dict[str, model.Budget]:
    """Locks budgets, each one shard (by a number that picks it) or whole (-1), in order."""
    budget_ids = sorted(picks)
    rows = await connection.fetch(QUERIES["lock_budgets"], program_id, budget_ids, [picks[each] for each in budget_ids])
    budgets: dict[str, model.Budget] = {}
    for row in rows:
        budget = budgets.setdefault(row["budget_id"], model.Budget(row["budget_id"], row["asset"], [], row["is_whole"]))
        budget.shards.append(model.Shard(row["shard"], row["remaining"], row["held"], row["given"], row["is_closed"]))
    return budgets


async def read_rates(
    connection: db.Connection, program_id: str, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], model.Rate]:
    """Reads the rates in force between some assets."""
    rows = await connection.fetch(
        QUERIES["read_rates"], program_id, [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    )
    return {(row["from_asset"], row["to_asset"]): model.Rate(**dict(row)) for row in rows}
