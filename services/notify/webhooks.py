"""Posting to endpoints: to public addresses only, to the very address that was looked at, following nobody."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit, urlunsplit

import httpx

from services.notify.model import AttemptOutcome
from services.notify.ports import Handover

TIMEOUT_S = 15.0
RESOLVE_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 32
RESPONSE_LENGTH_MAX = 500
GONE = 410
SLOW_DOWN = (429, 502, 503, 504)
RETRY_AFTER_MAX_S = 3600.0


class AddressRefusedError(Exception):
    """Says that an address is not a public one."""


async def resolve(url: str, *, allow_loopback: bool) -> str:
    """Finds an address that a URL leads to. Raises AddressRefusedError where any of them is not public."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise AddressRefusedError(url) from error
    if parts.scheme != "https" and not (allow_loopback and parts.scheme == "http"):
        raise AddressRefusedError(url)
    if not parts.hostname or parts.username or parts.password:
        raise AddressRefusedError(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_TIMEOUT_S):
        found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = sorted({str(each[4][0]) for each in found})
    if not addresses or not all(_is_fine(each, allow_loopback=allow_loopback) for each in addresses):
        raise AddressRefusedError(url)
    return addresses[0]


def _is_fine(address: str, *, allow_loopback: bool) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return (allow_loopback and parsed.is_loopback) or (parsed.is_global and not parsed.is_multicast)


class Poster:
    """Posts. `allow_loopback` is for a stack on one machine, whose endpoints are there too."""

    def __init__(self, *, allow_loopback: bool = False) -> None:
        self._allow_loopback = allow_loopback
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        )

    async def check(self, url: str) -> bool:
        """Tells whether an address may be posted to, as it is now."""
        try:
            await resolve(url, allow_loopback=self._allow_loopback)
        except (AddressRefusedError, OSError, TimeoutError):
            return False
        return True

    async def post(self, url: str, headers: dict[str, str], content: bytes) -> Handover:
        """Posts once; a name is asked for anew each time, so that one that moved inside is refused."""
        try:
            address = await resolve(url, allow_loopback=self._allow_loopback)
        except AddressRefusedError:
            return Handover(AttemptOutcome.REFUSED, 0, "the address is not a public one")
        except (OSError, TimeoutError) as error:
            return Handover(AttemptOutcome.DEFERRED, 0, f"the name was not found: {type(error).__name__}")
        parts = urlsplit(url)
        host = f"[{address}]" if ":" in address else address
        target = urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host, fragment=""))
        try:
            async with self._client.stream(
                "POST",
                target,
                content=content,
                headers={**headers, "host": parts.netloc, "user-agent": "plaudit-webhooks"},
                extensions={"sni_hostname": parts.hostname},
            ) as response:
                return _outcome(response, await _beginning(response))
        except (httpx.HTTPError, OSError) as error:
            # An endpoint knows a message by its id, so that one more attempt does no harm.
            return Handover(AttemptOutcome.DEFERRED, 0, type(error).__name__)

    async def close(self) -> None:
        """Ends all connections."""
        await self._client.aclose()


async def _beginning(response: httpx.Response) -> str:
    """Reads the beginning of an answer, which may have no end."""
    found = b""
    async for chunk in response.aiter_bytes(RESPONSE_LENGTH_MAX):
        found += chunk
        if len(found) >= RESPONSE_LENGTH_MAX:
            break
    return found[:RESPONSE_LENGTH_MAX].decode(errors="replace").replace("\0", "")


def _outcome(response: httpx.Response, text: str) -> Handover:
    if response.is_success:
        return Handover(AttemptOutcome.ACCEPTED, response.status_code, text)
    if response.status_code == GONE:
        return Handover(AttemptOutcome.REFUSED, response.status_code, text, is_gone=True)
    wait = response.headers.get("retry-after", "") if response.status_code in SLOW_DOWN else ""
    retry_after_s = min(float(wait), RETRY_AFTER_MAX_S) if wait.isdecimal() else None
    return Handover(AttemptOutcome.DEFERRED, response.status_code, text, retry_after_s=retry_after_s)
