"""The referral service's jobs and its follower of the program: each a thin call to an operation."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import grpc
from plaudit.program.v1 import events_pb2 as program_events_pb2

from services.kernel import db, due, feed, feed_rpc, jobs, rpc
from services.referral import convert, model, ports
from services.referral.operations import deciding, following, links
from services.referral.operations.context import CHECK, EXPIRE, FORGET, SETTLE, Context

PROGRAM_FOLLOWER = "referral-program"
EVENT_RECORDED = program_events_pb2.EventRecorded.DESCRIPTOR.full_name
MEMBER_CHANGED = program_events_pb2.MemberChanged.DESCRIPTOR.full_name
TYPES = [EVENT_RECORDED, MEMBER_CHANGED]
# The checks begin when the transaction of the follower is sure to have ended.
KICK_AFTER_S = 0.2

# Asks the workers for a run of a job after some seconds; never raises, since the sweep comes anyway.
Kick = Callable[[str, float], Awaitable[None]]


def handlers(context: Context, members: ports.Members) -> dict[str, due.Handler]:
    """Tells what is done about each kind of due work."""
    return {
        CHECK: lambda item: deciding.check(context, members, item),
        SETTLE: lambda item: deciding.settle(context, members, item),
        EXPIRE: lambda item: deciding.expire(context, item),
        FORGET: lambda item: links.forget_clicks(context, item),
    }


def build_worker(context: Context, members: ports.Members, redis_url: str) -> jobs.Worker:
    """Makes the worker that runs the fraud checks, ends holds and waits, and forgets old clicks."""

    def job(kind: str, handler: due.Handler) -> jobs.Job:
        async def run() -> int:
            return await due.drain(context.pool, kind, handler, context.time)

        return run

    found = {kind: job(kind, handler) for kind, handler in handlers(context, members).items()}
    return jobs.build_worker("referral", redis_url, found)


def program_feed(channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> feed.Source:
    """Makes the source of what is followed of the program."""
    return feed_rpc.RemoteSource(channel, identity, name="program", types=TYPES)


def build_follower(context: Context, source: feed.Source, kick: Kick) -> feed.Follower:
    """Makes the follower of the program: members and events become signals, referrals and their ends."""

    async def handle(connection: db.Connection, program_id: str, incoming: list[feed.Incoming]) -> None:
        if await following.take(context, connection, program_id, [_told(each) for each in incoming]):
            # No more than a hint, which may be lost, and harms nobody where this transaction fails yet.
            await kick(CHECK, KICK_AFTER_S)

    return feed.Follower(PROGRAM_FOLLOWER, source=source, pool=context.pool, handler=handle)


def _told(incoming: feed.Incoming) -> tuple[following.Told, datetime]:
    if incoming.type == MEMBER_CHANGED:
        member = program_events_pb2.MemberChanged.FromString(incoming.payload).member
        return model.MemberSeen(member.member_id, member.email), incoming.posted_at
    recorded = program_events_pb2.EventRecorded.FromString(incoming.payload)
    return convert.event(recorded.event, recorded.causation_depth), incoming.posted_at
