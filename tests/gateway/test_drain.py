"""The process: settings, a start, and a stop that drains."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.gateway.backends import CONTRACTS
from tests.gateway import backend
from tests.gateway.backend import Script
from tests.gateway.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0


def environment(stack: Stack | None, **changes: str) -> dict[str, str]:
    """Makes the environment of a gateway over the scripted services."""
    settings = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")]), "PATH": os.environ["PATH"]}
    if stack is not None:
        settings |= {
            "PLAUDIT_GATEWAY_LISTEN": "127.0.0.1:0",
            **{f"PLAUDIT_{name.upper()}_ADDRESS": address for name, address in stack.addresses.items()},
            "PLAUDIT_REDIS_URL": stack.redis_url,
            "PLAUDIT_TOKEN_PUBLIC_KEYS": base64.b64encode(backend.MINTER.public_key()).decode(),
            "PLAUDIT_SERVICE_PRIVATE_KEY": base64.b64encode(backend.PRIVATE_KEY).decode(),
        }
    return settings | changes


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    """Starts a gateway as a process."""
    command = [sys.executable, "-m", "services.gateway", "serve"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@contextmanager
def running(env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a gateway until the block ends, and waits until it serves."""
    process = start(env)
    assert process.stderr is not None
    try:
        assert "serving" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.wait(WAIT_S)
        process.stderr.close()


def free_port() -> int:
    """Finds a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def _gate() -> asyncio.Event:
    return asyncio.Event()


def test_stop_finishes_what_is_under_way(stack: Stack, script: Script, api_key: str) -> None:
    """On SIGTERM readiness ends, requests under way are answered, and the process ends well."""
    port = free_port()
    script.gates["ListRules"] = gate = stack.loop.run(_gate())
    url, answers = f"http://127.0.0.1:{port}", []
    with running(environment(stack, PLAUDIT_GATEWAY_LISTEN=f"127.0.0.1:{port}")) as process:

        def call() -> None:
            headers = {"authorization": f"Bearer {api_key}"}
            answers.append(httpx.get(f"{url}/v1/rules", headers=headers, timeout=WAIT_S).status_code)

        caller = threading.Thread(target=call)
        with httpx.Client(base_url=url, timeout=WAIT_S) as client:
            assert client.get("/readyz").status_code == 200
            caller.start()
            while not script.calls_of("ListRules"):
                client.get("/healthz")
            process.send_signal(signal.SIGTERM)
            while client.get("/readyz").json()["status"] != "draining":
                assert process.poll() is None
            assert client.get("/readyz").status_code == 503
        stack.loop.loop.call_soon_threadsafe(gate.set)
        caller.join(WAIT_S)
        assert answers == [200]
        assert process.wait(WAIT_S) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")


def test_start_names_every_bad_setting() -> None:
    """A gateway that is set up badly says everything that is wrong at once, and ends with 2."""
    process = start(environment(None, PLAUDIT_GATEWAY_RATE_PER_S="many", PLAUDIT_REDIS_URL="secret-place"))
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    addresses = [f"{name.upper()}_ADDRESS" for name in CONTRACTS]
    for name in (*addresses, "REDIS_URL", "TOKEN_PUBLIC_KEYS", "SERVICE_PRIVATE_KEY", "GATEWAY_RATE_PER_S"):
        assert f"PLAUDIT_{name}" in errors
    assert "secret-place" not in errors


def test_start_says_that_port_is_taken(stack: Stack) -> None:
    """A gateway whose port is taken says so in one sentence and ends with 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = start(environment(stack, PLAUDIT_GATEWAY_LISTEN=address))
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert errors.splitlines() == [f"plaudit: {address} cannot be listened on: Address already in use"]
