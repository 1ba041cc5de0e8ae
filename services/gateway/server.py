"""The application and its life: start, serve, drain."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping, Sequence

import uvicorn

from services.gateway import docs, openapi, routes
from services.gateway.api import Api
from services.gateway.auth import Authenticator
from services.gateway.backends import CONTRACTS, Backends
from services.gateway.edge import Edge
from services.gateway.limits import Limiter, Policy
from services.gateway.links import Links
from services.gateway.pages import Pages
from services.gateway.protocol import Protocol
from services.gateway.unsubscribes import Unsubscribes
from services.kernel import logs, rpc
from services.kernel.tokens import Verifier

BACKLOG = 2048
# Longer than the usual idle time of balancers, so that it is they who close a connection that nobody uses.
KEEP_ALIVE_S = 75
START_POLL_S = 0.005


class Gateway:
    """A gateway. It is given the address of each service by name (see `backends.CONTRACTS`) and an identity of its own.

    `link_policy` is what one client may do that follows links; `proxies` tells how many of our own stand before us.
    """

    def __init__(
        self,
        *,
        addresses: Mapping[str, str],
        identity: rpc.ServiceIdentity,
        redis_url: str,
        public_keys: Sequence[bytes],
        policy: Policy,
        link_policy: Policy,
        proxies: int = 0,
        dev_mail_url: str = "",
    ) -> None:
        self._backends = Backends(addresses, identity)
        self._limiter = Limiter(redis_url, policy)
        self._link_limiter = Limiter(redis_url, link_policy)
        table = routes.build(CONTRACTS)
        authenticator = Authenticator(Verifier(public_keys), self._backends.exchange)
        self._api = Api(table, self._backends, authenticator, self._limiter)
        document = openapi.document(table, policy)
        self._pages = Pages(
            self._api,
            self._backends,
            unsubscribes=Unsubscribes(self._backends),
            openapi=openapi.render(document),
            docs=docs.page(document),
            docs_css=docs.css(),
            dev_mail_url=dev_mail_url,
        )
        self.app = Edge(Links(self._pages, self._backends.follow_link, self._link_limiter, proxies))
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listens and serves; gives the port. Raises OSError where the address is taken."""
        listener = _listen(address)
        config = uvicorn.Config(
            self.app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(rpc.DRAIN_S),
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(START_POLL_S)
        logs.get_logger().info("serving", address=address)
        return int(listener.getsockname()[1])

    async def ended(self) -> None:
        """Waits until the server ends; raises what ended it. May be cancelled without ending it."""
        assert self._serving is not None, "start comes first"
        await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Drains: says so at /readyz, goes on for a moment while balancers look elsewhere, then finishes its work."""
        self._pages.draining = True
        self._api.streams.ending.set()
        if self._server is not None and self._serving is not None:
            await asyncio.sleep(rpc.DRAIN_NOTICE_S)
            self._server.should_exit = True
            await self._serving
        await self._limiter.close()
        await self._link_limiter.close()
        await self._backends.close()


class _Server(uvicorn.Server):
    """Uvicorn's server without its own handling of signals: the kernel's process has that."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leaves signals alone."""
        return contextlib.nullcontext()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"{address} cannot be listened on: {os.strerror(error.errno or 0)}") from error
