"""What other services' feeds mean here: events that follow from events, and what becomes of what they gave."""

from datetime import datetime
from typing import Any

from google.protobuf.message import Message
from plaudit.gamification.v1 import events_pb2 as gamification_pb2
from plaudit.referral.v1 import events_pb2 as referral_pb2
from plaudit.referral.v1 import referral_pb2 as referrals

from services.kernel import feed, times
from services.program.model import Event, Sequel, Settled, Settling

# What an event says of itself outside of its properties.
OWN_FIELDS = frozenset({"member_id", "org_id", "occur_time", "causation_depth"})
# How gamification's messages are called as events.
GAMIFICATION_TYPES: dict[type[Message], str] = {
    gamification_pb2.LevelReached: "gamification.level_reached",
    gamification_pb2.StreakReached: "gamification.streak_reached",
    gamification_pb2.BadgeAwarded: "gamification.badge_awarded",
    gamification_pb2.RecordBeaten: "gamification.record_beaten",
}
LEADERBOARD_PLACED = "gamification.leaderboard_placed"
REFERRAL_QUALIFIED = "referral.qualified"
REFERRAL_REWARDED = "referral.rewarded"
# In which states a referral that had qualified gives nothing (any more).
VOID_STATES = frozenset(
    {referrals.REFERRAL_STATE_REJECTED, referrals.REFERRAL_STATE_EXPIRED, referrals.REFERRAL_STATE_REVERSED}
)


def of_gamification(incoming: feed.Incoming) -> list[Sequel]:
    """Tells the events that follow from what gamification published: one, or one for each who won a place."""
    if incoming.type == gamification_pb2.LeaderboardClosed.DESCRIPTOR.full_name:
        return _placed(incoming)
    for kind, type_ in GAMIFICATION_TYPES.items():
        if incoming.type == kind.DESCRIPTOR.full_name:
            message: Any = kind.FromString(incoming.payload)
            return [
                Event(
                    event_id=f"gamification:{incoming.event_id}",
                    type=type_,
                    member_id=message.member_id,
                    org_id=message.org_id,
                    occurred_at=times.from_proto(message.occur_time),
                    properties=_properties(message),
                    depth=message.causation_depth + 1,
                )
            ]
    return []


def _placed(incoming: feed.Incoming) -> list[Sequel]:
    closed = gamification_pb2.LeaderboardClosed.FromString(incoming.payload)
    board = {
        "leaderboard_id": closed.leaderboard_id,
        "period": _enum_name(closed.DESCRIPTOR.fields_by_name["period"], closed.period),
        "start_date": closed.start_date,
        "member_count": closed.member_count,
    }
    return [
        Event(
            event_id=f"gamification:{incoming.event_id}:{place}",
            type=LEADERBOARD_PLACED,
            member_id=standing.member_id,
            org_id="",
            occurred_at=times.from_proto(closed.close_time),
            properties={**board, "rank": standing.rank, "value": standing.value},
            depth=1,
        )
        for place, standing in enumerate(closed.standings)
    ]


def of_referral(incoming: feed.Incoming) -> list[Sequel]:
    """Tells what follows from the state that a referral reached.

    Once it qualifies, an event that rules may pay both sides for, mostly with value that waits; then what becomes of
    that.
    """
    changed = referral_pb2.ReferralChanged.FromString(incoming.payload)
    referral = changed.referral
    qualified_id = f"referral:{referral.referral_id}:qualified"

    def event(type_: str, occurred_at: datetime, event_id: str) -> Event:
        return Event(
            event_id=event_id,
            type=type_,
            member_id=changed.member_id,
            org_id="",
            occurred_at=occurred_at,
            properties={
                "referral_id": referral.referral_id,
                "referral_program_id": referral.referral_program_id,
                "referrer_id": referral.referrer_id,
                "referee_id": referral.referee_id,
                "code": referral.code,
            },
            depth=changed.causation_depth + 1,
        )

    if referral.state == referrals.REFERRAL_STATE_QUALIFIED:
        return [event(REFERRAL_QUALIFIED, times.from_proto(referral.qualify_time), qualified_id)]
    if referral.state == referrals.REFERRAL_STATE_REWARDED:
        rewarded_id = f"referral:{referral.referral_id}:rewarded"
        rewarded = event(REFERRAL_REWARDED, times.from_proto(referral.update_time), rewarded_id)
        return [Settled(qualified_id, changed.member_id, Settling.CONFIRM), rewarded]
    if referral.state in VOID_STATES and referral.HasField("qualify_time"):
        state = _enum_name(referral.DESCRIPTOR.fields_by_name["state"], referral.state)
        reason = _enum_name(referral.DESCRIPTOR.fields_by_name["end_reason"], referral.end_reason)
        why = f"referral {state.lower()}: {reason.lower()}"
        return [Settled(qualified_id, changed.member_id, Settling.TAKE_BACK, why)]
    return []


def _properties(message: Message) -> dict[str, Any]:
    """Gives what a message says beside whose event it is: numbers as numbers, choices by their names."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.name not in OWN_FIELDS
    }


def _value(field: Any, value: Any) -> Any:
    return value if field.enum_type is None else _enum_name(field, value)


def _enum_name(field: Any, number: int) -> str:
    """Names a choice without the prefix that all of its kind have."""
    names = field.enum_type.values_by_number
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return str(names[number].name.removeprefix(prefix))
