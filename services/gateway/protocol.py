"""HTTP on the wire: uvicorn's protocol with bounds on what a client may send before there is a request to refuse.

What breaks these bounds, and what is no HTTP at all, gets problem details too, and the connection ends.
"""

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.gateway import problems
from services.kernel import calls, errors, ids
from services.kernel.errors import Violation

URL_BYTES_MAX = 16 * 1024
HEADER_BYTES_MAX = 32 * 1024
# From the opening of a connection, or the first byte of a later request, until its headers are complete.
HEADERS_TIMEOUT_S = 20.0
CONNECTIONS_MAX = 10_000


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._refusal = _refusal(400, "request", "is not valid HTTP/1.1")
        self._headers_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begins a connection, where there is room for one."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; those of headers that do not end are counted, since the parser keeps them without a bound."""
        was_waiting = self._headers_timer is not None
        super().data_received(data)
        if was_waiting and self._headers_timer is not None and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > URL_BYTES_MAX + HEADER_BYTES_MAX:
                self._refusal = _headers_too_large()
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._header_bytes = 0
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Takes a piece of the URL."""
        super().on_url(url)
        if len(self.url) > URL_BYTES_MAX:
            self._refusal = _refusal(414, "url", f"must have at most {URL_BYTES_MAX} bytes")
            raise httptools.HttpParserError  # Stops the parser, and comes back through `send_400_response`.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header."""
        self._header_bytes += len(name) + len(value) + len(b": \r\n")
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refusal = _headers_too_large()
            raise httptools.HttpParserError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hands the request to the application."""
        self._stop_waiting()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._stop_waiting()
        self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answers what is no request that can be served, and ends the connection."""
        del msg  # Says less than the refusal does.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.write(_raw_answer(self._refusal))
        # Else an earlier request is still without its answer, and would take this one for it.
        self.transport.close()


def _refusal(status: int, name: str, message: str) -> problems.HttpError:
    return problems.HttpError(status, errors.field_invalid(Violation(name, message)))


def _headers_too_large() -> problems.HttpError:
    return _refusal(431, "headers", f"must have at most {HEADER_BYTES_MAX} bytes in all")


def _raw_answer(refusal: problems.HttpError) -> bytes:
    correlation_id = str(ids.new_id())
    answer = problems.response(refusal, correlation_id)
    answer.headers[calls.CORRELATION_HEADER] = correlation_id
    answer.headers["connection"] = "close"
    status = HTTPStatus(refusal.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body)
