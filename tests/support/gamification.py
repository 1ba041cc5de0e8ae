"""A running gamification service that follows a feed which the test writes, and shorthand for what tests do with it."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import Message
from plaudit.gamification.v1 import (
    definition_service_pb2,
    definition_service_pb2_grpc,
    events_pb2,
    gamification_pb2,
    gamification_service_pb2,
    gamification_service_pb2_grpc,
)
from plaudit.program.v1 import events_pb2 as program_events_pb2
from plaudit.program.v1 import program_pb2

from services.gamification import events as gamification_events
from services.gamification import server, worker
from services.gamification.operations.context import Context
from services.kernel import clock, db, due, feed, rpc
from tests.support.feeds import LocalSource, publish
from tests.support.harness import VERIFIER, credential
from tests.support.program import event

SCOPES = ("gamification.read", "gamification.write", "progress.read", "progress.write", "feed.read")
PUBLISHED: dict[str, type[Message]] = {
    each.DESCRIPTOR.full_name: each
    for each in (
        events_pb2.LevelReached,
        events_pb2.StreakReached,
        events_pb2.BadgeAwarded,
        events_pb2.RecordBeaten,
        events_pb2.LeaderboardClosed,
    )
}
TYPE = "report.generated"


@dataclass
class GamificationHarness:
    """A running service: its operations, its stubs, and the program's feed in a database at hand."""

    context: Context
    definitions: "definition_service_pb2_grpc.DefinitionServiceAsyncStub"
    stub: "gamification_service_pb2_grpc.GamificationServiceAsyncStub"
    program_pool: db.Pool
    source: LocalSource
    follower: feed.Follower

    async def define(self, *made: Message, program: str = "demo") -> None:
        """Makes definitions, each under an id derived from its own."""
        for each in made:
            kind = each.DESCRIPTOR.name
            request = getattr(definition_service_pb2, f"Create{kind}Request")(
                **{kind.lower(): each, "request_id": f"create-{kind}-{getattr(each, f'{kind.lower()}_id')}"}
            )
            await getattr(self.definitions, f"Create{kind}")(request, metadata=credential(program, SCOPES))

    async def record(self, *recorded: program_pb2.Event, depth: int = 0, program: str = "demo") -> None:
        """Records events as the program does, and lets the service follow."""
        await self.publish(
            (program_events_pb2.EventRecorded(event=each, causation_depth=depth) for each in recorded),
            program=program,
        )
        await self.follow()

    async def publish(self, messages: Iterable[Message], *, program: str = "demo") -> None:
        """Writes what the program's feed tells."""
        outgoing = [
            feed.Outgoing(member_of(each), each.DESCRIPTOR.full_name, each.SerializeToString()) for each in messages
        ]
        for start in range(0, len(outgoing), feed.READ_MAX):
            await publish(self.program_pool, *outgoing[start : start + feed.READ_MAX], program=program)

    async def know(self, member_id: str, *, plan: str = "", program: str = "demo", **values: Any) -> None:
        """Tells of a member as the program does, and lets the service follow."""
        member = program_pb2.Member(member_id=member_id, **values)
        if plan:
            member.attributes.update({"plan": plan})
        await self.publish([program_events_pb2.MemberChanged(member=member)], program=program)
        await self.follow()

    async def follow(self) -> None:
        """Follows the program to the end of its feed."""
        while await self.follower.catch_up(await self.source.list_heads(0)):
            pass

    async def drain(self) -> None:
        """Does all that is due, until nothing is."""
        handlers = worker.build_handlers(self.context, self.source)
        for kind, handler in handlers.items():
            await due.drain(self.context.pool, kind, handler, self.context.time)

    async def progress(
        self, member_id: str = "m1", *, program: str = "demo"
    ) -> gamification_service_pb2.GetProgressResponse:
        """Tells what a member has reached."""
        request = gamification_service_pb2.GetProgressRequest(member_id=member_id)
        return await self.stub.GetProgress(request, metadata=credential(program, SCOPES))

    async def leaderboard(
        self, leaderboard_id: str = "top", *, program: str = "demo", **asked: Any
    ) -> gamification_service_pb2.GetLeaderboardResponse:
        """Tells a page of a ranking."""
        request = gamification_service_pb2.GetLeaderboardRequest(leaderboard_id=leaderboard_id, **asked)
        return await self.stub.GetLeaderboard(request, metadata=credential(program, SCOPES))

    async def standings(self, leaderboard_id: str = "top", **asked: Any) -> list[tuple[int, str, int]]:
        """Tells rank, member and value of each place of a page of a ranking."""
        shown = await self.leaderboard(leaderboard_id, **asked)
        return [(each.rank, each.member_id, each.value) for each in shown.standings]

    async def values(self, metric_id: str, period: str, **whose: str) -> dict[str, int]:
        """Tells the values of a metric by first day."""
        request = gamification_service_pb2.ListMetricValuesRequest(
            metric_id=metric_id, period=gamification_pb2.Period.Value(f"PERIOD_{period}"), page_size=1000, **whose
        )
        response = await self.stub.ListMetricValues(request, metadata=credential("demo", SCOPES))
        return {each.start_date: each.value for each in response.values}

    async def published(self, *kinds: type[Message]) -> list[Any]:
        """Lists what the service published, of some kinds or of all, in order."""
        page = await db.read(self.context.pool, lambda c: feed.read_events(c, "demo", 0, 0))
        assert page.through_position < feed.READ_MAX, "The test publishes less than a page."
        found = [PUBLISHED[each.type].FromString(each.payload) for each in page.events]
        return [each for each in found if not kinds or isinstance(each, kinds)]


