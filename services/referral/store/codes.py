"""Codes, the tags of links, and clicks."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from services.kernel import db
from services.referral import model
from services.referral.store import QUERIES


async def get_tag(connection: db.Connection, program_id: str) -> str | None:
    """Reads the tag of a program."""
    tag = await connection.fetchval(QUERIES["get_link_tag"], program_id)
    assert tag is None or isinstance(tag, str)
    return tag


async def insert_tag(connection: db.Connection, tag: str, program_id: str) -> None:
    """Gives a program its tag where it has none and the tag is free."""
    await connection.execute(QUERIES["insert_link_tag"], tag, program_id)


async def find_program(connection: db.Connection, tag: str) -> str | None:
    """Finds the program of a tag."""
    program_id = await connection.fetchval(QUERIES["find_tagged_program"], tag)
    assert program_id is None or isinstance(program_id, str)
    return program_id


async def insert_code(connection: db.Connection, program_id: str, code: model.Code) -> bool:
    """Makes a code; tells whether there was none like it, nor another random one of that member."""
    made = await connection.fetchval(
        QUERIES["insert_code"],
        program_id,
        code.code_key,
        code.code,
        code.member_id,
        code.referral_program_id,
        code.is_vanity,
        code.created_at,
    )
    return made is not None


async def insert_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID, code_key: str, fingerprint: bytes
) -> None:
    """Writes which code a request was answered with."""
    await connection.execute(QUERIES["insert_code_request"], program_id, request_id, code_key, fingerprint)


async def find_request(connection: db.Connection, program_id: str, request_id: uuid.UUID) -> tuple[str, bytes] | None:
    """Finds the key of the code that a request was answered with, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_code_request"], program_id, request_id)
    return (row["code_key"], row["fingerprint"]) if row else None


async def find_codes(connection: db.Connection, program_id: str, keys: Sequence[str]) -> dict[str, model.Code]:
    """Reads the codes of some keys, by key."""
    rows = await connection.fetch(QUERIES["find_codes"], program_id, keys)
    return {row["code_key"]: model.Code(**dict(row)) for row in rows}


async def find_random_code(
    connection: db.Connection, program_id: str, member_id: str, referral_program_id: str
) -> model.Code | None:
    """Reads the random code of a member in a referral program."""
    row = await connection.fetchrow(QUERIES["find_random_code"], program_id, member_id, referral_program_id)
    return model.Code(**dict(row)) if row else None


async def list_codes(
    connection: db.Connection, program_id: str, member_id: str, after: str, limit: int
) -> list[model.Code]:
    """Lists the codes of a member behind a key."""
    rows = await connection.fetch(QUERIES["list_codes"], program_id, member_id, after, limit)
    return [model.Code(**dict(row)) for row in rows]


async def count_codes(connection: db.Connection, program_id: str, member_id: str) -> int:
    """Counts the codes of a member."""
    count = await connection.fetchval(QUERIES["count_codes"], program_id, member_id)
    assert isinstance(count, int)
    return count


async def insert_clicks(connection: db.Connection, program_id: str, clicks: Sequence[model.Click]) -> None:
    """Writes clicks, and counts them for their codes."""
    counted = Counter(click.code_key for click in clicks)
    keys = sorted(counted)
    await connection.fetch(QUERIES["lock_codes"], program_id, keys)
    await connection.execute(QUERIES["count_clicks"], program_id, keys, [counted[key] for key in keys])
    await connection.execute(
        QUERIES["insert_clicks"],
        program_id,
        [click.click_id for click in clicks],
        [click.code_key for click in clicks],
        [click.clicked_at for click in clicks],
        [click.ip_hash for click in clicks],
        [click.subnet_hash for click in clicks],
        [click.agent_hash for click in clicks],
    )


async def find_clicks(
    connection: db.Connection, program_id: str, click_ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, model.Click]:
    """Reads some clicks, by id."""
    rows = await connection.fetch(QUERIES["find_clicks"], program_id, list(click_ids))
    return {row["click_id"]: model.Click(**dict(row)) for row in rows}


async def forget_clicks(connection: db.Connection, program_id: str, before: uuid.UUID, limit: int) -> int:
    """Deletes some clicks before an id; tells how many."""
    return len(await connection.fetch(QUERIES["forget_clicks"], program_id, before, limit))


def first_id(at: datetime) -> uuid.UUID:
    """Gives the smallest id that a click of an instant can have: ids of clicks are of version 7, and begin with it."""
    return uuid.UUID(int=(int(at.timestamp()) * 1000 << 80) | (0x7 << 76) | (0b10 << 62))
