"""What the ledger publishes: its journal, read as messages of `events.proto`."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from plaudit.ledger.v1 import events_pb2, ledger_pb2

from services.kernel import db, feed, ids, times
from services.ledger import model
from services.ledger.model import Kind
from services.ledger.store import reading

ENTRY_KINDS = {
    Kind.EARN: ledger_pb2.ENTRY_KIND_EARN,
    Kind.SPEND: ledger_pb2.ENTRY_KIND_SPEND,
    Kind.REVERSE: ledger_pb2.ENTRY_KIND_REVERSAL,
    Kind.EXPIRY: ledger_pb2.ENTRY_KIND_EXPIRY,
    Kind.CANCEL: ledger_pb2.ENTRY_KIND_CANCELLATION,
    Kind.CLAW_BACK: ledger_pb2.ENTRY_KIND_CLAW_BACK,
    Kind.REPAYMENT: ledger_pb2.ENTRY_KIND_REPAYMENT,
    Kind.ADJUST: ledger_pb2.ENTRY_KIND_ADJUSTMENT,
    Kind.EXCHANGE: ledger_pb2.ENTRY_KIND_EXCHANGE,
    Kind.UNEXPIRY: ledger_pb2.ENTRY_KIND_UNEXPIRY,
}
# Rows that tell of a hold, and where it stands then.
HOLD_STATES = {
    Kind.HOLD: events_pb2.HOLD_STATE_ACTIVE,
    Kind.CAPTURE: events_pb2.HOLD_STATE_CAPTURED,
    Kind.RELEASE: events_pb2.HOLD_STATE_RELEASED,
    Kind.TIMEOUT: events_pb2.HOLD_STATE_TIMED_OUT,
}
ENTRY_POSTED = events_pb2.EntryPosted.DESCRIPTOR.full_name
HOLD_CHANGED = events_pb2.HoldChanged.DESCRIPTOR.full_name
BUDGET_THRESHOLD_REACHED = events_pb2.BudgetThresholdReached.DESCRIPTOR.full_name
KINDS_BY_TYPE: dict[str, tuple[Kind, ...]] = {
    ENTRY_POSTED: tuple(ENTRY_KINDS),
    HOLD_CHANGED: tuple(HOLD_STATES),
    BUDGET_THRESHOLD_REACHED: (Kind.ALERT,),
}


async def read(
    connection: db.Connection,
    program_id: str,
    partition: int,
    after_position: int,
    *,
    limit: int = feed.READ_MAX,
    types: Sequence[str] = (),
) -> feed.Page:
    """Reads a page of the feed; rows that tell of nothing, such as refusals, are positions without an event."""
    through = await feed.reach(connection, program_id, partition, after_position, limit=limit)
    if through == after_position:
        return feed.Page([], after_position)
    kinds = [kind for name in types or KINDS_BY_TYPE for kind in KINDS_BY_TYPE.get(name, ())]
    rows = await reading.read_journal(connection, program_id, partition, (after_position, through), kinds)
    events = [_event(program_id, row) for row in rows if _tells(row)]
    return feed.Page(events, through)


def _tells(row: Any) -> bool:
    return bool(row["amount"]) or (row["kind"] not in ENTRY_KINDS and not row["is_refused"])


def _event(program_id: str, row: Any) -> feed.Incoming:
    message = _message(row)
    return feed.Incoming(
        program_id=program_id,
        partition=row["partition"],
        position=row["position"],
        # Derived, so that the event has the same id however often it is read.
        event_id=ids.derived_id("ledger-event", program_id, str(row["partition"]), str(row["position"])),
        member_id=row["member_id"] or "",
        type=message.DESCRIPTOR.full_name,
        payload=message.SerializeToString(),
        posted_at=row["posted_at"],
    )


def _message(row: Any) -> Message:
    kind = Kind(row["kind"])
    if kind is Kind.ALERT:
        detail = row["detail"]
        return events_pb2.BudgetThresholdReached(
            budget_id=row["budget_id"], percent=detail["percent"], left=detail["left"], funded=detail["funded"]
        )
    cause = cause_to_proto(reading.cause_of(row))
    if kind in HOLD_STATES:
        return events_pb2.HoldChanged(
            hold_request_id=row["hold_request_name"],
            state=HOLD_STATES[kind],
            member_id=row["member_id"],
            asset=row["asset"],
            amount=row["hold_amount"],
            cause=cause,
        )
    return events_pb2.EntryPosted(
        request_id=str(row["request_id"]),
        kind=ENTRY_KINDS[kind],
        member_id=row["member_id"],
        asset=row["asset"],
        amount=row["amount"],
        balance=row["balance"],
        occur_time=times.to_proto(row["occurred_at"]),
        expire_time=times.to_proto(row["expires_at"]) if row["expires_at"] else None,
        cause=cause,
    )


def cause_to_proto(cause: model.Cause) -> ledger_pb2.Cause:
    """Turns a cause into its message."""
    return ledger_pb2.Cause(
        event_id=cause.event_id or "",
        rule_id=cause.rule_id or "",
        rule_version=cause.rule_version or 0,
        redemption_id=cause.redemption_id or "",
        campaign_id=cause.campaign_id or "",
    )
