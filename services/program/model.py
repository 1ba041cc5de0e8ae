"""The program's nouns. Frozen values, no I/O."""

import uuid
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from services.kernel.calendar import Period

DEFAULT_ASSET = "points"
AMOUNT_MAX = 1_000_000_000_000
# An event may be this far ahead of the clock: senders' clocks are not ours.
AHEAD_MAX_S = 300
# Events that effects lead to again stop here, so that rules cannot feed each other for ever.
DEPTH_MAX = 8


class RuleState(StrEnum):
    """Whether a rule is live."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ARCHIVED = "ARCHIVED"


class EffectState(StrEnum):
    """Where stands what an event gave."""

    PENDING = "PENDING"
    POSTED = "POSTED"
    HELD = "HELD"
    TAKEN_BACK = "TAKEN_BACK"


class Settling(StrEnum):
    """What becomes of what an event gave: nobody undoes it, and nothing follows the last one."""

    CONFIRM = "CONFIRM"
    TAKE_BACK = "TAKE_BACK"


class RedemptionState(StrEnum):
    """Where a redemption stands."""

    PENDING = "PENDING"
    FULFILLED = "FULFILLED"
    REFUSED = "REFUSED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


class Fulfilment(StrEnum):
    """What a member gets for a reward."""

    CODE = "CODE"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Program:
    """One tenant."""

    program_id: str
    display_name: str
    time_zone: str
    rules_revision: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """A customer's user; `version` is the etag."""

    member_id: str
    email: str = ""
    display_name: str = ""
    locale: str = ""
    time_zone: str = ""
    birthday: date | None = None
    org_id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    version: int = 0

    def visible(self) -> dict[str, Any]:
        """Gives what rules can see: no name and no address."""
        return {
            "member_id": self.member_id,
            "org_id": self.org_id,
            "locale": self.locale,
            "time_zone": self.time_zone,
            "birthday": self.birthday.isoformat() if self.birthday else "",
            "attributes": self.attributes,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """A fact from outside (depth 0) or one that an effect led to. `raw` is its message, for the feed.

    `utc_offset_minutes` is what clocks showed where it happened, None where that is not known.
    """

    event_id: str
    type: str
    member_id: str
    org_id: str
    occurred_at: datetime
    properties: dict[str, Any]
    depth: int = 0
    raw: bytes = b""
    utc_offset_minutes: int | None = None

    def visible(self) -> dict[str, Any]:
        """Gives what rules can see."""
        return {
            "event_id": self.event_id,
            "type": self.type,
            "member_id": self.member_id,
            "org_id": self.org_id,
            "occur_time": self.occurred_at,
            "properties": self.properties,
        }

    def differing_fields(self, other: "Event") -> list[str]:
        """Names the fields in which another event of the same id differs, properties by key."""
        named = (
            ("type", self.type, other.type),
            ("memberId", self.member_id, other.member_id),
            ("orgId", self.org_id, other.org_id),
            ("occurTime", self.occurred_at, other.occurred_at),
            ("utcOffsetMinutes", self.utc_offset_minutes, other.utc_offset_minutes),
        )
        found = [name for name, mine, theirs in named if mine != theirs]
        missing = object()
        keys = sorted(self.properties.keys() | other.properties.keys())
        differing = [key for key in keys if self.properties.get(key, missing) != other.properties.get(key, missing)]
        return found + [f"properties.{key}" for key in differing]


@dataclass(frozen=True, slots=True)
class Cap:
    """A bound on what one member may get from one rule in one period; 0 is no bound."""

    period: Period
    max_amount: int
    max_count: int


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long value lives, by the calendar: a span, then to the end of the period that it falls in, if there is one.

    One that is rolling counts from the member's last activity instead of from the event.
    """

    months: int = 0
    days: int = 0
    end: Period | None = None
    is_rolling: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What the ledger is told of what a rule gives, beside the amount and the end.

    A rolling expiry goes along with the zone of when it was decided, since the ledger goes on counting.
    """

    is_promotional: bool = False
    campaign_id: str = ""
    budget_id: str = ""
    rolling: Expiry | None = None
    time_zone: str = ""
    is_pending: bool = False


PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class Rule:
    """A version of a rule."""

    rule_id: str
    display_name: str
    event_type: str
    amount: str
    version: int = 0
    description: str = ""
    state: RuleState = RuleState.ACTIVE
    condition: str = ""
    asset: str = DEFAULT_ASSET
    recipient: str = ""
    once_per: str = ""
    caps: tuple[Cap, ...] = ()
    expiry: Expiry | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    is_promotional: bool = False
    campaign_id: str = ""
    budget_id: str = ""
    is_pending: bool = False

    @property
    def is_stateful(self) -> bool:
        """Tells whether a decision depends on earlier ones."""
        return bool(self.once_per or self.caps)

    def holds_at(self, instant: datetime) -> bool:
        """Tells whether the rule decides on what occurred at an instant."""
        return (
            self.state is RuleState.ACTIVE
            and (self.starts_at is None or self.starts_at <= instant)
            and (self.ends_at is None or instant < self.ends_at)
        )


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a rule that matched did not pay."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What one rule did about one event: it paid (`denial` is None) or it did not.

    `expires_at` is where a rolling end was when the event was recorded. All that the ledger is told is kept, so that it
    is told the same again whatever has changed since.
    """

    event_id: str
    place: int
    rule_id: str
    rule_version: int
    recipient_id: str
    asset: str
    amount: int
    expires_at: datetime | None
    denial: Denial | None
    member_seen: dict[str, Any] | None
    terms: Terms = PLAIN
    # The periods and their first days whose caps the amount counts in.
    counted: tuple[tuple[str, date], ...] = ()

    def denied(self, reason: str, message: str) -> "Decision":
        """Gives the same decision as one that did not pay."""
        return replace(self, amount=0, expires_at=None, terms=PLAIN, denial=Denial(reason, message))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of what an event gave, since when, and why."""

    settling: Settling
    settled_at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of what an event of a member gave, as another service says, and why."""

    event_id: str
    member_id: str
    settling: Settling
    reason: str = ""


# What follows from what another service published.
Sequel = Event | Settled


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is stored, with what was decided about it and what became of that."""

    event: Event
    recorded_at: datetime
    decisions: tuple[Decision, ...]
    is_pending: bool
    confirmed: Settlement | None = None
    taken_back: Settlement | None = None

    def effect_state(self, decision: Decision) -> EffectState:
        """Tells where stands what a decision paid."""
        if self.taken_back is not None:
            return EffectState.TAKEN_BACK
        if self.is_pending:
            return EffectState.PENDING
        return EffectState.HELD if decision.terms.is_pending and self.confirmed is None else EffectState.POSTED


@dataclass(frozen=True, slots=True)
class Reward:
    """Something that value can be spent on."""

    reward_id: str
    display_name: str
    cost: int
    description: str = ""
    asset: str = DEFAULT_ASSET
    fulfilment: Fulfilment = Fulfilment.CODE
    created_at: datetime | None = None
    code_count: int = 0


@dataclass(frozen=True, slots=True)
class Redemption:
    """One exchange of value for a reward. `refusal` holds code, reason, message and metadata."""

    redemption_id: uuid.UUID
    member_id: str
    reward_id: str
    asset: str
    cost: int
    fulfilment: Fulfilment
    state: RedemptionState
    code: str
    refusal: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class EventRecorded:
    """Published: an event was recorded."""

    event: Event
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """Published: a member was created or changed."""

    member: Member


@dataclass(frozen=True, slots=True)
class RuleChanged:
    """Published: a rule has a new version."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class RedemptionChanged:
    """Published: a redemption changed its state."""

    redemption: Redemption


Published = EventRecorded | MemberChanged | RuleChanged | RedemptionChanged
