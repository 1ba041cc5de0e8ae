"""The calls of the API: one HTTP request becomes one rpc, and its response one JSON answer. No business here."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway import body, edge, items, streams, transcode
from services.gateway.auth import Authenticator, Credential
from services.gateway.backends import Backends, Call
from services.gateway.binding import KEY_HEADER, Binding
from services.gateway.encoder import Encode, encoder
from services.gateway.limits import Limiter
from services.gateway.malformed import MalformedError
from services.gateway.routes import Route, Table
from services.kernel import errors, rpc
from services.kernel.errors import DomainError

REPLAYED = "replayed"
REPLAYED_HEADER = "idempotency-replayed"
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route with all that serves it, compiled at the start."""

    route: Route
    binding: Binding
    items: items.Items | None
    call: Call
    encode: Encode
    tells_replay: bool
    streamed: streams.Streamed | None = None


def endpoint(route: Route, backends: Backends) -> Endpoint:
    """Compiles a route."""
    output = route.method.output_type
    if route.is_stream:
        return _streaming(route, backends)
    answered = output.fields_by_name[route.response_body].message_type if route.response_body else output
    assert answered is not None, f"{route.rpc}: the response body is a message."
    field = items.itemized_field(route.method) if route.body == "*" else None
    return Endpoint(
        route=route,
        binding=Binding(route),
        items=items.Items(field, output) if field is not None else None,
        call=backends.call(route),
        encode=encoder(answered),
        tells_replay=REPLAYED in output.fields_by_name,
    )


def _streaming(route: Route, backends: Backends) -> Endpoint:
    field = next(each for each in route.method.output_type.fields if each.message_type is not None)
    encode = encoder(field.message_type)
    return Endpoint(
        route=route,
        binding=Binding(route),
        items=None,
        call=backends.call(route),
        encode=encode,
        tells_replay=False,
        streamed=streams.Streamed(backends.stream(route), encode, field.name),
    )


class Api:
    """An ASGI application that answers every route of the contracts."""

    def __init__(self, table: Table, backends: Backends, authenticator: Authenticator, limiter: Limiter) -> None:
        self._table = table
        self._endpoints = {id(route): endpoint(route, backends) for route in table.routes}
        self._authenticator = authenticator
        self._limiter = limiter
        self.streams = streams.Streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. Raises DomainError, HttpError and MalformedError, for the edge to answer."""
        exchange = edge.current(scope)
        route, path_values = self._table.find(scope["method"], scope["raw_path"])
        exchange.route = route.template
        headers = Headers(scope=scope)
        credential = await self._admit(headers, exchange)
        each = self._endpoints[id(route)]
        given = await body.read(receive, headers) if route.body else None
        message = each.binding.make()
        split = _fill(each, message, given)
        each.binding.set_query(message, scope["query_string"])
        each.binding.set_path(message, path_values)
        each.binding.set_key(message, _single(headers, KEY_HEADER))
        if each.streamed is not None:
            streams.set_place(message, headers)
            header = _single(headers, "Authorization")
            renew = partial(self._authenticator.authenticate, header)
            stream = await self.streams.open(each.streamed, message, renew, exchange.correlation_id)
            await stream(scope, receive, send)
            return
        response = await _send_on(each, message, split, credential, exchange.correlation_id)
        await _answer(each, response, split)(scope, receive, send)

    async def _admit(self, headers: Headers, exchange: edge.Exchange) -> Credential:
        """Says who calls, counts the call, and sets what the answer says of the limits."""
        credential = await self._authenticator.authenticate(_single(headers, "Authorization"))
        caller = credential.caller
        exchange.program = caller.program_id
        standing = await self._limiter.count(f"{caller.program_id}:{caller.subject}")
        exchange.headers.update(self._limiter.headers(standing))
        self._limiter.check(standing)
        return credential


def _single(headers: Headers, name: str) -> str | None:
    """Gives a header that may stand once."""
    values = headers.getlist(name)
    if len(values) > 1:
        raise MalformedError.at("stands twice", name)
    if not values:
        return None
    try:
        return values[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        raise MalformedError.at("is not valid UTF-8", name) from None


def _fill(each: Endpoint, message: Any, given: bytes | None) -> items.Split | None:
    """Reads the body into the message; what is read item by item comes back apart."""
    if given is None:
        return None
    if not given:
        if each.route.body != "*" or each.items is not None:
            raise body.missing()
        return None
    value = transcode.parse(given)
    found = each.items.take(value) if each.items is not None else None
    each.binding.set_body(message, value)
    return each.items.read(found, message) if each.items is not None else None


async def _send_on(
    each: Endpoint, message: Any, split: items.Split | None, credential: Credential, correlation_id: str
) -> Any:
    request = message.SerializeToString()
    if len(request) > rpc.MESSAGE_BYTES_MAX:
        # A number takes more room on the wire than in JSON, so a body within its limit may still be too much.
        raise errors.body_too_large(body.BODY_BYTES_MAX)
    try:
        return await each.call(request, credential.token, correlation_id)
    except DomainError as error:
        if each.items is not None and split is not None:
            raise each.items.widen(error, split) from error
        raise


def _answer(each: Endpoint, response: Any, split: items.Split | None) -> Response:
    headers = {"cache-control": "no-store"}
    if each.tells_replay and response.replayed:
        headers[REPLAYED_HEADER] = "true"
    answered = getattr(response, each.route.response_body) if each.route.response_body else response
    value = each.encode(answered)
    if each.items is not None and split is not None:
        each.items.merge(value, split)
    return Response(transcode.render(value), headers=headers, media_type=JSON_TYPE)
