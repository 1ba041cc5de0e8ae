"""What became of all lots of a program until an instant, and the estimates of redemption."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.kernel import db
from services.ledger.revenue import Estimate
from services.ledger.store import QUERIES


@dataclass(frozen=True, slots=True)
class StoredEstimate:
    """An estimate with the request that stored it, and when it did."""

    request_id: uuid.UUID
    fingerprint: bytes
    estimate: Estimate
    set_at: datetime

    @property
    def place(self) -> tuple[str, str, datetime, uuid.UUID]:
        """Gives its place in a listing."""
        return self.estimate.asset, self.estimate.campaign_id, self.estimate.valid_from, self.request_id


async def measure(
    connection: db.Connection,
    program_id: str,
    as_of: datetime,
    *,
    months: Sequence[datetime],
    asset: str = "",
    campaign_id: str = "",
) -> list[Any]:
    """Sums up lots by `month_number` (counted from 1 in `months`, their beginnings), `campaign_id` and `asset`.

    An empty asset or campaign means all. The other columns of the rows are those of `revenue.Figures`.
    """
    await connection.execute(QUERIES["widen_memory"])
    rows: list[Any] = await connection.fetch(
        QUERIES["measure_liability"], program_id, as_of, months, asset, campaign_id
    )
    return rows


async def sum_balances(connection: db.Connection, program_id: str, as_of: datetime) -> dict[str, int]:
    """Sums up by asset what members have now, where `as_of` is now: from their balances, and so not from lots."""
    rows = await connection.fetch(QUERIES["sum_balances"], program_id, as_of)
    return {row["asset"]: row["amount"] for row in rows}


async def list_programs(connection: db.Connection) -> list[str]:
    """Lists the programs in which somebody has or had something."""
    return [row["program_id"] for row in await connection.fetch(QUERIES["list_programs_with_wallets"])]


async def read_estimates(connection: db.Connection, program_id: str, as_of: datetime) -> list[Estimate]:
    """Reads the estimates that were in force at an instant, one an asset and campaign."""
    return [Estimate(**row) for row in await connection.fetch(QUERIES["read_estimates"], program_id, as_of)]


async def insert_estimate(connection: db.Connection, program_id: str, new: StoredEstimate) -> bool:
    """Stores an estimate; tells whether it did: not where its request stored one before."""
    made = await connection.fetchval(
        QUERIES["insert_estimate"],
        program_id,
        new.request_id,
        new.fingerprint,
        new.estimate.asset,
        new.estimate.campaign_id,
        new.estimate.redemption_rate_bps,
        new.estimate.valid_from,
        new.set_at,
    )
    return made is not None


async def find_estimate(connection: db.Connection, program_id: str, request_id: uuid.UUID) -> StoredEstimate | None:
    """Finds the estimate that a request stored."""
    row = await connection.fetchrow(QUERIES["find_estimate"], program_id, request_id)
    return _stored(row) if row else None


async def list_estimates(
    connection: db.Connection, program_id: str, after: tuple[str, str, datetime, uuid.UUID], limit: int
) -> list[StoredEstimate]:
    """Lists estimates behind a place."""
    return [_stored(row) for row in await connection.fetch(QUERIES["list_estimates"], program_id, *after, limit)]


def _stored(row: Any) -> StoredEstimate:
    return StoredEstimate(
        row["request_id"],
        row["fingerprint"],
        Estimate(
            asset=row["asset"],
            campaign_id=row["campaign_id"],
            redemption_rate_bps=row["redemption_rate_bps"],
            valid_from=row["valid_from"],
        ),
        row["set_at"],
    )
