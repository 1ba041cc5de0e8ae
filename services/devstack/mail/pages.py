"""The pages that show mails: a list, and each mail with its HTML, its text and its headers."""

from html import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.devstack.mail.box import Box, Mail

SHOWN_MAX = 100
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1f2933}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ddd}"
    "iframe{width:100%;height:70vh;border:1px solid #ddd}pre{white-space:pre-wrap;background:#f3f5f7;padding:1rem}"
)
# A mail's own HTML runs no program and loads pictures at most.
MAIL_POLICY = "default-src 'none'; img-src * data:; style-src 'unsafe-inline'; sandbox allow-popups"


def application(box: Box) -> Starlette:
    """Makes the pages of a box; each in a thread, since to read mails takes time that those coming in need."""

    def listed(request: Request) -> Response:
        mails = list(reversed(box.mails))[:SHOWN_MAX]
        if "json" in request.query_params:
            return JSONResponse({"count": box.count, "mails": [_summary(mail) for mail in mails]})
        rows = "".join(
            f"<tr><td><a href='/dev/mail/{mail.number}'>{escape(str(mail.parse()['subject'] or '(no subject)'))}</a>"
            f"<td>{escape(', '.join(mail.recipients))}<td>{escape(mail.sender)}"
            for mail in mails
        )
        body = f"<h1>{box.count} mails</h1><table><tr><th>Subject<th>To<th>From{rows}</table>"
        return _page("Mails", body)

    def shown(request: Request) -> Response:
        mail = box.find(request.path_params["number"])
        if mail is None:
            return PlainTextResponse("There is no such mail (any more).", 404)
        message = mail.parse()
        headers = "\n".join(f"{name}: {value}" for name, value in message.items())
        body = (
            f"<p><a href='/dev/mail'>All mails</a></p><h1>{escape(str(message['subject'] or ''))}</h1>"
            f"<iframe sandbox='allow-popups' src='/dev/mail/{mail.number}/html'></iframe>"
            f"<h2>Text</h2><pre>{escape(_part(mail, 'plain'))}</pre><h2>Headers</h2><pre>{escape(headers)}</pre>"
        )
        return _page(str(message["subject"]), body)

    def html(request: Request) -> Response:
        mail = box.find(request.path_params["number"])
        content = _part(mail, "html") if mail else "There is no such mail (any more)."
        return HTMLResponse(content, headers={"content-security-policy": MAIL_POLICY})

    return Starlette(
        routes=[
            Route("/dev/mail", listed),
            Route("/dev/mail/{number:int}", shown),
            Route("/dev/mail/{number:int}/html", html),
        ]
    )


def _page(title: str, body: str) -> Response:
    head = f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>"
    return HTMLResponse(head + body)


def _summary(mail: Mail) -> dict[str, object]:
    message = mail.parse()
    return {
        "number": mail.number,
        "to": list(mail.recipients),
        "subject": str(message["subject"] or ""),
        "messageId": str(message["message-id"] or ""),
        "text": _part(mail, "plain"),
    }


def _part(mail: Mail, kind: str) -> str:
    part = mail.parse().get_body(preferencelist=(kind,))
    return str(part.get_content()) if part is not None else ""
