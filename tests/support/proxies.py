"""Proxies on loopback, whose connections a test cuts where it hurts."""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from services.devstack.postgres import SOCKET_NAME, EmbeddedPostgres

CHUNK_BYTES = 65536
# As the driver ends a transaction: a query of its own, sent when the one before was answered.
COMMIT = b"COMMIT;\x00"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Cut(enum.Enum):
    """What happens to a connection that commits."""

    BEFORE_COMMIT = "before the server hears of it"
    AFTER_COMMIT = "after the server has done it, before it is told"
    SILENT = "nothing is told any more, and nothing is cut"


@dataclass
class Proxy:
    """Passes connections on, and cuts them all at once; `choose` tells what is to happen to the next commit."""

    connect: Callable[[], Awaitable[Streams]]
    choose: Callable[[], Cut | None] = lambda: None
    cuts: list[Cut] = field(default_factory=list)
    port: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Cuts all connections, as a failing network does."""
        for writer in list(self._open):
            writer.transport.abort()

    def cut_next(self, cut: Cut) -> None:
        """Cuts the connection that commits next, and no other."""
        chosen = iter([cut])
        self.choose = lambda: next(chosen, None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes one connection on until either end closes it, or it is cut."""
        server_reader, server_writer = await self.connect()
        self._open |= {writer, server_writer}
        connection = _Connection(self, (reader, writer), (server_reader, server_writer))
        tasks = [asyncio.create_task(connection.send()), asyncio.create_task(connection.receive())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # A connection that the other end has cut needs no more than this.
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open -= {writer, server_writer}
            writer.transport.abort()
            server_writer.transport.abort()


@dataclass
class _Connection:
    proxy: Proxy
    client: Streams
    server: Streams
    cut: Cut | None = None

    async def send(self) -> None:
        """Passes on what the client says; ends where it is cut."""
        while chunk := await self.client[0].read(CHUNK_BYTES):
            if COMMIT in chunk:
                self.cut = self.proxy.choose()
            if self.cut is Cut.BEFORE_COMMIT:
                self.proxy.cuts.append(self.cut)
                return
            self.server[1].write(chunk)
            await self.server[1].drain()

    async def receive(self) -> None:
        """Passes on what the server says; ends where it is cut."""
        while chunk := await self.server[0].read(CHUNK_BYTES):
            if self.cut is not None:
                self.proxy.cuts.append(self.cut)
                if self.cut is Cut.SILENT:
                    await asyncio.Event().wait()
                return
            self.client[1].write(chunk)
            await self.client[1].drain()


@asynccontextmanager
async def run_proxy(connect: Callable[[], Awaitable[Streams]]) -> AsyncIterator[Proxy]:
    """Runs a proxy on a free port until the block ends."""
    proxy = Proxy(connect)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        proxy.cut()
        await listening.wait_closed()


def database_proxy(server: EmbeddedPostgres) -> Callable[[], Awaitable[Streams]]:
    """Tells a proxy to pass connections on to PostgreSQL's socket."""
    path = str(server.socket_dir / SOCKET_NAME)
    return lambda: asyncio.open_unix_connection(path)


def proxied_dsn(proxy: Proxy, database: str, user: str) -> str:
    """Gives the connection string of a database by way of a proxy."""
    return f"postgresql://{quote(user)}@127.0.0.1:{proxy.port}/{quote(database)}?sslmode=disable"
