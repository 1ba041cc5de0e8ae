"""What notify publishes, as messages of its `events.proto`."""

from google.protobuf.message import Message
from plaudit.notify.v1 import events_pb2

from services.kernel import feed
from services.notify import model
from services.notify.convert import messages


def encode(event: model.Published) -> feed.Outgoing:
    """Turns what happened into what the feed keeps."""
    match event:
        case model.Ended():
            ended = events_pb2.DeliveryEnded(
                delivery=messages.delivery_to_proto(event.delivery), causation_depth=event.delivery.depth
            )
            return _outgoing(event.delivery.member_id, ended)
        case model.PreferencesChanged():
            preferences = messages.preferences_to_proto(event.preferences)
            return _outgoing(event.preferences.member_id, events_pb2.PreferencesChanged(preferences=preferences))


def _outgoing(member_id: str, message: Message) -> feed.Outgoing:
    return feed.Outgoing(member_id, message.DESCRIPTOR.full_name, message.SerializeToString())
