"""Milestones, and how streaks stand."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from services.gamification.model import Award, Milestone, MilestoneKind
from services.gamification.store import QUERIES
from services.gamification.streaks import Run
from services.kernel import db

Key = tuple[str, MilestoneKind, str, str]  # member, kind, definition, mark


def key_of(milestone: Milestone) -> Key:
    """Tells a milestone from all others of a program."""
    return milestone.member_id, milestone.kind, milestone.definition_id, milestone.mark


async def find_after(connection: db.Connection, program_id: str, since: Mapping[str, datetime]) -> set[Key]:
    """Finds the levels and badges that each member reached after an instant of its own."""
    rows = await connection.fetch(QUERIES["find_milestones_after"], program_id, list(since), list(since.values()))
    return {(row["member_id"], MilestoneKind(row["kind"]), row["definition_id"], row["mark"]) for row in rows}


async def put_milestones(connection: db.Connection, program_id: str, milestones: Iterable[Milestone]) -> set[Key]:
    """Writes milestones, earlier times before later ones, and tells which are new."""
    earliest: dict[Key, Milestone] = {}
    for each in milestones:
        known = earliest.get(key_of(each))
        if known is None or each.reached_at < known.reached_at:
            earliest[key_of(each)] = each
    if not earliest:
        return set()
    known_rows = [earliest[key] for key in sorted(earliest)]
    rows = await connection.fetch(
        QUERIES["put_milestones"],
        program_id,
        [each.member_id for each in known_rows],
        [each.kind for each in known_rows],
        [each.definition_id for each in known_rows],
        [each.mark for each in known_rows],
        [each.value for each in known_rows],
        [each.reached_at for each in known_rows],
    )
    return {
        (row["member_id"], MilestoneKind(row["kind"]), row["definition_id"], row["mark"])
        for row in rows
        if row["is_new"]
    }


async def count_awards(
    connection: db.Connection, program_id: str, badges: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Counts how often members have badges, by member and badge."""
    members, ids = [member for member, _ in badges], [badge for _, badge in badges]
    rows = await connection.fetch(QUERIES["count_awards"], program_id, members, ids)
    return {(row["member_id"], row["definition_id"]): row["count"] for row in rows}


async def list_awards(connection: db.Connection, program_id: str, member_id: str) -> list[Award]:
    """Lists the badges of a member."""
    rows = await connection.fetch(QUERIES["list_awards"], program_id, member_id)
    return [Award(**dict(row)) for row in rows]


async def list_level_times(
    connection: db.Connection, program_id: str, member_id: str
) -> dict[tuple[str, str], datetime]:
    """Tells when a member reached levels, by ladder and level."""
    rows = await connection.fetch(QUERIES["list_level_times"], program_id, member_id)
    return {(row["ladder_id"], row["level_id"]): row["reached_at"] for row in rows}


async def find_runs(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[tuple[str, str], Run]:
    """Reads how the streaks of members stand, by member and streak."""
    rows = await connection.fetch(QUERIES["find_runs"], program_id, member_ids)
    return {
        (row["member_id"], row["streak_id"]): Run(
            start=row["start_date"],
            last=row["last_date"],
            length=row["length"],
            longest=row["longest"],
            longest_start=row["longest_start_date"],
            freezes=row["freezes"],
            reached_at=row["reached_at"],
            last_at=row["last_at"],
            last_offset=row["last_offset_minutes"],
        )
        for row in rows
    }


async def put_runs(connection: db.Connection, program_id: str, runs: Mapping[tuple[str, str], Run]) -> None:
    """Writes how streaks stand, by member and streak."""
    await connection.execute(
        QUERIES["put_runs"],
        program_id,
        [member for member, _ in runs],
        [streak for _, streak in runs],
        [each.start for each in runs.values()],
        [each.last for each in runs.values()],
        [each.length for each in runs.values()],
        [each.longest for each in runs.values()],
        [each.longest_start for each in runs.values()],
        [each.freezes for each in runs.values()],
        [each.reached_at for each in runs.values()],
        [each.last_at for each in runs.values()],
        [each.last_offset for each in runs.values()],
    )
