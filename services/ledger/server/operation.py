"""`OperationService` over gRPC: single operations, each a call; a refusal is the status of the call."""

from typing import Any

from plaudit.ledger.v1 import ledger_pb2, operation_service_pb2, operation_service_pb2_grpc

from services.kernel import calls, errors
from services.ledger import convert
from services.ledger.operations.posting import Ledger


class OperationServicer(operation_service_pb2_grpc.OperationServiceServicer):
    """Serves `plaudit.ledger.v1.OperationService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def _post(self, request: Any, name: str) -> tuple[bool, ledger_pb2.Posting]:
        """Posts what a request asks for in the field `name`; tells whether the outcome stood before, and what it is."""
        message = ledger_pb2.Operation(
            request_id=request.request_id,
            occur_time=request.occur_time if request.HasField("occur_time") else None,
            cause=request.cause if request.HasField("cause") else None,
            **{name: getattr(request, name)},
        )
        violations = convert.violations(message)
        if violations:
            raise errors.field_invalid(*violations)
        outcome = await self._ledger.post_one(calls.current().program_id, convert.operation(message))
        assert outcome.posting is not None, "What was refused was raised."
        return outcome.replayed, convert.posting(outcome.posting)

    async def Earn(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.EarnRequest, context: Any
    ) -> operation_service_pb2.EarnResponse:
        """Earns."""
        del context
        replayed, posting = await self._post(request, "earn")
        return operation_service_pb2.EarnResponse(replayed=replayed, posting=posting)

    async def ConfirmEarn(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ConfirmEarnRequest, context: Any
    ) -> operation_service_pb2.ConfirmEarnResponse:
        """Confirms a pending earn."""
        del context
        replayed, posting = await self._post(request, "confirm_earn")
        return operation_service_pb2.ConfirmEarnResponse(replayed=replayed, posting=posting)

    async def CancelEarn(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.CancelEarnRequest, context: Any
    ) -> operation_service_pb2.CancelEarnResponse:
        """Cancels a pending earn."""
        del context
        replayed, posting = await self._post(request, "cancel_earn")
        return operation_service_pb2.CancelEarnResponse(replayed=replayed, posting=posting)

    async def Spend(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.SpendRequest, context: Any
    ) -> operation_service_pb2.SpendResponse:
        """Spends."""
        del context
        replayed, posting = await self._post(request, "spend")
        return operation_service_pb2.SpendResponse(replayed=replayed, posting=posting)

    async def PlaceHold(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.PlaceHoldRequest, context: Any
    ) -> operation_service_pb2.PlaceHoldResponse:
        """Places a hold."""
        del context
        replayed, posting = await self._post(request, "hold")
        return operation_service_pb2.PlaceHoldResponse(replayed=replayed, posting=posting)

    async def CaptureHold(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.CaptureHoldRequest, context: Any
    ) -> operation_service_pb2.CaptureHoldResponse:
        """Captures a hold."""
        del context
        replayed, posting = await self._post(request, "capture")
        return operation_service_pb2.CaptureHoldResponse(replayed=replayed, posting=posting)

    async def ReleaseHold(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ReleaseHoldRequest, context: Any
    ) -> operation_service_pb2.ReleaseHoldResponse:
        """Releases a hold."""
        del context
        replayed, posting = await self._post(request, "release")
        return operation_service_pb2.ReleaseHoldResponse(replayed=replayed, posting=posting)

    async def Reverse(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ReverseRequest, context: Any
    ) -> operation_service_pb2.ReverseResponse:
        """Reverses a spend or a capture."""
        del context
        replayed, posting = await self._post(request, "reverse")
        return operation_service_pb2.ReverseResponse(replayed=replayed, posting=posting)

    async def ClawBack(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ClawBackRequest, context: Any
    ) -> operation_service_pb2.ClawBackResponse:
        """Takes an earn back."""
        del context
        replayed, posting = await self._post(request, "claw_back")
        return operation_service_pb2.ClawBackResponse(replayed=replayed, posting=posting)

    async def Adjust(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.AdjustRequest, context: Any
    ) -> operation_service_pb2.AdjustResponse:
        """Adjusts."""
        del context
        replayed, posting = await self._post(request, "adjust")
        return operation_service_pb2.AdjustResponse(replayed=replayed, posting=posting)

    async def Exchange(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ExchangeRequest, context: Any
    ) -> operation_service_pb2.ExchangeResponse:
        """Exchanges."""
        del context
        replayed, posting = await self._post(request, "exchange")
        return operation_service_pb2.ExchangeResponse(replayed=replayed, posting=posting)

    async def Expire(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.ExpireRequest, context: Any
    ) -> operation_service_pb2.ExpireResponse:
        """Ends lots."""
        del context
        replayed, posting = await self._post(request, "expire")
        return operation_service_pb2.ExpireResponse(replayed=replayed, posting=posting)

    async def Unexpire(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.UnexpireRequest, context: Any
    ) -> operation_service_pb2.UnexpireResponse:
        """Gives back what expired."""
        del context
        replayed, posting = await self._post(request, "unexpire")
        return operation_service_pb2.UnexpireResponse(replayed=replayed, posting=posting)

    async def FundBudget(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.FundBudgetRequest, context: Any
    ) -> operation_service_pb2.FundBudgetResponse:
        """Funds a budget."""
        del context
        replayed, posting = await self._post(request, "fund_budget")
        return operation_service_pb2.FundBudgetResponse(replayed=replayed, posting=posting)

    async def CloseBudget(  # noqa: N802 - the contract's name
        self, request: operation_service_pb2.CloseBudgetRequest, context: Any
    ) -> operation_service_pb2.CloseBudgetResponse:
        """Closes a budget."""
        del context
        replayed, posting = await self._post(request, "close_budget")
        return operation_service_pb2.CloseBudgetResponse(replayed=replayed, posting=posting)
