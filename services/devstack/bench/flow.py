"""`./plaudit bench flow`: events through all services of a whole stack, and how long what follows takes."""

import asyncio
import itertools
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
from plaudit.feed.v1 import feed_service_pb2
from plaudit.gamification.v1 import events_pb2 as gamification_events_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2, program_service_pb2_grpc

from services.devstack.bench.figures import Figure, percentile
from services.devstack.catalogue import SERVICES
from services.devstack.data_dir import DataDir
from services.devstack.demo import PROGRAM_ID
from services.devstack.errors import CannotRunError
from services.devstack.local_stack import LocalStack
from services.devstack.settings import External
from services.kernel import db, feed_rpc, rpc, times, tokens

QUERIES = db.Queries(Path(__file__).parent / "flow.sql")
EVENT_TYPE = "bench.used"
CALL_SIZE = 500
CALLS_IN_FLIGHT = 4
CALL_TIMEOUT_S = 30.0
MEMBERS = 5_000
PACE = 200
# How often it is looked whether all have caught up: less than what is measured.
LOOK_EVERY_S = 0.1
SETTLE_WAIT_S = 600.0
FEED_WAIT_S = 1.0
INTRODUCED_AT_ONCE = 32
LEVEL_REACHED = gamification_events_pb2.LevelReached.DESCRIPTOR.full_name
# What every event leads to: a payment by a rule, and for a member who is new the first level of a ladder, of which the
# inbox tells, and a mail where there is an address. Asleep or not: a benchmark may run at night.
DEFINITIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/v1/rules", {"ruleId": "bench", "displayName": "Use it", "eventType": EVENT_TYPE, "amount": "1"}),
    ("POST", "/v1/metrics", {"metricId": "bench", "displayName": "Uses", "eventType": EVENT_TYPE}),
    (
        "POST",
        "/v1/ladders",
        {
            "ladderId": "bench",
            "displayName": "Uses",
            "metricId": "bench",
            "levels": [{"levelId": "first", "displayName": "First", "threshold": "1"}],
        },
    ),
    (
        "PUT",
        "/v1/triggers/bench",
        {
            "displayName": "First use",
            "templateId": "level-up",
            "topic": "bench",
            "channels": ["EMAIL", "INBOX"],
            "onEvent": {"type": "gamification.level_reached"},
            "condition": 'event.properties.ladder_id == "bench"',
            "transactional": True,
        },
    ),
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How long the benchmark is: events of the bulk measure, seconds of the paced one, mails."""

    events: int = 30_000
    seconds: int = 20
    mails: int = 3_000


@dataclass
class Flow:
    """A stack with its definitions: a product that sends events, and looks at all that follows."""

    stack: LocalStack
    stub: "program_service_pb2_grpc.ProgramServiceAsyncStub"
    api_key: str
    identity: rpc.ServiceIdentity
    pools: Mapping[str, db.Pool]
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def event(self, member_id: str) -> program_pb2.Event:
        """Makes an event that happens now."""
        return program_pb2.Event(
            event_id=f"{self.run}-{next(self._numbers)}",
            type=EVENT_TYPE,
            member_id=member_id,
            occur_time=times.to_proto(datetime.now(UTC)),
        )

    async def record(self, events: list[program_pb2.Event]) -> None:
        """Records events and makes sure that each is accepted and paid."""
        request = program_service_pb2.RecordEventsRequest(events=events)
        metadata = (("authorization", f"Bearer {self.api_key}"),)
        response = await self.stub.RecordEvents(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
        wrong = [
            result
            for result in response.results
            if [each.state for each in result.effects] != [program_pb2.EFFECT_STATE_POSTED]
        ]
        assert not wrong, f"Every event of a benchmark is new and paid: {wrong[:1]}"

    async def bulk(self, count: int) -> float:
        """Sends events in calls of many, several at once; gives the seconds until all of them are accepted."""
        events = iter([self.event(f"b{number % MEMBERS}") for number in range(count)])
        begun = time.perf_counter()

        async def work() -> None:
            while chunk := list(itertools.islice(events, CALL_SIZE)):
                await self.record(chunk)

        await asyncio.gather(*(work() for _ in range(CALLS_IN_FLIGHT)))
        return time.perf_counter() - begun

    async def paced(self, seconds: int, sent: dict[str, float]) -> list[float]:
        """Sends one event a call at a fixed rate, each of a new member; gives the seconds until each was paid.

        `sent` is told when each member's event was due, from which all latencies count.
        """
        loop = asyncio.get_running_loop()
        latencies: list[float] = []
        begun = loop.time()

        async def one(member_id: str) -> None:
            await self.record([self.event(member_id)])
            latencies.append(loop.time() - sent[member_id])

        async with asyncio.TaskGroup() as group:
            for number in range(seconds * PACE):
                due = begun + number / PACE
                await asyncio.sleep(max(0.0, due - loop.time()))
                member_id = f"{self.run}-p{number}"
                sent[member_id] = due
                group.create_task(one(member_id))
        return latencies

    async def watch_levels(self, reached: dict[str, float]) -> None:
        """Notes when each level is told in gamification's feed, until it is cancelled."""
        service = next(each for each in SERVICES if each.name == "gamification")
        loop = asyncio.get_running_loop()
        async with rpc.channel(self.stack.wiring.address(service), [feed_service_pb2.DESCRIPTOR]) as channel:
            source = feed_rpc.RemoteSource(channel, self.identity, name="gamification", types=[LEVEL_REACHED])
            place = 0
            while True:
                [*heads] = await source.list_heads(FEED_WAIT_S)
                for head in heads:
                    if head.position > place:
                        page = await source.read(head.program_id, head.partition, place)
                        place = page.through_position
                        for each in page.events:
                            reached.setdefault(each.member_id, loop.time())

    async def introduce(self, members: list[str]) -> None:
        """Tells the addresses of members."""
        slots = asyncio.Semaphore(INTRODUCED_AT_ONCE)
        headers = {"authorization": f"Bearer {self.api_key}"}

        async def one(client: httpx.AsyncClient, member_id: str) -> None:
            async with slots:
                body = {"email": f"{member_id}@example.com", "displayName": "Somebody"}
                response = await client.put(f"/v1/members/{member_id}", json=body)
                if response.is_error:
                    raise CannotRunError(f"a member is refused: {response.text}")

        async with httpx.AsyncClient(base_url=self.stack.url, headers=headers, timeout=CALL_TIMEOUT_S) as client:
            await asyncio.gather(*(one(client, member_id) for member_id in members))

    async def wait_for_inboxes(self, sent: Mapping[str, float]) -> list[float]:
        """Waits until each member has the message; gives the seconds from when each event was due.

        Raises CannotRunError where one never comes.
        """
        # The loop's clock and that of the database, which tells when a message came.
        ahead = time.time() - asyncio.get_running_loop().time()
        pool = self.pools["notify"]

        async def told() -> dict[str, float]:
            rows = await pool.fetch(QUERIES["list_told"], f"{self.run}-p")
            return {row["member_id"]: row["created_at"].timestamp() for row in rows}

        deadline = time.perf_counter() + SETTLE_WAIT_S
        while len(found := await told()) < len(sent):
            if time.perf_counter() > deadline:
                raise CannotRunError(f"{len(sent) - len(found)} members of {len(sent)} were never told")
            await asyncio.sleep(LOOK_EVERY_S)
        return [found[member_id] - ahead - due for member_id, due in sent.items()]

    async def wait_for_mails(self, count: int) -> None:
        """Waits until so many mails to this run's members were taken. Raises CannotRunError where that is never."""
        deadline = time.perf_counter() + SETTLE_WAIT_S
        while await self.pools["notify"].fetchval(QUERIES["count_mails"], f"{self.run}-m") < count:
            if time.perf_counter() > deadline:
                raise CannotRunError(f"{count} mails did not go out in {SETTLE_WAIT_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)

    async def settled(self) -> None:
        """Returns when every follower has come as far as what it follows. Raises CannotRunError where that is never."""
        deadline = time.perf_counter() + SETTLE_WAIT_S
        while behind := await self._behind():
            if time.perf_counter() > deadline:
                raise CannotRunError(f"{', '.join(sorted(behind))} did not catch up in {SETTLE_WAIT_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _behind(self) -> list[str]:
        heads = {name: await pool.fetchval(QUERIES["sum_heads"]) for name, pool in self.pools.items()}
        behind = []
        for pool in self.pools.values():
            for row in await pool.fetch(QUERIES["sum_cursors"]):
                followed = row["follower"].rpartition("-")[2]
                if row["position"] < heads[followed]:
                    behind.append(row["follower"])
        return behind


async def measure(size: Size, say: Say) -> list[Figure]:
    """Measures, one thing after the other, and tells what it is at. Raises CannotRunError."""
    async with running(say) as flow:
        say("warming up")
        await flow.bulk(CALL_SIZE * CALLS_IN_FLIGHT)
        await flow.settled()
        figures = await _measure_bulk(flow, size, say)
        figures += await _measure_paced(flow, size, say)
        return figures + await _measure_mails(flow, size, say)


async def _measure_bulk(flow: Flow, size: Size, say: Say) -> list[Figure]:
    say(f"{size.events:,} events in calls of {CALL_SIZE}, all services following")
    begun = time.perf_counter()
    accepted_s = await flow.bulk(size.events)
    await flow.settled()
    through_s = time.perf_counter() - begun
    return [
        Figure("events accepted and paid, all services following", size.events / accepted_s, "events/s"),
        Figure("events through everything that follows", size.events / through_s, "events/s", 1_500),
    ]


async def _measure_paced(flow: Flow, size: Size, say: Say) -> list[Figure]:
    say(f"{PACE} events a second, each of a new member")
    sent: dict[str, float] = {}
    reached: dict[str, float] = {}
    watch = asyncio.create_task(flow.watch_levels(reached))
    paid = await flow.paced(size.seconds, sent)
    told = await flow.wait_for_inboxes(sent)
    # The last of them are told already, but perhaps not read here yet.
    deadline = time.perf_counter() + SETTLE_WAIT_S
    while missing := sent.keys() - reached.keys():
        if watch.done() or time.perf_counter() > deadline:
            raise CannotRunError(
                f"{len(missing)} members of {len(sent)} were not seen to reach the level that they must"
            )
        await asyncio.sleep(LOOK_EVERY_S)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    levels = [reached[member_id] - due for member_id, due in sent.items()]
    return [
        *_latency("event to balance", paid, 150),
        *_latency("event to level", levels),
        *_latency("event to inbox", told),
    ]


async def _measure_mails(flow: Flow, size: Size, say: Say) -> list[Figure]:
    say(f"{size.mails:,} mails, each rendered and taken by the mail server")
    members = [f"{flow.run}-m{number}" for number in range(size.mails)]
    await flow.introduce(members)
    await flow.settled()
    begun = time.perf_counter()
    for start in range(0, len(members), CALL_SIZE):
        await flow.record([flow.event(member_id) for member_id in members[start : start + CALL_SIZE]])
    await flow.wait_for_mails(len(members))
    through_s = time.perf_counter() - begun
    row = await flow.pools["notify"].fetchrow(QUERIES["time_mails"], f"{flow.run}-m")
    assert row is not None, "An aggregate has a row."
    return [
        Figure(
            "mails rendered and taken by the mail server, while they are sent",
            row["count"] / row["seconds"],
            "mails/s",
            300,
        ),
        Figure("the same, from the first event on", len(members) / through_s, "mails/s"),
    ]


def _latency(measure: str, seconds: list[float], aim_ms: float | None = None) -> list[Figure]:
    return [
        Figure(f"{measure} at {PACE} events a second, p50", 1000 * percentile(seconds, 0.5), "ms"),
        Figure(
            f"{measure} at {PACE} events a second, p99", 1000 * percentile(seconds, 0.99), "ms", aim_ms, at_most=True
        ),
    ]


@asynccontextmanager
async def running(say: Say) -> AsyncIterator[Flow]:
    """Runs a stack in an empty directory, with what the benchmark needs, and takes it away again."""
    with tempfile.TemporaryDirectory(prefix="plaudit-bench-", ignore_cleanup_errors=True) as folder:
        data_dir = DataDir.create(Path(folder) / "data")
        with data_dir.locked():
            stack = LocalStack(data_dir, http_port=0, external=External(), say=say)
            try:
                await stack.start()
                async with _flow(stack) as flow:
                    yield flow
            finally:
                await stack.stop()


@asynccontextmanager
async def _flow(stack: LocalStack) -> AsyncIterator[Flow]:
    api_key = stack.data_dir.api_key()
    assert api_key is not None, "A stack that has started has a key for its demo program."
    await _define(stack.url, api_key)
    program = next(each for each in SERVICES if each.name == "program")
    identity = rpc.ServiceIdentity(tokens.Minter(stack.wiring.token_key), service="bench", scopes=["feed.read"])
    pools = {name: await db.create_pool(dsn, service="bench", size_max=1) for name, dsn in stack.wiring.dsns.items()}
    channel: grpc.aio.Channel = rpc.channel(stack.wiring.address(program), [program_service_pb2.DESCRIPTOR])
    try:
        yield Flow(stack, program_service_pb2_grpc.ProgramServiceStub(channel), api_key, identity, pools)
    finally:
        await channel.close()
        for pool in pools.values():
            await pool.close()


async def _define(url: str, api_key: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {api_key}"}) as client:
        for number, (verb, path, body) in enumerate(DEFINITIONS):
            headers = {"idempotency-key": f"{PROGRAM_ID}-bench-{number}"}
            response = await client.request(verb, path, json=body, headers=headers)
            if response.is_error:
                raise CannotRunError(f"{path}: {response.text}")
