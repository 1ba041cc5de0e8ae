"""Definitions over gRPC: proto to operation to proto, nothing else."""

from typing import Any

from plaudit.gamification.v1 import definition_service_pb2, definition_service_pb2_grpc

from services.gamification import convert
from services.gamification.model import Kind
from services.gamification.operations import definitions
from services.gamification.operations.context import Context
from services.kernel import calls, etags


class DefinitionServicer(definition_service_pb2_grpc.DefinitionServiceServicer):
    """Serves `plaudit.gamification.v1.DefinitionService`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def _create(self, wanted: Any, request: Any) -> tuple[Any, bool]:
        program_id = calls.current().program_id
        made, replayed = await definitions.create(self._context, program_id, wanted, request.request_id)
        return convert.definition_to_proto(made), replayed

    async def _update(self, wanted: Any, etag: str, request: Any) -> tuple[Any, bool]:
        made, replayed = await definitions.update(
            self._context,
            calls.current().program_id,
            wanted,
            expected_version=etags.read(etag),
            request_id=request.request_id,
        )
        return convert.definition_to_proto(made), replayed

    async def _get(self, kind: Kind, definition_id: str) -> Any:
        found = await definitions.get(self._context, calls.current().program_id, kind, definition_id)
        return convert.definition_to_proto(found)

    async def _list(self, kind: Kind, request: Any) -> tuple[list[Any], str]:
        found, token = await definitions.list_page(
            self._context,
            calls.current().program_id,
            kind,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return [convert.definition_to_proto(each) for each in found], token

    async def CreateMetric(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.CreateMetricRequest, context: Any
    ) -> definition_service_pb2.CreateMetricResponse:
        """Creates a metric."""
        del context
        made, replayed = await self._create(convert.metric(request.metric), request)
        return definition_service_pb2.CreateMetricResponse(metric=made, replayed=replayed)

    async def UpdateMetric(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.UpdateMetricRequest, context: Any
    ) -> definition_service_pb2.UpdateMetricResponse:
        """Replaces a metric."""
        del context
        made, replayed = await self._update(convert.metric(request.metric), request.metric.etag, request)
        return definition_service_pb2.UpdateMetricResponse(metric=made, replayed=replayed)

    async def GetMetric(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.GetMetricRequest, context: Any
    ) -> definition_service_pb2.GetMetricResponse:
        """Tells a metric."""
        del context
        return definition_service_pb2.GetMetricResponse(metric=await self._get(Kind.METRIC, request.metric_id))

    async def ListMetrics(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.ListMetricsRequest, context: Any
    ) -> definition_service_pb2.ListMetricsResponse:
        """Lists metrics."""
        del context
        found, token = await self._list(Kind.METRIC, request)
        return definition_service_pb2.ListMetricsResponse(metrics=found, next_page_token=token)

    async def CreateLadder(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.CreateLadderRequest, context: Any
    ) -> definition_service_pb2.CreateLadderResponse:
        """Creates a ladder."""
        del context
        made, replayed = await self._create(convert.ladder(request.ladder), request)
        return definition_service_pb2.CreateLadderResponse(ladder=made, replayed=replayed)

    async def UpdateLadder(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.UpdateLadderRequest, context: Any
    ) -> definition_service_pb2.UpdateLadderResponse:
        """Replaces a ladder."""
        del context
        made, replayed = await self._update(convert.ladder(request.ladder), request.ladder.etag, request)
        return definition_service_pb2.UpdateLadderResponse(ladder=made, replayed=replayed)

    async def GetLadder(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.GetLadderRequest, context: Any
    ) -> definition_service_pb2.GetLadderResponse:
        """Tells a ladder."""
        del context
        return definition_service_pb2.GetLadderResponse(ladder=await self._get(Kind.LADDER, request.ladder_id))

    async def ListLadders(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.ListLaddersRequest, context: Any
    ) -> definition_service_pb2.ListLaddersResponse:
        """Lists ladders."""
        del context
        found, token = await self._list(Kind.LADDER, request)
        return definition_service_pb2.ListLaddersResponse(ladders=found, next_page_token=token)

    async def CreateStreak(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.CreateStreakRequest, context: Any
    ) -> definition_service_pb2.CreateStreakResponse:
        """Creates a streak."""
        del context
        made, replayed = await self._create(convert.streak(request.streak), request)
        return definition_service_pb2.CreateStreakResponse(streak=made, replayed=replayed)

    async def UpdateStreak(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.UpdateStreakRequest, context: Any
    ) -> definition_service_pb2.UpdateStreakResponse:
        """Replaces a streak."""
        del context
        made, replayed = await self._update(convert.streak(request.streak), request.streak.etag, request)
        return definition_service_pb2.UpdateStreakResponse(streak=made, replayed=replayed)

    async def GetStreak(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.GetStreakRequest, context: Any
    ) -> definition_service_pb2.GetStreakResponse:
        """Tells a streak."""
        del context
        return definition_service_pb2.GetStreakResponse(streak=await self._get(Kind.STREAK, request.streak_id))

    async def ListStreaks(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.ListStreaksRequest, context: Any
    ) -> definition_service_pb2.ListStreaksResponse:
        """Lists streaks."""
        del context
        found, token = await self._list(Kind.STREAK, request)
        return definition_service_pb2.ListStreaksResponse(streaks=found, next_page_token=token)

    async def CreateBadge(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.CreateBadgeRequest, context: Any
    ) -> definition_service_pb2.CreateBadgeResponse:
        """Creates a badge."""
        del context
        made, replayed = await self._create(convert.badge(request.badge), request)
        return definition_service_pb2.CreateBadgeResponse(badge=made, replayed=replayed)

    async def UpdateBadge(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.UpdateBadgeRequest, context: Any
    ) -> definition_service_pb2.UpdateBadgeResponse:
        """Replaces a badge."""
        del context
        made, replayed = await self._update(convert.badge(request.badge), request.badge.etag, request)
        return definition_service_pb2.UpdateBadgeResponse(badge=made, replayed=replayed)

    async def GetBadge(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.GetBadgeRequest, context: Any
    ) -> definition_service_pb2.GetBadgeResponse:
        """Tells a badge."""
        del context
        return definition_service_pb2.GetBadgeResponse(badge=await self._get(Kind.BADGE, request.badge_id))

    async def ListBadges(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.ListBadgesRequest, context: Any
    ) -> definition_service_pb2.ListBadgesResponse:
        """Lists badges."""
        del context
        found, token = await self._list(Kind.BADGE, request)
        return definition_service_pb2.ListBadgesResponse(badges=found, next_page_token=token)

    async def CreateLeaderboard(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.CreateLeaderboardRequest, context: Any
    ) -> definition_service_pb2.CreateLeaderboardResponse:
        """Creates a leaderboard."""
        del context
        made, replayed = await self._create(convert.leaderboard(request.leaderboard), request)
        return definition_service_pb2.CreateLeaderboardResponse(leaderboard=made, replayed=replayed)

    async def UpdateLeaderboard(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.UpdateLeaderboardRequest, context: Any
    ) -> definition_service_pb2.UpdateLeaderboardResponse:
        """Replaces a leaderboard."""
        del context
        made, replayed = await self._update(convert.leaderboard(request.leaderboard), request.leaderboard.etag, request)
        return definition_service_pb2.UpdateLeaderboardResponse(leaderboard=made, replayed=replayed)

    async def ListLeaderboards(  # noqa: N802 - the contract's name
        self, request: definition_service_pb2.ListLeaderboardsRequest, context: Any
    ) -> definition_service_pb2.ListLeaderboardsResponse:
        """Lists leaderboards."""
        del context
        found, token = await self._list(Kind.LEADERBOARD, request)
        return definition_service_pb2.ListLeaderboardsResponse(leaderboards=found, next_page_token=token)
