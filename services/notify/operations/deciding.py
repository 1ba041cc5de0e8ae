"""Deciding: for each cause, trigger, member and channel whether a message is sent, when, or why not; kept as it is."""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.kernel import db, due, ids
from services.notify import model, respect, rules
from services.notify.model import Channel, Outcome, SourceKind
from services.notify.operations.context import Config
from services.notify.store import deliveries, members

DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trigger that a cause set off. `key` stands for all causes that count as one; `is_late` says that it is over."""

    compiled: rules.CompiledTrigger
    cause: model.Cause
    key: str
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class _Way:
    """One way that the message of a candidate would go: `address` names an endpoint."""

    candidate: Candidate
    channel: Channel
    address: str
    decision_id: uuid.UUID


def address_hash(program_id: str, email: str) -> bytes:
    """Hashes an address, so that it is known again and not known."""
    return hashlib.blake2b(f"{program_id}\0{email.lower()}".encode(), digest_size=16).digest()


async def read_standings(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, respect.Standing]:
    """Reads what is known of members when messages are decided about."""
    found = await members.read_members(connection, program_id, member_ids)
    wanted = await members.read_preferences(connection, program_id, member_ids)
    hashes = {each.member_id: address_hash(program_id, each.email) for each in found.values() if each.email}
    suppressed = await members.read_suppressions(connection, program_id, list(hashes.values()))
    return {
        member_id: respect.Standing(
            member,
            wanted.get(member_id) or model.Preferences(member_id),
            hashes.get(member_id) in suppressed,
        )
        for member_id, member in found.items()
    }


async def decide(
    connection: db.Connection, program_id: str, config: Config, candidates: Sequence[Candidate], now: datetime
) -> int:
    """Decides candidates that were not decided before, in the caller's transaction; tells how many deliveries it made.

    Every member of a candidate is known.
    """
    ways = {way.decision_id: way for candidate in candidates for way in _ways(config, candidate)}
    known = await deliveries.find_decisions(connection, program_id, list(ways))
    fresh = [way for way in ways.values() if way.decision_id not in known]
    if not fresh:
        return 0
    standings = await read_standings(connection, program_id, list({way.candidate.cause.member_id for way in fresh}))
    keys = sorted({key for way in fresh if (key := _gather_key(way))})
    open_ones = await deliveries.find_gathering(connection, program_id, keys) if keys else {}
    made: dict[uuid.UUID, model.Delivery] = {}
    decisions: list[model.Decision] = []
    told: list[tuple[uuid.UUID, model.Cause]] = []
    for way in fresh:
        decision, delivery = _decide_one(way, standings[way.candidate.cause.member_id], config, now)
        if delivery is not None:
            gathered = open_ones.setdefault(delivery.gather_key, delivery.delivery_id) if delivery.gather_key else None
            delivery_id = gathered or delivery.delivery_id
            decision = _with_delivery(decision, delivery_id)
            told.append((delivery_id, way.candidate.cause))
            if delivery_id == delivery.delivery_id:
                made[delivery_id] = delivery
        decisions.append(decision)
    await deliveries.insert_decisions(connection, program_id, decisions)
    await write(connection, program_id, list(made.values()), told)
    return len(made)


async def write(
    connection: db.Connection,
    program_id: str,
    made: Sequence[model.Delivery],
    told: Sequence[tuple[uuid.UUID, model.Cause]],
) -> None:
    """Writes deliveries, what they tell of, and the duty to send them."""
    if made:
        await deliveries.insert_deliveries(connection, program_id, made)
        await due.schedule(
            connection, [due.DueItem(program_id, DELIVER, each.delivery_id, {}, each.send_at) for each in made]
        )
    if told:
        await deliveries.insert_causes(connection, program_id, told)


def _ways(config: Config, candidate: Candidate) -> list[_Way]:
    trigger = candidate.compiled.trigger
    found = []
    for channel in trigger.channels:
        addresses = [""]
        if channel is Channel.WEBHOOK:
            addresses = [name for name, kept in config.endpoints.items() if kept.endpoint.is_active] or [""]
        for address in addresses:
            decision_id = ids.derived_id(
                "decision", trigger.trigger_id, candidate.cause.member_id, channel, address, candidate.key
            )
            found.append(_Way(candidate, channel, address, decision_id))
    return found


def _gather_key(way: _Way) -> str | None:
    trigger = way.candidate.compiled.trigger
    if not trigger.gather_minutes:
        return None
    return f"{trigger.trigger_id}/{way.channel}/{way.address}/{way.candidate.cause.member_id}"


def _with_delivery(decision: model.Decision, delivery_id: uuid.UUID) -> model.Decision:
    values = {name: getattr(decision, name) for name in model.Decision.__dataclass_fields__}
    return model.Decision(**values | {"delivery_id": delivery_id})


def _decide_one(
    way: _Way, standing: respect.Standing, config: Config, now: datetime
) -> tuple[model.Decision, model.Delivery | None]:
    """Decides one way: a decision without its delivery's id, and the delivery where there is one."""
    trigger, cause = way.candidate.compiled.trigger, way.candidate.cause
    reason = _denial(way, standing, config)
    outcome, delivery = Outcome.NOT_SENT, None
    if not reason:
        send_at = respect.send_at(_ready(trigger, cause, now), _minute(trigger, standing), standing.member.zone)
        quiet_end = respect.quiet_end(send_at, way.channel, standing, config.settings)
        is_held = quiet_end is not None and not trigger.is_transactional
        outcome, reason = (Outcome.POSTPONED, "QUIET_HOURS") if is_held else (Outcome.SEND, "")
        delivery = model.Delivery(
            delivery_id=ids.derived_id("delivery", str(way.decision_id)),
            trigger_id=trigger.trigger_id,
            trigger_version=trigger.version,
            template_id=trigger.template_id,
            member_id=cause.member_id,
            channel=way.channel,
            topic=trigger.topic,
            priority=trigger.priority,
            is_transactional=trigger.is_transactional,
            send_at=quiet_end if quiet_end is not None and is_held else send_at,
            depth=cause.depth,
            created_at=now,
            reason=reason,
            gather_key=_gather_key(way),
            address=way.address,
        )
    decision = model.Decision(
        decision_id=way.decision_id,
        trigger_id=trigger.trigger_id,
        trigger_version=trigger.version,
        member_id=cause.member_id,
        channel=way.channel,
        cause_type=cause.type,
        cause_id=cause.cause_id,
        outcome=outcome,
        reason=reason,
        delivery_id=None,
        decided_at=now,
    )
    return decision, delivery


