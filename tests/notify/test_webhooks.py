"""Posting to endpoints over real connections: bounded, to nobody else, and told for what it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from services.notify import webhooks
from services.notify.model import AttemptOutcome
from tests.support.waiting import PATIENCE_S

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Runs an endpoint that answers as it is told; gives its address and what it was asked."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            await answer(writer)
        except ConnectionError:
            return  # The caller has heard enough.
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", asked


async def write(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    """Writes the parts of an answer."""
    writer.write(b"".join(parts))
    await writer.drain()


@pytest.fixture
async def poster() -> AsyncIterator[webhooks.Poster]:
    """Makes what posts to this machine, too."""
    made = webhooks.Poster(allow_loopback=True)
    yield made
    await made.close()


async def test_answer_without_end_is_not_read_to_its_end(poster: webhooks.Poster) -> None:
    """Of an endpoint that never stops answering the beginning is kept, and nothing waits for more."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await write(writer, OK, b"\r\n")
        while True:
            await write(writer, b"x" * 65_536)

    async with endpoint(answer) as (url, _), asyncio.timeout(PATIENCE_S):
        handover = await poster.post(url, {}, b"{}")

    assert (handover.outcome, handover.code) == (AttemptOutcome.ACCEPTED, 200)
    assert handover.response == "x" * webhooks.RESPONSE_LENGTH_MAX


async def test_redirect_is_followed_nowhere(poster: webhooks.Poster) -> None:
    """An endpoint that sends on to another one is not followed: nobody is asked twice, and it counts as a failure."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await write(writer, b"HTTP/1.1 307 Go\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")

    async with endpoint(answer) as (url, asked):
        handover = await poster.post(url, {}, b"{}")

    assert (handover.outcome, handover.code, len(asked)) == (AttemptOutcome.DEFERRED, 307, 1)


@pytest.mark.parametrize(
    ("answer", "outcome", "is_gone", "wait_s"),
    [
        (b"HTTP/1.1 204 No\r\n\r\n", AttemptOutcome.ACCEPTED, False, None),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", AttemptOutcome.REFUSED, True, None),
        (
            b"HTTP/1.1 429 Slow\r\nretry-after: 99999\r\ncontent-length: 0\r\n\r\n",
            AttemptOutcome.DEFERRED,
            False,
            3600.0,
        ),
        (b"HTTP/1.1 500 Oh\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n", AttemptOutcome.DEFERRED, False, None),
        (b"no http at all\r\n\r\n", AttemptOutcome.DEFERRED, False, None),
    ],
    ids=["taken", "gone", "slow down", "broken", "not http"],
)
async def test_answer_is_taken_for_what_it_is(
    poster: webhooks.Poster, answer: bytes, outcome: AttemptOutcome, is_gone: bool, wait_s: float | None
) -> None:
    """What an endpoint answers decides whether it is told again, and when; what it asks to wait for is bounded."""
    async with endpoint(lambda writer: write(writer, answer)) as (url, asked):
        handover = await poster.post(url, {"webhook-id": "msg_1"}, b"{}")

    assert (handover.outcome, handover.is_gone, handover.retry_after_s) == (outcome, is_gone, wait_s)
    assert b"webhook-id: msg_1" in asked[0]


async def test_loopback_is_refused_outside_of_a_local_stack() -> None:
    """Whoever runs in earnest posts to no address of their own machine, and nobody there is asked."""
    poster = webhooks.Poster()
    async with endpoint(lambda writer: write(writer, OK, b"\r\n")) as (url, asked):
        handover = await poster.post(url.replace("http:", "https:"), {}, b"{}")
        is_fine = await poster.check(url.replace("http:", "https:"))
    await poster.close()

    assert (handover.outcome, is_fine, asked) == (AttemptOutcome.REFUSED, False, [])
