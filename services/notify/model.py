"""The nouns of notify: frozen values, as they are kept and decided about."""

import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

# A cause that is older sets nothing off: nobody wants to read today what was news last week.
HISTORY_AFTER = timedelta(days=2)
# What a gathered message tells of at most; it says how many there were.
CAUSES_SHOWN_MAX = 100
PRIORITY_DEFAULT = 5
MORNING_MINUTE = 9 * 60
# How many messages led to a message: past this many, nothing follows.
DEPTH_MAX = 8
# The feeds whose events are causes under their own name; what the program records under such a name is their echo.
ECHOED = ("gamification.", "ledger.", "member.", "program.", "referral.")


class Channel(StrEnum):
    """How a message goes."""

    EMAIL = "EMAIL"
    INBOX = "INBOX"
    WEBHOOK = "WEBHOOK"


class SourceKind(StrEnum):
    """What sets a trigger off."""

    EVENT = "EVENT"
    INACTIVITY = "INACTIVITY"
    DATE = "DATE"
    EXPIRY = "EXPIRY"
    SCHEDULE = "SCHEDULE"


class DateKind(StrEnum):
    """Which date of a member is meant."""

    BIRTHDAY = "BIRTHDAY"
    JOINED = "JOINED"
    ATTRIBUTE = "ATTRIBUTE"


class Outcome(StrEnum):
    """What was decided."""

    SEND = "SEND"
    POSTPONED = "POSTPONED"
    NOT_SENT = "NOT_SENT"


class State(StrEnum):
    """Where a delivery stands."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    SENT = "SENT"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    UNDER_WAY = "UNDER_WAY"
    ACCEPTED = "ACCEPTED"
    DEFERRED = "DEFERRED"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Source:
    """What sets a trigger off, with what its kind needs."""

    kind: SourceKind
    type: str = ""
    days: tuple[int, ...] = ()
    date: DateKind | None = None
    attribute: str = ""
    asset: str = ""
    weekdays: tuple[int, ...] = ()
    active_days: int = 0


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a message is sent, to whom and how."""

    trigger_id: str
    display_name: str
    source: Source
    template_id: str
    channels: tuple[Channel, ...]
    topic: str
    is_active: bool = True
    condition: str = ""
    still: str = ""
    once_per: str = ""
    priority: int = PRIORITY_DEFAULT
    is_transactional: bool = False
    gather_minutes: int = 0
    delay_minutes: int = 0
    clock_minute: int | None = None
    retries_unknown: bool = True
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LocaleTexts:
    """The texts of a template in one language."""

    locale: str
    subject: str
    title: str
    body: str
    text: str
    preheader: str = ""
    action_label: str = ""
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Template:
    """What a message looks like and says."""

    template_id: str
    display_name: str
    locales: tuple[LocaleTexts, ...]
    mjml: str = ""
    action_url: str = ""
    sample: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Brand:
    """Who writes."""

    name: str
    sender_email: str
    reply_email: str = ""
    color: str = ""
    logo_url: str = ""
    site_url: str = ""
    postal_address: str = ""


@dataclass(frozen=True, slots=True)
class Cap:
    """How many messages a member gets in so many days, today included."""

    channel: Channel
    days: int
    max_count: int
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a member is left alone: minutes of the local day, from one up to the other."""

    from_minute: int
    until_minute: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a member's life with the product."""

    stage: str
    next: dict[str, str]
    condition: str = ""
    next_url: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that the report counts."""

    event_type: str
    label: dict[str, str]
    goal_count: int = 0
    saved_minutes: int = 0


@dataclass(frozen=True, slots=True)
class Insight:
    """Something that the report may say."""

    insight_id: str
    condition: str
    impact: str
    text: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the weekly report is made of."""

    stages: tuple[Stage, ...] = ()
    measures: tuple[Measure, ...] = ()
    insights: tuple[Insight, ...] = ()
    comparison_metric_id: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a program writes to its members."""

    brand: Brand
    time_zone: str = "UTC"
    locale: str = "en"
    quiet: Quiet | None = None
    caps: tuple[Cap, ...] = ()
    report: Report | None = None
    version: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """What messages need to know of a member."""

    member_id: str
    zone: str
    joined_at: datetime
    email: str = ""
    display_name: str = ""
    locale: str = ""
    time_zone: str = ""
    birthday: date | None = None
    org_id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    active_at: datetime | None = None

    def visible(self, counts: dict[str, int], month_counts: dict[str, int]) -> dict[str, Any]:
        """Gives what expressions and texts may look at; never the address."""
        return {
            "member_id": self.member_id,
            "display_name": self.display_name,
            "org_id": self.org_id,
            "locale": self.locale,
            "time_zone": self.zone,
            "birthday": self.birthday.isoformat() if self.birthday else "",
            "attributes": self.attributes,
            "counts": counts,
            "month_counts": month_counts,
        }


@dataclass(frozen=True, slots=True)
class Profile:
    """What a feed tells of a member, before it is known which zone counts."""

    member_id: str
    email: str
    display_name: str
    locale: str
    time_zone: str
    birthday: date | None
    org_id: str
    attributes: dict[str, Any]
    joined_at: datetime
    is_new: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Something that happened to a member, to be counted on a day of the member's."""

    member_id: str
    kind: str
    occurred_at: datetime
    amount: int = 0
    is_activity: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """An end of some value of a member."""

    member_id: str
    asset: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that may set triggers off."""

    type: str
    cause_id: str
    member_id: str
    occurred_at: datetime
    properties: dict[str, Any]
    depth: int = 0

    def visible(self) -> dict[str, Any]:
        """Gives what expressions and texts may look at."""
        return {"type": self.type, "occur_time": self.occurred_at, "properties": self.properties}


@dataclass(frozen=True, slots=True)
class Mute:
    """Something that a member does not want; empty means every one."""

    topic: str = ""
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a member wants of messages."""

    member_id: str
    muted: tuple[Mute, ...] = ()
    quiet: Quiet | None = None
    clock_minute: int | None = None
    version: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for a member about one cause, trigger and channel."""

    decision_id: uuid.UUID
    trigger_id: str
    trigger_version: int
    member_id: str
    channel: Channel
    cause_type: str
    cause_id: str
    outcome: Outcome
    reason: str
    delivery_id: uuid.UUID | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way, or at its end."""

    delivery_id: uuid.UUID
    trigger_id: str
    trigger_version: int
    template_id: str
    member_id: str
    channel: Channel
    topic: str
    priority: int
    is_transactional: bool
    send_at: datetime
    depth: int
    created_at: datetime
    state: State = State.WAITING
    reason: str = ""
    template_version: int | None = None
    gather_key: str | None = None
    address: str = ""
    locale: str = ""
    ended_at: datetime | None = None
    cause_count: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to hand a delivery over."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: AttemptOutcome
    code: int = 0
    response: str = ""


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """A message in a member's inbox."""

    delivery_id: uuid.UUID
    position: int
    topic: str
    title: str
    body: str
    action_url: str
    action_label: str
    created_at: datetime
    read_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place of the program's own that is told what happens."""

    endpoint_id: str
    url: str
    event_types: tuple[str, ...]
    is_active: bool = True
    reason: str = ""
    created_at: datetime | None = None
    # Until when the secret before the present one signs, too.
    previous_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that has come to its end, for the feed."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class PreferencesChanged:
    """A member who wants other messages than before, for the feed."""

    preferences: Preferences


Published = Ended | PreferencesChanged
