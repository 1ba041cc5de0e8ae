"""A gateway over scripted services, on a loop of its own thread, so that tests talk to it as any client does."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import uvloop

from services.gateway.backends import CONTRACTS
from services.gateway.limits import Policy
from services.gateway.server import Gateway
from services.kernel import rpc
from tests.gateway import backend

LOOPBACK = "127.0.0.1:0"
WAIT_S = 30.0
# More than any test sends, so that only tests about limits meet one.
PLENTY = Policy(100_000, 1_000_000)
IDENTITY = rpc.ServiceIdentity(backend.MINTER, service="gateway", scopes=["links.follow"])


class Loop:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something to its end over there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()


class Stack:
    """A running gateway and the services behind it."""

    def __init__(
        self, redis_url: str, policy: Policy = PLENTY, *, link_policy: Policy = PLENTY, proxies: int = 0
    ) -> None:
        self.script = backend.Script()
        self.redis_url = redis_url
        self.policy = policy
        self.link_policy = link_policy
        self.proxies = proxies
        self.url = ""
        self.loop = Loop()
        self.gateway: Gateway
        self.program: rpc.Server
        self.ledger: rpc.Server
        self.servers: dict[str, rpc.Server] = {}

    def __enter__(self) -> Self:
        self.loop.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.loop.run(self._stop())
        self.loop.stop()

    async def _start(self) -> None:
        self.servers = {
            name: backend.program_server(self.script)
            if name == "program"
            else backend.scripted_server(self.script, name)
            for name in CONTRACTS
        }
        self.program, self.ledger = self.servers["program"], self.servers["ledger"]
        for server in self.servers.values():
            await server.start(LOOPBACK)
        self.gateway = Gateway(
            addresses=self.addresses,
            identity=IDENTITY,
            redis_url=self.redis_url,
            public_keys=[backend.MINTER.public_key()],
            policy=self.policy,
            link_policy=self.link_policy,
            proxies=self.proxies,
        )
        self.url = f"http://127.0.0.1:{await self.gateway.start(LOOPBACK)}"

    @property
    def addresses(self) -> dict[str, str]:
        """Gives the address of each service."""
        return {name: f"127.0.0.1:{server.port}" for name, server in self.servers.items()}

    async def _stop(self) -> None:
        await asyncio.gather(self.gateway.stop(), *(server.stop() for server in self.servers.values()))
