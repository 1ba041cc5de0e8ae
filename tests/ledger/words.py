"""What the oracle asks and answers, in the contract's words."""

from datetime import datetime
from typing import Any

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import times
from tests.support.oracle_asks import Answer, Ask, Part, Policy
from tests.support.oracle_wallet import Standing

ENDS = {
    "": ledger_pb2.EXPIRY_END_UNSPECIFIED,
    "DAY": ledger_pb2.EXPIRY_END_DAY,
    "MONTH": ledger_pb2.EXPIRY_END_MONTH,
    "QUARTER": ledger_pb2.EXPIRY_END_QUARTER,
    "YEAR": ledger_pb2.EXPIRY_END_YEAR,
}


def to_proto(ask: Ask) -> ledger_pb2.Operation:
    """Says an operation."""
    name, action = ACTIONS[ask.kind](ask)
    return ledger_pb2.Operation(
        request_id=ask.request_id,
        occur_time=_time(ask.at),
        cause=ledger_pb2.Cause(event_id=ask.event) if ask.event else None,
        **{name: action},
    )


def _time(instant: datetime | None) -> Any:
    return times.to_proto(instant) if instant else None


def _expiry(policy: Policy) -> ledger_pb2.ExpiryPolicy:
    return ledger_pb2.ExpiryPolicy(
        time_zone=policy.zone, months=policy.months, days=policy.days, end=ENDS[policy.end], rolling=policy.rolling
    )


def _earn(ask: Ask) -> tuple[str, Any]:
    cashback = None
    if ask.cashback:
        cashback = ledger_pb2.Cashback(base_amount=ask.cashback[0], basis_points=ask.cashback[1])
    return "earn", ledger_pb2.Earn(
        member_id=ask.member,
        asset=ask.asset,
        amount=ask.amount,
        effective_time=_time(ask.effective),
        expire_time=_time(ask.expires),
        priority=ask.priority,
        cashback=cashback,
        pending=ask.pending,
        promotional=ask.promotional,
        budget_id=ask.budget,
        expiry=_expiry(ask.expiry) if ask.expiry else None,
        allocated_value=ask.value,
    )


def _spend(ask: Ask) -> tuple[str, Any]:
    return "spend", ledger_pb2.Spend(member_id=ask.member, asset=ask.asset, amount=ask.amount)


def _hold(ask: Ask) -> tuple[str, Any]:
    return "hold", ledger_pb2.Hold(member_id=ask.member, asset=ask.asset, amount=ask.amount, timeout_s=ask.timeout_s)


def _claw_back(ask: Ask) -> tuple[str, Any]:
    policy = ledger_pb2.ClawBackPolicy.Value(f"CLAW_BACK_POLICY_{ask.policy}")
    return "claw_back", ledger_pb2.ClawBack(target_request_id=ask.target, amount=ask.amount, policy=policy)


def _adjust(ask: Ask) -> tuple[str, Any]:
    return "adjust", ledger_pb2.Adjust(
        member_id=ask.member,
        asset=ask.asset,
        change=ask.amount,
        reason=ask.reason,
        actor=ask.actor,
        expire_time=_time(ask.expires),
    )


def _exchange(ask: Ask) -> tuple[str, Any]:
    return "exchange", ledger_pb2.Exchange(
        member_id=ask.member, from_asset=ask.asset, to_asset=ask.to_asset, amount=ask.amount
    )


def _expire(ask: Ask) -> tuple[str, Any]:
    return "expire", ledger_pb2.Expire(
        member_id=ask.member, asset=ask.asset, earn_request_id=ask.target, reason=ask.reason, actor=ask.actor
    )


def _unexpire(ask: Ask) -> tuple[str, Any]:
    return "unexpire", ledger_pb2.Unexpire(
        member_id=ask.member,
        asset=ask.asset,
        expired_from_time=_time(ask.since),
        expired_until_time=_time(ask.until),
        expire_time=_time(ask.expires),
        reason=ask.reason,
        actor=ask.actor,
    )


ACTIONS: dict[str, Any] = {
    "earn": _earn,
    "spend": _spend,
    "hold": _hold,
    "claw_back": _claw_back,
    "adjust": _adjust,
    "exchange": _exchange,
    "expire": _expire,
    "unexpire": _unexpire,
    "confirm": lambda ask: ("confirm_earn", ledger_pb2.ConfirmEarn(earn_request_id=ask.target)),
    "cancel": lambda ask: ("cancel_earn", ledger_pb2.CancelEarn(earn_request_id=ask.target)),
    "capture": lambda ask: ("capture", ledger_pb2.Capture(hold_request_id=ask.target, amount=ask.amount)),
    "release": lambda ask: ("release", ledger_pb2.Release(hold_request_id=ask.target)),
    "reverse": lambda ask: ("reverse", ledger_pb2.Reverse(target_request_id=ask.target, amount=ask.amount)),
    "fund": lambda ask: ("fund_budget", ledger_pb2.FundBudget(budget_id=ask.budget, amount=ask.amount)),
    "close": lambda ask: ("close_budget", ledger_pb2.CloseBudget(budget_id=ask.budget)),
}


def to_answer(result: ledger_pb2.OperationResult) -> Answer:
    """Reads a result; lots are named as the ledger does."""
    if result.HasField("refusal"):
        refusal = result.refusal
        is_reused = refusal.reason == "REQUEST_ID_REUSED"
        metadata = () if is_reused else tuple(sorted(refusal.metadata.items()))
        return Answer(refusal.reason, metadata, frozenset(refusal.fields), replayed=result.replayed)
    posting = result.posting
    return Answer(
        posted=times.from_proto(posting.post_time),
        amount=posting.amount,
        expires=times.from_proto(posting.expire_time) if posting.HasField("expire_time") else None,
        parts=tuple(_part(part) for part in posting.allocations),
        written_off=posting.written_off,
        debt=posting.debt,
        given=posting.given,
        version=posting.burn_order_version,
        replayed=result.replayed,
    )


def _part(part: ledger_pb2.Allocation) -> Part:
    return Part(part.lot_id, part.amount, times.from_proto(part.expire_time) if part.HasField("expire_time") else None)


def to_standing(balance: ledger_pb2.Balance) -> Standing:
    """Reads a balance."""
    soon = balance.next_expiry
    return Standing(
        balance.available,
        balance.held,
        balance.pending,
        balance.lifetime_earned,
        balance.lifetime_spent,
        balance.lifetime_expired,
        balance.lifetime_adjusted,
        balance.lifetime_clawed_back,
        balance.debt,
        (soon.amount, times.from_proto(soon.expire_time)) if balance.HasField("next_expiry") else None,
    )
