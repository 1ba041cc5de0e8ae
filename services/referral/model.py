"""The referral service's nouns, and the table of the states of a referral. Frozen values, no I/O."""

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.kernel.calendar import Period
from services.referral.signals import Kind, Signal

SIGNUP_EVENT_TYPE = "user.signed_up"
REFUND_EVENT_TYPES = ("payment.refunded", "payment.charged_back")
PAYMENT_PROPERTY = "payment_id"
ATTRIBUTION_DAYS = 90
QUALIFICATION_DAYS = 180
# What Plaudit makes of referrals comes back as events of this prefix; none of them is an activity of a member.
OWN_EVENTS = "referral."


class ProgramState(StrEnum):
    """Whether a referral program is live."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ARCHIVED = "ARCHIVED"


class Attribution(StrEnum):
    """Which touch of several a sign-up counts for."""

    LAST_TOUCH = "LAST_TOUCH"
    FIRST_TOUCH = "FIRST_TOUCH"


class State(StrEnum):
    """Where a referral stands, in the order in which it goes."""

    SIGNED_UP = "SIGNED_UP"
    QUALIFIED = "QUALIFIED"
    HELD = "HELD"
    REWARDED = "REWARDED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    REVERSED = "REVERSED"


class Decision(StrEnum):
    """What was decided about a referral."""

    PENDING = "PENDING"
    ALLOW = "ALLOW"
    HOLD = "HOLD"
    REJECT = "REJECT"


class EndReason(StrEnum):
    """Why a referral ended without a reward; `NONE` while it has not."""

    NONE = ""
    FRAUD = "FRAUD"
    REVIEW = "REVIEW"
    CAP_REACHED = "CAP_REACHED"
    NOT_QUALIFIED = "NOT_QUALIFIED"
    REFUND = "REFUND"


# Where a referral may go from each state. All ways lead forward, and the last four states but REWARDED are ends.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.SIGNED_UP: frozenset({State.QUALIFIED, State.REJECTED, State.EXPIRED}),
    State.QUALIFIED: frozenset({State.HELD, State.REWARDED, State.REJECTED, State.REVERSED}),
    State.HELD: frozenset({State.REWARDED, State.REJECTED, State.REVERSED}),
    State.REWARDED: frozenset({State.REVERSED}),
    State.REJECTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.REVERSED: frozenset(),
}
# While a referral is in one of these its reward is pending.
PENDING_STATES = (State.QUALIFIED, State.HELD)
# These count towards the caps of a referrer.
COUNTED_STATES = (State.QUALIFIED, State.HELD, State.REWARDED)


@dataclass(frozen=True, slots=True)
class Cap:
    """A bound on how many referrals of one referrer may qualify in one period."""

    period: Period
    max_count: int


@dataclass(frozen=True, slots=True)
class ReferralProgram:
    """A version of a referral program."""

    referral_program_id: str
    display_name: str
    landing_url: str
    version: int = 0
    state: ProgramState = ProgramState.ACTIVE
    signup_event_type: str = SIGNUP_EVENT_TYPE
    attribution: Attribution = Attribution.LAST_TOUCH
    attribution_days: int = ATTRIBUTION_DAYS
    qualifying_event_type: str = ""
    condition: str = ""
    retention_days: int = 0
    qualification_days: int = QUALIFICATION_DAYS
    hold_seconds: int = 0
    refund_event_types: tuple[str, ...] = REFUND_EVENT_TYPES
    payment_property: str = PAYMENT_PROPERTY
    caps: tuple[Cap, ...] = ()
    time_zone: str = "UTC"
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a member. `link` is what stands behind `/r/`."""

    code_key: str
    code: str
    member_id: str
    referral_program_id: str
    is_vanity: bool
    click_count: int
    created_at: datetime
    link: str = ""


@dataclass(frozen=True, slots=True)
class Click:
    """One click of a person on a link; hashes are empty where the client did not say."""

    click_id: uuid.UUID
    code_key: str
    clicked_at: datetime
    ip_hash: bytes = b""
    subnet_hash: bytes = b""
    agent_hash: bytes = b""

    def signals(self) -> list[Signal]:
        """Gives what the client was seen with."""
        pairs = ((Kind.IP, self.ip_hash), (Kind.SUBNET, self.subnet_hash), (Kind.AGENT, self.agent_hash))
        return [Signal(kind, value_hash) for kind, value_hash in pairs if value_hash]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact about a member, as the program's feed tells it."""

    event_id: str
    type: str
    member_id: str
    org_id: str
    occurred_at: datetime
    properties: dict[str, Any]
    depth: int = 0

    @property
    def is_own(self) -> bool:
        """Tells whether it is one that Plaudit made of a referral."""
        return self.type.startswith(OWN_EVENTS)

    def visible(self) -> dict[str, Any]:
        """Gives what conditions can see."""
        return {
            "event_id": self.event_id,
            "type": self.type,
            "member_id": self.member_id,
            "org_id": self.org_id,
            "occur_time": self.occurred_at,
            "properties": self.properties,
        }


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """A member with the e-mail address as it is now; empty where there is none."""

    member_id: str
    email: str


