"""Shorthand for budgets and exchange rates over a running ledger."""

from typing import Any

from plaudit.ledger.v1 import budget_service_pb2, budget_service_pb2_grpc

from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential


def stub(ledger: LedgerHarness) -> "budget_service_pb2_grpc.BudgetServiceAsyncStub":
    """Gives the stub of a ledger's budgets."""
    return budget_service_pb2_grpc.BudgetServiceStub(ledger.channel)


async def create_budget(
    ledger: LedgerHarness,
    budget_id: str = "b",
    *,
    request_id: str = "",
    asset: str = "points",
    program: str = "demo",
    **what: Any,
) -> budget_service_pb2.CreateBudgetResponse:
    """Makes a budget; `what` are further fields of the request."""
    request = budget_service_pb2.CreateBudgetRequest(
        budget_id=budget_id, asset=asset, request_id=request_id or f"create-{budget_id}", **what
    )
    return await stub(ledger).CreateBudget(request, metadata=credential(program, LEDGER_SCOPES))


async def get_budget(
    ledger: LedgerHarness, budget_id: str = "b", *, program: str = "demo"
) -> budget_service_pb2.Budget:
    """Tells how a budget stands."""
    request = budget_service_pb2.GetBudgetRequest(budget_id=budget_id)
    response = await stub(ledger).GetBudget(request, metadata=credential(program, LEDGER_SCOPES))
    return response.budget


async def set_rate(
    ledger: LedgerHarness,
    numerator: int,
    denominator: int,
    *,
    request_id: str = "",
    source: str = "points",
    target: str = "credits",
    program: str = "demo",
) -> budget_service_pb2.SetExchangeRateResponse:
    """Stores a rate: so many of the target for so many of the source."""
    request = budget_service_pb2.SetExchangeRateRequest(
        from_asset=source,
        to_asset=target,
        numerator=numerator,
        denominator=denominator,
        request_id=request_id or f"rate-{source}-{target}-{numerator}-{denominator}",
    )
    return await stub(ledger).SetExchangeRate(request, metadata=credential(program, LEDGER_SCOPES))
