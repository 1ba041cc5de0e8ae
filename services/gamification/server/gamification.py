"""Progress, rankings and comparisons over gRPC: proto to operation to proto, nothing else."""

from datetime import date
from typing import Any

from plaudit.gamification.v1 import gamification_service_pb2, gamification_service_pb2_grpc

from services.gamification import convert
from services.gamification.model import Period, Subject
from services.gamification.operations import comparing, progress, ranking
from services.gamification.operations.context import Context
from services.kernel import calls, errors


class GamificationServicer(gamification_service_pb2_grpc.GamificationServiceServicer):
    """Serves `plaudit.gamification.v1.GamificationService`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def GetProgress(  # noqa: N802 - the contract's name
        self, request: gamification_service_pb2.GetProgressRequest, context: Any
    ) -> gamification_service_pb2.GetProgressResponse:
        """Tells what a member has reached."""
        del context
        found = await progress.get_progress(self._context, calls.current().program_id, request.member_id)
        return convert.progress_to_proto(found)

    async def GetLeaderboard(  # noqa: N802 - the contract's name
        self, request: gamification_service_pb2.GetLeaderboardRequest, context: Any
    ) -> gamification_service_pb2.GetLeaderboardResponse:
        """Tells a page of a ranking."""
        del context
        asked = ranking.Asked(
            leaderboard_id=request.leaderboard_id,
            period=convert.period(request.period),
            day=date.fromisoformat(request.date) if request.date else None,
            around_member_id=request.around_member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        shown = await ranking.get_leaderboard(self._context, calls.current().program_id, asked)
        return convert.shown_to_proto(shown)

    async def GetComparison(  # noqa: N802 - the contract's name
        self, request: gamification_service_pb2.GetComparisonRequest, context: Any
    ) -> gamification_service_pb2.GetComparisonResponse:
        """Compares a member with peers."""
        del context
        found = await comparing.get_comparison(self._context, calls.current().program_id, request.member_id)
        return gamification_service_pb2.GetComparisonResponse(
            comparisons=[convert.comparison_to_proto(each) for each in found]
        )

    async def ListMetricValues(  # noqa: N802 - the contract's name
        self, request: gamification_service_pb2.ListMetricValuesRequest, context: Any
    ) -> gamification_service_pb2.ListMetricValuesResponse:
        """Lists the values of a member or an org."""
        del context
        if bool(request.member_id) == bool(request.org_id):
            raise errors.field_invalid(errors.Violation("memberId", "is required, or orgId instead, and not both"))
        by_member = (Subject.MEMBER, request.member_id)
        found, token = await progress.list_values(
            self._context,
            calls.current().program_id,
            request.metric_id,
            subject=by_member if request.member_id else (Subject.ORG, request.org_id),
            period=convert.period(request.period) or Period.ALL_TIME,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return gamification_service_pb2.ListMetricValuesResponse(
            values=convert.values_to_proto(found), next_page_token=token
        )

    async def SetRanked(  # noqa: N802 - the contract's name
        self, request: gamification_service_pb2.SetRankedRequest, context: Any
    ) -> gamification_service_pb2.SetRankedResponse:
        """Says whether leaderboards show a member."""
        del context
        shown = await progress.set_ranked(
            self._context, calls.current().program_id, request.member_id, is_ranked=request.ranked
        )
        return gamification_service_pb2.SetRankedResponse(ranked=shown)
