"""Messages to values and back."""

from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.program.v1 import program_pb2
from plaudit.type.v1 import refusal_pb2

from services.kernel import errors, fields, refusals, times
from services.kernel.calendar import Period
from services.program import model

Chosen = TypeVar("Chosen", bound=StrEnum)


def event(message: program_pb2.Event) -> model.Event:
    """Reads an event; its message goes along for the feed."""
    return model.Event(
        event_id=message.event_id,
        type=message.type,
        member_id=message.member_id,
        org_id=message.org_id,
        occurred_at=times.from_proto(message.occur_time),
        properties=fields.struct_to_dict(message.properties),
        raw=message.SerializeToString(),
        utc_offset_minutes=message.utc_offset_minutes if message.HasField("utc_offset_minutes") else None,
    )


def event_to_proto(value: model.Event) -> program_pb2.Event:
    """Tells an event."""
    if value.raw:
        return program_pb2.Event.FromString(value.raw)
    return program_pb2.Event(
        event_id=value.event_id,
        type=value.type,
        member_id=value.member_id,
        org_id=value.org_id,
        occur_time=times.to_proto(value.occurred_at),
        properties=fields.dict_to_struct(value.properties),
        utc_offset_minutes=value.utc_offset_minutes,
    )


def effects_to_proto(recorded: model.Recorded) -> list[program_pb2.Effect]:
    """Tells what the decisions on an event paid, and where that stands."""
    return [
        effect_to_proto(decision, recorded.effect_state(decision))
        for decision in recorded.decisions
        if decision.denial is None
    ]


def effect_to_proto(decision: model.Decision, state: model.EffectState) -> program_pb2.Effect:
    """Tells what a decision paid."""
    return program_pb2.Effect(
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        member_id=decision.recipient_id,
        asset=decision.asset,
        amount=decision.amount,
        expire_time=times.optional_to_proto(decision.expires_at),
        state=program_pb2.EffectState.Value(f"EFFECT_STATE_{state.value}"),
    )


def settle_time(settlement: model.Settlement | None) -> Timestamp | None:
    """Tells when an event was settled; nothing where it was not."""
    return times.to_proto(settlement.settled_at) if settlement else None


def denial_to_proto(decision: model.Decision) -> program_pb2.Denial:
    """Tells why a decision did not pay."""
    assert decision.denial is not None, "The caller asks for denials only."
    return program_pb2.Denial(
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        reason=decision.denial.reason,
        message=decision.denial.message,
    )


def decision_to_proto(decision: model.Decision, rule: model.Rule, state: model.EffectState) -> program_pb2.Decision:
    """Explains a decision."""
    message = program_pb2.Decision(rule=rule_to_proto(rule))
    if decision.member_seen is not None:
        message.member.update(decision.member_seen)
    if decision.denial is None:
        message.effect.CopyFrom(effect_to_proto(decision, state))
    else:
        message.denial.CopyFrom(denial_to_proto(decision))
    return message


def refused_event(event_id: str, error: errors.DomainError) -> program_pb2.EventResult:
    """Tells that an event was refused, and why."""
    return program_pb2.EventResult(
        event_id=event_id, status=program_pb2.EVENT_STATUS_REFUSED, error=refusals.to_proto(error)
    )


def recorded_event(recorded: model.Recorded, *, is_duplicate: bool) -> program_pb2.EventResult:
    """Tells that an event is recorded, and what it caused."""
    status = program_pb2.EVENT_STATUS_DUPLICATE if is_duplicate else program_pb2.EVENT_STATUS_ACCEPTED
    return program_pb2.EventResult(
        event_id=recorded.event.event_id,
        status=status,
        effects=effects_to_proto(recorded),
        denials=[denial_to_proto(decision) for decision in recorded.decisions if decision.denial is not None],
    )


