"""What is told of value, as messages of the contract."""

from datetime import datetime

from plaudit.ledger.v1 import events_pb2, ledger_pb2, ledger_service_pb2

from services.kernel import refusals, times
from services.ledger import convert, events, views
from services.ledger.model import HoldState

HOLD_STATES = {
    HoldState.ACTIVE: events_pb2.HOLD_STATE_ACTIVE,
    HoldState.CAPTURED: events_pb2.HOLD_STATE_CAPTURED,
    HoldState.RELEASED: events_pb2.HOLD_STATE_RELEASED,
    HoldState.TIMED_OUT: events_pb2.HOLD_STATE_TIMED_OUT,
}


def of_balance(balance: views.Balance) -> ledger_pb2.Balance:
    """Says how a member stands in one asset."""
    message = ledger_pb2.Balance(
        asset=balance.asset,
        available=balance.available,
        held=balance.held,
        pending=balance.pending,
        lifetime_earned=balance.lifetime_earned,
        lifetime_spent=balance.lifetime_spent,
        lifetime_expired=balance.lifetime_expired,
        lifetime_adjusted=balance.lifetime_adjusted,
        lifetime_clawed_back=balance.lifetime_clawed_back,
        debt=balance.debt,
    )
    if balance.next_expires_at is not None:
        message.next_expiry.amount = balance.next_expiry_amount
        message.next_expiry.expire_time.CopyFrom(times.to_proto(balance.next_expires_at))
    return message


def of_entry(entry: views.Entry) -> ledger_pb2.Entry:
    """Says one line of a statement."""
    return ledger_pb2.Entry(
        entry_id=entry.entry_id,
        kind=events.ENTRY_KINDS[entry.kind],
        asset=entry.asset,
        amount=entry.amount,
        balance=entry.balance,
        occur_time=times.to_proto(entry.occurred_at),
        post_time=times.to_proto(entry.posted_at),
        cause=events.cause_to_proto(entry.cause),
        reason=entry.reason,
        actor=entry.actor,
    )


def of_lot(lot: views.LotView, asset: str, now: datetime) -> ledger_pb2.Lot:
    """Says where one lot stands."""
    if lot.remaining:
        has_begun = lot.effective_at is not None and lot.effective_at <= now
        state = ledger_pb2.LOT_STATE_ACTIVE if has_begun else ledger_pb2.LOT_STATE_PENDING
    else:
        # An earn that was cancelled while it was pending has nothing left either.
        state = ledger_pb2.LOT_STATE_EXPIRED if lot.expired else ledger_pb2.LOT_STATE_SPENT
    return ledger_pb2.Lot(
        lot_id=lot.lot_id,
        asset=asset,
        state=state,
        amount=lot.amount,
        remaining=lot.remaining,
        held=lot.held,
        expired=lot.expired,
        priority=lot.priority,
        effective_time=convert.time(lot.effective_at),
        expire_time=convert.time(lot.expires_at),
        origin=events.cause_to_proto(lot.origin),
        promotional=lot.is_promotional,
    )


def of_hold(hold: views.HoldView) -> ledger_service_pb2.HoldSummary:
    """Says where one hold stands."""
    return ledger_service_pb2.HoldSummary(
        hold_request_id=hold.request_name,
        state=HOLD_STATES[hold.state],
        amount=hold.amount,
        spent=hold.spent,
        place_time=times.to_proto(hold.placed_at),
        expire_time=times.to_proto(hold.expires_at),
        end_time=convert.time(hold.ended_at),
        cause=events.cause_to_proto(hold.cause),
    )


def of_expiration(expiration: views.Expiration) -> ledger_pb2.NextExpiry:
    """Says what expires at one instant."""
    return ledger_pb2.NextExpiry(amount=expiration.amount, expire_time=times.to_proto(expiration.expires_at))


def of_preview(preview: views.Preview) -> ledger_service_pb2.PreviewSpendResponse:
    """Says what a spend would take."""
    return ledger_service_pb2.PreviewSpendResponse(
        allocations=map(convert.allocation, preview.parts[: convert.ALLOCATIONS_MAX]),
        allocations_truncated=len(preview.parts) > convert.ALLOCATIONS_MAX,
        burn_order_version=preview.burn_order_version,
        available_after=preview.available_after,
    )


def of_unexpired(member: views.UnexpiredMember) -> ledger_service_pb2.UnexpiredMember:
    """Says what one member had back, and why no more."""
    return ledger_service_pb2.UnexpiredMember(
        member_id=member.member_id,
        amount=member.amount,
        refusal=refusals.to_proto(member.refusal) if member.refusal is not None else None,
    )
