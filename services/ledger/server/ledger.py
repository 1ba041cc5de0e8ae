"""`LedgerService` over gRPC: proto to operation to proto, nothing else."""

import asyncio
from typing import Any

from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import calls, errors, fields, times
from services.ledger import convert
from services.ledger.model import Operation, Owner
from services.ledger.operations import forgetting, listings, previews, reading, statements, unexpiring
from services.ledger.operations.posting import Ledger
from services.ledger.server import messages

# After so many operations of one call, half a millisecond's worth, other calls have their turn.
TURN = 20


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
        malformed: list[errors.DomainError | None] = []
        well_formed: list[Operation] = []
        for index, message in enumerate(request.operations):
            await _let_others(index)
            violations = fields.violations(message) or convert.violations(message)
            if violations and request.linked:
                raise errors.field_invalid(
                    *(errors.Violation(f"operations[{index}].{each.field}", each.message) for each in violations)
                )
            if violations:
                malformed.append(errors.field_invalid(*violations))
            else:
                malformed.append(None)
                well_formed.append(convert.operation(message))
        posted = await self._ledger.post(program_id, well_formed, linked=request.linked) if well_formed else []
        outcomes = iter(posted)
        response = ledger_service_pb2.PostOperationsResponse()
        left = convert.ALLOCATIONS_MAX
        for index, (message, refusal) in enumerate(zip(request.operations, malformed, strict=True)):
            await _let_others(index)
            result = response.results.add(request_id=message.request_id[: convert.REQUEST_ID_LENGTH_MAX])
            convert.fill_result(result, refusal or next(outcomes), left)
            left -= len(result.posting.allocations)
        return response

    async def GetBalances(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.GetBalancesRequest, context: Any
    ) -> ledger_service_pb2.GetBalancesResponse:
        """Tells balances."""
        del context
        as_of = convert.instant(request, "as_of_time")
        found = await reading.get_balances(self._ledger, calls.current().program_id, [request.member_id], as_of)
        balances = [messages.of_balance(balance) for balance in found[request.member_id]]
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
                    member_id=member_id, balances=[messages.of_balance(balance) for balance in found[member_id]]
                )
                for member_id in request.member_ids
            ]
        )

    async def ListEntries(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListEntriesRequest, context: Any
    ) -> ledger_service_pb2.ListEntriesResponse:
        """Lists a statement."""
        del context
        entries, token = await listings.list_entries(
            self._ledger,
            calls.current().program_id,
            _owner(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return ledger_service_pb2.ListEntriesResponse(
            entries=[messages.of_entry(entry) for entry in entries], next_page_token=token
        )

    async def ListLots(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListLotsRequest, context: Any
    ) -> ledger_service_pb2.ListLotsResponse:
        """Lists lots."""
        del context
        owner = _owner(request)
        lots, now, token = await listings.list_lots(
            self._ledger, calls.current().program_id, owner, page_size=request.page_size, page_token=request.page_token
        )
        return ledger_service_pb2.ListLotsResponse(
            lots=[messages.of_lot(lot, owner[1], now) for lot in lots], next_page_token=token
        )

    async def SummarizeStatement(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.SummarizeStatementRequest, context: Any
    ) -> ledger_service_pb2.SummarizeStatementResponse:
        """Sums a statement up."""
        del context
        summary = await statements.summarize_statement(
            self._ledger,
            calls.current().program_id,
            _owner(request),
            start=convert.instant(request, "start_time"),
            end=convert.instant(request, "end_time"),
        )
        return ledger_service_pb2.SummarizeStatementResponse(
            opening=summary.opening,
            earned=summary.earned,
            spent=summary.spent,
            expired=summary.expired,
            adjusted=summary.adjusted,
            exchanged=summary.exchanged,
            clawed_back=summary.clawed_back,
            closing=summary.closing,
        )

    async def PreviewSpend(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.PreviewSpendRequest, context: Any
    ) -> ledger_service_pb2.PreviewSpendResponse:
        """Tells what a spend would take."""
        del context
        preview = await previews.preview_spend(
            self._ledger, calls.current().program_id, _owner(request), request.amount
        )
        return messages.of_preview(preview)

    async def ListHolds(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListHoldsRequest, context: Any
    ) -> ledger_service_pb2.ListHoldsResponse:
        """Lists holds."""
        del context
        holds, token = await listings.list_holds(
            self._ledger,
            calls.current().program_id,
            _owner(request),
            is_active=request.active_only,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return ledger_service_pb2.ListHoldsResponse(
            holds=[messages.of_hold(hold) for hold in holds], next_page_token=token
        )

    async def ListExpirations(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ListExpirationsRequest, context: Any
    ) -> ledger_service_pb2.ListExpirationsResponse:
        """Lists what expires when."""
        del context
        expirations, token = await listings.list_expirations(
            self._ledger,
            calls.current().program_id,
            _owner(request),
            until=convert.instant(request, "until_time"),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return ledger_service_pb2.ListExpirationsResponse(
            expirations=[messages.of_expiration(each) for each in expirations], next_page_token=token
        )

    async def GetOperation(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.GetOperationRequest, context: Any
    ) -> ledger_service_pb2.GetOperationResponse:
        """Tells how an operation ended."""
        del context
        outcome, entries, are_cut = await statements.get_operation(
            self._ledger, calls.current().program_id, request.request_id
        )
        return ledger_service_pb2.GetOperationResponse(
            result=convert.result(request.request_id, outcome),
            entries=[messages.of_entry(entry) for entry in entries],
            entries_truncated=are_cut,
        )

    async def UnexpireLots(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.UnexpireLotsRequest, context: Any
    ) -> ledger_service_pb2.UnexpireLotsResponse:
        """Gives back what expired."""
        del context
        asked = unexpiring.Unexpiry(
            request_id=request.request_id,
            asset=request.asset,
            expired_from=times.from_proto(request.expired_from_time),
            expired_until=times.from_proto(request.expired_until_time),
            expires_at=convert.instant(request, "expire_time"),
            reason=request.reason,
            actor=request.actor,
        )
        members, token = await unexpiring.unexpire_lots(
            self._ledger,
            calls.current().program_id,
            asked,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return ledger_service_pb2.UnexpireLotsResponse(
            members=[messages.of_unexpired(member) for member in members], next_page_token=token
        )

    async def ForgetMember(  # noqa: N802 - the contract's name
        self, request: ledger_service_pb2.ForgetMemberRequest, context: Any
    ) -> ledger_service_pb2.ForgetMemberResponse:
        """Forgets a member."""
        del context
        count, replayed = await forgetting.forget_member(
            self._ledger, calls.current().program_id, request.member_id, request.request_id
        )
        return ledger_service_pb2.ForgetMemberResponse(replayed=replayed, wallet_count=count)


def _owner(request: Any) -> Owner:
    return request.member_id, request.asset or convert.POINTS


async def _let_others(index: int) -> None:
    """Lets the event loop turn, once in so many operations of a call: a call of 1,000 would hold it for 40 ms."""
    if index % TURN == 0:
        await asyncio.sleep(0)
