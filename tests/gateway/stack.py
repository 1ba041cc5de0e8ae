"""A gateway over scripted services, on a loop of its own thread, so that tests talk to it as any client does."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import uvloop

from services.gateway.limits import Policy
from services.gateway.server import Gateway
from services.kernel import rpc
from tests.gateway import backend

LOOPBACK = "127.0.0.1:0"
WAIT_S = 30.0
# More than any test sends, so that only tests about limits meet one.
PLENTY = Policy(100_000, 1_000_000)


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

    def __init__(self, redis_url: str, policy: Policy = PLENTY) -> None:
        self.script = backend.Script()
        self.redis_url = redis_url
        self.policy = policy
        self.url = ""
        self.loop = Loop()
        self.gateway: Gateway
        self.program: rpc.Server
        self.ledger: rpc.Server

    def __enter__(self) -> Self:
        self.loop.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.loop.run(self._stop())
        self.loop.stop()

    async def _start(self) -> None:
        self.program, self.ledger = backend.program_server(self.script), backend.ledger_server(self.script)
        await self.program.start(LOOPBACK)
        await self.ledger.start(LOOPBACK)
        self.gateway = Gateway(
            addresses=self.addresses,
            redis_url=self.redis_url,
            public_keys=[backend.MINTER.public_key()],
            policy=self.policy,
        )
        self.url = f"http://127.0.0.1:{await self.gateway.start(LOOPBACK)}"

    @property
    def addresses(self) -> dict[str, str]:
        """Gives the address of each service."""
        return {"program": f"127.0.0.1:{self.program.port}", "ledger": f"127.0.0.1:{self.ledger.port}"}

    async def _stop(self) -> None:
        await asyncio.gather(self.gateway.stop(), self.program.stop(), self.ledger.stop())
