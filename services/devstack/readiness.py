"""Asks services whether they are ready, as Kubernetes would."""

import asyncio
import http.client
import json

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_WAIT_S = 2.0
# A service that starts is asked often, where gRPC by itself would wait a second between two connections.
EAGER = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


async def grpc_state(address: str) -> str:
    """Tells the state of a gRPC service: `SERVING`, `NOT_SERVING` or `AWAY`."""
    async with grpc.aio.insecure_channel(address, options=EAGER) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_WAIT_S)
        except grpc.aio.AioRpcError:
            return "AWAY"
        state: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return state


async def http_state(host: str, port: int) -> str:
    """Tells the state of the gateway: `SERVING` once it reaches every service, `NOT_SERVING` or `AWAY`."""
    return await asyncio.to_thread(_http_state, host, port)


def _http_state(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_WAIT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        # It takes calls as soon as it has the program; here, nothing is ready before all of it is.
        is_complete = answer.status == http.HTTPStatus.OK and json.loads(answer.read())["status"] == "ready"
        return "SERVING" if is_complete else "NOT_SERVING"
    except (OSError, http.client.HTTPException):
        return "AWAY"
    finally:
        connection.close()