@dataclass(frozen=True, slots=True)
class Observation:
    """A member was seen with something."""

    member_id: str
    signal: Signal
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """What one fraud check found. Evidence holds no personal data."""

    check: str
    points: int
    is_identity: bool = False
    evidence: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the fraud checks came to."""

    decision: Decision
    score: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decided about a referral that was held."""

    is_approved: bool
    reason: str
    actor: str
    subject: str
    reviewed_at: datetime


@dataclass(frozen=True, slots=True)
class Referral:
    """One member brought by another; `version` is the etag."""

    referral_id: uuid.UUID
    referral_program_id: str
    referral_program_version: int
    referrer_id: str
    referee_id: str
    code: str
    clicked_at: datetime | None
    signed_up_at: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    state: State = State.SIGNED_UP
    decision: Decision = Decision.PENDING
    end_reason: EndReason = EndReason.NONE
    score: int = 0
    findings: tuple[Finding, ...] = ()
    qualifying_event_id: str = ""
    payment: str = ""
    qualified_at: datetime | None = None
    hold_ends_at: datetime | None = None
    depth: int = 0
    version: int = 1

    def changed(self, now: datetime, **values: Any) -> "Referral":
        """Gives the next version of it, in the same state."""
        assert "state" not in values, "A state is changed by moving."
        return replace(self, updated_at=now, version=self.version + 1, **values)

    def moved(self, state: State, now: datetime, **values: Any) -> "Referral":
        """Gives the next version of it, in another state. Whatever the table does not allow is a fault of ours."""
        assert state in TRANSITIONS[self.state], f"A referral does not go from {self.state} to {state}."
        return replace(self, state=state, updated_at=now, version=self.version + 1, **values)

    def qualified(self, event: Event, payment: str, hold_seconds: int, now: datetime) -> "Referral":
        """Gives it as the event qualified it."""
        return self.moved(
            State.QUALIFIED,
            now,
            qualifying_event_id=event.event_id,
            payment=payment,
            qualified_at=event.occurred_at,
            hold_ends_at=event.occurred_at + timedelta(seconds=hold_seconds),
            depth=event.depth,
        )

    def capped(self, event: Event, now: datetime) -> "Referral":
        """Gives it as one that would have qualified, had the referrer not had as many as a cap allows."""
        return self.moved(
            State.REJECTED,
            now,
            end_reason=EndReason.CAP_REACHED,
            qualifying_event_id=event.event_id,
            qualified_at=event.occurred_at,
            hold_ends_at=event.occurred_at,
            depth=event.depth,
        )

    def assessed(self, found: Assessment, now: datetime) -> "Referral":
        """Gives it with what the fraud checks came to: rejected, held, allowed, or rewarded where the hold is over."""
        values: dict[str, Any] = {"decision": found.decision, "score": found.score, "findings": found.findings}
        match found.decision:
            case Decision.REJECT:
                return self.moved(State.REJECTED, now, end_reason=EndReason.FRAUD, **values)
            case Decision.HOLD if self.state is State.QUALIFIED:
                return self.moved(State.HELD, now, **values)
            case Decision.ALLOW if self.is_over(now):
                return self.moved(State.REWARDED, now, **values)
        return self.changed(now, **values)

    def reviewed(self, *, is_approved: bool, now: datetime) -> "Referral":
        """Gives it as a reviewer decided: rejected, allowed, or rewarded where the hold is over."""
        if not is_approved:
            return self.moved(State.REJECTED, now, decision=Decision.REJECT, end_reason=EndReason.REVIEW)
        if self.is_over(now):
            return self.moved(State.REWARDED, now, decision=Decision.ALLOW)
        return self.changed(now, decision=Decision.ALLOW)

    def is_over(self, now: datetime) -> bool:
        """Tells whether the time for which its reward is held back is over."""
        return self.hold_ends_at is not None and self.hold_ends_at <= now

    @property
    def is_capped(self) -> bool:
        """Tells whether a cap kept it from qualifying."""
        return self.end_reason is EndReason.CAP_REACHED

    @property
    def awaits_review(self) -> bool:
        """Tells whether a person is to decide."""
        return self.state is State.HELD and self.decision is Decision.HOLD


@dataclass(frozen=True, slots=True)
class ReferralChanged:
    """Published: a referral reached another state; `previous` is None for a new one."""

    referral: Referral
    previous: State | None
