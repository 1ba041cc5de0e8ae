"""Endpoints of programs that are told what happens."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.kernel import db
from services.notify import model
from services.notify.store import QUERIES


@dataclass(frozen=True, slots=True)
class Kept:
    """An endpoint with its secrets, encrypted, and the request that gave it the present one."""

    endpoint: model.Endpoint
    secret: bytes
    previous_secret: bytes | None
    rotation_id: uuid.UUID | None

    def secrets(self, now: datetime) -> list[bytes]:
        """Lists the secrets that sign at a time, the present one first."""
        ends_at = self.endpoint.previous_ends_at
        if self.previous_secret is None or ends_at is None or ends_at <= now:
            return [self.secret]
        return [self.secret, self.previous_secret]


async def list_endpoints(connection: db.Connection, program_id: str, after: str, limit: int) -> list[Kept]:
    """Lists endpoints behind an id."""
    return [_kept(row) for row in await connection.fetch(QUERIES["list_endpoints"], program_id, after, limit)]


async def find_endpoint(connection: db.Connection, program_id: str, endpoint_id: str) -> Kept | None:
    """Reads an endpoint; None where there is none."""
    row = await connection.fetchrow(QUERIES["find_endpoint"], program_id, endpoint_id)
    return _kept(row) if row else None


async def put_endpoint(
    connection: db.Connection, program_id: str, endpoint: model.Endpoint, secret: bytes, now: datetime
) -> Kept:
    """Makes or changes an endpoint, and gives it as it is now; the secret given is that of a new one."""
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
    return _kept(row)


async def rotate_secret(
    connection: db.Connection,
    program_id: str,
    endpoint_id: str,
    *,
    secret: bytes,
    previous_ends_at: datetime,
    rotation_id: uuid.UUID,
) -> None:
    """Gives an endpoint another secret; the one that it had signs until a time."""
    await connection.execute(QUERIES["rotate_secret"], program_id, endpoint_id, secret, previous_ends_at, rotation_id)


def _kept(row: Any) -> Kept:
    endpoint = model.Endpoint(
        row["endpoint_id"],
        row["url"],
        tuple(row["event_types"]),
        row["state"] == "ACTIVE",
        row["reason"],
        row["created_at"],
        row["previous_ends_at"],
    )
    return Kept(endpoint, row["secret"], row["previous_secret"], row["rotation_id"])


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
