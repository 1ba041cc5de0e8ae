"""The services behind the gateway: one channel each, calls by name, and whether they serve."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plaudit.gamification.v1 import definition_service_pb2, gamification_service_pb2
from plaudit.ledger.v1 import (
    budget_service_pb2,
    ledger_service_pb2,
    liability_service_pb2,
    operation_service_pb2,
    seal_service_pb2,
)
from plaudit.notify.v1 import (
    delivery_service_pb2,
    message_service_pb2,
    trigger_service_pb2,
)
from plaudit.notify.v1 import link_service_pb2 as mail_link_service_pb2
from plaudit.notify.v1 import link_service_pb2_grpc as mail_link_service_pb2_grpc
from plaudit.program.v1 import access_service_pb2, access_service_pb2_grpc, program_service_pb2
from plaudit.referral.v1 import link_service_pb2, link_service_pb2_grpc, referral_service_pb2

from services.gateway.routes import Route
from services.kernel import calls, errors, interceptors, rpc

# A write may take as long as a service may; a read that takes longer than this is of no use any more.
WRITE_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 10.0
# But for one that looks at all that a program ever had: it takes as long as that is much, and may as a write may.
REPORTS = frozenset({"/plaudit.ledger.v1.LiabilityService/GetLiability"})
EXCHANGE_TIMEOUT_S = 5.0
HEALTH_TIMEOUT_S = 1.0

# The contracts that are served over HTTP, by the service that serves them; by the first one it is asked for its health.
CONTRACTS: Mapping[str, Sequence[FileDescriptor]] = {
    "program": (program_service_pb2.DESCRIPTOR,),
    "ledger": (
        ledger_service_pb2.DESCRIPTOR,
        operation_service_pb2.DESCRIPTOR,
        budget_service_pb2.DESCRIPTOR,
        liability_service_pb2.DESCRIPTOR,
        seal_service_pb2.DESCRIPTOR,
    ),
    "referral": (referral_service_pb2.DESCRIPTOR,),
    "gamification": (gamification_service_pb2.DESCRIPTOR, definition_service_pb2.DESCRIPTOR),
    "notify": (
        message_service_pb2.DESCRIPTOR,
        trigger_service_pb2.DESCRIPTOR,
        delivery_service_pb2.DESCRIPTOR,
    ),
}
# What the gateway calls for itself, beside those.
CALLED_TOO: Mapping[str, Sequence[FileDescriptor]] = {
    "program": (access_service_pb2.DESCRIPTOR,),
    "referral": (link_service_pb2.DESCRIPTOR,),
    "notify": (mail_link_service_pb2.DESCRIPTOR,),
}
# Without the program service no credential can be traded and nothing answers. Without another one the rest goes on:
# events are accepted while the ledger is away, which they could not be if balancers then took all gateways out.
NEEDED = frozenset({"program"})

# Calls an rpc with the bytes of its request and gives its response.
Call = Callable[[bytes, str, str], Any]
# Calls an rpc that streams, and gives its responses one by one.
Stream = Callable[[bytes, str, str], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One service: its name and how to reach it."""

    name: str
    channel: grpc.aio.Channel
    health_name: str

    async def health(self) -> str:
        """Says `serving`, `not_serving`, or `unreachable`."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        try:
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(service=self.health_name), timeout=HEALTH_TIMEOUT_S, wait_for_ready=False
            )
        except grpc.aio.AioRpcError:
            return "unreachable"
        return "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not_serving"


class Backends:
    """All services behind the gateway, by name."""

    def __init__(self, addresses: Mapping[str, str], identity: rpc.ServiceIdentity) -> None:
        assert addresses.keys() == CONTRACTS.keys(), "Each contract has a service."
        self._backends = {name: _backend(name, address) for name, address in addresses.items()}
        self._identity = identity
        self.mail_links = mail_link_service_pb2_grpc.LinkServiceStub(self._backends["notify"].channel)
        self._access = access_service_pb2_grpc.AccessServiceStub(self._backends["program"].channel)
        self._links = link_service_pb2_grpc.LinkServiceStub(self._backends["referral"].channel)

    def call(self, route: Route) -> Call:
        """Makes what calls the rpc of a route: it takes the request's bytes, the token and the correlation id."""
        response: Any = GetMessageClass(route.method.output_type)
        method: Any = self._backends[route.backend].channel.unary_unary(
            route.rpc, request_serializer=None, response_deserializer=response.FromString
        )
        timeout_s = _timeout_s(route)

        async def call(request: bytes, token: str, correlation_id: str) -> Any:
            metadata = (("authorization", f"Bearer {token}"), (calls.CORRELATION_HEADER, correlation_id))
            return await rpc.checked(method(request, metadata=metadata, timeout=timeout_s), dependency=route.backend)

        return call

    def stream(self, route: Route) -> Stream:
        """Makes what calls the rpc of a route that streams."""
        response: Any = GetMessageClass(route.method.output_type)
        method: Any = self._backends[route.backend].channel.unary_stream(
            route.rpc, request_serializer=None, response_deserializer=response.FromString
        )

        async def call(request: bytes, token: str, correlation_id: str) -> AsyncIterator[Any]:
            metadata = (("authorization", f"Bearer {token}"), (calls.CORRELATION_HEADER, correlation_id))
            try:
                async for each in method(request, metadata=metadata, timeout=WRITE_TIMEOUT_S):
                    yield each
            except grpc.aio.AioRpcError as error:
                raise interceptors.from_error(error, dependency=route.backend) from error

        return call

    async def exchange(self, api_key: str) -> str:
        """Trades an API key for a token. Raises CREDENTIAL_INVALID, or DEPENDENCY_UNAVAILABLE where nobody answers."""
        call = self._access.CreateToken(
            access_service_pb2.CreateTokenRequest(),
            metadata=(("authorization", f"Bearer {api_key}"),),
            timeout=EXCHANGE_TIMEOUT_S,
        )
        try:
            answer = await rpc.checked(call, dependency="program")
        except errors.DomainError as error:
            if error.code is errors.Code.DEADLINE_EXCEEDED:
                raise errors.dependency_unavailable("program") from error
            raise
        return str(answer.token)

    async def follow_link(
        self, request: link_service_pb2.FollowLinkRequest, correlation_id: str
    ) -> link_service_pb2.FollowLinkResponse:
        """Asks where a link leads, as the gateway itself. Raises CODE_NOT_FOUND, or what the service refuses."""
        metadata = (*self._identity.metadata(""), (calls.CORRELATION_HEADER, correlation_id))
        call = self._links.FollowLink(request, metadata=metadata, timeout=READ_TIMEOUT_S)
        response: link_service_pb2.FollowLinkResponse = await rpc.checked(call, dependency="referral")
        return response

    async def health(self) -> dict[str, str]:
        """Asks every service at once whether it serves."""
        found = await asyncio.gather(*(each.health() for each in self._backends.values()))
        return dict(zip(self._backends, found, strict=True))

    async def close(self) -> None:
        """Closes the channels."""
        for each in self._backends.values():
            await each.channel.close()


def _timeout_s(route: Route) -> float:
    return READ_TIMEOUT_S if route.verb == "GET" and route.rpc not in REPORTS else WRITE_TIMEOUT_S


def _backend(name: str, address: str) -> Backend:
    service = next(iter(CONTRACTS[name][0].services_by_name.values()))
    return Backend(name, rpc.channel(address, [*CONTRACTS[name], *CALLED_TOO.get(name, ())]), service.full_name)


def is_ready(health: Mapping[str, str], needed: Sequence[str] = tuple(NEEDED)) -> bool:
    """Says whether the services without which nothing works are serving."""
    return all(health[name] == "serving" for name in needed)
