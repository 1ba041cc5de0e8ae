"""`BudgetService` over gRPC: proto to operation to proto, nothing else."""

from typing import Any

from plaudit.ledger.v1 import budget_service_pb2, budget_service_pb2_grpc

from services.kernel import calls, errors, ids, requests, times
from services.ledger import model
from services.ledger.operations import budgets
from services.ledger.operations.posting import Ledger

ALERT_PERCENTS = (80, 100)


class BudgetServicer(budget_service_pb2_grpc.BudgetServiceServicer):
    """Serves `plaudit.ledger.v1.BudgetService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CreateBudget(  # noqa: N802 - the contract's name
        self, request: budget_service_pb2.CreateBudgetRequest, context: Any
    ) -> budget_service_pb2.CreateBudgetResponse:
        """Makes a budget."""
        del context
        view, replayed = await budgets.create_budget(self._ledger, calls.current().program_id, _new_budget(request))
        return budget_service_pb2.CreateBudgetResponse(budget=_budget(view), replayed=replayed)

    async def GetBudget(  # noqa: N802 - the contract's name
        self, request: budget_service_pb2.GetBudgetRequest, context: Any
    ) -> budget_service_pb2.GetBudgetResponse:
        """Tells how a budget stands."""
        del context
        view = await budgets.get_budget(self._ledger, calls.current().program_id, request.budget_id)
        return budget_service_pb2.GetBudgetResponse(budget=_budget(view))

    async def ListBudgets(  # noqa: N802 - the contract's name
        self, request: budget_service_pb2.ListBudgetsRequest, context: Any
    ) -> budget_service_pb2.ListBudgetsResponse:
        """Lists budgets."""
        del context
        found, token = await budgets.list_budgets(
            self._ledger, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return budget_service_pb2.ListBudgetsResponse(budgets=map(_budget, found), next_page_token=token)

    async def SetExchangeRate(  # noqa: N802 - the contract's name
        self, request: budget_service_pb2.SetExchangeRateRequest, context: Any
    ) -> budget_service_pb2.SetExchangeRateResponse:
        """Stores a rate."""
        del context
        rate, replayed = await budgets.set_rate(self._ledger, calls.current().program_id, _new_rate(request))
        return budget_service_pb2.SetExchangeRateResponse(rate=_rate(rate), replayed=replayed)

    async def ListExchangeRates(  # noqa: N802 - the contract's name
        self, request: budget_service_pb2.ListExchangeRatesRequest, context: Any
    ) -> budget_service_pb2.ListExchangeRatesResponse:
        """Lists rates."""
        del context
        found, token = await budgets.list_rates(
            self._ledger, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return budget_service_pb2.ListExchangeRatesResponse(rates=map(_rate, found), next_page_token=token)


def _new_budget(request: budget_service_pb2.CreateBudgetRequest) -> model.NewBudget:
    """Reads what is asked for. Raises FIELD_INVALID."""
    percents = tuple(request.alert_percents)
    if any(not 1 <= percent <= 100 for percent in percents) or list(percents) != sorted(set(percents)):
        message = "must be 1 to 100 each, all different, the smallest first"
        raise errors.field_invalid(errors.Violation("alertPercents", message))
    # As it was asked, so that a request stays what it is where defaults change.
    content = {
        "budgetId": request.budget_id,
        "asset": request.asset,
        "alertPercents": list(percents),
        "shardCount": request.shard_count,
    }
    return model.NewBudget(
        budget_id=request.budget_id,
        asset=request.asset,
        alert_percents=percents or ALERT_PERCENTS,
        shard_count=request.shard_count or 1,
        key=ids.request_key(request.request_id),
        content=content,
        fingerprint=requests.fingerprint(content),
    )


def _new_rate(request: budget_service_pb2.SetExchangeRateRequest) -> model.NewRate:
    """Reads what is asked for. Raises FIELD_INVALID."""
    if request.from_asset == request.to_asset:
        raise errors.field_invalid(errors.Violation("toAsset", "must not be fromAsset"))
    content = {
        "fromAsset": request.from_asset,
        "toAsset": request.to_asset,
        "numerator": request.numerator,
        "denominator": request.denominator,
    }
    return model.NewRate(
        from_asset=request.from_asset,
        to_asset=request.to_asset,
        numerator=request.numerator,
        denominator=request.denominator,
        key=ids.request_key(request.request_id),
        content=content,
        fingerprint=requests.fingerprint(content),
    )


def _budget(view: model.BudgetView) -> budget_service_pb2.Budget:
    return budget_service_pb2.Budget(
        budget_id=view.budget_id,
        asset=view.asset,
        closed=view.is_closed,
        funded=view.funded,
        given=view.given,
        held=view.held,
        left=view.remaining,
        alert_percents=view.alert_percents,
        shard_count=view.shard_count,
    )


def _rate(rate: model.Rate) -> budget_service_pb2.ExchangeRate:
    return budget_service_pb2.ExchangeRate(
        from_asset=rate.from_asset,
        to_asset=rate.to_asset,
        numerator=rate.numerator,
        denominator=rate.denominator,
        version=rate.version,
        set_time=times.to_proto(rate.set_at),
    )
