"""The feed over gRPC: a real ledger publishes, a follower elsewhere follows it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.ledger.v1 import events_pb2

from services.kernel import db, errors, feed, feed_rpc, interceptors, rpc
from services.ledger import events as ledger_events
from tests.conftest import START
from tests.support.feeds import TYPE, record, seen
from tests.support.harness import LEDGER_SCOPES, MINTER, VERIFIER, LedgerHarness, credential
from tests.support.ledger import capture, earn, hold, spend
from tests.support.waiting import PATIENCE_S, eventually

IDENTITY = rpc.ServiceIdentity(MINTER, service="test", scopes=["feed.read"])


def source(ledger: LedgerHarness, *types: str) -> feed_rpc.RemoteSource:
    """Makes a source that reads the ledger's feed as a service."""
    return feed_rpc.RemoteSource(ledger.channel, IDENTITY, name="ledger", types=list(types))


async def read_entries(
    connection: db.Connection,
    program_id: str,
    partition: int,
    after_position: int,
    *,
    limit: int = feed.READ_MAX,
    types: Sequence[str] = (),
) -> feed.Page:
    """Makes events of a service's own rows: here of positions alone, of which the odd ones are no event."""
    assert not types
    through = await feed.reach(connection, program_id, partition, after_position, limit=limit)
    positions = [position for position in range(after_position + 1, through + 1) if position % 2 == 0]
    events = [
        feed.Incoming(program_id, partition, each, uuid.UUID(int=each), f"m{each}", TYPE, b"%d" % each, START)
        for each in positions
    ]
    return feed.Page(events, through)


@pytest.fixture
async def entries(feed_pool: db.Pool) -> AsyncIterator[feed_rpc.RemoteSource]:
    """Serves the feed of a service that keeps its events in rows of its own; 250 positions of one partition."""
    await db.transaction(feed_pool, lambda connection: feed.place(connection, "demo", ["m1"] * 250))
    servicer = feed_rpc.FeedServicer(feed_pool, read_entries)
    server = rpc.Server(
        files=[feed_service_pb2.DESCRIPTOR],
        authenticate=rpc.token_authenticator(VERIFIER),
        register=lambda each: feed_service_pb2_grpc.add_FeedServiceServicer_to_server(servicer, each),
    )
    await server.start("127.0.0.1:0")
    async with rpc.channel(f"127.0.0.1:{server.port}") as channel:
        yield feed_rpc.RemoteSource(channel, IDENTITY, name="entries", types=[])
    await server.stop(notice_s=0)


async def read(
    ledger: LedgerHarness, metadata: list[tuple[str, str]], **request: Any
) -> list[feed_service_pb2.ReadEventsResponse]:
    """Reads a stream to its end."""
    stream = ledger.feed.ReadEvents(feed_service_pb2.ReadEventsRequest(**request), metadata=metadata)
    return [response async for response in stream]


async def test_read_gives_events_as_they_were_published(ledger: LedgerHarness) -> None:
    """What the ledger did is read in order, each as the message of its type, and the heads say how far it reaches."""
    await ledger.post(earn("e1", amount=30), hold("h1", amount=10), capture("c1", "h1"))
    page = await source(ledger).read("demo", 0, 0)

    assert await source(ledger).list_heads(0) == [feed.Head("demo", 0, 4)]
    assert [event.position for event in page.events] == [1, 2, 3, 4]
    assert [event.type for event in page.events] == [
        ledger_events.ENTRY_POSTED,
        ledger_events.HOLD_CHANGED,
        ledger_events.HOLD_CHANGED,
        ledger_events.ENTRY_POSTED,
    ]
    assert events_pb2.EntryPosted.FromString(page.events[0].payload).amount == 30
    assert {(event.program_id, event.member_id) for event in page.events} == {("demo", "m1")}


async def test_entry_is_named_as_in_the_statement(ledger: LedgerHarness) -> None:
    """The id of an entry's operation is what the entry's own id in the statement begins with, and not the caller's."""
    await ledger.post(earn("e1"), spend("s1"))
    page = await source(ledger).read("demo", 0, 0)
    named = [events_pb2.EntryPosted.FromString(event.payload).request_id for event in page.events]

    assert [f"{name}.0" for name in reversed(named)] == [line.entry_id for line in await ledger.statement("m1")]


async def test_read_again_gives_the_same_events(ledger: LedgerHarness) -> None:
    """An event keeps its id and content over any number of reads, and reading from the middle gives the rest."""
    await ledger.post(*(earn(f"e{number}") for number in range(250)))
    whole = await source(ledger).read("demo", 0, 0)

    assert await source(ledger).read("demo", 0, 0) == whole
    assert (await source(ledger).read("demo", 0, 240)).events == whole.events[240:]
    assert len({event.event_id for event in whole.events}) == 250


async def test_read_is_bounded_and_chunked(ledger: LedgerHarness) -> None:
    """A stream ends at `max_events`, in messages of bounded size, and says after each how far the reader has come."""
    await ledger.post(*(earn(f"e{number}") for number in range(250)))
    responses = await read(ledger, IDENTITY.metadata("demo"), max_events=230)

    assert [len(response.events) for response in responses] == [100, 100, 30, 0]
    assert [response.through_position for response in responses] == [100, 200, 230, 230]


async def test_read_without_news_answers_once(ledger: LedgerHarness) -> None:
    """Where nothing is new, one response says so."""
    metadata = IDENTITY.metadata("demo")
    await ledger.post(earn("e1"))

    for after, partition, through in ((1, 0, 1), (9, 0, 9), (0, 5, 0)):
        [response] = await read(ledger, metadata, after_position=after, partition=partition)
        assert (len(response.events), response.through_position) == (0, through)


