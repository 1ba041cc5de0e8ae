"""Gamification's jobs and its follower: each a thin call to an operation."""

from functools import partial

from plaudit.program.v1 import events_pb2

from services.gamification import convert, model
from services.gamification.operations import catching_up, comparing, counting, ranking, scheduling
from services.gamification.operations.context import Context
from services.kernel import db, due, feed, jobs

FOLLOWER = "gamification-program"
EVENT_RECORDED = events_pb2.EventRecorded.DESCRIPTOR.full_name
MEMBER_CHANGED = events_pb2.MemberChanged.DESCRIPTOR.full_name
TYPES = [EVENT_RECORDED, MEMBER_CHANGED]


def build_worker(context: Context, source: feed.Source, redis_url: str) -> jobs.Worker:
    """Makes the worker of what definitions lead to later."""
    handlers: dict[str, due.Handler] = {
        scheduling.CATCH_UP: partial(catching_up.catch_up, context),
        scheduling.BACKFILL: partial(catching_up.backfill, context, FeedReader(source)),
        scheduling.CLOSE: partial(ranking.close, context),
        scheduling.COMPARE: partial(comparing.take_snapshot, context),
    }
    drains = {kind: partial(due.drain, context.pool, kind, each, context.time) for kind, each in handlers.items()}
    return jobs.build_worker("gamification", redis_url, drains)


def build_follower(context: Context, source: feed.Source) -> feed.Follower:
    """Makes the follower of the program's feed: events become values, and values what members have reached."""

    async def handle(connection: db.Connection, program_id: str, incoming: list[feed.Incoming]) -> None:
        told = [each for each in map(read, incoming) if each is not None]
        await counting.take(context, connection, program_id, told)

    return feed.Follower(FOLLOWER, source=source, pool=context.pool, handler=handle)


def read(incoming: feed.Incoming) -> counting.Told | None:
    """Reads what the program tells; None for what is of no concern here."""
    if incoming.type == EVENT_RECORDED:
        recorded = events_pb2.EventRecorded.FromString(incoming.payload)
        return convert.event(recorded.event, recorded.causation_depth)
    if incoming.type == MEMBER_CHANGED:
        return convert.member(events_pb2.MemberChanged.FromString(incoming.payload).member)
    return None


class FeedReader:
    """Reads the program's feed for a backfill; implements `catching_up.Reader`."""

    def __init__(self, source: feed.Source) -> None:
        self._source = source

    async def partitions(self, program_id: str) -> list[int]:
        """Lists the partitions of a program. Raises DEPENDENCY_UNAVAILABLE."""
        return [head.partition for head in await self._source.list_heads(0) if head.program_id == program_id]

    async def read(self, program_id: str, partition: int, after_position: int) -> tuple[list[model.Event], int]:
        """Reads the events of a page, and up to which position it goes. Raises DEPENDENCY_UNAVAILABLE."""
        page = await self._source.read(program_id, partition, after_position)
        told = (read(each) for each in page.events)
        return [each for each in told if isinstance(each, model.Event)], page.through_position
