"""Servers and channels: health, reflection, drain, service config; one way for all services."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kernel import calls, interceptors, logs
from services.kernel.tokens import ANY_PROGRAM, Minter, Verifier

MESSAGE_BYTES_MAX = 8 * 1024 * 1024
DRAIN_S = 8.0
# Between saying "not serving" and refusing calls, so that balancers look elsewhere first.
DRAIN_NOTICE_S = 0.2
TOKEN_LIFETIME_S = 600
TOKEN_RENEW_BEFORE_S = 60

SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_age_ms", 15 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 30 * 1000),
]

RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_retries", 1),
    # A peer that was restarted is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class Server:
    """A gRPC server with health, reflection and the kernel's guard.

    `register` adds servicers by their generated functions; `files` are the descriptors of the contracts that they
    serve. Health and reflection answer without a credential: probes and tools come before there is one.
    """

    def __init__(
        self,
        *,
        files: Iterable[FileDescriptor],
        authenticate: interceptors.Authenticate,
        register: Callable[[Any], None],
    ) -> None:
        services = [service for file in files for service in file.services_by_name.values()]
        methods: dict[str, MethodDescriptor] = {
            f"/{service.full_name}/{method.name}": method for service in services for method in service.methods
        }
        self._drain = interceptors.Drain()
        guard = interceptors.Guard(methods, authenticate, self._drain)
        register(guard)
        self._server = grpc.aio.server(handlers=[guard], options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [service.full_name for service in services]
        names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        self.port = 0

    async def start(self, address: str) -> None:
        """Listens and serves. Raises OSError where the address is taken."""
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address} cannot be listened on; is it taken?") from error
        await self._server.start()
        for name in ["", *self._names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        logs.get_logger().info("serving", address=address)

    async def stop(self, *, notice_s: float = DRAIN_NOTICE_S) -> None:
        """Drains: says so to balancers, after `notice_s` refuses new calls, waits for those under way."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(notice_s)
        self._drain.draining = True
        await self._server.stop(DRAIN_S)


def token_authenticator(verifier: Verifier) -> interceptors.Authenticate:
    """Makes the check of services that take tokens only."""

    async def authenticate(credential: str) -> Any:
        return verifier.verify(credential)

    return authenticate


class ServiceIdentity:
    """The credential of one service towards others, renewed before it ends."""

    def __init__(self, minter: Minter, *, service: str, scopes: Iterable[str]) -> None:
        self._minter = minter
        self._service = service
        self._scopes = tuple(scopes)
        self._token = ""
        self._expires_at_s = 0.0

    def metadata(self, program_id: str) -> list[tuple[str, str]]:
        """Gives the metadata of a call that the service makes for a program."""
        if time.time() > self._expires_at_s - TOKEN_RENEW_BEFORE_S:
            self._expires_at_s = time.time() + TOKEN_LIFETIME_S
            self._token = self._minter.mint(
                subject=f"service:{self._service}",
                program_id=ANY_PROGRAM,
                scopes=self._scopes,
                lifetime_s=TOKEN_LIFETIME_S,
            )
        metadata = [("authorization", f"Bearer {self._token}"), (calls.PROGRAM_HEADER, program_id)]
        call = calls.CURRENT.get(None)
        if call is not None:
            metadata.append((calls.CORRELATION_HEADER, call.correlation_id))
        return metadata


def service_config(files: Iterable[FileDescriptor]) -> str:
    """Says how a channel to these contracts behaves, as gRPC's service config.

    Only UNAVAILABLE is retried, and only for methods whose contract says that a second try does no harm
    (`idempotency_level`): reads, and writes that carry an id.
    """
    names = [
        {"service": service.full_name, "method": method.name}
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    ]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": RETRY_POLICY}]
    return json.dumps(config)


def channel(address: str, files: Iterable[FileDescriptor] = ()) -> grpc.aio.Channel:
    """Opens a channel that finds all replicas behind a name, and retries what these contracts allow.

    A numeric address stays one; a name is asked for through DNS, so that round robin sees every replica.
    """
    host = address.rpartition(":")[0]
    numeric = host.replace(".", "").isdigit() or host.startswith("[")
    options = [*CHANNEL_OPTIONS, ("grpc.service_config", service_config(files))]
    return grpc.aio.insecure_channel(address if numeric else f"dns:///{address}", options=options)


async def checked(call: Any, *, dependency: str) -> Any:
    """Awaits a call to another service and turns its error into the refusal that it was."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise interceptors.from_error(error, dependency=dependency) from error
