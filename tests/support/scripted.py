"""A real gRPC server with the kernel's guard, whose methods do what the test says.

It serves the feed's contract, since that has a unary and a streaming method and every service knows it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc

from services.kernel import rpc
from tests.support.harness import VERIFIER

SCOPE = "feed.read"

Unary = Callable[[feed_service_pb2.ListHeadsRequest], Awaitable[feed_service_pb2.ListHeadsResponse]]
Stream = Callable[[feed_service_pb2.ReadEventsRequest], AsyncIterator[feed_service_pb2.ReadEventsResponse]]


async def answer(_: feed_service_pb2.ListHeadsRequest) -> feed_service_pb2.ListHeadsResponse:
    """Answers with nothing."""
    return feed_service_pb2.ListHeadsResponse()


async def stream(_: feed_service_pb2.ReadEventsRequest) -> AsyncIterator[feed_service_pb2.ReadEventsResponse]:
    """Sends two responses."""
    for position in (1, 2):
        yield feed_service_pb2.ReadEventsResponse(through_position=position)


class ScriptedServicer(feed_service_pb2_grpc.FeedServiceServicer):
    """Does what `unary` and `stream` say."""

    def __init__(self) -> None:
        self.unary: Unary = answer
        self.stream: Stream = stream

    async def ListHeads(  # noqa: N802 - the contract's name
        self, request: feed_service_pb2.ListHeadsRequest, context: Any
    ) -> feed_service_pb2.ListHeadsResponse:
        """Does what the test says."""
        del context
        return await self.unary(request)

    async def ReadEvents(  # noqa: N802 - the contract's name
        self, request: feed_service_pb2.ReadEventsRequest, context: Any
    ) -> AsyncIterator[feed_service_pb2.ReadEventsResponse]:
        """Does what the test says."""
        del context
        async for response in self.stream(request):
            yield response


@dataclass
class Scripted:
    """A running server, its servicer, and a channel to it without retries."""

    server: rpc.Server
    servicer: ScriptedServicer
    channel: grpc.aio.Channel
    stub: "feed_service_pb2_grpc.FeedServiceAsyncStub"
    address: str

    async def ask(self, metadata: Any, *, wait_ms: int = 0, timeout: float | None = None) -> Any:
        """Calls the unary method."""
        request = feed_service_pb2.ListHeadsRequest(wait_ms=wait_ms)
        return await self.stub.ListHeads(request, metadata=metadata, timeout=timeout)

    async def read(self, metadata: Any, *, partition: int = 0, timeout: float | None = None) -> list[int]:
        """Calls the streaming method and gives the positions that came."""
        request = feed_service_pb2.ReadEventsRequest(partition=partition)
        call = self.stub.ReadEvents(request, metadata=metadata, timeout=timeout)
        return [response.through_position async for response in call]


@asynccontextmanager
async def run_scripted() -> AsyncIterator[Scripted]:
    """Runs the server until the block ends."""
    servicer = ScriptedServicer()
    server = rpc.Server(
        files=[feed_service_pb2.DESCRIPTOR],
        authenticate=rpc.token_authenticator(VERIFIER),
        register=lambda each: feed_service_pb2_grpc.add_FeedServiceServicer_to_server(servicer, each),
    )
    await server.start("127.0.0.1:0")
    address = f"127.0.0.1:{server.port}"
    async with rpc.channel(address) as channel:
        stub = feed_service_pb2_grpc.FeedServiceStub(channel)
        yield Scripted(server, servicer, channel, stub, address)
    await server.stop()