def member(message: program_pb2.Member) -> model.Member:
    """Reads a member."""
    return model.Member(
        member_id=message.member_id,
        email=message.email,
        display_name=message.display_name,
        locale=message.locale,
        time_zone=message.time_zone,
        birthday=date.fromisoformat(message.birthday) if message.birthday else None,
        org_id=message.org_id,
        attributes=fields.struct_to_dict(message.attributes),
    )


def member_to_proto(value: model.Member) -> program_pb2.Member:
    """Tells a member."""
    return program_pb2.Member(
        member_id=value.member_id,
        email=value.email,
        display_name=value.display_name,
        locale=value.locale,
        time_zone=value.time_zone,
        birthday=value.birthday.isoformat() if value.birthday else "",
        org_id=value.org_id,
        attributes=fields.dict_to_struct(value.attributes),
        create_time=times.optional_to_proto(value.created_at),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )


def rule(message: program_pb2.Rule) -> model.Rule:
    """Reads a rule."""
    return model.Rule(
        rule_id=message.rule_id,
        display_name=message.display_name,
        description=message.description,
        state=_enum(model.RuleState, program_pb2.RuleState, "RULE_STATE_", message.state) or model.RuleState.ACTIVE,
        event_type=message.event_type,
        condition=message.condition,
        asset=message.asset or model.DEFAULT_ASSET,
        amount=message.amount,
        recipient=message.recipient,
        once_per=message.once_per,
        caps=tuple(_cap(cap, index) for index, cap in enumerate(message.caps)),
        expiry=_expiry(message.expiry) if message.HasField("expiry") else None,
        starts_at=times.from_proto(message.start_time) if message.HasField("start_time") else None,
        ends_at=times.from_proto(message.end_time) if message.HasField("end_time") else None,
        is_promotional=message.promotional,
        campaign_id=message.campaign_id,
        budget_id=message.budget_id,
        is_pending=message.pending,
    )


def _expiry(message: program_pb2.Expiry) -> model.Expiry:
    is_exact = message.end in (program_pb2.EXPIRY_END_UNSPECIFIED, program_pb2.EXPIRY_END_INSTANT)
    if is_exact and not (message.months or message.days):
        raise errors.field_invalid(errors.Violation("rule.expiry", "must have months, days or an end"))
    end = None if is_exact else _enum(Period, program_pb2.ExpiryEnd, "EXPIRY_END_", message.end)
    return model.Expiry(message.months, message.days, end, message.rolling)


def _cap(message: program_pb2.Cap, index: int) -> model.Cap:
    period = _enum(Period, program_pb2.CapPeriod, "CAP_PERIOD_", message.period)
    if period is None:
        raise errors.field_invalid(errors.Violation(f"rule.caps[{index}].period", "is required"))
    if not message.max_amount and not message.max_count:
        raise errors.field_invalid(errors.Violation(f"rule.caps[{index}]", "must bound the amount or the count"))
    return model.Cap(period, message.max_amount, message.max_count)


def rule_to_proto(value: model.Rule) -> program_pb2.Rule:
    """Tells a rule."""
    return program_pb2.Rule(
        rule_id=value.rule_id,
        version=value.version,
        display_name=value.display_name,
        description=value.description,
        state=program_pb2.RuleState.Value(f"RULE_STATE_{value.state.value}"),
        event_type=value.event_type,
        condition=value.condition,
        asset=value.asset,
        amount=value.amount,
        recipient=value.recipient,
        once_per=value.once_per,
        caps=[cap_to_proto(cap) for cap in value.caps],
        expiry=expiry_to_proto(value.expiry),
        start_time=times.optional_to_proto(value.starts_at),
        end_time=times.optional_to_proto(value.ends_at),
        create_time=times.optional_to_proto(value.created_at),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
        promotional=value.is_promotional,
        campaign_id=value.campaign_id,
        budget_id=value.budget_id,
        pending=value.is_pending,
    )


