"""What happens around every call of every service, once, here.

In this order: correlation id, draining, credential, scope, program, fields, deadline, the handler; then refusals
become a `google.rpc.Status` with an `ErrorInfo`, the canonical line is logged and the duration measured. Handlers
raise `DomainError` and never touch the context.
"""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from plaudit.type.v1 import options_pb2
from prometheus_client import Histogram

from services.kernel import calls, errors, fields, logs, metrics
from services.kernel.tokens import ANY_PROGRAM, Caller

# A call without a deadline of its own gets this one; a longer one is cut to it.
DEADLINE_MAX_S = 30.0
NO_TIMEOUT = nullcontext()
# A caller's own clock cancels a call as long before its deadline is over here as the request was on its way.
LATE_S = 0.05
# Of what a status says of fields: with the rest of it well below the 8 KiB of metadata that every client takes.
VIOLATIONS_BYTES_MAX = 3000

# Quoted, since grpc's class takes parameters for the checker only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Authenticate = Callable[[str], Awaitable[Caller]]

CODES = {code_pb2.Code.Value(code.value): code for code in errors.Code}


@dataclass
class Drain:
    """Says whether the server still takes calls."""

    draining: bool = False


class Guard(grpc.GenericRpcHandler):
    """Serves methods, each wrapped once. `authenticate` turns a bearer credential into a caller.

    Generated code adds servicers to it as it would to a server. It hands them to the server as one handler, and is no
    interceptor: gRPC would ask that anew with each call, and with each call look at a future of every method that it
    knows. That and a timer a call were an eighth of what a call cost its server.
    """

    def __init__(self, methods: Mapping[str, MethodDescriptor], authenticate: Authenticate, drain: Drain) -> None:
        self.authenticate = authenticate
        self.drain = drain
        self._methods = methods
        self._wrapped: dict[str, Handler] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Takes the methods of a service from generated code."""
        for name, handler in method_handlers.items():
            path = f"/{service_name}/{name}"
            self._wrapped[path] = self._wrap(path, handler)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Is there for generated code, which offers the same methods this way as well."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Gives the wrapped handler of a method."""
        return self._wrapped.get(handler_call_details.method)

    def _wrap(self, name: str, handler: Handler) -> Handler:
        scope = self._methods[name].GetOptions().Extensions[options_pb2.required_scope]
        assert scope, f"{name} names no scope."

        async def unary(wire: bytes, context: Any) -> Any:
            assert handler.unary_unary is not None
            async with _Observed(self, name, scope, context) as observed:
                request = await observed.admit(wire, handler.request_deserializer)
                async with _deadline(context):
                    return await handler.unary_unary(request, context)

        async def stream(wire: bytes, context: Any) -> AsyncIterator[Any]:
            assert handler.unary_stream is not None
            async with _Observed(self, name, scope, context) as observed:
                request = await observed.admit(wire, handler.request_deserializer)
                async with _deadline(context):
                    responses: Any = handler.unary_stream(request, context)
                    async for response in responses:
                        yield response

        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        # Requests come as bytes: gRPC would answer those that are no message by itself, and without a reason.
        return make(
            stream if handler.response_streaming else unary,
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )


