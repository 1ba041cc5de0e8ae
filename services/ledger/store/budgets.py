"""Budgets and exchange rates, made and told; batches lock them by `loading`."""

import uuid
from datetime import datetime
from typing import Any

from services.kernel import db
from services.ledger import model
from services.ledger.store import QUERIES


async def insert_budget(
    connection: db.Connection, program_id: str, budget: model.NewBudget, created_at: datetime
) -> bool:
    """Makes a budget with its sub-accounts; tells whether neither its id nor its request id was taken."""
    is_made = await connection.fetchval(
        QUERIES["insert_budget"],
        program_id,
        budget.budget_id,
        budget.asset,
        budget.shard_count,
        budget.alert_percents,
        budget.key,
        budget.fingerprint,
        created_at,
    )
    if is_made:
        await connection.execute(QUERIES["insert_budget_shards"], program_id, budget.budget_id, budget.shard_count)
    return bool(is_made)


async def find_budget_request(
    connection: db.Connection, program_id: str, key: uuid.UUID
) -> tuple[bytes, model.BudgetView] | None:
    """Finds what a request made, as it was when it was made, with the fingerprint of what was asked."""
    row = await connection.fetchrow(QUERIES["find_budget_request"], program_id, key)
    return (row["fingerprint"], _new_view(row)) if row else None


def _new_view(row: Any) -> model.BudgetView:
    return model.BudgetView(row["budget_id"], row["asset"], tuple(row["alert_percents"]), row["shard_count"])


async def get_budget(connection: db.Connection, program_id: str, budget_id: str) -> model.BudgetView | None:
    """Tells how a budget stands."""
    row = await connection.fetchrow(QUERIES["get_budget"], program_id, budget_id)
    return _view(row) if row else None


async def list_budgets(connection: db.Connection, program_id: str, after: str, limit: int) -> list[model.BudgetView]:
    """Lists budgets behind an id."""
    return [_view(row) for row in await connection.fetch(QUERIES["list_budgets"], program_id, after, limit)]


def _view(row: Any) -> model.BudgetView:
    return model.BudgetView(
        row["budget_id"],
        row["asset"],
        tuple(row["alert_percents"]),
        row["shard_count"],
        is_closed=row["is_closed"],
        remaining=row["remaining"],
        held=row["held"],
        given=row["given"],
    )


async def list_watched_budgets(
    connection: db.Connection, after: tuple[str, str], limit: int
) -> list[model.WatchedBudget]:
    """Lists, across programs, open budgets behind a program and an id of which there may be something to tell."""
    rows = await connection.fetch(QUERIES["list_watched_budgets"], *after, limit)
    return [model.WatchedBudget(**{**dict(row), "alert_percents": tuple(row["alert_percents"])}) for row in rows]


async def insert_rate(connection: db.Connection, program_id: str, rate: model.NewRate, set_at: datetime) -> int | None:
    """Stores the next version of a rate and tells its number; None where another call was faster."""
    version: int | None = await connection.fetchval(
        QUERIES["insert_rate"],
        program_id,
        rate.from_asset,
        rate.to_asset,
        rate.numerator,
        rate.denominator,
        set_at,
        rate.key,
        rate.fingerprint,
    )
    return version


async def find_rate_request(
    connection: db.Connection, program_id: str, key: uuid.UUID
) -> tuple[bytes, model.Rate] | None:
    """Finds the rate that a request stored, with the fingerprint of what was asked."""
    row = await connection.fetchrow(QUERIES["find_rate_request"], program_id, key)
    if row is None:
        return None
    values = dict(row)
    return values.pop("fingerprint"), model.Rate(**values)


async def list_rates(
    connection: db.Connection, program_id: str, after: tuple[str, str], limit: int
) -> list[model.Rate]:
    """Lists the rates in force behind a pair of assets."""
    rows = await connection.fetch(QUERIES["list_rates"], program_id, *after, limit)
    return [model.Rate(**dict(row)) for row in rows]
