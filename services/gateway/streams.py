"""Server-sent events from rpcs that stream: a response of the GET lasts as long as its reader.

An rpc ends by itself after some seconds, and the next one goes on behind the last position; between two of them the
credential is looked at anew, so that a revoked one ends here too. By convention a request says `after_position`, and a
response `position` and, where there is one, the message that is an event. `Last-Event-ID` goes on where a reader was.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from services.gateway import transcode
from services.gateway.auth import Credential
from services.gateway.backends import Stream
from services.gateway.encoder import Encode
from services.gateway.malformed import MalformedError
from services.kernel import errors

MEDIA_TYPE = "text/event-stream"
AFTER = "after_position"
LAST_ID_HEADER = "Last-Event-ID"
LAST_ID_MAX = 2**63 - 1
# How soon a reader comes back whose connection broke.
RETRY_MS = 2000
AWAY_WAIT_S = 1.0
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass
class Streams:
    """Makes streams; `ending` is set when the process drains, and every stream ends then."""

    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(
        self,
        each: "Streamed",
        message: Any,
        renew: Callable[[], Awaitable[Credential]],
        correlation_id: str,
    ) -> Response:
        """Opens a stream once its first response is there. Raises what refuses it."""
        events = self._events(each, message, renew, correlation_id)
        first = await anext(events)

        async def all_events() -> AsyncIterator[bytes]:
            yield first
            async for event in events:
                yield event

        return StreamingResponse(all_events(), headers=HEADERS, media_type=MEDIA_TYPE)

    async def _events(
        self, each: "Streamed", message: Any, renew: Callable[[], Awaitable[Credential]], correlation_id: str
    ) -> AsyncIterator[bytes]:
        is_open = False
        while not self.ending.is_set():
            try:
                credential = await renew()
                async for response in each.call(message.SerializeToString(), credential.token, correlation_id):
                    setattr(message, AFTER, response.position)
                    yield (b"" if is_open else f"retry: {RETRY_MS}\n".encode()) + each.event(response)
                    is_open = True
                    if self.ending.is_set():
                        return
            except errors.DomainError as error:
                if not is_open or not error.is_transient:
                    raise
                await asyncio.sleep(AWAY_WAIT_S)
            yield b": all is well\n\n"


@dataclass(frozen=True, slots=True)
class Streamed:
    """A route that streams: how it is called, and how the message in a response is written."""

    call: Stream
    encode: Encode
    name: str

    def event(self, response: Any) -> bytes:
        """Writes a response as an event; one without a message tells the position alone."""
        head = f"id: {response.position}\n".encode()
        if not response.HasField(self.name):
            return head + b"\n"
        return head + b"data: " + transcode.render(self.encode(getattr(response, self.name))) + b"\n\n"


def set_place(message: Any, headers: Headers) -> None:
    """Goes on behind the event that a reader saw last. Raises MalformedError where that is no position."""
    given = headers.get(LAST_ID_HEADER)
    if given is None or given == "":
        return
    if not given.isascii() or not given.isdecimal() or int(given) > LAST_ID_MAX:
        raise MalformedError.at("is not the id of an event of this stream", LAST_ID_HEADER)
    setattr(message, AFTER, int(given))
