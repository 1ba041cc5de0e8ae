"""How programs write: settings, and the versions of triggers and templates."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from services.kernel import db
from services.notify import definitions, model
from services.notify.store import QUERIES

Versioned = TypeVar("Versioned", model.Trigger, model.Template)

NOUNS: dict[type[Any], str] = {model.Trigger: "trigger", model.Template: "template"}


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of the queries of what has versions."""

    put: str
    insert_version: str
    find_request: str
    get: str
    list: str


NAMES: dict[type[Any], _Names] = {
    model.Trigger: _Names(
        "insert_versioned_trigger", "insert_trigger_version", "find_trigger_request", "get_trigger", "list_triggers"
    ),
    model.Template: _Names(
        *("insert_versioned_template", "insert_template_version", "find_template_request"),
        *("get_template", "list_templates"),
    ),
}


@dataclass(frozen=True, slots=True)
class Program:
    """How a program writes, and the number of its last change."""

    settings: model.Settings | None
    version: int
    revision: int


async def get_program(connection: db.Connection, program_id: str) -> Program:
    """Reads how a program writes; one that nobody has said anything about writes nothing."""
    row = await connection.fetchrow(QUERIES["get_program"], program_id)
    if row is None:
        return Program(None, 0, 0)
    settings = None
    if row["settings"] is not None:
        settings = definitions.read(
            model.Settings, row["settings"], version=row["version"], updated_at=row["updated_at"]
        )
    return Program(settings, row["version"], row["revision"])


async def get_revision(connection: db.Connection, program_id: str) -> tuple[int, datetime]:
    """Tells the number of the last change of what a program sends, and the database's time."""
    row = await connection.fetchrow(QUERIES["get_revision"], program_id)
    assert row is not None, "A row without a table is always there."
    return row["revision"], row["now"]


async def lock_program(connection: db.Connection, program_id: str, now: datetime) -> int:
    """Locks a program while what it sends changes, and tells the version of its settings."""
    await connection.execute(QUERIES["ensure_program"], program_id, now)
    version = await connection.fetchval(QUERIES["lock_program"], program_id)
    assert isinstance(version, int), "The program has a row now."
    return version


async def put_settings(connection: db.Connection, program_id: str, settings: model.Settings, now: datetime) -> int:
    """Writes how a program writes; gives the version."""
    written = definitions.write(settings)
    version = await connection.fetchval(QUERIES["put_settings"], program_id, written, now)
    await connection.execute(QUERIES["move_members"], program_id, settings.time_zone)
    assert isinstance(version, int), "The program is locked."
    return version


async def count_change(connection: db.Connection, program_id: str) -> None:
    """Tells every process that what a program sends changed."""
    await connection.execute(QUERIES["count_change"], program_id)


def name_of(value: model.Trigger | model.Template) -> str:
    """Gives the id of a trigger or template."""
    return value.trigger_id if isinstance(value, model.Trigger) else value.template_id


async def insert_version(
    connection: db.Connection,
    program_id: str,
    value: Versioned,
    *,
    now: datetime,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> datetime:
    """Writes a version, makes it the newest, and tells when the first one was made."""
    names = NAMES[type(value)]
    created_at = await connection.fetchval(QUERIES[names.put], program_id, name_of(value), value.version, now)
    await connection.execute(
        QUERIES[names.insert_version],
        program_id,
        name_of(value),
        value.version,
        definitions.write(value),
        now,
        request_id,
        fingerprint,
    )
    await count_change(connection, program_id)
    assert isinstance(created_at, datetime), "A row that is written tells when it was made."
    return created_at


async def find_request(
    connection: db.Connection, program_id: str, kind: type[Versioned], request_id: uuid.UUID
) -> tuple[str, int, bytes] | None:
    """Finds the version that a request made, and the request's fingerprint."""
    noun = NOUNS[kind]
    row = await connection.fetchrow(QUERIES[NAMES[kind].find_request], program_id, request_id)
    return (row[f"{noun}_id"], row["version"], row["fingerprint"]) if row else None


async def get_versioned(
    connection: db.Connection, program_id: str, kind: type[Versioned], name: str, version: int | None = None
) -> Versioned | None:
    """Reads a trigger or template, in its newest version where none is given."""
    row = await connection.fetchrow(QUERIES[NAMES[kind].get], program_id, name, version)
    return _read(kind, row) if row else None


async def list_versioned(
    connection: db.Connection, program_id: str, kind: type[Versioned], after: str, limit: int
) -> list[Versioned]:
    """Lists triggers or templates behind an id, in their newest versions."""
    rows = await connection.fetch(QUERIES[NAMES[kind].list], program_id, after, limit)
    return [_read(kind, row) for row in rows]


def _read(kind: type[Versioned], row: Any) -> Versioned:
    return definitions.read(
        kind, row["definition"], version=row["version"], created_at=row["created_at"], updated_at=row["updated_at"]
    )
