"""Examples for the documentation: one small story, told in the fields of the contracts.

A field that is not in the story gets a value by its type, or is left out where it is optional; so a new contract has
examples without an edit here, and better ones with it.
"""

from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from plaudit.type.v1 import options_pb2

from services.gateway import names
from services.gateway.schemas import integer_range

INSTANT = "2026-01-31T12:00:00Z"
EXPIRY = "2027-01-31T12:00:00Z"
BYTES = "cGxhdWRpdA=="  # in base64, as proto3 JSON has them

# By `Message.field`, or by the field alone where it means the same everywhere.
STORY: dict[str, Any] = {
    "event_id": "order-1001",
    "member_id": "member-42",
    "rule_id": "purchase",
    "reward_id": "mug",
    "redemption_id": "019b2f3c-8a51-7c55-9d4e-5f0c7a1b2d3e",
    "lot_id": "019b2f3c-7e10-7d1a-8f63-1b0e4c9a6d52",
    "entry_id": "019b2f3c-7e10-7d1a-8f63-1b0e4c9a6d53",
    "asset": "points",
    "amount": "64",
    "cost": "500",
    "rule_version": 3,
    "version": 3,
    "event_type": "purchase.completed",
    "condition": "event.properties.amount_cents >= 100",
    "etag": "3",
    "org_id": "acme",
    "code": "MUG-7F3K-2QXD",
    "codes": ["MUG-7F3K-2QXD", "MUG-9B1M-4WZT"],
    "next_page_token": "",
    "balance": "564",
    "available": "564",
    "lifetime_earned": "564",
    "remaining": "64",
    "added_count": "2",
    "code_count": "2",
    "months": 12,
    "Event.type": "purchase.completed",
    "Event.properties": {"amount_cents": 6499, "currency": "EUR"},
    "Member.email": "ada@example.com",
    "Member.display_name": "Ada",
    "Member.locale": "en-GB",
    "Member.time_zone": "Europe/London",
    "Member.attributes": {"plan": "team"},
    "Decision.member": {"plan": "team"},
    "Rule.display_name": "A point for every euro, all spring",
    "Rule.amount": "event.properties.amount_cents / 100",
    "Rule.expiry": {"months": 12, "days": 0, "end": "MONTH", "rolling": False},
    "Rule.promotional": True,
    "EarningTableRow.display_name": "A point for every euro, all spring",
    "EarningTableRow.amount": "event.properties.amount_cents / 100",
    "Expiry.end": "MONTH",
    "Reward.display_name": "Coffee mug",
    "Effect.state": "POSTED",
    "Redemption.state": "FULFILLED",
    "Lot.state": "ACTIVE",
    "Cause.redemption_id": "",
    "Adjust.change": "100",
    "Adjust.reason": "Goodwill after the outage of Friday",
    "UnexpireLotsRequest.reason": "The law changed",
    "actor": "staff-7",
    "Denial.reason": "CAP_REACHED",
    "Denial.message": "The cap of 100 a day is reached.",
    "GetLiabilityRequest.previous_as_of_time": "2025-12-31T12:00:00Z",
    "campaign_id": "spring",
    "budget_id": "spring-budget",
    "redemption_rate_bps": 9700,
    "LiabilityLine.month": "2025-12",
    "LiabilityFigures.issued": "10000",
    "LiabilityFigures.redeemed": "4500",
    "LiabilityFigures.open": "5500",
    "LiabilityFigures.expected": "9700",
    "LiabilityFigures.breakage": "300",
    "LiabilityFigures.allocated_value": "9000",
    "LiabilityFigures.recognised_value": "4175",
    "LiabilityFigures.deferred_value": "4825",
    "LiabilityFigures.recognised_since_value": "4175",
    "referral_program_id": "friends",
    "referral_id": "019b2f3c-9c20-7a41-b0d3-2f6e8d4c1a90",
    "referrer_id": "member-42",
    "referee_id": "member-57",
    "vanity_code": "ADA10",
    "ReferralProgram.display_name": "Bring a friend",
    "ReferralProgram.landing_url": "https://acme.example/welcome",
    "ReferralProgram.qualifying_event_type": "payment.succeeded",
    "ReferralProgram.hold_seconds": "2592000",
    "ReferralCode.code": "ADA10",
    "ReferralCode.link_path": "/r/7KRMD-ADA10",
    "Referral.code": "ADA10",
    "Finding.check": "same_ip",
    "Finding.points": 10,
    "ApproveReferralRequest.reason": "They work in one office",
    "RejectReferralRequest.reason": "It is the same person",
    "Review.reason": "They work in one office",
    "page_size": 50,
    "metric_id": "reports",
    "ladder_id": "usage",
    "streak_id": "daily",
    "badge_id": "ten-reports",
    "leaderboard_id": "most-reports",
    "Metric.display_name": "Reports",
    "Metric.event_type": "report.generated",
    "Metric.filter": 'event.properties.format == "pdf"',
    "Ladder.display_name": "Usage",
    "Level.level_id": "bronze",
    "Level.display_name": "Bronze",
    "Level.threshold": "10",
    "Level.unlocks": "Templates of your own",
    "Streak.display_name": "Days in a row",
    "Badge.display_name": "Ten reports",
    "Badge.total": {"metricId": "reports", "threshold": "10"},
    "RecordGoal.threshold": "25",
    "StreakGoal.length": 7,
    "Leaderboard.display_name": "Most reports",
    "Leaderboard.periods": ["WEEK"],
    "delivery_id": "019b2f3c-8a51-7c55-9d4e-5f0c7a1b2d40",
    "template_id": "points-earned",
    "trigger_id": "points-earned",
    "topic": "points",
    "Trigger.display_name": "Points earned",
    "Trigger.condition": "event.properties.amount > 0",
    "Trigger.channels": ["EMAIL", "INBOX"],
    "Trigger.on_event": {"type": "ledger.entry_posted"},
    "Trigger.clock": "",
    "Template.display_name": "Points earned",
    "Template.action_url": "/rewards",
    "TemplateLocale.subject": "You have earned {{ event.properties.amount }} points",
    "TemplateLocale.title": "Well done, {{ member.display_name }}",
    "TemplateLocale.body": "You have earned {{ event.properties.amount }} points.",
    "TemplateLocale.text": "You have earned {{ event.properties.amount }} points.",
    "TemplateText.key": "more",
    "TemplateText.text": "See what they are good for",
    "LocalText.text": "Reports made",
    "Brand.name": "Acme",
    "Brand.sender_email": "hello@acme.example",
    "Brand.color": "#2f5d8a",
    "Brand.site_url": "https://app.acme.example",
    "Settings.quiet_from": "21:00",
    "Settings.quiet_until": "08:00",
    "Preferences.quiet_from": "20:00",
    "Preferences.quiet_until": "09:00",
    "Preferences.clock": "",
    "OnDate.date": "BIRTHDAY",
    "FrequencyCap.channel": "EMAIL",
    "ReportInsight.condition": 'week["report.generated"] > last_week["report.generated"]',
    "ReportInsight.impact": 'week["report.generated"]',
    "ReportInsight.text": [{"locale": "en", "text": "You made more reports than last week."}],
    "ReportStage.condition": 'member.counts["report.generated"] < 10',
    "Endpoint.url": "https://hooks.acme.example/plaudit",
    "Endpoint.event_types": ["ledger.entry_posted"],
    "TestTemplateRequest.email": "ada@example.com",
    "CreateSuppressionRequest.reason": "COMPLAINT",
    "MarkMessagesReadRequest.position": "7",
}
BY_KIND = {
    options_pb2.TEXT_KIND_ID: "id-1",
    options_pb2.TEXT_KIND_SLUG: "name",
    options_pb2.TEXT_KIND_TIME_ZONE: "Europe/Paris",
    options_pb2.TEXT_KIND_LOCALE: "pt-BR",
    options_pb2.TEXT_KIND_DATE: "1990-02-28",
    options_pb2.TEXT_KIND_EMAIL: "ada@example.com",
}
WRITTEN_AS_TEXT = frozenset(
    {
        FieldDescriptor.CPPTYPE_STRING,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_ENUM,
    }
)
# What an answer of the story does not hold: a call that went well has no refusal.
ABSENT_TYPES = frozenset({"plaudit.type.v1.Refusal"})
ABSENT_FIELDS = frozenset({"denials", "denial"})
# What a first call does not send: there is nothing yet that could have changed.
UNSENT_FIELDS = frozenset({"etag"})


