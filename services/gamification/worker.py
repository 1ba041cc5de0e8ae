"""Gamification's jobs and its follower: each a thin call to an operation."""

from datetime import datetime
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
    drains = {
        kind: partial(due.drain, context.pool, kind, handler, context.time)
        for kind, handler in build_handlers(context, source).items()
    }
    return jobs.build_worker("gamification", redis_url, drains)


def build_handlers(context: Context, source: feed.Source) -> dict[str, due.Handler]:
    """Lists what works each kind of due work."""
    reader = FeedReader(context.pool, source)
    return {
        scheduling.CATCH_UP: partial(catching_up.catch_up, context),
        scheduling.BACKFILL: partial(catching_up.backfill, context, reader),
        scheduling.CLOSE: partial(ranking.close, context, reader),
        scheduling.COMPARE: partial(comparing.take_snapshot, context, reader),
    }


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
    """Reads the program's feed beside the follower; implements `ports.Reader`."""

    def __init__(self, pool: db.Pool, source: feed.Source) -> None:
        self._pool = pool
        self._source = source

    async def partitions(self, program_id: str) -> list[int]:
        """Lists the partitions of a program. Raises DEPENDENCY_UNAVAILABLE."""
        return [head.partition for head in await self._source.list_heads(0) if head.program_id == program_id]

    async def read(self, program_id: str, partition: int, after_position: int) -> tuple[list[model.Event], int]:
        """Reads the events of a page, and up to which position it goes. Raises DEPENDENCY_UNAVAILABLE."""
        page = await self._source.read(program_id, partition, after_position)
        told = (read(each) for each in page.events)
        return [each for each in told if isinstance(each, model.Event)], page.through_position

    async def is_behind(self, program_id: str, until: datetime) -> bool:
        """Tells whether the follower has yet to see something recorded before. Raises DEPENDENCY_UNAVAILABLE."""
        stands = (await db.read(self._pool, feed.cursors)).get(FOLLOWER, {})
        for partition in await self.partitions(program_id):
            page = await self._source.read(program_id, partition, stands.get((program_id, partition), 0))
            if page.events and page.events[0].posted_at < until:
                return True
        return False
