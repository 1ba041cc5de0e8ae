"""Causes: what other services' feeds publish, in notify's own words. One line of the table for each type of event."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.gamification.v1 import events_pb2 as gamification_events
from plaudit.ledger.v1 import events_pb2 as ledger_events
from plaudit.program.v1 import events_pb2 as program_events
from plaudit.referral.v1 import events_pb2 as referral_events

from services.kernel import feed, fields, times
from services.notify import model
from services.notify.operations.observing import Observed

JOINED = "member.joined"
POINTS_EARNED = "points.earned"
POINTS = "points"
FIRST_ETAG = "1"

Read = Callable[[Any, feed.Incoming], Iterator[Observed]]


@dataclass(frozen=True, slots=True)
class Published:
    """A type of event of another service's feed, and how it is read."""

    message: type[Message]
    read: Read

    @property
    def name(self) -> str:
        """Is its full name."""
        return self.message.DESCRIPTOR.full_name


def _event_recorded(message: program_events.EventRecorded, event: feed.Incoming) -> Iterator[Observed]:
    """Reads an event of the product; what the program records of other feeds under their names is their echo."""
    recorded = message.event
    occurred_at = times.from_proto(recorded.occur_time)
    if recorded.type.startswith(model.ECHOED):
        return
    yield Observed(
        count=model.Count(recorded.member_id, recorded.type, occurred_at, is_activity=True),
        cause=model.Cause(
            type=recorded.type,
            cause_id=recorded.event_id,
            member_id=recorded.member_id,
            occurred_at=occurred_at,
            properties=fields.struct_to_dict(recorded.properties),
            depth=message.causation_depth + 1,
        ),
    )
    del event


def _member_changed(message: program_events.MemberChanged, event: feed.Incoming) -> Iterator[Observed]:
    member = message.member
    is_new = member.etag == FIRST_ETAG
    profile = model.Profile(
        member_id=member.member_id,
        email=member.email,
        display_name=member.display_name,
        locale=member.locale,
        time_zone=member.time_zone,
        birthday=date.fromisoformat(member.birthday) if member.birthday else None,
        org_id=member.org_id,
        attributes=fields.struct_to_dict(member.attributes),
        joined_at=times.from_proto(member.create_time) if member.HasField("create_time") else event.posted_at,
        is_new=is_new,
    )
    cause = None
    if is_new:
        cause = model.Cause(JOINED, f"{JOINED}:{member.member_id}", member.member_id, profile.joined_at, {}, 1)
    yield Observed(profile=profile, cause=cause)


def _redemption_changed(message: program_events.RedemptionChanged, event: feed.Incoming) -> Iterator[Observed]:
    yield Observed(cause=_cause(message, event, message.redemption.member_id, event.posted_at))


def _entry_posted(message: ledger_events.EntryPosted, event: feed.Incoming) -> Iterator[Observed]:
    occurred_at = times.from_proto(message.occur_time)
    count = None
    if message.amount > 0 and message.asset == POINTS:
        count = model.Count(message.member_id, POINTS_EARNED, occurred_at, message.amount)
    expiry = None
    if message.HasField("expire_time"):
        expiry = model.Expiry(message.member_id, message.asset, times.from_proto(message.expire_time))
    # What the entry is about may be old; that it was posted is news only where that is too.
    yield Observed(
        count=count, expiry=expiry, cause=_cause(message, event, message.member_id, min(occurred_at, event.posted_at))
    )


def _of_the_program(message: Message, event: feed.Incoming) -> Iterator[Observed]:
    """Reads what belongs to no member: endpoints are told, and nobody else."""
    yield Observed(cause=_cause(message, event, "", event.posted_at))


def _of_a_member(message: Any, event: feed.Incoming) -> Iterator[Observed]:
    """Reads what happened to a member by its `member_id`, `occur_time` and `causation_depth`; counts it too."""
    occurred_at = times.from_proto(message.occur_time)
    cause = _cause(message, event, message.member_id, occurred_at, message.causation_depth)
    yield Observed(count=model.Count(message.member_id, cause.type, occurred_at), cause=cause)


def _referral_changed(message: referral_events.ReferralChanged, event: feed.Incoming) -> Iterator[Observed]:
    """Reads what became of a referral, which is of interest to who referred."""
    cause = _cause(message, event, message.member_id, event.posted_at, message.causation_depth)
    # What was found out about people is for the staff of the program, and for nobody whom messages reach.
    for name in ("findings", "review", "score"):
        cause.properties["referral"].pop(name, None)
    yield Observed(cause=cause)


def _cause(message: Any, event: feed.Incoming, member_id: str, occurred_at: Any, depth: int = 0) -> model.Cause:
    return model.Cause(
        type=type_name(event.type),
        cause_id=str(event.event_id),
        member_id=member_id,
        occurred_at=occurred_at,
        properties=to_properties(message),
        depth=depth + 1,
    )


# By the service that publishes: its event types, each with how it is read.
FEEDS: dict[str, tuple[Published, ...]] = {
    "program": (
        Published(program_events.EventRecorded, _event_recorded),
        Published(program_events.MemberChanged, _member_changed),
        Published(program_events.RedemptionChanged, _redemption_changed),
    ),
    "ledger": (
        Published(ledger_events.EntryPosted, _entry_posted),
        Published(ledger_events.BudgetThresholdReached, _of_the_program),
    ),
    "gamification": (
        Published(gamification_events.LevelReached, _of_a_member),
        Published(gamification_events.StreakReached, _of_a_member),
        Published(gamification_events.BadgeAwarded, _of_a_member),
        Published(gamification_events.RecordBeaten, _of_a_member),
    ),
    "referral": (Published(referral_events.ReferralChanged, _referral_changed),),
}


def types_of(service: str) -> list[str]:
    """Lists the types of events of a service that are read."""
    return [each.name for each in FEEDS[service]]


def read(service: str, incoming: list[feed.Incoming]) -> list[Observed]:
    """Reads events of a service, in their order."""
    by_name = {each.name: each for each in FEEDS[service]}
    found: list[Observed] = []
    for event in incoming:
        published = by_name[event.type]
        found += published.read(published.message.FromString(event.payload), event)
    return found


def type_name(full_name: str) -> str:
    """Gives the type of a cause for a message type: `plaudit.ledger.v1.EntryPosted` is `ledger.entry_posted`."""
    _, service, _, name = full_name.split(".")
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return f"{service}.{words.removeprefix('_')}"


def to_properties(message: Message) -> dict[str, Any]:
    """Gives a message as JSON with the contract's names; whole numbers as numbers, enums without their prefix."""
    values: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _plain(values, message.DESCRIPTOR)


def _plain(values: dict[str, Any], descriptor: Any) -> dict[str, Any]:
    for field in descriptor.fields:
        if field.name not in values:
            continue
        value = values[field.name]
        if isinstance(value, dict) and _is_ours(field):
            assert field.message_type is not None, "Ours are messages."
            _plain(value, field.message_type)
        elif field.enum_type is not None and isinstance(value, str):
            values[field.name] = value.removeprefix(_prefix(field.enum_type.name))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_INT64 and isinstance(value, str):
            values[field.name] = int(value)
    return values


def _is_ours(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name not in (
        Timestamp.DESCRIPTOR.full_name,
        "google.protobuf.Struct",
    )


@cache
def _prefix(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in name).removeprefix("_") + "_"
