"""Rules: making versions of them, and telling them."""

from collections.abc import Callable
from dataclasses import replace

from services.kernel import db, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.program import errors, model
from services.program import rules as rules_model
from services.program.operations.context import RULES_PER_PROGRAM_MAX, Context
from services.program.store import rules

Change = Callable[[model.Rule], model.Rule]


async def create_rule(context: Context, program_id: str, rule: model.Rule, request_id: str) -> tuple[model.Rule, bool]:
    """Makes a rule; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED, RULE_EXISTS and EXPRESSION_INVALID.
    """
    rules_model.compile_rule(rule)
    content: dict[str, object] = {"rule": rules.to_definition(rule), "ruleId": rule.rule_id}

    async def work(connection: db.Connection) -> tuple[model.Rule, bool]:
        await _lock(connection, program_id)
        prior = await _prior(connection, program_id, request_id, content)
        if prior is not None:
            return prior, True
        now = await context.time.now(connection)
        if not await rules.insert_rule(connection, program_id, rule.rule_id, now):
            raise errors.rule_exists(rule.rule_id)
        return await _write(
            context, connection, program_id, rule, version=1, request_id=request_id, content=content
        ), False

    return await db.transaction(context.pool, work)


async def update_rule(
    context: Context,
    program_id: str,
    rule_id: str,
    *,
    change: Change,
    content: dict[str, object],
    expected_version: int | None,
    request_id: str,
) -> tuple[model.Rule, bool]:
    """Makes the next version of a rule by a change; tells whether the answer stood before.

    `content` is what was asked for, for the fingerprint. Raises REQUEST_ID_REUSED, RULE_NOT_FOUND, RULE_ARCHIVED,
    CONCURRENT_UPDATE and EXPRESSION_INVALID.
    """

    async def work(connection: db.Connection) -> tuple[model.Rule, bool]:
        await _lock(connection, program_id)
        prior = await _prior(connection, program_id, request_id, content)
        if prior is not None:
            return prior, True
        current = await rules.get_rule(connection, program_id, rule_id)
        if current is None:
            raise errors.rule_not_found(rule_id)
        if current.state is model.RuleState.ARCHIVED:
            raise errors.rule_archived(rule_id)
        if expected_version not in (None, current.version):
            raise kernel_errors.concurrent_update("rule", rule_id)
        changed = change(current)
        rules_model.compile_rule(changed)
        version = current.version + 1
        return await _write(
            context, connection, program_id, changed, version=version, request_id=request_id, content=content
        ), False

    return await db.transaction(context.pool, work)


async def get_rule(context: Context, program_id: str, rule_id: str, version: int | None) -> model.Rule:
    """Tells a rule, in its newest version where none is given. Raises RULE_NOT_FOUND."""
    rule = await db.read(context.pool, lambda c: rules.get_rule(c, program_id, rule_id, version))
    if rule is None:
        raise errors.rule_not_found(rule_id)
    return rule


async def list_rules(
    context: Context, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Rule], str]:
    """Lists a page of rules, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "rules", program_id, parse=pages.parse_text) or ""
    found = await db.read(context.pool, lambda c: rules.list_rules(c, program_id, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].rule_id], "rules", program_id)


async def get_earning_table(context: Context, program_id: str) -> list[model.Rule]:
    """Gives the live rules by event type and id: what members can earn with now."""

    async def work(connection: db.Connection) -> list[model.Rule]:
        now = await context.time.now(connection)
        found = await rules.list_rules(connection, program_id, "", RULES_PER_PROGRAM_MAX)
        return [rule for rule in found if rule.holds_at(now)]

    live = await db.read(context.pool, work)
    return sorted(live, key=lambda rule: (rule.event_type, rule.rule_id))


async def _prior(
    connection: db.Connection, program_id: str, request_id: str, content: dict[str, object]
) -> model.Rule | None:
    found = await rules.find_rule_request(connection, program_id, ids.request_key(request_id))
    if found is None:
        return None
    rule, fingerprint = found
    differing = requests.differing_fields(fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)
    return rule


async def _lock(connection: db.Connection, program_id: str) -> None:
    if not await rules.lock_program(connection, program_id):
        raise errors.program_not_found(program_id)


async def _write(
    context: Context,
    connection: db.Connection,
    program_id: str,
    rule: model.Rule,
    *,
    version: int,
    request_id: str,
    content: dict[str, object],
) -> model.Rule:
    now = await context.time.now(connection)
    written = replace(rule, version=version, created_at=rule.created_at or now, updated_at=now)
    await rules.insert_rule_version(
        connection,
        program_id,
        written,
        now=now,
        request_id=ids.request_key(request_id),
        fingerprint=requests.fingerprint(content),
    )
    await context.publish(connection, program_id, model.RuleChanged(written))
    return written
