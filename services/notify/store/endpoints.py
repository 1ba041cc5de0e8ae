"""Endpoints of programs that are told what happens."""

from dataclasses import dataclass
from datetime import datetime

from services.kernel import db
from services.notify import model
from services.notify.store import QUERIES


@dataclass(frozen=True, slots=True)
class Kept:
    """An endpoint with its secret, encrypted."""

    endpoint: model.Endpoint
    secret: bytes


async def list_endpoints(connection: db.Connection, program_id: str, after: str, limit: int) -> list[Kept]:
    """Lists endpoints behind an id."""
    rows = await connection.fetch(QUERIES["list_endpoints"], program_id, after, limit)
    return [
        Kept(
            model.Endpoint(
                row["endpoint_id"],
                row["url"],
                tuple(row["event_types"]),
                row["state"] == "ACTIVE",
                row["reason"],
                row["created_at"],
            ),
            row["secret"],
        )
        for row in rows
    ]


async def put_endpoint(
    connection: db.Connection, program_id: str, endpoint: model.Endpoint, secret: bytes, now: datetime
) -> tuple[datetime, bytes]:
    """Makes or changes an endpoint; gives when it was made and its secret, which is the given one where it is new."""
    row = await connection.fetchrow(
        QUERIES["put_endpoint"],
        program_id,
        endpoint.endpoint_id,
        endpoint.url,
        list(endpoint.event_types),
        "ACTIVE" if endpoint.is_active else "DISABLED",
        secret,
        now,
    )
    assert row is not None, "A row that is written is there."
    return row["created_at"], row["secret"]


async def note_success(connection: db.Connection, program_id: str, endpoint_id: str) -> None:
    """Forgets that an endpoint failed."""
    await connection.execute(QUERIES["note_endpoint_success"], program_id, endpoint_id)


async def note_failure(connection: db.Connection, program_id: str, endpoint_id: str, now: datetime) -> datetime | None:
    """Keeps that an endpoint failed, and tells since when it does; None where there is none."""
    since: datetime | None = await connection.fetchval(QUERIES["note_endpoint_failure"], program_id, endpoint_id, now)
    return since


async def disable(connection: db.Connection, program_id: str, endpoint_id: str, reason: str) -> None:
    """Stops telling an endpoint what happens."""
    await connection.execute(QUERIES["disable_endpoint"], program_id, endpoint_id, reason)
