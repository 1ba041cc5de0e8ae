"""Definitions and their versions."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from services.gamification import model
from services.gamification.store import QUERIES
from services.kernel import db

OUTSIDE_DEFINITION = ("definition_id", "version", "created_at", "updated_at")
KINDS: Mapping[model.Kind, type[model.AnyDefinition]] = {
    model.Kind.METRIC: model.Metric,
    model.Kind.LADDER: model.Ladder,
    model.Kind.STREAK: model.Streak,
    model.Kind.BADGE: model.Badge,
    model.Kind.LEADERBOARD: model.Leaderboard,
}
GOALS: dict[str, Any] = {"total": model.TotalGoal, "record": model.RecordGoal, "streak": model.StreakGoal}
NAMES_OF_GOALS = {goal: name for name, goal in GOALS.items()}


def kind_of(definition: model.AnyDefinition) -> model.Kind:
    """Tells of which kind a definition is."""
    return next(kind for kind, each in KINDS.items() if isinstance(definition, each))


def to_document(definition: model.AnyDefinition) -> dict[str, Any]:
    """Gives what a version keeps of a definition, as JSON."""
    values = {name: value for name, value in asdict(definition).items() if name not in OUTSIDE_DEFINITION}
    if isinstance(definition, model.Badge):
        values["goal"] = {"kind": NAMES_OF_GOALS[type(definition.goal)], **values["goal"]}
    return values


def _read(row: Any) -> model.AnyDefinition:
    values = {
        **row["definition"],
        "definition_id": row["definition_id"],
        "version": row["version"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    values["state"] = model.State(values["state"])
    match model.Kind(row["kind"]):
        case model.Kind.METRIC:
            return model.Metric(**{**values, "aggregation": model.Aggregation(values["aggregation"])})
        case model.Kind.LADDER:
            return model.Ladder(**{**values, "levels": tuple(model.Level(**each) for each in values["levels"])})
        case model.Kind.STREAK:
            return model.Streak(**{**values, "period": model.Period(values["period"])})
        case model.Kind.BADGE:
            return model.Badge(**{**values, "goal": _read_goal(values["goal"])})
        case model.Kind.LEADERBOARD:
            periods = tuple(model.Period(each) for each in values["periods"])
            return model.Leaderboard(**{**values, "periods": periods, "ties": model.Ties(values["ties"])})


def _read_goal(values: dict[str, Any]) -> model.TotalGoal | model.RecordGoal | model.StreakGoal:
    given = {name: value for name, value in values.items() if name != "kind"}
    if "period" in given:
        given["period"] = model.Period(given["period"])
    goal: model.TotalGoal | model.RecordGoal | model.StreakGoal = GOALS[values["kind"]](**given)
    return goal


async def create_program(connection: db.Connection, program_id: str) -> None:
    """Makes the row of a program, unless it is there."""
    await connection.execute(QUERIES["create_program"], program_id)


async def lock_program(connection: db.Connection, program_id: str) -> None:
    """Locks a program while its definitions change."""
    await connection.fetchval(QUERIES["lock_program"], program_id)


async def hold_program(connection: db.Connection, program_id: str) -> int:
    """Keeps the definitions of a program as they are for the transaction; gives their revision, 0 where none are."""
    return await connection.fetchval(QUERIES["hold_program"], program_id) or 0


async def get_revision(connection: db.Connection, program_id: str) -> int:
    """Tells the revision of a program's definitions, 0 where none are."""
    return await connection.fetchval(QUERIES["get_revision"], program_id) or 0


async def insert_definition(
    connection: db.Connection, program_id: str, definition: model.AnyDefinition, now: datetime
) -> bool:
    """Makes a definition; tells whether there was none."""
    kind, definition_id = kind_of(definition), definition.definition_id
    return await connection.fetchval(QUERIES["insert_definition"], program_id, kind, definition_id, now) is not None


async def insert_version(
    connection: db.Connection,
    program_id: str,
    definition: model.AnyDefinition,
    *,
    now: datetime,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> None:
    """Writes a version, makes it the newest, and tells everybody that there is one."""
    kind, definition_id, version = kind_of(definition), definition.definition_id, definition.version
    await connection.execute(
        QUERIES["insert_definition_version"],
        program_id,
        kind,
        definition_id,
        version,
        to_document(definition),
        now,
        request_id,
        fingerprint,
    )
    await connection.execute(QUERIES["set_definition_version"], program_id, kind, definition_id, version)
    await connection.execute(QUERIES["count_definition_change"], program_id)


async def find_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[model.AnyDefinition, bytes] | None:
    """Finds the version that a request made, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_definition_request"], program_id, request_id)
    return (_read(row), row["fingerprint"]) if row else None


async def get_definition(
    connection: db.Connection, program_id: str, kind: model.Kind, definition_id: str
) -> model.AnyDefinition | None:
    """Reads a definition in its newest version."""
    row = await connection.fetchrow(QUERIES["get_definition"], program_id, kind, definition_id)
    return _read(row) if row else None


async def list_definitions(
    connection: db.Connection, program_id: str, kind: model.Kind, after: str, limit: int
) -> list[model.AnyDefinition]:
    """Lists definitions of a kind behind an id."""
    rows = await connection.fetch(QUERIES["list_definitions"], program_id, kind, after, limit)
    return [_read(row) for row in rows]


async def list_all(connection: db.Connection, program_id: str) -> list[model.AnyDefinition]:
    """Lists all definitions of a program."""
    return [_read(row) for row in await connection.fetch(QUERIES["list_all_definitions"], program_id)]


async def count_definitions(connection: db.Connection, program_id: str, kind: model.Kind) -> int:
    """Counts the definitions of a kind."""
    count: int = await connection.fetchval(QUERIES["count_definitions"], program_id, kind)
    return count
