"""Links of referral codes: `/r/{code}` sends whoever follows one on to its landing page. It asks for no credential.

Where a link leads is the referral service's answer, and nothing of the request is in it, so nobody is led elsewhere.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from plaudit.referral.v1 import link_service_pb2
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway import edge, problems
from services.gateway.limits import Limiter

LINK = re.compile(rb"/r/([A-Za-z0-9-]{1,64})")
ROUTE = "/r/{code}"
METHODS = ("GET", "HEAD")
AGENT_LENGTH_MAX = 1000
# Each click counts, so nobody keeps the answer; and the page that it leads to is not told where the link stood.
HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

Follow = Callable[[link_service_pb2.FollowLinkRequest, str], Awaitable[link_service_pb2.FollowLinkResponse]]


@dataclass
class Links:
    """An application that serves links, and leaves every other path to another one.

    `limiter` counts by the client's address. `proxies` is how many proxies of our own stand before us, each of which
    adds to X-Forwarded-For the address that it was called from; what stands there before theirs, anybody may have
    written.
    """

    app: ASGIApp
    follow: Follow
    limiter: Limiter
    proxies: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. Raises DomainError and HttpError, for the edge to answer."""
        found = LINK.fullmatch(scope["raw_path"])
        if found is None:
            await self.app(scope, receive, send)
            return
        exchange = edge.current(scope)
        exchange.route = ROUTE
        if scope["method"] not in METHODS:
            raise problems.method_not_allowed(", ".join(METHODS))
        headers = Headers(scope=scope)
        address = client_address(scope, headers, self.proxies)
        self.limiter.check(await self.limiter.count(f"link:{_subject(address)}"))
        request = link_service_pb2.FollowLinkRequest(
            code=found[1].decode(),
            client_ip=address,
            user_agent=_printable(headers.get("user-agent", "")),
            headers_only=scope["method"] == "HEAD",
        )
        response = await self.follow(request, exchange.correlation_id)
        exchange.program = response.program_id
        await RedirectResponse(response.location, 302, headers=HEADERS)(scope, receive, send)


def client_address(scope: Scope, headers: Headers, proxies: int) -> str:
    """Tells the address of the client; empty where it is not known."""
    forwarded = [each.strip() for value in headers.getlist("x-forwarded-for") for each in value.split(",")]
    if proxies and forwarded:
        return _printable(forwarded[-min(proxies, len(forwarded))])[:64]
    client = scope.get("client")
    return str(client[0]) if client else ""


def _printable(text: str) -> str:
    return "".join(character for character in text[:AGENT_LENGTH_MAX] if character.isprintable())


def _subject(address: str) -> str:
    """Names a client in the limiter's keys without its address."""
    return hashlib.blake2b(address.encode(), digest_size=16).hexdigest()
