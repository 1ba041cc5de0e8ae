"""Mail over SMTP, to a real server: what is accepted, refused, deferred, and what nobody knows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default

import hypothesis.strategies as st
import pytest
from hypothesis import given

from services.devstack.mail.__main__ import receiver
from services.devstack.mail.box import Box
from services.notify import mail, smtp
from services.notify.model import AttemptOutcome
from tests.conftest import START

CONTENT = b"Subject: Hello\r\n\r\nHello\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def mailing(box: Box) -> AsyncIterator[smtp.Mailer]:
    """Runs the local mail server, and a mailer to it."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: receiver(box), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    mailer = smtp.Mailer(smtp.parse_url(f"smtp://127.0.0.1:{port}"), connections_max=2)
    try:
        yield mailer
    finally:
        await mailer.close()
        listener.close()


async def send(mailer: smtp.Mailer, recipient: str) -> tuple[AttemptOutcome, int, bool]:
    """Sends one mail and tells what became of it."""
    handover = await mailer.send("from@acme.example", recipient, CONTENT)
    return handover.outcome, handover.code, handover.is_gone


async def test_server_answers_decide() -> None:
    """A mail that is taken, refused for good or deferred is told as that, and none of them spoils the connection."""
    box = Box()
    async with mailing(box) as mailer:
        told = [await send(mailer, f"{name}@people.example") for name in ("ann", "bounce", "defer", "bob")]

    assert told == [
        (AttemptOutcome.ACCEPTED, 250, False),
        (AttemptOutcome.REFUSED, 550, True),
        (AttemptOutcome.DEFERRED, 451, False),
        (AttemptOutcome.ACCEPTED, 250, False),
    ]
    assert [each.recipients for each in box.mails] == [("ann@people.example",), ("bob@people.example",)]


async def test_many_mails_share_connections() -> None:
    """Many mails at once go over as many connections as are allowed, each once."""
    box = Box()
    async with mailing(box) as mailer:
        await asyncio.gather(*(send(mailer, f"m{number}@people.example") for number in range(50)))

    expected = {f"m{number}@people.example" for number in range(50)}
    assert {each.recipients[0] for each in box.mails} == expected
    assert len(box.mails) == 50


async def test_nobody_there_is_deferred() -> None:
    """A mail server that is away defers: nothing was on its way."""
    mailer = smtp.Mailer(smtp.parse_url("smtp://127.0.0.1:1"))

    assert (await send(mailer, "ann@people.example"))[0] is AttemptOutcome.DEFERRED


async def test_break_after_the_content_is_unknown() -> None:
    """A server that goes away when it has the mail, before it says so, leaves an outcome that nobody knows."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readuntil(b"\r\n.\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    mailer = smtp.Mailer(smtp.parse_url(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    told = await send(mailer, "ann@people.example")
    server.close()

    assert told == (AttemptOutcome.UNKNOWN, 0, False)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (550, "5.1.1 unknown user", True),
        (550, "No such user here", True),
        (550, "5.7.1 blocked by policy", False),
        (552, "5.2.2 mailbox full", False),
        (554, "rejected", False),
    ],
)
def test_bounce_is_told_from_policy(code: int, text: str, expected: bool) -> None:
    """Only an answer that there is no such address suppresses it; what a policy refuses does not."""
    assert smtp.is_bounce(code, text) is expected


TEXT = st.text(max_size=200)


@given(name=TEXT, subject=TEXT, text=TEXT, html=TEXT)
def test_mail_reads_back_as_it_was(name: str, subject: str, text: str, html: str) -> None:
    """Whatever stands in names, subjects and texts, a mail reads back with these and with no header more."""
    made = mail.Mail(
        mail_id="0199",
        sender_name=name,
        sender_email="hello@acme.example",
        reply_email="",
        recipient_name=name,
        recipient_email="ann@people.example",
        subject=subject,
        text=text.encode("utf-8", "replace").decode(),
        html=html.encode("utf-8", "replace").decode(),
        sent_at=START,
        program_id="demo",
        topic="news",
        unsubscribe_url="https://x.example/u/t",
    )
    content = mail.assemble(made)
    read = message_from_bytes(content, policy=default)
    plain, page = read.iter_parts()

    assert len(read.items()) == 13
    assert read["Message-ID"] == "<0199@acme.example>"
    assert plain.get_payload(decode=True) == made.text.encode()
    assert page.get_payload(decode=True) == made.html.encode()
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
