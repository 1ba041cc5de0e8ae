"""What the referral service publishes, as messages of its `events.proto`."""

from plaudit.referral.v1 import events_pb2

from services.kernel import feed
from services.referral import convert, model


def encode(event: model.ReferralChanged) -> feed.Outgoing:
    """Turns what happened into what the feed keeps."""
    changed = events_pb2.ReferralChanged(
        referral=convert.referral_to_proto(event.referral),
        previous_state=convert.state_to_proto(event.previous),
        causation_depth=event.referral.depth,
        member_id=event.referral.referrer_id,
    )
    return feed.Outgoing(event.referral.referrer_id, changed.DESCRIPTOR.full_name, changed.SerializeToString())
