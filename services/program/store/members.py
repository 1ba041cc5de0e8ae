"""Members."""

from collections.abc import Sequence
from datetime import datetime

from services.kernel import db
from services.program import model
from services.program.store import QUERIES


async def create_members(
    connection: db.Connection, program_id: str, members: Sequence[tuple[str, str]], now: datetime
) -> list[model.Member]:
    """Makes the members (id, org) that are seen for the first time, and gives them."""
    rows = await connection.fetch(
        QUERIES["create_members"],
        program_id,
        [member_id for member_id, _ in members],
        [org_id for _, org_id in members],
        now,
    )
    return [
        model.Member(row["member_id"], org_id=row["org_id"], created_at=now, updated_at=now, version=1) for row in rows
    ]


async def read_members(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, model.Member]:
    """Reads members, by id."""
    rows = await connection.fetch(QUERIES["read_members"], program_id, member_ids)
    return {row["member_id"]: model.Member(**dict(row)) for row in rows}


async def lock_members(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> None:
    """Locks members in the order of their ids."""
    await connection.fetch(QUERIES["lock_members"], program_id, member_ids)


async def put_member(
    connection: db.Connection, program_id: str, member: model.Member, now: datetime, expected: int | None
) -> model.Member | None:
    """Makes or replaces a member; None where its version is not the expected one."""
    row = await connection.fetchrow(
        QUERIES["put_member"],
        program_id,
        member.member_id,
        member.email,
        member.display_name,
        member.locale,
        member.time_zone,
        member.birthday,
        member.org_id,
        member.attributes,
        now,
        expected,
    )
    return model.Member(**dict(row)) if row else None
