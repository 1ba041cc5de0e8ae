"""Programs and keys."""

from datetime import datetime

from services.kernel import db
from services.program import model
from services.program.store import QUERIES


async def insert_program(connection: db.Connection, program: model.Program) -> bool:
    """Makes a program; tells whether there was none."""
    made = await connection.fetchval(
        QUERIES["insert_program"], program.program_id, program.display_name, program.time_zone, program.created_at
    )
    return made is not None


async def get_program(connection: db.Connection, program_id: str) -> model.Program | None:
    """Reads a program."""
    found = await get_program_now(connection, program_id)
    return found[0] if found else None


async def get_program_now(connection: db.Connection, program_id: str) -> tuple[model.Program, datetime] | None:
    """Reads a program and the database's time."""
    row = await connection.fetchrow(QUERIES["get_program_now"], program_id)
    if row is None:
        return None
    values = dict(row)
    now = values.pop("now")
    return model.Program(**values), now


async def insert_api_key(
    connection: db.Connection,
    *,
    key_id: str,
    program_id: str,
    secret_hash: bytes,
    scopes: list[str],
    display_name: str,
    now: datetime,
) -> None:
    """Makes a key."""
    await connection.execute(QUERIES["insert_api_key"], key_id, program_id, secret_hash, scopes, display_name, now)


async def find_api_key(connection: db.Connection, key_id: str) -> tuple[str, bytes, list[str]] | None:
    """Finds a good key: its program, the hash of its secret and its scopes."""
    row = await connection.fetchrow(QUERIES["find_api_key"], key_id)
    return (row["program_id"], row["secret_hash"], row["scopes"]) if row else None


async def revoke_api_key(connection: db.Connection, key_id: str, now: datetime) -> bool:
    """Revokes a key; tells whether there is one."""
    return await connection.fetchval(QUERIES["revoke_api_key"], key_id, now) is not None
