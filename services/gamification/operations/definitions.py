"""Definitions: making versions of them, telling them, and what a new one has to catch up with."""

from dataclasses import replace
from typing import TypeVar

from services.gamification import errors, model, rules
from services.gamification.model import Kind
from services.gamification.operations import scheduling
from services.gamification.operations.context import Context
from services.gamification.store import definitions
from services.kernel import db, ids, pages, requests
from services.kernel import errors as kernel_errors

AnyOne = TypeVar("AnyOne", model.Metric, model.Ladder, model.Streak, model.Badge, model.Leaderboard)

# Of each kind in a program: all of them are looked at with every batch of events.
DEFINITIONS_MAX = 200


async def create(context: Context, program_id: str, wanted: AnyOne, request_id: str) -> tuple[AnyOne, bool]:
    """Makes a definition; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED, DEFINITION_NOT_FOUND for what it names, DEFINITION_EXISTS, EXPRESSION_INVALID and
    DEFINITION_LIMIT.
    """
    content = _content("create", wanted)
    kind = definitions.kind_of(wanted)
    _check(wanted)

    async def work(connection: db.Connection) -> tuple[AnyOne, bool]:
        await definitions.create_program(connection, program_id)
        await definitions.lock_program(connection, program_id)
        prior = await _prior(connection, program_id, wanted, request_id, content)
        if prior is not None:
            return prior, True
        await _check_named(connection, program_id, wanted)
        now = await context.time.now(connection)
        if await definitions.get_definition(connection, program_id, kind, wanted.definition_id) is not None:
            raise errors.definition_exists(kind, wanted.definition_id)
        if await definitions.count_definitions(connection, program_id, kind) >= DEFINITIONS_MAX:
            raise errors.definition_limit(kind, DEFINITIONS_MAX)
        await definitions.insert_definition(connection, program_id, wanted, now)
        made = replace(wanted, version=1, created_at=now, updated_at=now)
        await _write(connection, program_id, made, request_id=request_id, content=content)
        return made, False

    made, replayed = await db.transaction(context.pool, work)
    await scheduling.kick(context)
    return made, replayed


async def update(
    context: Context, program_id: str, wanted: AnyOne, *, expected_version: int | None, request_id: str
) -> tuple[AnyOne, bool]:
    """Replaces a definition by its next version; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED, DEFINITION_NOT_FOUND, METRIC_FIXED, EXPRESSION_INVALID and CONCURRENT_UPDATE.
    """
    content = _content("update", wanted) | {"etag": expected_version}
    kind = definitions.kind_of(wanted)
    _check(wanted)

    async def work(connection: db.Connection) -> tuple[AnyOne, bool]:
        await definitions.lock_program(connection, program_id)
        prior = await _prior(connection, program_id, wanted, request_id, content)
        if prior is not None:
            return prior, True
        current = await definitions.get_definition(connection, program_id, kind, wanted.definition_id)
        if current is None:
            raise errors.definition_not_found(kind, wanted.definition_id)
        if isinstance(current, model.Metric) and isinstance(wanted, model.Metric):
            _check_fixed(current, wanted)
        if expected_version not in (None, current.version):
            raise kernel_errors.concurrent_update(kind, wanted.definition_id)
        await _check_named(connection, program_id, wanted)
        now = await context.time.now(connection)
        made = replace(wanted, version=current.version + 1, created_at=current.created_at, updated_at=now)
        await _write(connection, program_id, made, request_id=request_id, content=content)
        return made, False

    made, replayed = await db.transaction(context.pool, work)
    await scheduling.kick(context)
    return made, replayed


async def get(context: Context, program_id: str, kind: Kind, definition_id: str) -> model.AnyDefinition:
    """Tells a definition. Raises DEFINITION_NOT_FOUND."""
    found = await db.read(context.pool, lambda c: definitions.get_definition(c, program_id, kind, definition_id))
    if found is None:
        raise errors.definition_not_found(kind, definition_id)
    return found


async def list_page(
    context: Context, program_id: str, kind: Kind, *, page_size: int, page_token: str
) -> tuple[list[model.AnyDefinition], str]:
    """Lists a page of the definitions of a kind, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, kind, program_id, parse=pages.parse_text) or ""
    found = await db.read(context.pool, lambda c: definitions.list_definitions(c, program_id, kind, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].definition_id], kind, program_id)


def _content(verb: str, wanted: model.AnyDefinition) -> dict[str, object]:
    fixed = {"verb": verb, "id": wanted.definition_id, "kind": definitions.kind_of(wanted).value}
    return {**fixed, **definitions.to_document(wanted)}


def _check(wanted: model.AnyDefinition) -> None:
    if isinstance(wanted, model.Metric):
        rules.compile_metric(wanted)


def _check_fixed(current: model.Metric, wanted: model.Metric) -> None:
    for name, field in model.FIXED.items():
        if getattr(current, name) != getattr(wanted, name):
            raise errors.metric_fixed(current.definition_id, field)


async def _check_named(connection: db.Connection, program_id: str, wanted: model.AnyDefinition) -> None:
    named = _named(wanted)
    if named is not None and await definitions.get_definition(connection, program_id, *named) is None:
        raise errors.definition_not_found(*named)


def _named(definition: model.AnyDefinition) -> tuple[Kind, str] | None:
    """Tells which other definition one is about."""
    match definition:
        case model.Metric():
            return None
        case model.Badge(goal=model.StreakGoal(streak_id=streak_id)):
            return Kind.STREAK, streak_id
        case model.Badge(goal=model.TotalGoal(metric_id=metric_id) | model.RecordGoal(metric_id=metric_id)):
            return Kind.METRIC, metric_id
        case model.Ladder() | model.Streak() | model.Leaderboard():
            return Kind.METRIC, definition.metric_id
    raise AssertionError("A badge has one of three goals.")


async def _prior(
    connection: db.Connection, program_id: str, wanted: AnyOne, request_id: str, content: dict[str, object]
) -> AnyOne | None:
    found = await definitions.find_request(connection, program_id, ids.request_key(request_id))
    if found is None:
        return None
    definition, fingerprint = found
    differing = requests.differing_fields(fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)
    assert isinstance(definition, type(wanted)), "The kind is part of the content."
    return definition


async def _write(
    connection: db.Connection,
    program_id: str,
    made: model.AnyDefinition,
    *,
    request_id: str,
    content: dict[str, object],
) -> None:
    assert made.updated_at is not None, "A version that is written has a time."
    await definitions.insert_version(
        connection,
        program_id,
        made,
        now=made.updated_at,
        request_id=ids.request_key(request_id),
        fingerprint=requests.fingerprint(content),
    )
    await scheduling.schedule(connection, program_id, made, made.updated_at)
