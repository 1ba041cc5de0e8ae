"""Notify's calls to other services, over gRPC."""

from datetime import datetime

import grpc
from plaudit.feed.v1 import feed_service_pb2
from plaudit.gamification.v1 import gamification_service_pb2, gamification_service_pb2_grpc
from plaudit.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import rpc, times
from services.notify import ports

# What is called through the channels: the ledger, gamification, and the feed of each service.
CONTRACTS = (ledger_service_pb2.DESCRIPTOR, gamification_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR)
CALL_TIMEOUT_S = 10.0
# More ends within one day than there are policies; what is beyond is not counted.
ENDS_MAX = 1000


class RemoteLedger:
    """The ledger behind a channel; implements `ports.Ledger`."""

    def __init__(self, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> None:
        self._stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        self._identity = identity

    async def expiring(
        self, program_id: str, member_id: str, asset: str, *, from_at: datetime, until_at: datetime
    ) -> int:
        """Adds up what ends within a time, as the ledger has it now."""
        request = ledger_service_pb2.ListExpirationsRequest(
            member_id=member_id, asset=asset, until_time=times.to_proto(until_at), page_size=ENDS_MAX
        )
        call = self._stub.ListExpirations(request, metadata=self._identity.metadata(program_id), timeout=CALL_TIMEOUT_S)
        response = await rpc.checked(call, dependency="ledger")
        return sum(each.amount for each in response.expirations if times.from_proto(each.expire_time) >= from_at)


class RemotePeers:
    """Gamification behind a channel; implements `ports.Peers`. It tells only what may be told."""

    def __init__(self, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> None:
        self._stub = gamification_service_pb2_grpc.GamificationServiceStub(channel)
        self._identity = identity

    async def compare(self, program_id: str, member_id: str, metric_id: str) -> ports.Comparison | None:
        """Tells how a member stands in a metric; None where that may not be told."""
        request = gamification_service_pb2.GetComparisonRequest(member_id=member_id)
        call = self._stub.GetComparison(request, metadata=self._identity.metadata(program_id), timeout=CALL_TIMEOUT_S)
        response = await rpc.checked(call, dependency="gamification")
        told = [each for each in response.comparisons if each.metric == metric_id]
        return ports.Comparison(told[0].ahead_of_percent) if told else None
