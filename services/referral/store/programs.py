"""Referral programs and their versions."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from services.kernel import db
from services.kernel.calendar import Period
from services.referral import model
from services.referral.store import QUERIES

OUTSIDE_DEFINITION = ("referral_program_id", "version", "created_at", "updated_at")


def to_definition(program: model.ReferralProgram) -> dict[str, Any]:
    """Gives what a version keeps of a referral program, as JSON."""
    return {name: value for name, value in asdict(program).items() if name not in OUTSIDE_DEFINITION}


def _program(row: Any) -> model.ReferralProgram:
    values = row["definition"]
    return model.ReferralProgram(
        **{
            **values,
            "referral_program_id": row["referral_program_id"],
            "version": row["version"],
            "state": model.ProgramState(values["state"]),
            "attribution": model.Attribution(values["attribution"]),
            "refund_event_types": tuple(values["refund_event_types"]),
            "caps": tuple(model.Cap(Period(cap["period"]), cap["max_count"]) for cap in values["caps"]),
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
    )


async def insert_program(connection: db.Connection, program_id: str, referral_program_id: str, now: datetime) -> bool:
    """Makes the row of a referral program; tells whether there was none."""
    made = await connection.fetchval(QUERIES["insert_referral_program"], program_id, referral_program_id, now)
    return made is not None


async def lock_program(connection: db.Connection, program_id: str, referral_program_id: str) -> bool:
    """Locks a referral program while it changes; False where there is none."""
    found = await connection.fetchval(QUERIES["lock_referral_program"], program_id, referral_program_id)
    return found is not None


async def insert_version(
    connection: db.Connection,
    program_id: str,
    program: model.ReferralProgram,
    *,
    now: datetime,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> None:
    """Writes a version and makes it the newest."""
    await connection.execute(
        QUERIES["insert_referral_program_version"],
        program_id,
        program.referral_program_id,
        program.version,
        to_definition(program),
        now,
        request_id,
        fingerprint,
    )
    await connection.execute(
        QUERIES["set_referral_program_version"], program_id, program.referral_program_id, program.version
    )


async def find_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[model.ReferralProgram, bytes] | None:
    """Finds the version that a request made, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_referral_program_request"], program_id, request_id)
    return (_program(row), row["fingerprint"]) if row else None


async def get_program(
    connection: db.Connection, program_id: str, referral_program_id: str, version: int | None = None
) -> model.ReferralProgram | None:
    """Reads a referral program, in its newest version where none is given."""
    row = await connection.fetchrow(QUERIES["get_referral_program"], program_id, referral_program_id, version)
    return _program(row) if row else None


async def list_programs(
    connection: db.Connection, program_id: str, after: str, limit: int
) -> list[model.ReferralProgram]:
    """Lists referral programs behind an id, in their newest versions."""
    rows = await connection.fetch(QUERIES["list_referral_programs"], program_id, after, limit)
    return [_program(row) for row in rows]


async def read_versions(
    connection: db.Connection, program_id: str, versions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], model.ReferralProgram]:
    """Reads some versions of some referral programs."""
    rows = await connection.fetch(
        QUERIES["read_referral_program_versions"],
        program_id,
        [referral_program_id for referral_program_id, _ in versions],
        [version for _, version in versions],
    )
    return {(row["referral_program_id"], row["version"]): _program(row) for row in rows}
