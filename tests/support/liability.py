"""Shorthand for the report of liability and the estimates of redemption over a running ledger."""

from datetime import datetime
from typing import Any

from plaudit.ledger.v1 import liability_service_pb2, liability_service_pb2_grpc

from services.kernel import times
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential

Key = tuple[str, str, str]  # month, campaign and asset


def stub(ledger: LedgerHarness) -> "liability_service_pb2_grpc.LiabilityServiceAsyncStub":
    """Gives the stub of a ledger's liability."""
    return liability_service_pb2_grpc.LiabilityServiceStub(ledger.channel)


async def report(
    ledger: LedgerHarness,
    as_of: datetime | None = None,
    *,
    previous: datetime | None = None,
    page_size: int = 1000,
    program: str = "demo",
    **what: Any,
) -> liability_service_pb2.GetLiabilityResponse:
    """Asks for a page of the report, now where no instant is given; `what` are further fields of the request."""
    request = liability_service_pb2.GetLiabilityRequest(
        as_of_time=times.to_proto(as_of) if as_of else None,
        previous_as_of_time=times.to_proto(previous) if previous else None,
        page_size=page_size,
        **what,
    )
    return await stub(ledger).GetLiability(request, metadata=credential(program, LEDGER_SCOPES))


def figures(response: liability_service_pb2.GetLiabilityResponse) -> dict[Key, dict[str, int]]:
    """Gives by cohort what is not 0 of the figures that count value; nothing that rates and prices make of them."""
    return {
        (line.month, line.campaign_id, line.asset): {
            field.name: value
            for field, value in line.figures.ListFields()
            if field.name not in ("expected", "breakage") and not field.name.endswith("_value")
        }
        for line in response.lines
    }


async def estimate(
    ledger: LedgerHarness,
    redemption_rate_bps: int = 9_700,
    *,
    request_id: str = "estimate-1",
    asset: str = "points",
    valid_from: datetime | None = None,
    program: str = "demo",
    **what: Any,
) -> liability_service_pb2.SetRedemptionEstimateResponse:
    """Stores an estimate, from now on where no instant is given; `what` are further fields of the request."""
    request = liability_service_pb2.SetRedemptionEstimateRequest(
        request_id=request_id,
        asset=asset,
        redemption_rate_bps=redemption_rate_bps,
        valid_from_time=times.to_proto(valid_from) if valid_from else None,
        **what,
    )
    return await stub(ledger).SetRedemptionEstimate(request, metadata=credential(program, LEDGER_SCOPES))
