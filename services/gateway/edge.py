"""What happens around every request, once, here: correlation id, errors, security headers, metrics, one log line.

Whatever goes wrong inside becomes problem details: nothing ever leaves as a bare 500.
"""

import re
import time
from dataclasses import dataclass, field

import structlog
from prometheus_client import Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import problems
from services.gateway.malformed import MalformedError
from services.gateway.routes import MethodNotAllowedError
from services.kernel import calls, errors, ids, logs, metrics
from services.kernel.errors import DomainError

CORRELATION_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{calls.CORRELATION_LENGTH_MAX}}}", re.ASCII)
# Requests under way at once. Each may hold a body of 4 MiB, and past this many the queue only adds to the waiting.
REQUESTS_MAX = 1000
# The client went away before there was an answer; nginx gave it this number.
STATUS_GONE = 499
# In metrics and logs, for what has no route: a raw path would make as many series as there are typing errors.
NO_ROUTE = "none"
# Asked every few seconds by machines, and of no interest while all is well.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})

HTTP_SECONDS = Histogram(
    "plaudit_http_seconds",
    "Duration of HTTP requests, by method, route and status.",
    ["method", "route", "status"],
    buckets=metrics.LATENCY_BUCKETS_S,
)
HTTP_UNDER_WAY = Gauge("plaudit_http_under_way", "HTTP requests under way.")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as far as it is known while it is under way."""

    correlation_id: str
    route: str = NO_ROUTE
    program: str = ""
    reason: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)


def current(scope: Scope) -> Exchange:
    """Gives the exchange that a request belongs to."""
    exchange = scope["plaudit"]
    assert isinstance(exchange, Exchange)
    return exchange


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; raises nothing but a cancellation."""
        assert scope["type"] == "http", "The server speaks nothing else."
        exchange = Exchange(_correlation_id(scope))
        scope["plaudit"] = exchange
        started = time.perf_counter()
        structlog.contextvars.bind_contextvars(correlation_id=exchange.correlation_id)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                _add_headers(message, exchange)
            await send(message)

        self._under_way += 1
        HTTP_UNDER_WAY.set(self._under_way)
        try:
            await self._serve(scope, receive, send_on)
        finally:
            self._under_way -= 1
            HTTP_UNDER_WAY.set(self._under_way)
            _finish(scope, exchange, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = current(scope)
        try:
            if self._under_way > REQUESTS_MAX:
                raise errors.queue_full(REQUESTS_MAX)
            await self._app(scope, receive, send)
            return
        except ClientDisconnect:
            exchange.status = STATUS_GONE
            return
        except (DomainError, problems.HttpError) as error:
            refusal: DomainError | problems.HttpError = error
        except MalformedError as error:
            refusal = problems.from_malformed(error)
        except MethodNotAllowedError as error:
            refusal = problems.method_not_allowed(", ".join(error.allowed))
        except Exception as error:
            logs.get_logger().error("request_failed", route=exchange.route, exc_info=error)
            if exchange.status:
                raise  # Half an answer is out already; the server closes the connection.
            refusal = errors.invariant_broken(exchange.correlation_id)
        exchange.reason = refusal.error.reason if isinstance(refusal, problems.HttpError) else refusal.reason
        await problems.response(refusal, exchange.correlation_id)(scope, receive, send)


def _correlation_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(calls.CORRELATION_HEADER, "")
    return given if CORRELATION_ID.fullmatch(given) else str(ids.new_id())


def _add_headers(message: Message, exchange: Exchange) -> None:
    headers = MutableHeaders(scope=message)
    headers[calls.CORRELATION_HEADER] = exchange.correlation_id
    headers["x-content-type-options"] = "nosniff"
    for name, value in exchange.headers.items():
        headers[name] = value


def _finish(scope: Scope, exchange: Exchange, duration_s: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "OTHER"
    HTTP_SECONDS.labels(method, exchange.route, str(exchange.status)).observe(duration_s)
    log = logs.get_logger()
    write = log.debug if exchange.route in QUIET_ROUTES and exchange.status < 400 else log.info
    write(
        "http",
        method=method,
        route=exchange.route,
        status=exchange.status,
        program=exchange.program,
        reason=exchange.reason,
        duration_ms=round(duration_s * 1000, 1),
    )
