"""Builders of ledger operations."""

from datetime import datetime

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import times


def earn(
    request_id: str,
    member_id: str = "m1",
    amount: int = 100,
    *,
    asset: str = "points",
    at: datetime | None = None,
    effective: datetime | None = None,
    expires: datetime | None = None,
    priority: int = 0,
    cause: ledger_pb2.Cause | None = None,
) -> ledger_pb2.Operation:
    """Makes an earn."""
    return ledger_pb2.Operation(
        request_id=request_id,
        occur_time=times.to_proto(at) if at else None,
        cause=cause,
        earn=ledger_pb2.Earn(
            member_id=member_id,
            asset=asset,
            amount=amount,
            effective_time=times.to_proto(effective) if effective else None,
            expire_time=times.to_proto(expires) if expires else None,
            priority=priority,
        ),
    )


def hold(request_id: str, member_id: str = "m1", amount: int = 100, *, timeout_s: int = 600) -> ledger_pb2.Operation:
    """Makes a hold."""
    return ledger_pb2.Operation(
        request_id=request_id,
        hold=ledger_pb2.Hold(member_id=member_id, asset="points", amount=amount, timeout_s=timeout_s),
    )


def capture(request_id: str, hold_id: str) -> ledger_pb2.Operation:
    """Makes a capture."""
    return ledger_pb2.Operation(request_id=request_id, capture=ledger_pb2.Capture(hold_request_id=hold_id))


def release(request_id: str, hold_id: str) -> ledger_pb2.Operation:
    """Makes a release."""
    return ledger_pb2.Operation(request_id=request_id, release=ledger_pb2.Release(hold_request_id=hold_id))


def reverse(request_id: str, target_id: str) -> ledger_pb2.Operation:
    """Makes a reversal."""
    return ledger_pb2.Operation(request_id=request_id, reverse=ledger_pb2.Reverse(target_request_id=target_id))
