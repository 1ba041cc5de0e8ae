"""Messages to operations and outcomes back; what the fields of a message must be to each other."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import errors, ids, refusals, times
from services.kernel.errors import Violation
from services.ledger import expiry, fingerprints, model
from services.ledger.model import ClawBackPolicy, Kind, Operation

POINTS = model.DEFAULT_ASSET
# Lots that one answer lists, over all its results together: of 67 bytes at most, so that with 1,000 results it stays
# below the 4 MiB that clients of gRPC take unless told otherwise. What is posted must be possible to answer.
ALLOCATIONS_MAX = 20_000
# What an id may have by the contract; a longer one, which is refused, is not repeated whole.
REQUEST_ID_LENGTH_MAX = 128
ENDS = {
    ledger_pb2.EXPIRY_END_UNSPECIFIED: expiry.End.INSTANT,
    ledger_pb2.EXPIRY_END_DAY: expiry.End.DAY,
    ledger_pb2.EXPIRY_END_MONTH: expiry.End.MONTH,
    ledger_pb2.EXPIRY_END_QUARTER: expiry.End.QUARTER,
    ledger_pb2.EXPIRY_END_YEAR: expiry.End.YEAR,
}
CLAW_BACKS = {
    ledger_pb2.CLAW_BACK_POLICY_WRITE_OFF: ClawBackPolicy.WRITE_OFF,
    ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS: ClawBackPolicy.OTHER_LOTS,
    ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT: ClawBackPolicy.OTHER_LOTS_THEN_DEBT,
    ledger_pb2.CLAW_BACK_POLICY_DEBT: ClawBackPolicy.DEBT,
}
Content = dict[str, Any]


def violations(message: ledger_pb2.Operation) -> list[Violation]:
    """Lists how fields of an operation contradict each other; none where all is well."""
    name = message.WhichOneof("action")
    if name is None:
        return [Violation("action", f"must be one of {', '.join(sorted(READERS))}")]
    check = CHECKS.get(name)
    return check(getattr(message, name)) if check is not None else []


def operation(message: ledger_pb2.Operation) -> Operation:
    """Reads a well-formed operation; `content` is what makes it the same or another."""
    name = message.WhichOneof("action")
    assert name is not None, "A well-formed operation has an action."
    kind, read = READERS[name]
    request_id = message.request_id
    occur_time, occurred_at = _moment(message, "occur_time")
    asked = Operation(request_id, ids.request_key(request_id), kind, occurred_at)
    content = read(asked, getattr(message, name))
    content["occurTime"] = occur_time
    content["cause"] = None
    if message.HasField("cause"):
        told = message.cause
        content["cause"] = told.SerializeToString(deterministic=True)
        asked.cause = model.Cause(
            told.event_id or None,
            told.rule_id or None,
            told.rule_version or None,
            told.redemption_id or None,
            told.campaign_id or None,
        )
    asked.content = content
    asked.fingerprint = fingerprints.fingerprint(kind, content)
    return asked


def _moment(message: Any, name: str) -> tuple[int | None, datetime | None]:
    """Reads a field that may be absent: as microseconds, which make it the same or another, and as an instant."""
    if not message.HasField(name):
        return None, None
    told = getattr(message, name)
    return told.seconds * 1_000_000 + told.nanos // 1000, times.from_proto(told)


def _earn(asked: Operation, action: ledger_pb2.Earn) -> Content:
    asked.owner = (action.member_id, action.asset)
    asked.amount, asked.priority = action.amount, action.priority
    effective_time, asked.effective_at = _moment(action, "effective_time")
    expire_time, asked.expires_at = _moment(action, "expire_time")
    asked.is_pending, asked.is_promotional = action.pending, action.promotional
    asked.budget_id, asked.allocated_value = action.budget_id or None, action.allocated_value
    content = {
        "memberId": asked.owner[0],
        "asset": asked.owner[1],
        "amount": asked.amount,
        "effectiveTime": effective_time,
        "expireTime": expire_time,
        "priority": asked.priority,
        "pending": asked.is_pending,
        "promotional": asked.is_promotional,
        "budgetId": asked.budget_id,
        "allocatedValue": asked.allocated_value,
        "cashback": None,
        "expiry": None,
    }
    if action.HasField("cashback"):
        share = action.cashback
        asked.base_amount, asked.basis_points = share.base_amount, share.basis_points
        content["cashback"] = share.SerializeToString(deterministic=True)
    if action.HasField("expiry"):
        told = action.expiry
        asked.policy = expiry.Policy(
            zone=told.time_zone, months=told.months, days=told.days, end=ENDS[told.end], rolling=told.rolling
        )
        content["expiry"] = expiry.to_text(asked.policy)
    return content


def _spend(asked: Operation, action: ledger_pb2.Spend | ledger_pb2.Hold) -> Content:
    asked.owner, asked.amount = (action.member_id, action.asset), action.amount
    return {"memberId": action.member_id, "asset": action.asset, "amount": action.amount}


def _hold(asked: Operation, action: ledger_pb2.Hold) -> Content:
    asked.timeout_s = action.timeout_s
    return {**_spend(asked, action), "timeoutS": action.timeout_s}


def _targeting(field: str, *, has_amount: bool) -> Callable[[Operation, Any], Content]:
    """Makes the reader of an action that names a target, and perhaps a part of it."""
    name = "".join(part.title() if index else part for index, part in enumerate(field.split("_")))

    def read(asked: Operation, action: Any) -> Content:
        asked.target_id = getattr(action, field)
        asked.target_key = ids.request_key(asked.target_id)
        content: Content = {name: asked.target_id}
        if has_amount:
            content["amount"] = asked.amount = action.amount
        return content

    return read


_TARGET_AND_PART = _targeting("target_request_id", has_amount=True)


def _claw_back(asked: Operation, action: ledger_pb2.ClawBack) -> Content:
    asked.claw_back = CLAW_BACKS[action.policy]
    return {**_TARGET_AND_PART(asked, action), "policy": asked.claw_back.value}


def _decision(asked: Operation, action: Any) -> Content:
    """Reads whose wallet the staff decides about, why, and who does."""
    asked.owner, asked.reason, asked.actor = (action.member_id, action.asset), action.reason, action.actor
    return {
        "memberId": action.member_id,
        "asset": action.asset,
        "reason": action.reason,
        "actor": action.actor,
    }


def _adjust(asked: Operation, action: ledger_pb2.Adjust) -> Content:
    asked.amount = action.change
    expire_time, asked.expires_at = _moment(action, "expire_time")
    return {**_decision(asked, action), "change": action.change, "expireTime": expire_time}


def _exchange(asked: Operation, action: ledger_pb2.Exchange) -> Content:
    asked.owner, asked.to_asset, asked.amount = (action.member_id, action.from_asset), action.to_asset, action.amount
    return {
        "memberId": action.member_id,
        "fromAsset": action.from_asset,
        "toAsset": action.to_asset,
        "amount": action.amount,
    }


def _expire(asked: Operation, action: ledger_pb2.Expire) -> Content:
    asked.target_id = action.earn_request_id
    if asked.target_id:
        asked.target_key = ids.request_key(asked.target_id)
    return {**_decision(asked, action), "earnRequestId": asked.target_id}


def _unexpire(asked: Operation, action: ledger_pb2.Unexpire) -> Content:
    expired_from_time, asked.expired_from = _moment(action, "expired_from_time")
    expired_until_time, asked.expired_until = _moment(action, "expired_until_time")
    expire_time, asked.expires_at = _moment(action, "expire_time")
    return {
        **_decision(asked, action),
        "expiredFromTime": expired_from_time,
        "expiredUntilTime": expired_until_time,
        "expireTime": expire_time,
    }


def _fund(asked: Operation, action: ledger_pb2.FundBudget) -> Content:
    asked.budget_id, asked.amount = action.budget_id, action.amount
    return {"budgetId": action.budget_id, "amount": action.amount}


def _close(asked: Operation, action: ledger_pb2.CloseBudget) -> Content:
    asked.budget_id = action.budget_id
    return {"budgetId": action.budget_id}


READERS: dict[str, tuple[Kind, Callable[[Operation, Any], Content]]] = {
    "earn": (Kind.EARN, _earn),
    "hold": (Kind.HOLD, _hold),
    "capture": (Kind.CAPTURE, _targeting("hold_request_id", has_amount=True)),
    "release": (Kind.RELEASE, _targeting("hold_request_id", has_amount=False)),
    "reverse": (Kind.REVERSE, _TARGET_AND_PART),
    "confirm_earn": (Kind.CONFIRM, _targeting("earn_request_id", has_amount=False)),
    "cancel_earn": (Kind.CANCEL, _targeting("earn_request_id", has_amount=False)),
    "spend": (Kind.SPEND, _spend),
    "claw_back": (Kind.CLAW_BACK, _claw_back),
    "adjust": (Kind.ADJUST, _adjust),
    "exchange": (Kind.EXCHANGE, _exchange),
    "expire": (Kind.EXPIRE, _expire),
    "unexpire": (Kind.UNEXPIRE, _unexpire),
    "fund_budget": (Kind.FUND, _fund),
    "close_budget": (Kind.CLOSE, _close),
}


def _check_earn(action: ledger_pb2.Earn) -> list[Violation]:
    found = []
    if bool(action.amount) == action.HasField("cashback"):
        message = "must not be given with earn.cashback" if action.amount else "is required, or earn.cashback"
        found.append(Violation("earn.amount", message))
    if action.HasField("expiry"):
        if action.HasField("expire_time"):
            found.append(Violation("earn.expireTime", "must not be given with earn.expiry"))
        if not (action.expiry.months or action.expiry.days or action.expiry.end):
            found.append(Violation("earn.expiry", "must have months, days or an end"))
    if action.pending and action.HasField("effective_time"):
        found.append(Violation("earn.effectiveTime", "must not be given with earn.pending: confirming it says when"))
    return found


def _check_adjust(action: ledger_pb2.Adjust) -> list[Violation]:
    if not action.change:
        return [Violation("adjust.change", "must not be 0")]
    if action.change < 0 and action.HasField("expire_time"):
        return [Violation("adjust.expireTime", "must not be given where value is taken")]
    return []


def _check_exchange(action: ledger_pb2.Exchange) -> list[Violation]:
    if action.from_asset == action.to_asset:
        return [Violation("exchange.toAsset", "must not be exchange.fromAsset")]
    return []


def _check_unexpire(action: ledger_pb2.Unexpire) -> list[Violation]:
    if times.from_proto(action.expired_from_time) >= times.from_proto(action.expired_until_time):
        return [Violation("unexpire.expiredUntilTime", "must be after unexpire.expiredFromTime")]
    return []


CHECKS: dict[str, Callable[[Any], list[Violation]]] = {
    "earn": _check_earn,
    "adjust": _check_adjust,
    "exchange": _check_exchange,
    "unexpire": _check_unexpire,
}


def result(request_id: str, outcome: model.Outcome | errors.DomainError) -> ledger_pb2.OperationResult:
    """Says how an operation ended."""
    message = ledger_pb2.OperationResult(request_id=request_id)
    fill_result(message, outcome, ALLOCATIONS_MAX)
    return message


def fill_result(
    message: ledger_pb2.OperationResult, outcome: model.Outcome | errors.DomainError, allocations_max: int
) -> None:
    """Says how an operation ended in a message where it is: one that is made apart is copied into the other.

    Lists so many allocations at most.
    """
    if isinstance(outcome, errors.DomainError):
        message.refusal.CopyFrom(refusals.to_proto(outcome))
        return
    message.replayed = outcome.replayed
    if outcome.refusal is not None:
        message.refusal.CopyFrom(refusals.to_proto(outcome.refusal))
        return
    assert outcome.posting is not None, "An outcome is a posting or a refusal."
    _fill_posting(message.posting, outcome.posting, allocations_max)


def posting(done: model.Posting) -> ledger_pb2.Posting:
    """Says what an operation did."""
    message = ledger_pb2.Posting()
    _fill_posting(message, done, ALLOCATIONS_MAX)
    return message


def _fill_posting(message: ledger_pb2.Posting, done: model.Posting, allocations_max: int) -> None:
    message.post_time.CopyFrom(_post_time(done.posted_at))
    message.amount = done.amount
    if done.expires_at is not None:
        message.expire_time.CopyFrom(times.to_proto(done.expires_at))
    if done.parts:
        message.allocations.extend(map(allocation, done.parts[:allocations_max]))
        message.allocations_truncated = len(done.parts) > allocations_max
        message.burn_order_version = done.burn_order_version
    if done.written_off or done.debt or done.given:
        message.written_off, message.debt, message.given = done.written_off, done.debt, done.given


def allocation(part: model.Part) -> ledger_pb2.Allocation:
    """Says what is taken from one lot, or given back to it."""
    return ledger_pb2.Allocation(lot_id=part.lot_id, amount=part.amount, expire_time=time(part.expires_at))


@lru_cache(maxsize=64)
def _post_time(posted_at: datetime) -> Timestamp:
    """Writes the instant that all outcomes of a batch share; whoever takes it copies it."""
    return times.to_proto(posted_at)


def instant(message: Any, name: str) -> datetime | None:
    """Reads a field that may be absent."""
    return times.from_proto(getattr(message, name)) if message.HasField(name) else None


def time(value: datetime | None) -> Timestamp | None:
    """Writes an instant that may be absent."""
    return times.to_proto(value) if value else None