def sent(message: Descriptor, *, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Makes an example of what a caller sends: what is required, and what the story has."""
    example: dict[str, Any] = {}
    for field in message.fields:
        if field.name in left_out | UNSENT_FIELDS or names.has_behaviour(field, field_behavior_pb2.OUTPUT_ONLY):
            continue
        if names.has_behaviour(field, field_behavior_pb2.REQUIRED) or _told(field) is not None:
            example[field.json_name] = _value(field, sent)
    return example


def received(message: Descriptor) -> dict[str, Any]:
    """Makes an example of an answer."""
    example: dict[str, Any] = {}
    for field in message.fields:
        absent = field.message_type is not None and field.message_type.full_name in ABSENT_TYPES
        if names.has_behaviour(field, field_behavior_pb2.INPUT_ONLY) or (absent and not field.is_repeated):
            continue
        if field.containing_oneof is not None and field != field.containing_oneof.fields[0]:
            continue  # An answer holds one of them.
        if field.name in ABSENT_FIELDS:
            if field.is_repeated:
                example[field.json_name] = []
            continue
        example[field.json_name] = _value(field, received)
    return example


def parameter(field: FieldDescriptor) -> Any:
    """Makes an example of a parameter, None where none helps."""
    told = _told(field)
    if told is not None:
        return told
    is_instant = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    return INSTANT if is_instant else None


def _told(field: FieldDescriptor) -> Any:
    assert field.containing_type is not None, "Every field stands in a message."
    told = STORY.get(f"{field.containing_type.name}.{field.name}", STORY.get(field.name))
    is_list_of_texts = field.is_repeated and field.type == FieldDescriptor.TYPE_STRING
    if told is None and is_list_of_texts and field.name.removesuffix("s") in STORY:
        return [STORY[field.name.removesuffix("s")]]
    return told


def _value(field: FieldDescriptor, nested: Any) -> Any:
    told = _told(field)
    if told is not None and (field.is_repeated == isinstance(told, list)) and _fits(field, told):
        return told
    if names.is_map(field):
        return {}
    item = _item(field, nested)
    return [item] if field.is_repeated else item


def _fits(field: FieldDescriptor, told: Any) -> bool:
    return field.is_repeated or (field.cpp_type in WRITTEN_AS_TEXT) == isinstance(told, str)


def _item(field: FieldDescriptor, nested: Any) -> Any:
    if field.name == "expire_time":
        return EXPIRY
    if field.message_type is not None:
        return _of_message(field.message_type, nested)
    if field.enum_type is not None:
        return next(name for number, name in names.enum_names(field.enum_type).items() if number)
    if field.type == FieldDescriptor.TYPE_STRING:
        return BY_KIND.get(field.GetOptions().Extensions[options_pb2.text].kind, "text" if field.is_repeated else "")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return BYTES
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return False
    least = max(0, integer_range(field)[0]) if field.cpp_type != FieldDescriptor.CPPTYPE_DOUBLE else 0
    return str(least) if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else least


def _of_message(message: Descriptor, nested: Any) -> Any:
    if message.full_name == "google.protobuf.Timestamp":
        return INSTANT
    return {} if message.file.package == "google.protobuf" else nested(message)
