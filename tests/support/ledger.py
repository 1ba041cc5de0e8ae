"""Builders of ledger operations."""

from datetime import datetime
from typing import Any

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
    **what: Any,
) -> ledger_pb2.Operation:
    """Makes an earn; `what` are further fields of it, such as `pending` or `budget_id`."""
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
            **what,
        ),
    )


def cashback(request_id: str, base_amount: int, basis_points: int, **what: Any) -> ledger_pb2.Operation:
    """Makes an earn of a share of a purchase."""
    share = ledger_pb2.Cashback(base_amount=base_amount, basis_points=basis_points)
    return earn(request_id, amount=0, cashback=share, **what)


def confirm(request_id: str, earn_id: str) -> ledger_pb2.Operation:
    """Makes a confirmation of a pending earn."""
    return ledger_pb2.Operation(request_id=request_id, confirm_earn=ledger_pb2.ConfirmEarn(earn_request_id=earn_id))


def cancel(request_id: str, earn_id: str) -> ledger_pb2.Operation:
    """Makes a cancellation of a pending earn."""
    return ledger_pb2.Operation(request_id=request_id, cancel_earn=ledger_pb2.CancelEarn(earn_request_id=earn_id))


def spend(request_id: str, member_id: str = "m1", amount: int = 100, *, asset: str = "points") -> ledger_pb2.Operation:
    """Makes a spend."""
    return ledger_pb2.Operation(
        request_id=request_id, spend=ledger_pb2.Spend(member_id=member_id, asset=asset, amount=amount)
    )


def hold(
    request_id: str, member_id: str = "m1", amount: int = 100, *, timeout_s: int = 600, asset: str = "points"
) -> ledger_pb2.Operation:
    """Makes a hold."""
    return ledger_pb2.Operation(
        request_id=request_id,
        hold=ledger_pb2.Hold(member_id=member_id, asset=asset, amount=amount, timeout_s=timeout_s),
    )


def capture(request_id: str, hold_id: str, amount: int = 0) -> ledger_pb2.Operation:
    """Makes a capture, of all where no amount is given."""
    return ledger_pb2.Operation(
        request_id=request_id, capture=ledger_pb2.Capture(hold_request_id=hold_id, amount=amount)
    )


def release(request_id: str, hold_id: str) -> ledger_pb2.Operation:
    """Makes a release."""
    return ledger_pb2.Operation(request_id=request_id, release=ledger_pb2.Release(hold_request_id=hold_id))


def reverse(request_id: str, target_id: str, amount: int = 0) -> ledger_pb2.Operation:
    """Makes a reversal, of all that is left where no amount is given."""
    return ledger_pb2.Operation(
        request_id=request_id, reverse=ledger_pb2.Reverse(target_request_id=target_id, amount=amount)
    )


def claw_back(
    request_id: str,
    earn_id: str,
    amount: int = 0,
    policy: "ledger_pb2.ClawBackPolicy.ValueType" = ledger_pb2.CLAW_BACK_POLICY_WRITE_OFF,
) -> ledger_pb2.Operation:
    """Makes a claw-back, of all that is left where no amount is given."""
    return ledger_pb2.Operation(
        request_id=request_id,
        claw_back=ledger_pb2.ClawBack(target_request_id=earn_id, amount=amount, policy=policy),
    )


def adjust(
    request_id: str,
    member_id: str = "m1",
    change: int = 100,
    *,
    asset: str = "points",
    expires: datetime | None = None,
) -> ledger_pb2.Operation:
    """Makes an adjustment."""
    return ledger_pb2.Operation(
        request_id=request_id,
        adjust=ledger_pb2.Adjust(
            member_id=member_id,
            asset=asset,
            change=change,
            reason="goodwill",
            actor="staff-1",
            expire_time=times.to_proto(expires) if expires else None,
        ),
    )


def exchange(
    request_id: str, member_id: str = "m1", amount: int = 100, *, source: str = "points", target: str = "credits"
) -> ledger_pb2.Operation:
    """Makes an exchange."""
    return ledger_pb2.Operation(
        request_id=request_id,
        exchange=ledger_pb2.Exchange(member_id=member_id, from_asset=source, to_asset=target, amount=amount),
    )


def expire(request_id: str, member_id: str = "m1", *, asset: str = "points", earn_id: str = "") -> ledger_pb2.Operation:
    """Makes an early end, of all lots where no earn is named."""
    return ledger_pb2.Operation(
        request_id=request_id,
        expire=ledger_pb2.Expire(
            member_id=member_id, asset=asset, earn_request_id=earn_id, reason="account closed", actor="staff-1"
        ),
    )


def unexpire(
    request_id: str,
    member_id: str = "m1",
    *,
    since: datetime,
    until: datetime,
    expires: datetime | None = None,
    asset: str = "points",
) -> ledger_pb2.Operation:
    """Makes what gives back what expired within a time."""
    return ledger_pb2.Operation(
        request_id=request_id,
        unexpire=ledger_pb2.Unexpire(
            member_id=member_id,
            asset=asset,
            expired_from_time=times.to_proto(since),
            expired_until_time=times.to_proto(until),
            expire_time=times.to_proto(expires) if expires else None,
            reason="the law changed",
            actor="staff-1",
        ),
    )


def fund(request_id: str, budget_id: str, amount: int) -> ledger_pb2.Operation:
    """Makes a funding of a budget."""
    return ledger_pb2.Operation(
        request_id=request_id, fund_budget=ledger_pb2.FundBudget(budget_id=budget_id, amount=amount)
    )


def close(request_id: str, budget_id: str) -> ledger_pb2.Operation:
    """Makes a closing of a budget."""
    return ledger_pb2.Operation(request_id=request_id, close_budget=ledger_pb2.CloseBudget(budget_id=budget_id))
