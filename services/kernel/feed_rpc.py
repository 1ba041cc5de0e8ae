"""The feed over gRPC: the servicer that every service with an outbox registers, and the source that followers read."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
from google.protobuf import any_pb2
from plaudit.feed.v1 import feed_pb2, feed_service_pb2, feed_service_pb2_grpc

from services.kernel import calls, db, feed, interceptors, rpc, times

TYPE_PREFIX = "type.googleapis.com/"
# How many events one message of a stream carries: well below the message limit, also for events of 32 KiB.
CHUNK_EVENTS = 100
CALL_TIMEOUT_S = 20.0


class FeedServicer(feed_service_pb2_grpc.FeedServiceServicer):
    """Serves the outbox of one database; `read` finds its events where they are not in `feed_events`."""

    def __init__(self, pool: db.Pool, read: feed.Read = feed.read_events) -> None:
        self._pool = pool
        self._read = read
        self._watch = feed.HeadWatch(pool)

    async def ListHeads(  # noqa: N802 - the contract's name
        self, request: feed_service_pb2.ListHeadsRequest, context: Any
    ) -> feed_service_pb2.ListHeadsResponse:
        """Lists heads, after waiting for news where asked; a caller of one program sees that one only."""
        del context
        heads = await self._watch.wait(request.wait_ms / 1000)
        program = calls.current().program
        return feed_service_pb2.ListHeadsResponse(
            heads=[
                feed_pb2.Head(program_id=head.program_id, partition=head.partition, position=head.position)
                for head in heads
                if program in ("", head.program_id)
            ]
        )

    async def ReadEvents(  # noqa: N802 - the contract's name
        self, request: feed_service_pb2.ReadEventsRequest, context: Any
    ) -> AsyncIterator[feed_service_pb2.ReadEventsResponse]:
        """Streams what stands behind a position."""
        del context
        program_id = calls.current().program_id
        # The head is read first, and whatever stands before it is there for ever.
        page = await db.ask(
            self._pool,
            lambda connection: self._read(
                connection,
                program_id,
                request.partition,
                request.after_position,
                limit=request.max_events or feed.READ_MAX,
                types=request.types,
            ),
        )
        for start in range(0, len(page.events), CHUNK_EVENTS):
            chunk = page.events[start : start + CHUNK_EVENTS]
            yield feed_service_pb2.ReadEventsResponse(
                events=[_to_proto(event) for event in chunk], through_position=chunk[-1].position
            )
        yield feed_service_pb2.ReadEventsResponse(through_position=page.through_position)


def _to_proto(event: feed.Incoming) -> feed_pb2.FeedEvent:
    return feed_pb2.FeedEvent(
        position=event.position,
        event_id=str(event.event_id),
        member_id=event.member_id,
        post_time=times.to_proto(event.posted_at),
        payload=any_pb2.Any(type_url=TYPE_PREFIX + event.type, value=event.payload),
    )


class RemoteSource:
    """Another service's feed; keeps only events of some types, or all where none are named."""

    def __init__(
        self, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity, *, name: str, types: list[str]
    ) -> None:
        self._stub = feed_service_pb2_grpc.FeedServiceStub(channel)
        self._identity = identity
        self._name = name
        self._types = types

    async def list_heads(self, wait_s: float) -> list[feed.Head]:
        """Tells the heads, after waiting for news. Raises DEPENDENCY_UNAVAILABLE."""
        request = feed_service_pb2.ListHeadsRequest(wait_ms=int(wait_s * 1000))
        call = self._stub.ListHeads(request, metadata=self._identity.metadata(""), timeout=wait_s + CALL_TIMEOUT_S)
        response = await rpc.checked(call, dependency=self._name)
        return [feed.Head(head.program_id, head.partition, head.position) for head in response.heads]

    async def read(self, program_id: str, partition: int, after_position: int) -> feed.Page:
        """Reads one page. Raises DEPENDENCY_UNAVAILABLE."""
        request = feed_service_pb2.ReadEventsRequest(
            partition=partition, after_position=after_position, max_events=feed.READ_MAX, types=self._types
        )
        page = feed.Page([], after_position)
        try:
            stream = self._stub.ReadEvents(
                request, metadata=self._identity.metadata(program_id), timeout=CALL_TIMEOUT_S
            )
            async for response in stream:
                events = [_from_proto(program_id, partition, event) for event in response.events]
                page = feed.Page(page.events + events, response.through_position)
        except grpc.aio.AioRpcError as error:
            raise interceptors.from_error(error, dependency=self._name) from error
        return page


def _from_proto(program_id: str, partition: int, event: feed_pb2.FeedEvent) -> feed.Incoming:
    return feed.Incoming(
        program_id=program_id,
        partition=partition,
        position=event.position,
        event_id=UUID(event.event_id),
        member_id=event.member_id,
        type=event.payload.type_url.removeprefix(TYPE_PREFIX),
        payload=event.payload.value,
        posted_at=times.from_proto(event.post_time),
    )