class _Observed:
    """Surrounds one call: admits it, and on the way out maps what was raised, logs and measures."""

    def __init__(self, guard: Guard, name: str, scope: str, context: Any) -> None:
        self._guard = guard
        self._name = name
        self._scope = scope
        self._context = context
        self._metadata = dict(context.invocation_metadata() or ())
        given = str(self._metadata.get(calls.CORRELATION_HEADER, ""))
        # As many random bits as a trace id of W3C's Trace Context.
        self._correlation_id = given[: calls.CORRELATION_LENGTH_MAX] or os.urandom(16).hex()
        self._program = ""
        self._started = time.perf_counter()

    async def __aenter__(self) -> "_Observed":
        structlog.contextvars.bind_contextvars(correlation_id=self._correlation_id)
        return self

    async def admit(self, wire: bytes, deserialize: Callable[[bytes], Any] | None) -> Message:
        """Gives the request of a call that may go on; raises the first reason why it may not."""
        if self._guard.drain.draining:
            raise errors.draining()
        kind, _, credential = str(self._metadata.get("authorization", "")).partition(" ")
        if kind.lower() != "bearer" or not credential:
            raise errors.credential_invalid("Send the credential as metadata: authorization: Bearer <credential>.")
        caller = await self._guard.authenticate(credential)
        caller.requires(self._scope)
        self._program = caller.program_id
        if caller.program_id == ANY_PROGRAM:
            self._program = str(self._metadata.get(calls.PROGRAM_HEADER, ""))
        calls.CURRENT.set(calls.Call(caller, self._program, self._correlation_id))
        request = _parse(wire, deserialize)
        fields.clear_output_only(request)
        violations = fields.violations(request)
        if violations:
            raise errors.field_invalid(*violations)
        return request

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if error is None:
            self._finish("OK")
            return
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._finish("DEADLINE_EXCEEDED" if _is_late(self._context) else "CANCELLED")
            return
        if isinstance(error, TimeoutError):
            error = errors.deadline_exceeded()
        if not isinstance(error, errors.DomainError):
            logs.get_logger().error("rpc_failed", method=self._name, exc_info=error)
            error = errors.invariant_broken(self._correlation_id)
        self._finish(error.code.value, error.reason)
        await self._context.abort_with_status(rpc_status.to_status(to_status(error)))

    def _finish(self, code: str, reason: str = "") -> None:
        duration_s = time.perf_counter() - self._started
        _duration_of(self._name, code).observe(duration_s)
        logs.get_logger().info(
            "rpc",
            method=self._name,
            program=self._program,
            code=code,
            reason=reason,
            duration_ms=round(duration_s * 1000, 1),
        )


@cache
def _duration_of(name: str, code: str) -> Histogram:
    """Gives the durations of calls of one method that ended in one way; there are as many as in the contracts."""
    return metrics.RPC_SECONDS.labels(name, code)


def _parse(wire: bytes, deserialize: Callable[[bytes], Any] | None) -> Message:
    assert deserialize is not None, "Generated code has a deserializer for every method."
    try:
        request: Message = deserialize(wire)
    except DecodeError:
        raise errors.field_invalid(errors.Violation("request", "is not a message of this method")) from None
    return request


def _deadline(context: Any) -> AbstractAsyncContextManager[Any]:
    """Bounds what is done in it by our deadline; where the caller's is sooner gRPC cancels the call at that."""
    left = context.time_remaining()
    return asyncio.timeout(DEADLINE_MAX_S) if left is None or left > DEADLINE_MAX_S else NO_TIMEOUT


def _is_late(context: Any) -> bool:
    """Tells whether a call that was cancelled had run into its caller's deadline."""
    left = context.time_remaining()
    return left is not None and left < LATE_S


def to_status(error: errors.DomainError) -> status_pb2.Status:
    """Says a refusal in the words of AIP-193: one ErrorInfo, and BadRequest or RetryInfo where they fit."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=error.domain, metadata=dict(error.metadata))
    ]
    if error.violations:
        details.append(_bad_request(error.violations))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    return status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=error.message, details=packed)


def _bad_request(violations: Sequence[errors.Violation]) -> error_details_pb2.BadRequest:
    """Names the fields at fault: the first, and as many others as there is room for."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(field=violation.field, description=violation.message)
        if bad.ByteSize() > VIOLATIONS_BYTES_MAX:
            if len(bad.field_violations) > 1:
                del bad.field_violations[-1]
            break
    return bad


def from_error(error: grpc.aio.AioRpcError, *, dependency: str) -> errors.DomainError:
    """Turns the error of a call to another service back into the refusal that it was.

    What carries no ErrorInfo (the connection broke, the server is gone) is DEPENDENCY_UNAVAILABLE.
    """
    status = _status_of(error)
    info, violations, retry_after_s = None, [], None
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations = [errors.Violation(each.field, each.description) for each in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(detail.value)
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    if info is None or status is None or status.code not in CODES:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.deadline_exceeded()
        return errors.dependency_unavailable(dependency)
    return errors.DomainError(
        code=CODES[status.code],
        reason=info.reason,
        message=status.message,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return None
