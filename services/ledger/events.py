"""What the ledger publishes, as messages of its `events.proto`."""

from plaudit.ledger.v1 import events_pb2, ledger_pb2

from services.kernel import feed, times
from services.ledger import model

ENTRY_KINDS = {
    model.Kind.EARN: ledger_pb2.ENTRY_KIND_EARN,
    model.Kind.CAPTURE: ledger_pb2.ENTRY_KIND_SPEND,
    model.Kind.REVERSE: ledger_pb2.ENTRY_KIND_REVERSAL,
    model.Kind.EXPIRY: ledger_pb2.ENTRY_KIND_EXPIRY,
}
HOLD_STATES = {state: events_pb2.HoldState.Value(f"HOLD_STATE_{state.value}") for state in model.HoldState}
ENTRY_POSTED = events_pb2.EntryPosted.DESCRIPTOR.full_name
HOLD_CHANGED = events_pb2.HoldChanged.DESCRIPTOR.full_name


def encode(event: model.Event) -> feed.Outgoing:
    """Turns an event of the model into what the feed keeps."""
    member_id, asset = event.owner
    if isinstance(event, model.EntryPosted):
        row = event.row
        posted = events_pb2.EntryPosted(
            request_id=str(row.request_id),
            kind=ENTRY_KINDS[row.kind],
            member_id=member_id,
            asset=asset,
            amount=row.amount,
            balance=row.balance or 0,
            occur_time=times.to_proto(row.occurred_at),
            expire_time=times.to_proto(row.expires_at) if row.expires_at else None,
            cause=cause_to_proto(row.cause),
        )
        return feed.Outgoing(member_id, ENTRY_POSTED, posted.SerializeToString())
    changed = events_pb2.HoldChanged(
        hold_request_id=str(event.hold.hold_id),
        state=HOLD_STATES[event.state],
        member_id=member_id,
        asset=asset,
        amount=event.hold.amount,
        cause=ledger_pb2.Cause(redemption_id=event.hold.cause_redemption_id or ""),
    )
    return feed.Outgoing(member_id, HOLD_CHANGED, changed.SerializeToString())


def cause_to_proto(cause: model.Cause) -> ledger_pb2.Cause:
    """Turns a cause into its message."""
    return ledger_pb2.Cause(
        event_id=cause.event_id or "",
        rule_id=cause.rule_id or "",
        rule_version=cause.rule_version or 0,
        redemption_id=cause.redemption_id or "",
    )
