"""Members."""

from collections.abc import Iterable, Sequence

from services.gamification.model import Member
from services.gamification.store import QUERIES
from services.kernel import db


async def lock_members(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> dict[str, Member]:
    """Locks members in the order of their ids, those too that were not there, and gives them by id."""
    await connection.execute(QUERIES["create_members"], program_id, member_ids)
    rows = await connection.fetch(QUERIES["lock_members"], program_id, member_ids)
    return {row["member_id"]: Member(**dict(row)) for row in rows}


async def put_members(connection: db.Connection, program_id: str, members: Iterable[Member]) -> None:
    """Writes what is known of members that are there."""
    known = list(members)
    await connection.execute(
        QUERIES["put_members"],
        program_id,
        [each.member_id for each in known],
        [each.org_id for each in known],
        [each.time_zone for each in known],
        [each.plan for each in known],
    )


async def get_member(connection: db.Connection, program_id: str, member_id: str) -> Member | None:
    """Reads a member."""
    row = await connection.fetchrow(QUERIES["get_member"], program_id, member_id)
    return Member(**dict(row)) if row else None


async def set_ranked(connection: db.Connection, program_id: str, member_id: str, *, is_ranked: bool) -> bool | None:
    """Writes whether leaderboards show a member; None where there is no such member."""
    shown: bool | None = await connection.fetchval(QUERIES["set_ranked"], program_id, member_id, is_ranked)
    return shown


async def count_org(connection: db.Connection, program_id: str, org_id: str) -> int:
    """Counts the members of a company."""
    count: int = await connection.fetchval(QUERIES["count_org"], program_id, org_id)
    return count