async def test_read_of_some_types_moves_past_the_others(ledger: LedgerHarness) -> None:
    """A reader of some types sees these alone, and its position moves past the others."""
    await ledger.post(earn("e1"), earn("e2"), hold("h1", amount=5), earn("e3"))
    page = await source(ledger, ledger_events.HOLD_CHANGED).read("demo", 0, 0)
    nothing = await source(ledger, "plaudit.other.v1.Thing").read("demo", 0, 0)

    assert [event.position for event in page.events] == [3]
    assert (page.through_position, nothing) == (4, feed.Page([], 4))


async def test_program_sees_its_own_feed_only(ledger: LedgerHarness) -> None:
    """A token of one program sees no head and no event of another, whatever it says about the program it means."""
    await ledger.post(earn("e1"), program="one")
    await ledger.post(earn("e1"), earn("e2"), program="two")
    metadata = [*credential("one", LEDGER_SCOPES), ("x-plaudit-program", "two")]
    heads = await ledger.feed.ListHeads(feed_service_pb2.ListHeadsRequest(), metadata=metadata)
    [events, _] = await read(ledger, metadata)

    assert [(head.program_id, head.position) for head in heads.heads] == [("one", 1)]
    assert [event.position for event in events.events] == [1]
    [nothing] = await read(ledger, credential("three", LEDGER_SCOPES))
    assert not nothing.events


async def test_service_names_the_program_it_reads(ledger: LedgerHarness) -> None:
    """A service sees the heads of all programs or of the one it names, and reads only what it names."""
    await ledger.post(earn("e1"), program="one")
    await ledger.post(earn("e1"), program="two")
    request = feed_service_pb2.ListHeadsRequest()
    every = await ledger.feed.ListHeads(request, metadata=IDENTITY.metadata(""))
    single = await ledger.feed.ListHeads(request, metadata=IDENTITY.metadata("two"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(ledger, IDENTITY.metadata(""))

    assert {head.program_id for head in every.heads} == {"one", "two"}
    assert {head.program_id for head in single.heads} == {"two"}
    refusal = interceptors.from_error(caught.value, dependency="ledger")
    assert (refusal.reason, refusal.violations[0].field) == ("FIELD_INVALID", "x-plaudit-program")


async def test_wait_for_heads_wakes_up_on_news(ledger: LedgerHarness) -> None:
    """A call that waits for news answers as soon as there are some, long before its time is up."""
    await ledger.post(earn("e0"))
    waiting = asyncio.create_task(source(ledger).list_heads(PATIENCE_S / 2))
    numbers = iter(range(1, 10_000))

    async def tell() -> bool:
        await ledger.post(earn(f"e{next(numbers)}"))
        return waiting.done()

    await eventually(tell, within_s=PATIENCE_S / 3)
    assert (await waiting)[0].position > 1


async def test_wait_for_heads_ends_without_news(ledger: LedgerHarness) -> None:
    """A call that waits for news in vain answers with the heads as they are."""
    await ledger.post(earn("e1"))

    assert await source(ledger).list_heads(0.06) == [feed.Head("demo", 0, 1)]


async def test_source_that_is_gone_is_unavailable() -> None:
    """A source that does not answer is DEPENDENCY_UNAVAILABLE by its name, for heads and for streams."""
    async with rpc.channel("127.0.0.1:1") as channel:
        gone = feed_rpc.RemoteSource(channel, IDENTITY, name="ledger", types=[])
        for call in (gone.list_heads(0), gone.read("demo", 0, 0)):
            with pytest.raises(errors.DomainError) as caught:
                await call
            assert (caught.value.reason, caught.value.metadata) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "ledger"})


async def test_follower_of_a_remote_feed_catches_up(ledger: LedgerHarness, feed_pool: db.Pool) -> None:
    """A follower with a database of its own has each effect of a remote feed once and in order, while it grows."""

    async def handle(connection: db.Connection, _: str, events: list[feed.Incoming]) -> None:
        await record(connection, events)

    replicas = [feed.Follower("test", source=source(ledger), pool=feed_pool, handler=handle) for _ in range(2)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    for start in range(0, 60, 5):
        await ledger.post(*(earn(f"e{number}") for number in range(start, start + 5)))

    async def arrived() -> bool:
        return len(await seen(feed_pool)) >= 60

    await eventually(arrived)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    assert await seen(feed_pool) == list(range(1, 61))


async def test_read_of_own_rows_has_ids_that_stay_and_may_have_gaps(entries: feed_rpc.RemoteSource) -> None:
    """What a service makes of rows of its own is served as it is, and positions without an event are passed over."""
    page = await entries.read("demo", 0, 0)
    rest = await entries.read("demo", 0, 248)
    nothing = await entries.read("demo", 0, 250)

    assert await entries.list_heads(0) == [feed.Head("demo", 0, 250)]
    assert [event.position for event in page.events] == list(range(2, 251, 2))
    assert [event.event_id.int for event in page.events] == list(range(2, 251, 2))
    assert (page.events[0].member_id, page.events[0].payload, page.events[0].posted_at) == ("m2", b"2", START)
    assert (rest, nothing) == (feed.Page(page.events[-1:], 250), feed.Page([], 250))


async def test_follower_of_own_rows_comes_to_the_end(entries: feed_rpc.RemoteSource, feed_pool: db.Pool) -> None:
    """A follower of a feed with positions that carry no event has each event once and then nothing left to do."""

    async def handle(connection: db.Connection, _: str, events: list[feed.Incoming]) -> None:
        await record(connection, events)

    follower = feed.Follower("test", source=entries, pool=feed_pool, handler=handle)
    worked = [await follower.catch_up(await entries.list_heads(0)) for _ in range(2)]

    assert worked == [True, False]
    assert await seen(feed_pool) == list(range(2, 251, 2))
