"""The program's jobs and followers: each a thin call to an operation."""

import grpc
from plaudit.ledger.v1 import events_pb2 as ledger_events_pb2

from services.kernel import db, due, feed, feed_rpc, jobs, rpc
from services.program.operations import redemptions, settlements
from services.program.operations.context import Context
from services.program.operations.events import POST_EFFECTS, Events
from services.program.operations.redemptions import REDEEM
from services.program.operations.settlements import SETTLE_EVENT

LEDGER_FOLLOWER = "program-ledger"
HOLD_CHANGED = ledger_events_pb2.HoldChanged.DESCRIPTOR.full_name
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