def _denial(way: _Way, standing: respect.Standing, config: Config) -> str:
    trigger = way.candidate.compiled.trigger
    if way.candidate.is_late:
        return "TOO_LATE"
    if way.channel is Channel.WEBHOOK and not way.address:
        return "NO_ADDRESS"
    reason = respect.denial(way.channel, trigger.topic, is_transactional=trigger.is_transactional, standing=standing)
    if not reason and way.channel is Channel.EMAIL and config.settings is None:
        return "SENDER_MISSING"
    return reason


def _ready(trigger: model.Trigger, cause: model.Cause, now: datetime) -> datetime:
    """Tells from when on a message may go: what a day sets off belongs to that day, all else to now or later."""
    if trigger.source.kind is not SourceKind.EVENT:
        return cause.occurred_at
    delayed = cause.occurred_at + timedelta(minutes=trigger.delay_minutes)
    return max(now, delayed) + timedelta(minutes=trigger.gather_minutes)


def _minute(trigger: model.Trigger, standing: respect.Standing) -> int | None:
    """Tells at which minute of the day a message goes, where it has one: as the member wants, or the trigger says."""
    of_a_day = trigger.source.kind is not SourceKind.EVENT
    if trigger.clock_minute is None and not of_a_day:
        return None
    if standing.preferences.clock_minute is not None:
        return standing.preferences.clock_minute
    return model.MORNING_MINUTE if trigger.clock_minute is None else trigger.clock_minute
