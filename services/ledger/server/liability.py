"""`LiabilityService` over gRPC: proto to operation to proto, nothing else."""

from typing import Any

from plaudit.ledger.v1 import liability_service_pb2, liability_service_pb2_grpc

from services.kernel import calls, times
from services.ledger import convert
from services.ledger.operations import estimates, liability
from services.ledger.operations.estimates import NewEstimate
from services.ledger.operations.liability import Wanted
from services.ledger.operations.posting import Ledger
from services.ledger.revenue import Position
from services.ledger.store.liability import StoredEstimate


class LiabilityServicer(liability_service_pb2_grpc.LiabilityServiceServicer):
    """Serves `plaudit.ledger.v1.LiabilityService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reporter = liability.Reporter(ledger)

    async def GetLiability(  # noqa: N802 - the contract's name
        self, request: liability_service_pb2.GetLiabilityRequest, context: Any
    ) -> liability_service_pb2.GetLiabilityResponse:
        """Reports what is owed and what is earned."""
        del context
        wanted = Wanted(
            as_of=convert.instant(request, "as_of_time"),
            previous=convert.instant(request, "previous_as_of_time"),
            zone=request.time_zone or "UTC",
            asset=request.asset,
            campaign_id=request.campaign_id,
        )
        report = await self._reporter.get_liability(
            calls.current().program_id, wanted, page_size=request.page_size, page_token=request.page_token
        )
        return liability_service_pb2.GetLiabilityResponse(
            lines=[
                liability_service_pb2.LiabilityLine(
                    month=line.cohort.month,
                    campaign_id=line.cohort.campaign_id,
                    asset=line.cohort.asset,
                    redemption_rate_bps=line.redemption_rate_bps,
                    figures=_figures(line, report.since.get(line.cohort, 0)),
                )
                for line in report.lines
            ],
            next_page_token=report.next_page_token,
            totals=[
                liability_service_pb2.LiabilityTotal(
                    asset=asset, figures=_figures(total, report.totals_since.get(asset, 0))
                )
                for asset, total in report.totals.items()
            ],
            as_of_time=times.to_proto(report.as_of),
        )

    async def SetRedemptionEstimate(  # noqa: N802 - the contract's name
        self, request: liability_service_pb2.SetRedemptionEstimateRequest, context: Any
    ) -> liability_service_pb2.SetRedemptionEstimateResponse:
        """Stores an estimate."""
        del context
        new = NewEstimate(
            request_id=request.request_id,
            asset=request.asset,
            campaign_id=request.campaign_id,
            redemption_rate_bps=request.redemption_rate_bps,
            valid_from=convert.instant(request, "valid_from_time"),
        )
        stored, replayed = await estimates.set_estimate(self._ledger, calls.current().program_id, new)
        return liability_service_pb2.SetRedemptionEstimateResponse(estimate=_estimate(stored), replayed=replayed)

    async def ListRedemptionEstimates(  # noqa: N802 - the contract's name
        self, request: liability_service_pb2.ListRedemptionEstimatesRequest, context: Any
    ) -> liability_service_pb2.ListRedemptionEstimatesResponse:
        """Lists estimates."""
        del context
        found, token = await estimates.list_estimates(
            self._ledger, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return liability_service_pb2.ListRedemptionEstimatesResponse(
            estimates=[_estimate(each) for each in found], next_page_token=token
        )


def _figures(position: Position, since: int) -> liability_service_pb2.LiabilityFigures:
    figures = position.figures
    return liability_service_pb2.LiabilityFigures(
        issued=figures.issued,
        redeemed=figures.redeemed,
        expired=figures.expired,
        clawed_back=figures.clawed_back,
        open=figures.open,
        pending=figures.pending,
        expected=position.expected,
        breakage=position.breakage,
        allocated_value=figures.allocated_value,
        clawed_back_value=position.clawed_back_value,
        recognised_value=position.recognised_value,
        deferred_value=position.deferred_value,
        recognised_since_value=since,
    )


def _estimate(stored: StoredEstimate) -> liability_service_pb2.RedemptionEstimate:
    estimate = stored.estimate
    return liability_service_pb2.RedemptionEstimate(
        asset=estimate.asset,
        campaign_id=estimate.campaign_id,
        redemption_rate_bps=estimate.redemption_rate_bps,
        valid_from_time=times.to_proto(estimate.valid_from),
        set_time=times.to_proto(stored.set_at),
    )
