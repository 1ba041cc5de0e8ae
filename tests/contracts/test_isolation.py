"""Each service stands alone: it imports and runs from a tree that holds only itself, the kernel and the contracts."""

import asyncio
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import redis.asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.devstack.redis import EmbeddedRedis
from tests.contracts import roles, sources
from tests.contracts.schemas import Schemas
from tests.contracts.sources import ROOT
from tests.support.harness import MINTER, PRIVATE_KEY

SERVICES = sources.services()
RUN_TIMEOUT_S = 60
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
for name in ("services.kernel", sys.argv[1]):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
print(package.__file__)
"""


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Gives each service in turn."""
    return str(request.param)


@pytest.fixture
def alone(service: str, tmp_path: Path) -> Path:
    """Makes a tree that holds one service, the kernel and the generated contracts."""
    tree, ignore = tmp_path / "tree", shutil.ignore_patterns("__pycache__", "*.pyi")
    for path in ("services/kernel", f"services/{service}", "protos/gen"):
        shutil.copytree(ROOT / path, tree / path, ignore=ignore)
    shutil.copy(ROOT / "services" / "__init__.py", tree / "services")
    return tree


def environment(tree: Path, **settings: str) -> dict[str, str]:
    """Gives the environment of a process in that tree: the path, the modules, the settings and nothing else."""
    return {"PATH": os.defpath, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'protos' / 'gen'}", **settings}


def run(tree: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a tree to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=environment(tree, **settings),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


def test_service_imports_alone(service: str, alone: Path) -> None:
    """Every module of the service and of the kernel imports, from the tree and from nowhere else."""
    result = run(alone, "-c", IMPORT_EVERYTHING, f"services.{service}")
    assert result.returncode == 0, f"A service needs only itself, the kernel and the contracts:\n{result.stderr}"
    assert Path(result.stdout.strip()).is_relative_to(alone)


def test_tree_is_without_the_others(service: str, alone: Path) -> None:
    """The tree has no other service, so that importing one would fail."""
    others = [name for name in (*SERVICES, "devstack") if name != service]
    for other in others:
        result = run(alone, "-c", f"import services.{other}")
        assert f"No module named 'services.{other}'" in result.stderr


def test_missing_settings_are_all_named(service: str, alone: Path) -> None:
    """A role without its settings ends with exit code 2 and one line for each variable that it wants."""
    for role, settings in roles.roles(service).items():
        result = run(alone, "-m", f"services.{service}", role)
        wanted = [name for name, is_required in roles.variables(settings).items() if is_required]
        assert result.returncode == 2
        assert result.stderr.splitlines() == [f"plaudit: {name} is not set" for name in wanted]


def free_port() -> int:
    """Finds a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def values(service: str, role: str, schemas: Schemas, redis_url: str, listen: str, database: str) -> dict[str, str]:
    """Gives a value to each variable that a role wants. Other services are at an address where nobody answers."""
    by_suffix = {
        "_OWNER_DSN": schemas.server.dsn(database, f"{service}_owner"),
        "_DSN": schemas.server.dsn(database, service),
        "_LISTEN": listen,
        "_ADDRESS": "127.0.0.1:1",
        "_REDIS_URL": redis_url,
        "_PUBLIC_KEYS": base64.b64encode(MINTER.public_key()).decode(),
        "_PRIVATE_KEY": base64.b64encode(PRIVATE_KEY).decode(),
        "_SEAL_KEY": base64.b64encode(PRIVATE_KEY).decode(),
        "_LINK_KEY": base64.b64encode(PRIVATE_KEY).decode(),
        "_SECRET_KEY": base64.b64encode(PRIVATE_KEY).decode(),
        "_PUBLIC_URL": "https://loyalty.example",
        "_SMTP_URL": "smtp://127.0.0.1:1",
        "_SIGNAL_KEY": base64.b64encode(PRIVATE_KEY).decode(),
    }
    found = {}
    for variable, is_required in roles.variables(roles.roles(service)[role]).items():
        suffix = next((suffix for suffix in by_suffix if variable.endswith(suffix)), None)
        assert suffix or not is_required, f"{variable} is of a kind that no service had before; give it a value here."
        if suffix:
            found[variable] = by_suffix[suffix]
    return found


@asynccontextmanager
async def running(tree: Path, service: str, role: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a role until the block ends, and sees it drain and end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service}",
        role,
        cwd=tree,
        env=environment(tree, **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        rest = await asyncio.wait_for(process.stderr.read(), STOP_TIMEOUT_S)
        assert await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S) == 0, rest.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def log_line(process: asyncio.subprocess.Process, event: str) -> str:
    """Waits for a line of the log; fails with all that came instead."""
    assert process.stderr is not None
    lines: list[str] = []
    async with asyncio.timeout(START_TIMEOUT_S):
        while line := (await process.stderr.readline()).decode():
            lines.append(line)
            if f'"event":"{event}"' in line:
                return line
    raise AssertionError(f"The process ended instead of saying {event}:\n{''.join(lines)}")


async def is_serving(service: str, address: str) -> bool:
    """Asks a server whether it serves, in the way that Kubernetes does."""
    if service == "gateway":
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://{address}/healthz")).status_code == 200
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=START_TIMEOUT_S)
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def test_service_starts_alone(service: str, alone: Path, schemas: Schemas, redis_server: EmbeddedRedis) -> None:
    """The service migrates its database, serves though nobody else is there, and drains when it is told to stop."""
    found, listen = roles.roles(service), f"127.0.0.1:{free_port()}"
    database = schemas.empty(service) if "migrate" in found else ""
    if "migrate" in found:
        settings = values(service, "migrate", schemas, redis_server.url, listen, database)
        result = await asyncio.to_thread(run, alone, "-m", f"services.{service}", "migrate", **settings)
        assert result.returncode == 0, result.stderr
    settings = values(service, "serve", schemas, redis_server.url, listen, database)
    async with running(alone, service, "serve", **settings) as process:
        await log_line(process, "serving")
        assert await is_serving(service, listen)


@pytest.fixture
async def redis_client(redis_server: EmbeddedRedis) -> AsyncIterator["redis.asyncio.Redis"]:
    """Connects to the Redis of the run, which tells about changed keys."""
    client = redis.asyncio.from_url(redis_server.url)  # type: ignore[no-untyped-call]
    await client.config_set("notify-keyspace-events", "K$")
    yield client
    await client.aclose()


async def first_two(changes: Any) -> AsyncIterator[dict[str, Any]]:
    """Gives the answer to the subscription, and the first change after it."""
    count = 0
    async for change in changes.listen():
        yield change
        count += 1
        if count == 2:
            return


@pytest.mark.parametrize("service", [name for name in SERVICES if "work" in roles.roles(name)])
async def test_worker_starts_alone(
    service: str, alone: Path, schemas: Schemas, redis_server: EmbeddedRedis, redis_client: "redis.asyncio.Redis"
) -> None:
    """The worker runs, says so in Redis, and drains when it is told to stop."""
    settings = values(service, "work", schemas, redis_server.url, "", schemas.migrated(service))
    async with redis_client.pubsub() as changes:
        await changes.psubscribe(f"__keyspace@0__:plaudit:{service}:health:*")
        async with running(alone, service, "work", **settings), asyncio.timeout(START_TIMEOUT_S):
            told = [change["type"] async for change in first_two(changes)]
            assert told == ["psubscribe", "pmessage"]
