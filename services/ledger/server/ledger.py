"""`LedgerService` over gRPC: proto to operation to proto, nothing else."""

from datetime import datetime
from typing import Any

from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import calls, errors, fields, refusals, times
from services.ledger import convert, events, model
from services.ledger.model import Operation
from services.ledger.operations import reading
from services.ledger.operations.posting import Ledger


class LedgerServicer(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Serves `plaudit.ledger.v1.LedgerService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def PostOperations(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.PostOperationsRequest, context: Any
    ) -> ledger_service_pb2.PostOperationsResponse:
        """Judges malformed operations here and posts the others; answers in their order."""
        del context
        program_id = calls.current().program_id
        results: list[ledger_pb2.OperationResult | None] = []
        well_formed: list[Operation] = []
        for index, message in enumerate(request.operations):
            violations = fields.violations(message) or convert.violations(message)
            if violations and request.linked:
                raise errors.field_invalid(
                    *(errors.Violation(f"operations[{index}].{each.field}", each.message) for each in violations)
                )
            if violations:
                refusal = refusals.to_proto(errors.field_invalid(*violations))
                results.append(ledger_pb2.OperationResult(request_id=message.request_id, refusal=refusal))
            else:
                results.append(None)
                well_formed.append(convert.operation(message))
        if well_formed:
            outcomes = await self._ledger.post(program_id, well_formed, linked=request.linked)
            posted = iter(
                [convert.result(each.request_id, outcome) for each, outcome in zip(well_formed, outcomes, strict=True)]
            )
            return ledger_service_pb2.PostOperationsResponse(results=[result or next(posted) for result in results])
        return ledger_service_pb2.PostOperationsResponse(results=[result for result in results if result])

    async def GetBalances(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.GetBalancesRequest, context: Any
    ) -> ledger_service_pb2.GetBalancesResponse:
        """Tells balances."""
        del context
        as_of = convert.instant(request, "as_of_time")
        found = await reading.get_balances(self._ledger, calls.current().program_id, [request.member_id], as_of)
        balances = [_balance(balance) for balance in found[request.member_id]]
        return ledger_service_pb2.GetBalancesResponse(balances=balances)

    async def BatchGetBalances(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.BatchGetBalancesRequest, context: Any
    ) -> ledger_service_pb2.BatchGetBalancesResponse:
        """Tells the balances of many members."""
        del context
        as_of = convert.instant(request, "as_of_time")
        found = await reading.get_balances(self._ledger, calls.current().program_id, list(request.member_ids), as_of)
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
        owner = (request.member_id, request.asset or convert.POINTS)
        entries, token = await reading.list_entries(
            self._ledger, calls.current().program_id, owner, page_size=request.page_size, page_token=request.page_token
        )
        return ledger_service_pb2.ListEntriesResponse(
            entries=[_entry(entry, owner[1]) for entry in entries], next_page_token=token
        )

    async def ListLots(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListLotsRequest, context: Any
    ) -> ledger_service_pb2.ListLotsResponse:
        """Lists lots."""
        del context
        owner = (request.member_id, request.asset or convert.POINTS)
        lots, now, token = await reading.list_lots(
            self._ledger, calls.current().program_id, owner, page_size=request.page_size, page_token=request.page_token
        )
        return ledger_service_pb2.ListLotsResponse(
            lots=[_lot(lot, owner[1], now) for lot in lots], next_page_token=token
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
        lifetime_adjusted=balance.lifetime_adjusted,
        lifetime_clawed_back=balance.lifetime_clawed_back,
        debt=balance.debt,
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
