"""What a program sends: versions of triggers and templates, settings, previews and tests."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from services.kernel import db, due, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.notify import definitions, errors, model, reports, respect, rules, templates
from services.notify.operations import days, deciding, making
from services.notify.operations.context import Context
from services.notify.store import deliveries, programs

Versioned = TypeVar("Versioned", model.Trigger, model.Template)
# What stands for the way out in a preview, which has none.
NO_WAY_OUT = "https://example.com/u/preview"


async def update_trigger(
    context: Context, program_id: str, trigger: model.Trigger, *, expected: int | None, request_id: str
) -> tuple[model.Trigger, bool]:
    """Makes a trigger or its next version; tells whether the answer stood before.

    Raises EXPRESSION_INVALID, REQUEST_ID_REUSED, TEMPLATE_NOT_FOUND and CONCURRENT_UPDATE.
    """
    rules.compile_trigger(trigger)

    async def look(connection: db.Connection) -> None:
        if await programs.get_versioned(connection, program_id, model.Template, trigger.template_id) is None:
            raise errors.template_not_found(trigger.template_id)

    return await _update(context, program_id, trigger, trigger.trigger_id, _Asked(expected, request_id, look))


async def update_template(
    context: Context, program_id: str, template: model.Template, *, expected: int | None, request_id: str
) -> tuple[model.Template, bool]:
    """Makes a template or its next version, once it has been shown in every language; tells whether it stood before.

    Raises TEMPLATE_INVALID, REQUEST_ID_REUSED and CONCURRENT_UPDATE.
    """
    compiled = templates.compile_template(template)

    async def look(connection: db.Connection) -> None:
        for locale in compiled.locales:
            await _show(connection, program_id, compiled, locale, template.sample)

    return await _update(context, program_id, template, template.template_id, _Asked(expected, request_id, look))


class _Asked:
    """What an update wants beside its value: a version, an id, and what else must be so."""

    def __init__(self, expected: int | None, request_id: str, look: Any) -> None:
        self.expected = expected
        self.request_id = request_id
        self.look = look


async def _update(
    context: Context, program_id: str, value: Versioned, name: str, asked: _Asked
) -> tuple[Versioned, bool]:
    kind = type(value)
    noun = programs.NOUNS[kind]
    content = {"definition": definitions.write(value), "etag": str(asked.expected or "")}
    key = ids.request_key(asked.request_id)

    async def work(connection: db.Connection) -> tuple[Versioned, bool]:
        now = await context.time.now(connection)
        await programs.lock_program(connection, program_id, now)
        prior = await programs.find_request(connection, program_id, kind, key)
        if prior is not None:
            _refuse_reuse(prior[2], content)
            stored = await programs.get_versioned(connection, program_id, kind, prior[0], prior[1])
            assert stored is not None, "A version stays."
            return stored, True
        current = await programs.get_versioned(connection, program_id, kind, name)
        version = current.version if current else 0
        if asked.expected not in (None, version):
            raise kernel_errors.concurrent_update(noun, name)
        await asked.look(connection)
        written = replace(value, version=version + 1, updated_at=now)
        created_at = await programs.insert_version(
            connection, program_id, written, now=now, request_id=key, fingerprint=requests.fingerprint(content)
        )
        return replace(written, created_at=created_at), False

    return await db.transaction(context.pool, work)


def _refuse_reuse(fingerprint: bytes, content: Mapping[str, Any]) -> None:
    differing = requests.differing_fields(fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)


async def get_trigger(context: Context, program_id: str, trigger_id: str, version: int | None) -> model.Trigger:
    """Tells a trigger, in its newest version where none is given. Raises TRIGGER_NOT_FOUND."""
    found = await db.read(
        context.pool, lambda c: programs.get_versioned(c, program_id, model.Trigger, trigger_id, version)
    )
    if found is None:
        raise errors.trigger_not_found(trigger_id)
    return found


async def get_template(context: Context, program_id: str, template_id: str, version: int | None) -> model.Template:
    """Tells a template, in its newest version where none is given. Raises TEMPLATE_NOT_FOUND."""
    found = await db.read(
        context.pool, lambda c: programs.get_versioned(c, program_id, model.Template, template_id, version)
    )
    if found is None:
        raise errors.template_not_found(template_id)
    return found


async def list_versioned(
    context: Context, program_id: str, kind: type[Versioned], *, page_size: int, page_token: str
) -> tuple[list[Versioned], str]:
    """Lists a page of triggers or templates, and the token of the next one."""
    limit, noun = pages.page_size(page_size), programs.NOUNS[kind]
    after = pages.read_cursor(page_token, noun, program_id, parse=pages.parse_text) or ""
    found = await db.read(context.pool, lambda c: programs.list_versioned(c, program_id, kind, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    last = programs.name_of(found[limit - 1])
    return found[:limit], pages.encode_token([last], noun, program_id)


async def get_settings(context: Context, program_id: str) -> model.Settings:
    """Tells how a program writes. Raises SENDER_MISSING."""
    program = await db.read(context.pool, lambda c: programs.get_program(c, program_id))
    if program.settings is None:
        raise errors.sender_missing()
    return program.settings


async def update_settings(
    context: Context, program_id: str, settings: model.Settings, expected: int | None
) -> model.Settings:
    """Replaces how a program writes. Raises EXPRESSION_INVALID, TEMPLATE_INVALID and CONCURRENT_UPDATE."""
    if settings.report is not None:
        reports.compile_report(settings.report)

    async def work(connection: db.Connection) -> model.Settings:
        now = await context.time.now(connection)
        version = await programs.lock_program(connection, program_id, now)
        if expected not in (None, version):
            raise kernel_errors.concurrent_update("settings", program_id)
        version = await programs.put_settings(connection, program_id, settings, now)
        # Members without a zone of their own have moved to this one.
        await days.see_to_zones(connection, program_id, {settings.time_zone}, now)
        return replace(settings, version=version, updated_at=now)

    return await db.transaction(context.pool, work)


async def preview(
    context: Context,
    program_id: str,
    template_id: str,
    *,
    version: int | None,
    locale: str,
    data: Mapping[str, Any] | None,
) -> templates.Rendering:
    """Shows a template with its sample or other data. Raises TEMPLATE_NOT_FOUND and TEMPLATE_INVALID."""
    template = await get_template(context, program_id, template_id, version)
    compiled = templates.compile_template(template)
    shown = template.sample if data is None else data
    return await db.read(context.pool, lambda c: _show(c, program_id, compiled, locale, shown))


async def _show(
    connection: db.Connection,
    program_id: str,
    compiled: templates.Compiled,
    locale: str,
    data: Mapping[str, Any],
) -> templates.Rendering:
    program = await programs.get_program(connection, program_id)
    brand = program.settings.brand if program.settings else model.Brand(program_id, "", site_url="https://example.com")
    return templates.render(compiled, templates.Envelope(brand, (locale,), NO_WAY_OUT, data))


async def test_template(
    context: Context, program_id: str, template_id: str, *, email: str, locale: str, request_id: str
) -> tuple[model.Delivery, bool]:
    """Sends a template with its sample to one address; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED, TEMPLATE_NOT_FOUND and SENDER_MISSING.
    """
    content = {"templateId": template_id, "email": email, "locale": locale}
    key = ids.request_key(request_id)

    async def work(connection: db.Connection) -> tuple[model.Delivery, bool]:
        now = await context.time.now(connection)
        await programs.lock_program(connection, program_id, now)
        prior = await deliveries.find_test(connection, program_id, key)
        if prior is not None:
            _refuse_reuse(prior[1], content)
            return (await deliveries.read_deliveries(connection, program_id, [prior[0]]))[prior[0]], True
        template = await programs.get_versioned(connection, program_id, model.Template, template_id)
        if template is None:
            raise errors.template_not_found(template_id)
        if (await programs.get_program(connection, program_id)).settings is None:
            raise errors.sender_missing()
        test = _test(template, email, locale, now)
        await deliveries.insert_test(connection, program_id, test, key, requests.fingerprint(content))
        await due.schedule(connection, [due.DueItem(program_id, deciding.DELIVER, test.delivery_id, {}, now)])
        return test, False

    made, replayed = await db.transaction(context.pool, work)
    if not replayed:
        await context.kick(deciding.DELIVER, 0)
    return made, replayed


def _test(template: model.Template, email: str, locale: str, now: datetime) -> model.Delivery:
    names = [each.locale for each in template.locales]
    return model.Delivery(
        delivery_id=ids.new_id(),
        trigger_id="",
        trigger_version=0,
        template_id=template.template_id,
        member_id="",
        channel=model.Channel.EMAIL,
        topic=making.TEST_TOPIC,
        priority=making.TEST_PRIORITY,
        is_transactional=True,
        send_at=now,
        depth=0,
        created_at=now,
        address=email,
        locale=respect.choose_locale((locale,), names),
    )
