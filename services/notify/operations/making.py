"""Making: what is due is looked at as things are now, and becomes a message, or a reason why there is none."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.kernel import calendar, db, due, errors
from services.notify import links, mail, model, ports, respect, rules, signing, templates
from services.notify.model import AttemptOutcome, Channel, SourceKind, State
from services.notify.operations import deciding, facts
from services.notify.operations.context import Config, Context
from services.notify.operations.observing import month_of
from services.notify.store import deliveries, members

# How often nobody may know what became of an attempt before it is left at that.
UNKNOWN_MAX = 2
# The zone, topic and priority of what goes to no member.
UTC_ZONE = "UTC"
TEST_TOPIC = "test"
TEST_PRIORITY = 9


@dataclass(frozen=True, slots=True)
class Made:
    """A message that is ready to go."""

    item: due.DueItem
    delivery: model.Delivery
    member: model.Member | None
    attempts: int
    unknown_count: int
    retries_unknown: bool
    shown: templates.Note | None = None
    template_version: int | None = None
    sender: str = ""
    recipient: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """What became of a page of due deliveries: what is made, what is settled, and what was over before."""

    made: list[Made] = field(default_factory=list)
    settled: list[tuple[due.DueItem, model.Delivery, deliveries.Change]] = field(default_factory=list)
    unknown: list[deliveries.AttemptEnd] = field(default_factory=list)
    over: list[due.DueItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Looking:
    """What a page is looked at with."""

    context: Context
    outside: ports.Outside
    program_id: str


@dataclass
class _Known:
    """What is known when a page is looked at."""

    looking: _Looking
    now: datetime
    config: Config
    deliveries: dict[uuid.UUID, model.Delivery]
    standings: dict[str, respect.Standing]
    causes: dict[uuid.UUID, list[model.Cause]]
    attempts: dict[uuid.UUID, list[model.Attempt]]
    totals: dict[str, dict[str, int]]
    months: dict[str, dict[str, members.Sums]]
    templates: dict[str, templates.Compiled | None]


class _Nothing(Exception):  # noqa: N818 - the end of making one message, and no error
    """Ends the making of a message that is not sent, or not now."""

    def __init__(self, state: State, reason: str, send_at: datetime | None = None) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.send_at = send_at


async def look(context: Context, outside: ports.Outside, program_id: str, items: Sequence[due.DueItem]) -> Page:
    """Looks at due deliveries as things are now, and makes the messages that may go."""
    looked = _Looking(context, outside, program_id)
    known = await db.read(context.pool, lambda connection: _read(connection, looked, items))
    page = Page()
    for item in items:
        delivery = known.deliveries.get(item.work_id)
        if delivery is None or delivery.ended_at is not None:
            page.over.append(item)
            continue
        attempts = known.attempts.get(item.work_id, [])
        if attempts and attempts[-1].outcome is AttemptOutcome.UNDER_WAY:
            # Whoever began it died, or was so slow that the lease ended.
            page.unknown.append(deliveries.AttemptEnd(item.work_id, AttemptOutcome.UNKNOWN, 0, "the sender died"))
            attempts = [*attempts[:-1], replace(attempts[-1], outcome=AttemptOutcome.UNKNOWN)]
        try:
            page.made.append(await _make(known, item, delivery, attempts))
        except _Nothing as nothing:
            send_at = nothing.send_at or delivery.send_at
            day = _local_day(known, delivery) if nothing.state is State.UNKNOWN else None
            change = deliveries.Change(delivery.delivery_id, nothing.state, nothing.reason, send_at, day)
            page.settled.append((item, delivery, change))
    return page


async def _read(connection: db.Connection, looking: _Looking, items: Sequence[due.DueItem]) -> _Known:
    context, program_id = looking.context, looking.program_id
    config, now = await context.config(connection, program_id)
    found = await deliveries.read_deliveries(connection, program_id, [item.work_id for item in items])
    names = sorted({each.member_id for each in found.values() if each.member_id})
    standings = await deciding.read_standings(connection, program_id, names)
    spans = {name: month_of(now, standing.member.zone) for name, standing in standings.items()}
    wanted = sorted({each.template_id for each in found.values() if each.template_id})
    return _Known(
        looking=looking,
        now=now,
        config=config,
        deliveries=found,
        standings=standings,
        causes=await deliveries.read_causes(connection, program_id, list(found), model.CAUSES_SHOWN_MAX),
        attempts=await deliveries.read_attempts(connection, program_id, list(found)),
        totals=await members.read_totals(connection, program_id, names),
        months=await members.sum_activity(connection, program_id, spans),
        templates={name: await context.template(connection, program_id, config, name) for name in wanted},
    )


async def _make(
    known: _Known,
    item: due.DueItem,
    delivery: model.Delivery,
    attempts: Sequence[model.Attempt],
) -> Made:
    """Makes one message. Raises _Nothing where there is none."""
    compiled = known.config.triggers.get(delivery.trigger_id)
    unknown_count = sum(attempt.outcome is AttemptOutcome.UNKNOWN for attempt in attempts)
    retries = compiled.trigger.retries_unknown if compiled else True
    if attempts and attempts[-1].outcome is AttemptOutcome.UNKNOWN and not may_try_again(retries, unknown_count):
        raise _Nothing(State.UNKNOWN, "OUTCOME_UNKNOWN")
    standing = known.standings.get(delivery.member_id)
    if standing is not None and delivery.trigger_id:
        _respect(known, delivery, standing, compiled)
    plain = Made(item, delivery, standing.member if standing else None, len(attempts), unknown_count, retries)
    if delivery.channel is Channel.WEBHOOK:
        return _to_endpoint(known, plain, await _data(known, delivery, standing))
    template = known.templates.get(delivery.template_id)
    if template is None:
        raise _Nothing(State.CANCELLED, "TEMPLATE_MISSING")
    settings = known.config.settings
    if settings is None:
        if delivery.channel is Channel.EMAIL:
            raise _Nothing(State.CANCELLED, "SENDER_MISSING")
        settings = model.Settings(model.Brand("", ""))
    data = template.template.sample
    if delivery.member_id:
        data = await _data(known, delivery, standing)
    url = (
        ""
        if delivery.is_transactional
        else unsubscribe_url(known.looking.context, item.program_id, delivery.delivery_id)
    )
    wanted = (delivery.locale or (standing.member.locale if standing else ""), settings.locale)
    envelope = templates.Envelope(settings.brand, wanted, url, data)
    version = template.template.version
    try:
        if delivery.channel is Channel.INBOX:
            return replace(plain, shown=templates.render_note(template, envelope), template_version=version)
        shown = templates.render(template, envelope)
        made = replace(plain, shown=shown, template_version=version)
        content = _mail(made, shown, settings.brand, unsubscribe_url=url, now=known.now)
        return replace(made, sender=settings.brand.sender_email, recipient=_recipient(made), content=content)
    except errors.DomainError:
        raise _Nothing(State.FAILED, "RENDER_FAILED") from None


def unsubscribe_url(context: Context, program_id: str, delivery_id: uuid.UUID) -> str:
    """Gives the address at which a member gets no more messages like one."""
    return f"{context.public_url}/u/{links.make(context.link_key, links.Link(program_id, delivery_id))}"


def may_try_again(retries_unknown: bool, unknown_count: int) -> bool:
    """Tells whether another attempt is made after one whose outcome nobody knows."""
    return retries_unknown and unknown_count < UNKNOWN_MAX


def _respect(
    known: _Known,
    delivery: model.Delivery,
    standing: respect.Standing,
    compiled: rules.CompiledTrigger | None,
) -> None:
    """Asks again whether a message may go, as things are now."""
    if compiled is None or not compiled.trigger.is_active:
        raise _Nothing(State.CANCELLED, "TRIGGER_PAUSED")
    reason = respect.denial(
        delivery.channel, delivery.topic, is_transactional=delivery.is_transactional, standing=standing
    )
    if reason:
        raise _Nothing(State.CANCELLED, reason)
    if not _is_true_still(known, delivery, standing, compiled):
        raise _Nothing(State.CANCELLED, "NO_LONGER_TRUE")
    quiet_end = respect.quiet_end(known.now, delivery.channel, standing, known.config.settings)
    if quiet_end is not None and not delivery.is_transactional:
        raise _Nothing(State.WAITING, "QUIET_HOURS", quiet_end)


def _is_true_still(
    known: _Known,
    delivery: model.Delivery,
    standing: respect.Standing,
    compiled: rules.CompiledTrigger,
) -> bool:
    member = standing.member
    if compiled.trigger.source.kind is SourceKind.INACTIVITY and member.active_at is not None:
        cause = known.causes[delivery.delivery_id][-1]
        active_on = calendar.period_start(member.active_at, calendar.Period.DAY, member.zone)
        if active_on.isoformat() != cause.properties["active_on"]:
            return False
    return rules.holds(compiled.still, member=_visible(known, member))


def _visible(known: _Known, member: model.Member) -> dict[str, Any]:
    month = {kind: sums[0] for kind, sums in known.months.get(member.member_id, {}).items()}
    return member.visible(known.totals.get(member.member_id, {}), month)


async def _data(known: _Known, delivery: model.Delivery, standing: respect.Standing | None) -> dict[str, Any]:
    """Gives what texts may look at: what happened, the member, and facts as they are now."""
    causes = known.causes.get(delivery.delivery_id, [])
    visible = [_readable(cause, standing) for cause in causes]
    member = _visible(known, standing.member) if standing else {"member_id": delivery.member_id}
    data = {
        "event": visible[-1] if visible else {},
        "events": visible,
        "event_count": delivery.cause_count,
        "amount_sum": sum(_amount(cause) for cause in causes),
        "member": member,
        "facts": {},
    }
    compiled = known.config.triggers.get(delivery.trigger_id)
    if compiled is not None and standing is not None and causes:
        asked = facts.Asked(known.looking.program_id, standing.member, causes[-1], compiled, member)
        found = await facts.find(known.looking.context.pool, known.looking.outside, known.config, asked)
        if found is None:
            raise _Nothing(State.CANCELLED, "NO_LONGER_TRUE")
        data["facts"] = found
    return data


def _amount(cause: model.Cause) -> int:
    amount = cause.properties.get("amount", 0)
    return amount if isinstance(amount, int) else 0


def _readable(cause: model.Cause, standing: respect.Standing | None) -> dict[str, Any]:
    """Gives what happened as texts want it: times as the local day of the member."""
    zone = ZoneInfo(standing.member.zone if standing else UTC_ZONE)
    local = cause.occurred_at.astimezone(zone)
    return {"type": cause.type, "occur_date": local.date().isoformat(), "properties": cause.properties}


def _mail(made: Made, shown: templates.Rendering, brand: model.Brand, *, unsubscribe_url: str, now: datetime) -> bytes:
    return mail.assemble(
        mail.Mail(
            mail_id=str(made.delivery.delivery_id),
            sender_name=brand.name,
            sender_email=brand.sender_email,
            reply_email=brand.reply_email,
            recipient_name=made.member.display_name if made.member else "",
            recipient_email=_recipient(made),
            subject=shown.subject,
            text=shown.text,
            html=shown.html,
            sent_at=now,
            program_id=made.item.program_id,
            topic=made.delivery.topic,
            unsubscribe_url=unsubscribe_url,
        )
    )


def _recipient(made: Made) -> str:
    return made.member.email if made.member else made.delivery.address


def _to_endpoint(known: _Known, made: Made, data: dict[str, Any]) -> Made:
    kept = known.config.endpoints.get(made.delivery.address)
    if kept is None or not kept.endpoint.is_active:
        raise _Nothing(State.CANCELLED, "ENDPOINT_DISABLED")
    causes = known.causes.get(made.delivery.delivery_id, [])
    if made.delivery.trigger_id:
        kind = f"message.{made.delivery.trigger_id}"
    else:
        kind = causes[-1].type
        data = {"memberId": made.delivery.member_id, "properties": causes[-1].properties}
    content = signing.payload(kind, causes[-1].occurred_at, data)
    secrets = [signing.reveal(known.looking.context.secret_key, each) for each in kept.secrets(known.now)]
    headers = signing.headers(secrets, str(made.delivery.delivery_id), known.now, content)
    return replace(made, recipient=kept.endpoint.url, content=content, headers=headers)


def _local_day(known: _Known, delivery: model.Delivery) -> date:
    standing = known.standings.get(delivery.member_id)
    zone = standing.member.zone if standing else UTC_ZONE
    return calendar.period_start(known.now, calendar.Period.DAY, zone)


def today(made: Made, now: datetime) -> date:
    """Tells which day it is for whoever gets a message."""
    return calendar.period_start(now, calendar.Period.DAY, made.member.zone if made.member else UTC_ZONE)


def sent(made: Made, now: datetime) -> deliveries.Change:
    """Says that a message was sent."""
    delivery = made.delivery
    return deliveries.Change(
        delivery.delivery_id, State.SENT, "", delivery.send_at, today(made, now), made.template_version
    )


def ended(delivery: model.Delivery, change: deliveries.Change, now: datetime) -> model.Delivery:
    """Gives a delivery as it is at its end."""
    return replace(
        delivery,
        state=change.state,
        reason=change.reason,
        ended_at=now,
        template_version=change.template_version or delivery.template_version,
    )
