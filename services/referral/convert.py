"""Messages to values and back."""

from enum import StrEnum
from typing import Any, TypeVar

from plaudit.program.v1 import program_pb2
from plaudit.referral.v1 import referral_pb2

from services.kernel import errors, fields, times
from services.kernel.calendar import Period
from services.referral import codes, model

Chosen = TypeVar("Chosen", bound=StrEnum)


def event(message: program_pb2.Event, depth: int) -> model.Event:
    """Reads an event of the program's feed."""
    return model.Event(
        event_id=message.event_id,
        type=message.type,
        member_id=message.member_id,
        org_id=message.org_id,
        occurred_at=times.from_proto(message.occur_time),
        properties=fields.struct_to_dict(message.properties),
        depth=depth,
    )


def program(message: referral_pb2.ReferralProgram) -> model.ReferralProgram:
    """Reads a referral program."""
    state = _enum(model.ProgramState, referral_pb2.ReferralProgramState, "REFERRAL_PROGRAM_STATE_", message.state)
    attribution = _enum(
        model.Attribution, referral_pb2.AttributionModel, "ATTRIBUTION_MODEL_", message.attribution_model
    )
    return model.ReferralProgram(
        referral_program_id=message.referral_program_id,
        display_name=message.display_name,
        landing_url=message.landing_url,
        state=state or model.ProgramState.ACTIVE,
        signup_event_type=message.signup_event_type or model.SIGNUP_EVENT_TYPE,
        attribution=attribution or model.Attribution.LAST_TOUCH,
        attribution_days=message.attribution_days or model.ATTRIBUTION_DAYS,
        qualifying_event_type=message.qualifying_event_type,
        condition=message.condition,
        retention_days=message.retention_days,
        qualification_days=message.qualification_days or model.QUALIFICATION_DAYS,
        hold_seconds=message.hold_seconds,
        refund_event_types=tuple(message.refund_event_types) or model.REFUND_EVENT_TYPES,
        payment_property=message.payment_property or model.PAYMENT_PROPERTY,
        caps=tuple(_cap(cap, index) for index, cap in enumerate(message.caps)),
        time_zone=message.time_zone or "UTC",
    )


def _cap(message: referral_pb2.ReferralCap, index: int) -> model.Cap:
    period = _enum(Period, referral_pb2.ReferralCapPeriod, "REFERRAL_CAP_PERIOD_", message.period)
    if period is None:
        raise errors.field_invalid(errors.Violation(f"referralProgram.caps[{index}].period", "is required"))
    return model.Cap(period, message.max_count)


def program_to_proto(value: model.ReferralProgram) -> referral_pb2.ReferralProgram:
    """Tells a referral program."""
    return referral_pb2.ReferralProgram(
        referral_program_id=value.referral_program_id,
        version=value.version,
        display_name=value.display_name,
        state=referral_pb2.ReferralProgramState.Value(f"REFERRAL_PROGRAM_STATE_{value.state.value}"),
        landing_url=value.landing_url,
        signup_event_type=value.signup_event_type,
        attribution_model=referral_pb2.AttributionModel.Value(f"ATTRIBUTION_MODEL_{value.attribution.value}"),
        attribution_days=value.attribution_days,
        qualifying_event_type=value.qualifying_event_type,
        condition=value.condition,
        retention_days=value.retention_days,
        qualification_days=value.qualification_days,
        hold_seconds=value.hold_seconds,
        refund_event_types=value.refund_event_types,
        payment_property=value.payment_property,
        caps=[
            referral_pb2.ReferralCap(
                period=referral_pb2.ReferralCapPeriod.Value(f"REFERRAL_CAP_PERIOD_{cap.period.value}"),
                max_count=cap.max_count,
            )
            for cap in value.caps
        ],
        time_zone=value.time_zone,
        create_time=times.optional_to_proto(value.created_at),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )


def code_to_proto(value: model.Code) -> referral_pb2.ReferralCode:
    """Tells a code."""
    return referral_pb2.ReferralCode(
        code=value.code,
        member_id=value.member_id,
        referral_program_id=value.referral_program_id,
        vanity=value.is_vanity,
        link_path=f"{codes.LINK_PATH}{value.link}",
        click_count=value.click_count,
        create_time=times.to_proto(value.created_at),
    )


def referral_to_proto(value: model.Referral, review: model.Review | None = None) -> referral_pb2.Referral:
    """Tells a referral, and what a reviewer said."""
    end = value.end_reason.name
    # What a cap kept out has not qualified, though an event was there that would have done it.
    qualified_at, hold_ends_at = (None, None) if value.is_capped else (value.qualified_at, value.hold_ends_at)
    return referral_pb2.Referral(
        referral_id=str(value.referral_id),
        referral_program_id=value.referral_program_id,
        referral_program_version=value.referral_program_version,
        referrer_id=value.referrer_id,
        referee_id=value.referee_id,
        code=value.code,
        state=state_to_proto(value.state),
        decision=referral_pb2.ReferralDecision.Value(f"REFERRAL_DECISION_{value.decision.value}"),
        end_reason=referral_pb2.ReferralEndReason.Value(f"REFERRAL_END_REASON_{end}"),
        score=value.score,
        findings=[
            referral_pb2.Finding(
                check=finding.check, points=finding.points, identity=finding.is_identity, evidence=finding.evidence
            )
            for finding in value.findings
        ],
        review=_review(review) if review else None,
        qualifying_event_id=value.qualifying_event_id,
        click_time=times.optional_to_proto(value.clicked_at),
        sign_up_time=times.to_proto(value.signed_up_at),
        qualify_time=times.optional_to_proto(qualified_at),
        hold_end_time=times.optional_to_proto(hold_ends_at),
        expire_time=times.to_proto(value.expires_at),
        update_time=times.to_proto(value.updated_at),
        etag=str(value.version),
    )


def _review(value: model.Review) -> referral_pb2.Review:
    return referral_pb2.Review(
        approved=value.is_approved,
        reason=value.reason,
        actor=value.actor,
        review_time=times.to_proto(value.reviewed_at),
    )


def state_to_proto(value: model.State | None) -> "referral_pb2.ReferralState.ValueType":
    """Tells a state; unspecified for none."""
    return referral_pb2.ReferralState.Value(f"REFERRAL_STATE_{value.value if value else 'UNSPECIFIED'}")


def state(number: int) -> model.State | None:
    """Reads a state; None where it is not set."""
    return _enum(model.State, referral_pb2.ReferralState, "REFERRAL_STATE_", number)


def decision(number: int) -> model.Decision | None:
    """Reads a decision; None where it is not set."""
    return _enum(model.Decision, referral_pb2.ReferralDecision, "REFERRAL_DECISION_", number)


def _enum(kind: type[Chosen], proto: Any, prefix: str, number: int) -> Chosen | None:
    name = proto.Name(number).removeprefix(prefix)
    return None if name == "UNSPECIFIED" else kind(name)