def cap_to_proto(value: model.Cap) -> program_pb2.Cap:
    """Tells a cap."""
    period = program_pb2.CapPeriod.Value(f"CAP_PERIOD_{value.period.value}")
    return program_pb2.Cap(period=period, max_amount=value.max_amount, max_count=value.max_count)


def expiry_to_proto(value: model.Expiry | None) -> program_pb2.Expiry | None:
    """Tells how long value lives; nothing where that is for ever."""
    if value is None:
        return None
    end = program_pb2.ExpiryEnd.Value(f"EXPIRY_END_{value.end.value if value.end else 'INSTANT'}")
    return program_pb2.Expiry(months=value.months, days=value.days, end=end, rolling=value.is_rolling)


def earning_row(value: model.Rule) -> program_pb2.EarningTableRow:
    """Tells a live rule as members are shown it."""
    return program_pb2.EarningTableRow(
        rule_id=value.rule_id,
        rule_version=value.version,
        display_name=value.display_name,
        description=value.description,
        event_type=value.event_type,
        condition=value.condition,
        asset=value.asset,
        amount=value.amount,
        fixed=value.amount.isascii() and value.amount.isdigit(),
        once_per=value.once_per,
        caps=[cap_to_proto(cap) for cap in value.caps],
        expiry=expiry_to_proto(value.expiry),
    )


def reward(message: program_pb2.Reward) -> model.Reward:
    """Reads a reward."""
    return model.Reward(
        reward_id=message.reward_id,
        display_name=message.display_name,
        description=message.description,
        asset=message.asset or model.DEFAULT_ASSET,
        cost=message.cost,
        fulfilment=_enum(model.Fulfilment, program_pb2.Fulfilment, "FULFILMENT_", message.fulfilment)
        or model.Fulfilment.CODE,
    )


def reward_to_proto(value: model.Reward) -> program_pb2.Reward:
    """Tells a reward, without its codes."""
    return program_pb2.Reward(
        reward_id=value.reward_id,
        display_name=value.display_name,
        description=value.description,
        asset=value.asset,
        cost=value.cost,
        fulfilment=program_pb2.Fulfilment.Value(f"FULFILMENT_{value.fulfilment.value}"),
        code_count=value.code_count,
        create_time=times.optional_to_proto(value.created_at),
    )


def redemption_to_proto(value: model.Redemption, *, with_code: bool = True) -> program_pb2.Redemption:
    """Tells a redemption; its code only to the member's own callers, and only once it is paid for."""
    shown = with_code and value.state is model.RedemptionState.FULFILLED
    refusal = value.refusal
    return program_pb2.Redemption(
        redemption_id=str(value.redemption_id),
        member_id=value.member_id,
        reward_id=value.reward_id,
        state=program_pb2.RedemptionState.Value(f"REDEMPTION_STATE_{value.state.value}"),
        asset=value.asset,
        cost=value.cost,
        code=value.code if shown else "",
        refusal=refusal_pb2.Refusal(reason=refusal["reason"], message=refusal["message"], metadata=refusal["metadata"])
        if refusal
        else None,
        create_time=times.to_proto(value.created_at),
        update_time=times.to_proto(value.updated_at),
    )


def program(message: program_pb2.Program) -> model.Program:
    """Reads a program."""
    return model.Program(
        program_id=message.program_id,
        display_name=message.display_name,
        time_zone=message.time_zone or "UTC",
        rules_revision=0,
        created_at=times.EPOCH,
    )


def program_to_proto(value: model.Program) -> program_pb2.Program:
    """Tells a program."""
    return program_pb2.Program(
        program_id=value.program_id,
        display_name=value.display_name,
        time_zone=value.time_zone,
        create_time=times.to_proto(value.created_at),
    )


def _enum(kind: type[Chosen], proto: Any, prefix: str, number: int) -> Chosen | None:
    name = proto.Name(number).removeprefix(prefix)
    return None if name == "UNSPECIFIED" else kind(name)
