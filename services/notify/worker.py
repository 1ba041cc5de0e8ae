"""Notify's jobs and followers: each a thin call to an operation."""

from collections.abc import Mapping

import grpc

from services.kernel import db, due, feed, feed_rpc, jobs, rpc
from services.notify import causes
from services.notify.operations import days
from services.notify.operations.context import Context
from services.notify.operations.deciding import DELIVER
from services.notify.operations.observing import observe
from services.notify.operations.sending import DRAIN_S, Sender

PROGRAM = "program"
# While one waits for mail servers and endpoints another one renders.
DRAINS_AT_ONCE = 3


def build_worker(context: Context, sender: Sender, redis_url: str) -> jobs.Worker:
    """Makes the worker that sends what is due and turns the days of zones."""

    async def deliver() -> int:
        done = await due.drain_pages(context.pool, DELIVER, sender.send_page, context.time, within_s=DRAIN_S)
        if done:
            # There may be more than one drain takes.
            await context.kick(DELIVER, 0)
        return done

    async def turn_day() -> int:
        return await due.drain(context.pool, days.TURN_DAY, lambda item: days.turn(context, item), context.time)

    found = {DELIVER: deliver, days.TURN_DAY: turn_day}
    return jobs.build_worker("notify", redis_url, found, at_once={DELIVER: DRAINS_AT_ONCE})


def build_follower(context: Context, service: str, source: feed.Source) -> feed.Follower:
    """Makes the follower of a service's feed, from wherever it is read."""

    async def handle(connection: db.Connection, program_id: str, incoming: list[feed.Incoming]) -> None:
        await observe(context, connection, program_id, causes.read(service, incoming))

    return feed.Follower(f"notify-{service}", source=source, pool=context.pool, handler=handle)


def build_followers(context: Context, sources: Mapping[str, feed.Source]) -> list[feed.Follower]:
    """Makes the followers of all feeds: of the program's first, from which all that the others tell follows.

    A member's language, for example, is known before a message about the member is made.
    """
    first = build_follower(context, PROGRAM, sources[PROGRAM])
    others = [
        build_follower(context, service, feed.After(source, first=sources[PROGRAM], follower=first))
        for service, source in sources.items()
        if service != PROGRAM
    ]
    return [first, *others]


def remote_source(service: str, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> feed.Source:
    """Reads a service's feed over gRPC, the events that are causes alone."""
    return feed_rpc.RemoteSource(channel, identity, name=service, types=causes.types_of(service))
