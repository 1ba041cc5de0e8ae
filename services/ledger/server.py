"""The ledger over gRPC: proto to operation to proto, nothing else."""

from datetime import datetime
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import calls, errors, feed_rpc, fields, ids, refusals, rpc, times
from services.kernel.interceptors import Authenticate
from services.ledger import events, model
from services.ledger.model import Kind, Operation
from services.ledger.operations import Ledger

ACTION_KINDS = {
    "earn": Kind.EARN,
    "hold": Kind.HOLD,
    "capture": Kind.CAPTURE,
    "release": Kind.RELEASE,
    "reverse": Kind.REVERSE,
}
POINTS = model.DEFAULT_ASSET


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Serves `plaudit.ledger.v1.LedgerService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def PostOperations(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.PostOperationsRequest, context: Any
    ) -> ledger_service_pb2.PostOperationsResponse:
        """Judges malformed operations here and posts the others; answers in their order."""
        del context
        results: list[ledger_pb2.OperationResult | None] = []
        well_formed: list[Operation] = []
        for message in request.operations:
            violations = _violations(message)
            if violations:
                refusal = refusals.to_proto(errors.field_invalid(*violations))
                results.append(ledger_pb2.OperationResult(request_id=message.request_id, refusal=refusal))
            else:
                results.append(None)
                well_formed.append(_operation(message))
        outcomes = await self._ledger.post(calls.current().program_id, well_formed) if well_formed else []
        posted = iter([_result(each.request_id, outcome) for each, outcome in zip(well_formed, outcomes, strict=True)])
        return ledger_service_pb2.PostOperationsResponse(results=[result or next(posted) for result in results])

    async def GetBalances(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.GetBalancesRequest, context: Any
    ) -> ledger_service_pb2.GetBalancesResponse:
        """Tells balances."""
        del context
        as_of = _instant(request, "as_of_time")
        found = await self._ledger.get_balances(calls.current().program_id, [request.member_id], as_of)
        balances = [_balance(balance) for balance in found[request.member_id]]
        return ledger_service_pb2.GetBalancesResponse(balances=balances)

    async def BatchGetBalances(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.BatchGetBalancesRequest, context: Any
    ) -> ledger_service_pb2.BatchGetBalancesResponse:
        """Tells the balances of many members."""
        del context
        as_of = _instant(request, "as_of_time")
        found = await self._ledger.get_balances(calls.current().program_id, list(request.member_ids), as_of)
        return ledger_service_pb2.BatchGetBalancesResponse(
            members=[
                ledger_pb2.MemberBalances(
                    member_id=member_id, balances=[_balance(balance) for balance in found[member_id]]
                )
                for member_id in request.member_ids
            ]
        )

    async def ListEntries(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListEntriesRequest, context: Any
    ) -> ledger_service_pb2.ListEntriesResponse:
        """Lists a statement."""
        del context
        owner = (request.member_id, request.asset or POINTS)
        entries, token = await self._ledger.list_entries(
            calls.current().program_id, owner, page_size=request.page_size, page_token=request.page_token
        )
        return ledger_service_pb2.ListEntriesResponse(
            entries=[_entry(entry, owner[1]) for entry in entries], next_page_token=token
        )

    async def ListLots(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListLotsRequest, context: Any
    ) -> ledger_service_pb2.ListLotsResponse:
        """Lists lots."""
        del context
        owner = (request.member_id, request.asset or POINTS)
        lots, now, token = await self._ledger.list_lots(
            calls.current().program_id, owner, page_size=request.page_size, page_token=request.page_token
        )
        return ledger_service_pb2.ListLotsResponse(
            lots=[_lot(lot, owner[1], now) for lot in lots], next_page_token=token
        )


def build_server(ledger: Ledger, authenticate: Authenticate) -> rpc.Server:
    """Makes the server of the ledger and its feed."""

    def register(server: grpc.aio.Server) -> None:
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(ledger), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(ledger.pool), server)

    files = [ledger_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR]
    return rpc.Server(files=files, authenticate=authenticate, register=register)


def _violations(message: ledger_pb2.Operation) -> list[errors.Violation]:
    violations = fields.violations(message)
    if message.WhichOneof("action") is None:
        violations.append(errors.Violation("action", "must be one of earn, hold, capture, release and reverse"))
    return violations


def _operation(message: ledger_pb2.Operation) -> Operation:
    """Reads a well-formed operation; `fields` is what makes it the same or another."""
    name = message.WhichOneof("action")
    assert name is not None, "A well-formed operation has an action."
    kind = ACTION_KINDS[name]
    action = getattr(message, name)
    occurred_at = _instant(message, "occur_time")
    cause = message.cause
    common: dict[str, Any] = {
        "request_id": message.request_id,
        "key": ids.request_key(message.request_id),
        "kind": kind,
        "occurred_at": occurred_at,
        "cause": model.Cause(
            cause.event_id or None, cause.rule_id or None, cause.rule_version or None, cause.redemption_id or None
        ),
    }
    content = {"occurTime": _text(occurred_at), "cause": cause.SerializeToString(deterministic=True).hex()}
    if kind is Kind.EARN:
        effective_at, expires_at = _instant(action, "effective_time"), _instant(action, "expire_time")
        content |= _owner_fields(action)
        content |= {"effectiveTime": _text(effective_at), "expireTime": _text(expires_at), "priority": action.priority}
        common |= {"effective_at": effective_at, "expires_at": expires_at, "priority": action.priority}
    elif kind is Kind.HOLD:
        content |= {**_owner_fields(action), "timeoutS": action.timeout_s}
        common |= {"timeout_s": action.timeout_s}
    else:
        target_id = action.target_request_id if kind is Kind.REVERSE else action.hold_request_id
        content |= {"targetRequestId" if kind is Kind.REVERSE else "holdRequestId": target_id}
        return Operation(**common, fields=content, target_id=target_id, target_key=ids.request_key(target_id))
    return Operation(**common, fields=content, member_id=action.member_id, asset=action.asset, amount=action.amount)


def _owner_fields(action: Any) -> dict[str, Any]:
    return {"memberId": action.member_id, "asset": action.asset, "amount": action.amount}


def _instant(message: Any, name: str) -> datetime | None:
    return times.from_proto(getattr(message, name)) if message.HasField(name) else None


def _text(value: datetime | None) -> str:
    return value.isoformat() if value else ""


def _time(value: datetime | None) -> Timestamp | None:
    return times.to_proto(value) if value else None


def _result(request_id: str, outcome: model.Outcome | errors.DomainError) -> ledger_pb2.OperationResult:
    if isinstance(outcome, errors.DomainError):
        return ledger_pb2.OperationResult(request_id=request_id, refusal=refusals.to_proto(outcome))
    if outcome.refusal is not None:
        refusal = refusals.to_proto(outcome.refusal)
        return ledger_pb2.OperationResult(request_id=request_id, replayed=outcome.replayed, refusal=refusal)
    posting = outcome.posting
    assert posting is not None, "An outcome is a posting or a refusal."
    return ledger_pb2.OperationResult(
        request_id=request_id,
        replayed=outcome.replayed,
        posting=ledger_pb2.Posting(
            post_time=times.to_proto(posting.posted_at),
            amount=posting.amount,
            expire_time=_time(posting.expires_at),
            allocations=[
                ledger_pb2.Allocation(lot_id=str(part.lot_id), amount=part.amount, expire_time=_time(part.expires_at))
                for part in posting.parts
            ],
        ),
    )


def _balance(balance: model.Balance) -> ledger_pb2.Balance:
    message = ledger_pb2.Balance(
        asset=balance.asset,
        available=balance.available,
        held=balance.held,
        pending=balance.pending,
        lifetime_earned=balance.lifetime_earned,
        lifetime_spent=balance.lifetime_spent,
        lifetime_expired=balance.lifetime_expired,
    )
    if balance.next_expires_at is not None:
        message.next_expiry.amount = balance.next_expiry_amount
        message.next_expiry.expire_time.CopyFrom(times.to_proto(balance.next_expires_at))
    return message


def _entry(entry: model.Entry, asset: str) -> ledger_pb2.Entry:
    return ledger_pb2.Entry(
        entry_id=entry.entry_id,
        kind=events.ENTRY_KINDS[entry.kind],
        asset=asset,
        amount=entry.amount,
        balance=entry.balance,
        occur_time=times.to_proto(entry.occurred_at),
        post_time=times.to_proto(entry.posted_at),
        cause=events.cause_to_proto(entry.cause),
    )


def _lot(lot: model.LotView, asset: str, now: datetime) -> ledger_pb2.Lot:
    if lot.effective_at > now:
        state = ledger_pb2.LOT_STATE_PENDING
    elif lot.remaining and not lot.expired:
        state = ledger_pb2.LOT_STATE_ACTIVE
    else:
        state = ledger_pb2.LOT_STATE_EXPIRED if lot.expired else ledger_pb2.LOT_STATE_SPENT
    return ledger_pb2.Lot(
        lot_id=str(lot.lot_id),
        asset=asset,
        state=state,
        amount=lot.amount,
        remaining=lot.remaining,
        held=lot.held,
        expired=lot.expired,
        priority=lot.priority,
        effective_time=times.to_proto(lot.effective_at),
        expire_time=_time(lot.expires_at),
        origin=events.cause_to_proto(lot.origin),
    )
