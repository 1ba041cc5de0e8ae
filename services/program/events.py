"""What the program publishes, as messages of its `events.proto`."""

from google.protobuf.message import Message
from plaudit.program.v1 import events_pb2

from services.kernel import feed
from services.program import convert, model


def encode(event: model.Published) -> feed.Outgoing:
    """Turns what happened into what the feed keeps."""
    match event:
        case model.EventRecorded():
            effects = [
                convert.effect_to_proto(decision, model.EffectState.PENDING)
                for decision in event.decisions
                if decision.denial is None
            ]
            recorded = events_pb2.EventRecorded(
                event=convert.event_to_proto(event.event), effects=effects, causation_depth=event.event.depth
            )
            return _outgoing(event.event.member_id, recorded)
        case model.MemberChanged():
            changed = events_pb2.MemberChanged(member=convert.member_to_proto(event.member))
            return _outgoing(event.member.member_id, changed)
        case model.RuleChanged():
            return _outgoing("", events_pb2.RuleChanged(rule=convert.rule_to_proto(event.rule)))
        case model.RedemptionChanged():
            redemption = convert.redemption_to_proto(event.redemption, with_code=False)
            return _outgoing(event.redemption.member_id, events_pb2.RedemptionChanged(redemption=redemption))


def _outgoing(member_id: str, message: Message) -> feed.Outgoing:
    return feed.Outgoing(member_id, message.DESCRIPTOR.full_name, message.SerializeToString())
