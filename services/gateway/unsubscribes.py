"""The pages behind the links in mails, `/u/{token}`: to look changes nothing, to press the button unsubscribes.

Mail programs press it themselves with a POST (RFC 8058), without cookies and without a credential: the token in the
path is one, for this mail alone. Scanners that open every link of a mail only look.
"""

from html import escape
from typing import Any

from plaudit.notify.v1 import link_service_pb2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from services.gateway import edge, problems
from services.gateway.backends import Backends
from services.kernel import calls, errors, rpc

PREFIX = b"/u/"
ROUTE = "/u/{token}"
METHODS = ("GET", "HEAD", "POST")
TOKEN_LENGTH_MAX = 500
BODY_BYTES_MAX = 4096
TIMEOUT_S = 10.0
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {"content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-store"}
WORDS = {
    "en": (
        "Unsubscribe",
        "Stop mails about “{topic}” from {brand}?",
        "Stop these mails",
        "Stop all mails that I do not need",
        "Done. You get no more of these mails from {brand}.",
        "This link does not work (any more).",
    ),
    "fr": (
        "Se désabonner",
        "Ne plus recevoir les e-mails « {topic} » de {brand} ?",
        "Arrêter ces e-mails",
        "Arrêter tous les e-mails dont je n’ai pas besoin",
        "C’est fait. {brand} ne vous enverra plus ces e-mails.",
        "Ce lien ne fonctionne pas ou plus.",
    ),
    "ru": (
        "Отписаться",
        "Больше не получать письма «{topic}» от {brand}?",
        "Остановить эти письма",
        "Остановить все необязательные письма",
        "Готово. {brand} больше не пришлёт вам таких писем.",
        "Эта ссылка не работает.",
    ),
    "id": (
        "Berhenti berlangganan",
        "Berhenti menerima email “{topic}” dari {brand}?",
        "Hentikan email ini",
        "Hentikan semua email yang tidak saya perlukan",
        "Selesai. {brand} tidak akan mengirim email ini lagi.",
        "Tautan ini tidak berfungsi.",
    ),
}


class Unsubscribes:
    """Serves the links of mails."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. Raises DomainError and HttpError, for the edge to answer."""
        exchange = edge.current(scope)
        exchange.route = ROUTE
        if scope["method"] not in METHODS:
            raise problems.method_not_allowed(", ".join(METHODS))
        token = scope["raw_path"].removeprefix(PREFIX).decode("ascii", "replace")
        request = Request(scope, receive)
        try:
            if len(token) > TOKEN_LENGTH_MAX:
                raise errors.credential_invalid("The link is not one of ours.")
            response = await self._answer(request, token, exchange.correlation_id)
        except errors.DomainError as error:
            if error.code is not errors.Code.UNAUTHENTICATED:
                raise
            response = _page("en", f"<p>{WORDS['en'][5]}</p>", 404)
        await response(scope, receive, send)

    async def _answer(self, request: Request, token: str, correlation_id: str) -> Response:
        metadata = (("authorization", f"Bearer {token}"), (calls.CORRELATION_HEADER, correlation_id))
        if request.method == "POST":
            form = await _form(request)
            asked = link_service_pb2.UnsubscribeRequest(
                all=b"all=1" in form, one_click=b"List-Unsubscribe" in form, request_id=""
            )
            call: Any = self._backends.mail_links.Unsubscribe(asked, metadata=metadata, timeout=TIMEOUT_S)
            done = await rpc.checked(call, dependency="notify")
            words = WORDS[_language(done.locale)]
            return _page(done.locale, f"<p>{escape(words[4].format(brand=done.brand))}</p>")
        call = self._backends.mail_links.GetLink(
            link_service_pb2.GetLinkRequest(), metadata=metadata, timeout=TIMEOUT_S
        )
        link = await rpc.checked(call, dependency="notify")
        words = WORDS[_language(link.locale)]
        if link.unsubscribed:
            return _page(link.locale, f"<p>{escape(words[4].format(brand=link.brand))}</p>")
        question = escape(words[1].format(topic=link.topic, brand=link.brand))
        return _page(
            link.locale,
            f"<p>{question}</p><form method=post><button>{escape(words[2])}</button></form>"
            f"<form method=post><input type=hidden name=all value=1><button>{escape(words[3])}</button></form>",
        )


async def _form(request: Request) -> bytes:
    """Reads what a form or a mail program sent; either way of writing it is looked through as it is."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise errors.body_too_large(BODY_BYTES_MAX)
        chunks.append(chunk)
    return b"".join(chunks)


def _language(locale: str) -> str:
    name = locale.partition("-")[0].lower()
    return name if name in WORDS else "en"


def _page(locale: str, body: str, status: int = 200) -> Response:
    language = _language(locale)
    title = WORDS[language][0]
    head = f"<!doctype html><html lang={language}><meta charset=utf-8><title>{title}</title>"
    style = '<link rel=stylesheet href="/docs.css"><meta name=viewport content="width=device-width">'
    return HTMLResponse(f"{head}{style}<main><h1>{title}</h1>{body}</main></html>", status, HEADERS)