def member_of(message: Message) -> str:
    """Tells whose message of the program it is."""
    if isinstance(message, program_events_pb2.EventRecorded):
        return message.event.member_id
    assert isinstance(message, program_events_pb2.MemberChanged)
    return message.member.member_id


def metric(metric_id: str = "reports", **values: Any) -> gamification_pb2.Metric:
    """Describes a metric."""
    return gamification_pb2.Metric(**{"metric_id": metric_id, "display_name": metric_id, "event_type": TYPE, **values})


def streak(streak_id: str = "daily", period: str = "DAY", **values: Any) -> gamification_pb2.Streak:
    """Describes a streak of the metric `reports`."""
    return gamification_pb2.Streak(
        **{"streak_id": streak_id, "display_name": streak_id, "metric_id": "reports", **values},
        period=gamification_pb2.Period.Value(f"PERIOD_{period}"),
    )


def total_badge(badge_id: str, threshold: int, **values: Any) -> gamification_pb2.Badge:
    """Describes a badge for a total of the metric `reports`."""
    goal = gamification_pb2.TotalGoal(metric_id=values.pop("metric_id", "reports"), threshold=threshold)
    return gamification_pb2.Badge(badge_id=badge_id, display_name=badge_id, total=goal, **values)


def ladder(ladder_id: str = "onboarding", metric_id: str = "reports", **thresholds: int) -> gamification_pb2.Ladder:
    """Describes a ladder by the thresholds of its levels."""
    levels = [
        gamification_pb2.Level(level_id=name, display_name=name.title(), threshold=each, unlocks=f"what {name} opens")
        for name, each in thresholds.items()
    ]
    return gamification_pb2.Ladder(ladder_id=ladder_id, display_name=ladder_id, metric_id=metric_id, levels=levels)


def leaderboard(
    leaderboard_id: str = "top", periods: Sequence[str] = ("ALL_TIME",), ties: str = "COMPETITION", **values: Any
) -> gamification_pb2.Leaderboard:
    """Describes a leaderboard of the metric `reports`."""
    return gamification_pb2.Leaderboard(
        **{
            "leaderboard_id": leaderboard_id,
            "display_name": leaderboard_id,
            "metric_id": "reports",
            "periods": [gamification_pb2.Period.Value(f"PERIOD_{each}") for each in periods],
            "ties": gamification_pb2.Ties.Value(f"TIES_{ties}"),
            **values,
        }
    )


def did(event_id: str, member_id: str = "m1", *, at: datetime, **values: Any) -> program_pb2.Event:
    """Makes an event that the metric `reports` counts; a time with an offset keeps it."""
    offset = at.utcoffset()
    assert offset is not None
    minutes = None if values.pop("without_offset", False) else int(offset.total_seconds()) // 60
    return event(event_id, values.pop("type_", TYPE), member_id, at=at, utc_offset_minutes=minutes, **values)


@asynccontextmanager
async def run_gamification(dsn: str, program_dsn: str, time: clock.Clock) -> AsyncIterator[GamificationHarness]:
    """Runs the service over a database, beside another one with the program's feed, until the block ends."""
    pool = await db.create_pool(dsn, service="gamification")
    program_pool = await db.create_pool(program_dsn, service="test-program")

    async def kick(job: str, after_s: float) -> None:
        del job, after_s  # Tests drain by hand.

    context = Context(pool, time, gamification_events.encode, kick)
    running = server.build_server(context, rpc.token_authenticator(VERIFIER))
    await running.start("127.0.0.1:0")
    channel: grpc.aio.Channel = rpc.channel(f"127.0.0.1:{running.port}")
    source = LocalSource(program_pool, types=worker.TYPES)
    try:
        yield GamificationHarness(
            context,
            definition_service_pb2_grpc.DefinitionServiceStub(channel),
            gamification_service_pb2_grpc.GamificationServiceStub(channel),
            program_pool,
            source,
            worker.build_follower(context, source),
        )
    finally:
        await channel.close()
        await running.stop(notice_s=0)
        await pool.close()
        await program_pool.close()
