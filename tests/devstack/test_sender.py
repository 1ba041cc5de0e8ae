"""How batches are posted to a target that does not always answer as one would like."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest

from services.devstack.api import Api
from services.devstack.errors import CannotRunError
from services.devstack.replay import sender
from services.devstack.replay.rows import Event
from services.devstack.replay.sender import Sender, Target
from services.devstack.replay.tally import Tally

Answer = Callable[[list[str]], bytes | None]


def http(status: int, body: object, *headers: str) -> bytes:
    """Writes an HTTP answer."""
    content = orjson.dumps(body)
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", *headers, "", ""]
    return "\r\n".join(head).encode() + content


def accepted(ids: list[str]) -> bytes:
    """Answers that all events are new and worth 3 points each."""
    return http(
        200, {"results": [{"eventId": each, "status": "ACCEPTED", "effects": [{"amount": "3"}]} for each in ids]}
    )


@asynccontextmanager
async def target(answers: Iterator[Answer], **settings: int) -> AsyncIterator[Target]:
    """Runs a server on loopback that gives one answer after the other; an answer of None cuts the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length")
                )
                events = orjson.loads(await reader.readexactly(length))["events"]
                answer = next(answers)([event["eventId"] for event in events])
                if answer is None:
                    break
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass  # The client is done.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bounds = {"batch_size": 2, "in_flight": 1} | settings
    async with server:
        yield Target(Api(f"http://127.0.0.1:{port}", "plk_a_b"), **bounds)


def events(count: int) -> Iterator[Event]:
    """Makes events."""
    return ({"eventId": f"e{number}"} for number in range(count))


async def send(target: Target, count: int) -> tuple[Tally, list[str]]:
    """Sends events; gives what was counted and what was complained about."""
    tally, complaints = Tally(), list[str]()
    await Sender(target, tally, observe=lambda: None, complain=complaints.append).send(events(count))
    return tally, complaints


async def test_sends_in_batches() -> None:
    """Events go in order, in batches of the wanted size, and each is counted."""
    seen: list[list[str]] = []

    def answer(ids: list[str]) -> bytes:
        seen.append(ids)
        return accepted(ids)

    async with target(iter([answer] * 3)) as where:
        tally, complaints = await send(where, 5)

    assert seen == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    assert (tally.accepted, tally.points, complaints) == (5, 15, [])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_tries_again_later(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """An answer that means "not now" is waited out, for as long as the target wants, and complained of once."""
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr("services.devstack.replay.sender.asyncio.sleep", note)
    later = http(status, {}, "retry-after: 7")
    async with target(iter([lambda _: later, lambda _: later, accepted])) as where:
        tally, complaints = await send(where, 2)

    assert waits == [7.0, 7.0]
    assert tally.accepted == 2
    assert complaints == [f"{where.api.url} is away (HTTP {status}); trying again"]


async def test_tries_again_after_lost_connection() -> None:
    """A connection that is cut before the answer is no answer: the batch goes again."""
    async with target(iter([lambda _: None, accepted])) as where:
        tally, complaints = await send(where, 2)

    assert tally.accepted == 2
    assert len(complaints) == 1


async def test_gives_up_without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that stays away is given up after a while, with its last excuse."""
    monkeypatch.setattr(sender, "GIVE_UP_AFTER_S", 0.0)
    async with target(iter([lambda _: http(503, {})])) as where:
        with pytest.raises(CannotRunError, match=r"did not answer for 0 minutes \(HTTP 503\)"):
            await send(where, 2)


async def test_refuses_to_go_on_after_refused_call() -> None:
    """An answer that another try cannot change ends the sending with the target's own words, all workers together."""
    refusal = http(403, {"reason": "SCOPE_MISSING", "detail": "The key lacks events.write."})
    async with target(iter([lambda _: refusal] * 4), in_flight=4) as where:
        with pytest.raises(CannotRunError, match=r"The key lacks events\.write\. \(HTTP 403\)"):
            await send(where, 100)


async def test_counts_refusals_by_event() -> None:
    """Refused events are counted and the first ten reasons are kept, each with its event."""
    refused = {
        "status": "REFUSED",
        "error": {"reason": "OCCUR_TIME_AHEAD", "message": "too early", "field": "occurTime"},
    }

    def answer(ids: list[str]) -> bytes:
        return http(200, {"results": [{"eventId": each, **refused} for each in ids]})

    async with target(iter([answer] * 6)) as where:
        tally, _ = await send(where, 12)

    assert (tally.events, tally.refused, len(tally.reasons)) == (12, 12, 10)
    assert tally.reasons[0] == "e0: OCCUR_TIME_AHEAD (occurTime) too early"
