"""SMTP: a pool of connections to one server, and what became of each mail that was handed over.

A connection carries one mail at a time and many one after another. What breaks before the server was given the mail is
DEFERRED; what breaks afterwards, before it said anything, is UNKNOWN, as RFC 1047 tells.
"""

import asyncio
import contextlib
import re
import ssl
from collections import deque
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import aiosmtplib

from services.notify.model import AttemptOutcome
from services.notify.ports import Handover

CONNECTIONS_MAX = 16
# Many servers end a connection that carried more.
MAILS_PER_CONNECTION_MAX = 500
CONNECT_TIMEOUT_S = 10.0
# With the one before it well below the lease of due work.
COMMAND_TIMEOUT_S = 15.0
RESPONSE_LENGTH_MAX = 500
ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
NO_SUCH_ADDRESS = (550, 551, 553)
FAILURES = (aiosmtplib.SMTPException, OSError, TimeoutError)
SCHEMES = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Server:
    """Is where mail is handed over, as its URL says it."""

    host: str
    port: int
    is_tls: bool
    username: str
    password: str


def parse_url(text: str) -> Server:
    """Reads `smtp://user:password@host:port` or `smtps://…`. Raises ValueError with what it wants."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError("a URL of the form smtp://user:password@host:port or smtps://…")
    return Server(
        host=parts.hostname,
        port=port or SCHEMES[parts.scheme],
        is_tls=parts.scheme == "smtps",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def url(text: str) -> str:
    """Takes a URL of a mail server. Raises ValueError with what it wants."""
    parse_url(text)
    return text


@dataclass(slots=True)
class _Connection:
    client: aiosmtplib.SMTP
    mails: int = 0


class Mailer:
    """Hands mails to one server."""

    def __init__(self, server: Server, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: deque[_Connection] = deque()

    async def send(self, sender: str, recipient: str, content: bytes) -> Handover:
        """Hands one mail over and tells what became of it; never raises for what the server or the network does."""
        async with self._slots:
            try:
                connection = await self._take(sender)
            except FAILURES as error:
                return _refusal(error, AttemptOutcome.DEFERRED)
            return await self._hand_over(connection, recipient, content)

    async def _take(self, sender: str) -> _Connection:
        """Gives a connection on which the server has taken the sender: an idle one that lives still, or a new one."""
        while self._idle:
            connection = self._idle.popleft()
            try:
                await connection.client.mail(sender, encoding="utf-8")
            except (aiosmtplib.SMTPServerDisconnected, OSError, TimeoutError):
                await _close(connection)
                continue  # The server ended it while it was idle: nothing was on its way.
            except aiosmtplib.SMTPException:
                await _close(connection)
                raise
            return connection
        connection = _Connection(await self._connect())
        try:
            await connection.client.mail(sender, encoding="utf-8")
        except FAILURES:
            await _close(connection)
            raise
        return connection

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.is_tls,
            tls_context=ssl.create_default_context() if server.is_tls else None,
            username=server.username or None,
            password=server.password or None,
            timeout=COMMAND_TIMEOUT_S,
        )
        await client.connect(timeout=CONNECT_TIMEOUT_S)
        return client

    async def _hand_over(self, connection: _Connection, recipient: str, content: bytes) -> Handover:
        try:
            await connection.client.rcpt(recipient, encoding="utf-8")
        except FAILURES as error:
            await self._give_back(connection, is_sound=isinstance(error, aiosmtplib.SMTPResponseException))
            return _refusal(error, AttemptOutcome.DEFERRED)
        try:
            response = await connection.client.data(content)
        except aiosmtplib.SMTPResponseException as error:
            await self._give_back(connection, is_sound=True)
            return _refusal(error, AttemptOutcome.DEFERRED)
        except FAILURES as error:
            # The mail was on its way: only the server knows whether it took it.
            await _close(connection)
            return _refusal(error, AttemptOutcome.UNKNOWN)
        except asyncio.CancelledError:
            await _close(connection)
            raise
        connection.mails += 1
        await self._give_back(connection, is_sound=connection.mails < MAILS_PER_CONNECTION_MAX, is_fresh=True)
        return Handover(AttemptOutcome.ACCEPTED, response.code, response.message[:RESPONSE_LENGTH_MAX])

    async def _give_back(self, connection: _Connection, *, is_sound: bool, is_fresh: bool = False) -> None:
        """Keeps a connection for the next mail where it is sound and can be made fresh."""
        if is_sound and not is_fresh:
            try:
                await connection.client.rset()
            except FAILURES:
                is_sound = False
        if is_sound:
            self._idle.append(connection)
        else:
            await _close(connection)

    async def close(self) -> None:
        """Ends all idle connections."""
        while self._idle:
            await _close(self._idle.popleft())


async def _close(connection: _Connection) -> None:
    # Whatever is left of the connection is of no use to anybody.
    with contextlib.suppress(*FAILURES):
        connection.client.close()


def _refusal(error: Exception, otherwise: AttemptOutcome) -> Handover:
    """Tells what an error of the server means: its own answer counts, and `otherwise` where it gave none."""
    if not isinstance(error, aiosmtplib.SMTPResponseException):
        return Handover(otherwise, 0, f"{type(error).__name__}: {error}"[:RESPONSE_LENGTH_MAX])
    text = error.message[:RESPONSE_LENGTH_MAX]
    if error.code < 500:
        return Handover(AttemptOutcome.DEFERRED, error.code, text)
    return Handover(AttemptOutcome.REFUSED, error.code, text, is_gone=is_bounce(error.code, text))


def is_bounce(code: int, text: str) -> bool:
    """Tells whether an answer says that there is no such address; what a server refuses by its policy does not."""
    found = ENHANCED.search(text)
    if found:
        return found[1] == "5" and found[2] == "1"
    return code in NO_SUCH_ADDRESS
