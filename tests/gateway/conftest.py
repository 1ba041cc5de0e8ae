"""Fixtures: a gateway over scripted services for each module, and clients of it."""

from collections.abc import Iterator

import httpx
import pytest

from services.devstack.redis import EmbeddedRedis
from tests.gateway import backend
from tests.gateway.backend import Script
from tests.gateway.stack import Stack

CLIENT_TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def stack(redis_server: EmbeddedRedis) -> Iterator[Stack]:
    """Runs a gateway and the services behind it for a module."""
    with Stack(redis_server.url) as running:
        yield running


@pytest.fixture
def script(stack: Stack) -> Iterator[Script]:
    """Lends the script of the services, fresh for the test."""
    stack.script.reset()
    yield stack.script
    stack.script.reset()


@pytest.fixture(scope="module")
def gateway_url(stack: Stack) -> str:
    """Is where the gateway answers."""
    return stack.url


@pytest.fixture(scope="module")
def api_key() -> str:
    """Is a key of the program `demo` that may do all that a product may."""
    return backend.API_KEY


@pytest.fixture
def client(script: Script, gateway_url: str, api_key: str) -> Iterator[httpx.Client]:
    """Lends a client that sends the key."""
    del script
    headers = {"authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=gateway_url, headers=headers, timeout=CLIENT_TIMEOUT_S) as made:
        yield made


@pytest.fixture
def stranger(gateway_url: str) -> Iterator[httpx.Client]:
    """Lends a client without a key."""
    with httpx.Client(base_url=gateway_url, timeout=CLIENT_TIMEOUT_S) as made:
        yield made
