"""The program's jobs and followers: each a thin call to an operation."""

from collections.abc import Callable

import grpc
from plaudit.ledger.v1 import events_pb2 as ledger_events_pb2
from plaudit.referral.v1 import events_pb2 as referral_events_pb2

from services.kernel import db, due, feed, feed_rpc, jobs, rpc
from services.program import feeds, model
from services.program.operations import redemptions, sequels, settlements
from services.program.operations.context import Context
from services.program.operations.events import POST_EFFECTS, Events
from services.program.operations.redemptions import REDEEM
from services.program.operations.settlements import SETTLE_EVENT

LEDGER_FOLLOWER = "program-ledger"
GAMIFICATION_FOLLOWER = "program-gamification"
REFERRAL_FOLLOWER = "program-referral"
HOLD_CHANGED = ledger_events_pb2.HoldChanged.DESCRIPTOR.full_name
REFERRAL_CHANGED = referral_events_pb2.ReferralChanged.DESCRIPTOR.full_name
HOLD_TIMED_OUT = ledger_events_pb2.HOLD_STATE_TIMED_OUT


def build_worker(context: Context, events: Events, redis_url: str) -> jobs.Worker:
    """Makes the worker that posts effects, settles events and goes on with redemptions that their callers left."""

    async def post_effects() -> int:
        return await due.drain(context.pool, POST_EFFECTS, events.post_due, context.time)

    async def redeem() -> int:
        return await due.drain(context.pool, REDEEM, lambda item: redemptions.go_on(context, item), context.time)

    async def settle_event() -> int:
        return await due.drain(
            context.pool, SETTLE_EVENT, lambda item: settlements.settle_due(context, item), context.time
        )

    drains = {POST_EFFECTS: post_effects, REDEEM: redeem, SETTLE_EVENT: settle_event}
    return jobs.build_worker("program", redis_url, drains)


def build_follower(context: Context, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> feed.Follower:
    """Makes the follower of the ledger's feed: a hold that times out ends its redemption."""

    async def handle(connection: db.Connection, program_id: str, incoming: list[feed.Incoming]) -> None:
        for event in incoming:
            changed = ledger_events_pb2.HoldChanged.FromString(event.payload)
            if changed.state == HOLD_TIMED_OUT and changed.cause.redemption_id:
                await redemptions.hold_ended(context, connection, program_id, changed.cause.redemption_id)

    source = feed_rpc.RemoteSource(channel, identity, name="ledger", types=[HOLD_CHANGED])
    return feed.Follower(LEDGER_FOLLOWER, source=source, pool=context.pool, handler=handle)


def build_gamification_follower(context: Context, events: Events, source: feed.Source) -> feed.Follower:
    """Makes the follower of gamification: what members reach are events that rules may pay for."""
    return _build_sequel_follower(GAMIFICATION_FOLLOWER, context, events, source, feeds.of_gamification)


def build_referral_follower(context: Context, events: Events, source: feed.Source) -> feed.Follower:
    """Makes the follower of referrals: who qualifies is an event, and their end settles what it gave."""
    return _build_sequel_follower(REFERRAL_FOLLOWER, context, events, source, feeds.of_referral)


def gamification_feed(channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> feed.Source:
    """Makes the source of what is followed of gamification: all of it."""
    return feed_rpc.RemoteSource(channel, identity, name="gamification", types=[])


def referral_feed(channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> feed.Source:
    """Makes the source of what is followed of referrals."""
    return feed_rpc.RemoteSource(channel, identity, name="referral", types=[REFERRAL_CHANGED])


def _build_sequel_follower(
    name: str,
    context: Context,
    events: Events,
    source: feed.Source,
    read: Callable[[feed.Incoming], list[model.Sequel]],
) -> feed.Follower:
    async def handle(connection: db.Connection, program_id: str, incoming: list[feed.Incoming]) -> None:
        found = [sequel for each in incoming for sequel in read(each)]
        if found:
            await sequels.take(context, events, connection, program_id, found)

    return feed.Follower(name, source=source, pool=context.pool, handler=handle)
