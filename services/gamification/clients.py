"""Gamification's calls to the program, over gRPC: it follows its feed."""

import grpc
from plaudit.feed.v1 import feed_service_pb2

from services.kernel import feed_rpc, rpc

CONTRACTS = (feed_service_pb2.DESCRIPTOR,)
SCOPES = ("feed.read",)


def program_feed(channel: grpc.aio.Channel, identity: rpc.ServiceIdentity, types: list[str]) -> feed_rpc.RemoteSource:
    """Gives the program's feed, of some types of events."""
    return feed_rpc.RemoteSource(channel, identity, name="program", types=types)
