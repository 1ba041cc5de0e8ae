"""What the gateway answers by itself: whether it is alive and ready, metrics, and the documentation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway import edge, problems, transcode, unsubscribes
from services.gateway.backends import Backends, is_ready
from services.kernel import VERSION, metrics

METHODS = ("GET", "HEAD")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCS_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

Handler = Callable[[], Awaitable[Response]]


@dataclass
class Pages:
    """The pages, before the API; `draining` is set when the process is asked to end, and `/readyz` says so at once."""

    api: ASGIApp
    backends: Backends
    unsubscribes: ASGIApp
    openapi: bytes
    docs: bytes
    docs_css: bytes
    dev_mail_url: str = ""
    draining: bool = False

    def __post_init__(self) -> None:
        """Lays out the pages by their paths."""
        self._handlers: dict[bytes, Handler] = {
            b"/": self._root,
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._metrics,
            b"/openapi.json": self._openapi,
            b"/docs": self._docs,
            b"/docs.css": self._docs_css,
        }
        if self.dev_mail_url:
            self._handlers[b"/dev/mail"] = self._dev_mail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a page, and leaves every other path to the API."""
        if scope["raw_path"].startswith(unsubscribes.PREFIX):
            await self.unsubscribes(scope, receive, send)
            return
        handler = self._handlers.get(scope["raw_path"])
        if handler is None:
            await self.api(scope, receive, send)
            return
        edge.current(scope).route = scope["raw_path"].decode()
        if scope["method"] not in METHODS:
            raise problems.method_not_allowed(", ".join(METHODS))
        response = await handler()
        await response(scope, receive, send)

    async def _root(self) -> Response:
        return RedirectResponse("/docs")

    async def _dev_mail(self) -> Response:
        return RedirectResponse(self.dev_mail_url)

    async def _healthz(self) -> Response:
        return _json({"status": "alive", "version": VERSION})

    async def _readyz(self) -> Response:
        health = await self.backends.health()
        ready = is_ready(health) and not self.draining
        complete = ready and all(each == "serving" for each in health.values())
        status = "draining" if self.draining else "ready" if complete else "degraded" if ready else "unready"
        return _json({"status": status, "services": health}, 200 if ready else 503)

    async def _metrics(self) -> Response:
        body, content_type = metrics.render()
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def _openapi(self) -> Response:
        return Response(self.openapi, headers={"cache-control": "no-cache"}, media_type="application/json")

    async def _docs(self) -> Response:
        return Response(self.docs, headers=DOCS_HEADERS, media_type="text/html")

    async def _docs_css(self) -> Response:
        return Response(self.docs_css, headers={"cache-control": "no-cache"}, media_type="text/css")


def _json(value: object, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(transcode.render(value), status, headers=headers, media_type="application/json")
