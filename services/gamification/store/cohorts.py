"""Snapshots of cohorts."""

from collections.abc import Iterable, Sequence
from datetime import date

from services.gamification.cohorts import Cohort, Peer
from services.gamification.store import QUERIES
from services.kernel import db


async def list_peers(connection: db.Connection, program_id: str, metric_id: str, week: date) -> list[Peer]:
    """Lists who was active in a week."""
    rows = await connection.fetch(QUERIES["list_peers"], program_id, metric_id, week)
    return [Peer(row["amount"], row["plan"], row["org_member_count"]) for row in rows]


async def insert_cohorts(connection: db.Connection, program_id: str, cohorts: Iterable[Cohort]) -> None:
    """Writes snapshots; those that are there stay as they are."""
    await connection.executemany(
        QUERIES["insert_cohorts"],
        [
            (
                program_id,
                each.metric_id,
                each.week,
                each.plan,
                each.org_size,
                each.member_count,
                each.total,
                each.amounts,
                each.below,
            )
            for each in cohorts
        ],
    )


async def find_cohorts(connection: db.Connection, program_id: str, plan: str, org_size: str) -> list[Cohort]:
    """Reads the newest cohorts that a member of a plan and size of company may be in."""
    rows = await connection.fetch(QUERIES["find_cohorts"], program_id, plan, org_size)
    return [
        Cohort(
            row["metric_id"],
            row["week_start_date"],
            row["plan"],
            row["org_size"],
            row["member_count"],
            row["total_amount"],
            tuple(row["amounts"]),
            tuple(row["below"]),
        )
        for row in rows
    ]


async def find_week_values(
    connection: db.Connection, program_id: str, metric_ids: Sequence[str], member_id: str, week: date
) -> dict[str, int]:
    """Reads the values of a member in one week, by metric."""
    rows = await connection.fetch(QUERIES["find_week_values"], program_id, metric_ids, member_id, week)
    return {row["metric_id"]: row["amount"] for row in rows}
