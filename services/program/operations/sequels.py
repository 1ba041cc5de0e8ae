"""Sequels: what follows from what other services published becomes events and settlements here, each once."""

from collections.abc import Sequence
from itertools import groupby

from services.kernel import db
from services.program.model import Event, Sequel, Settled
from services.program.operations import settlements
from services.program.operations.context import Context
from services.program.operations.events import POST_EFFECTS, Events
from services.program.operations.settlements import SETTLE_EVENT, Wanted
from services.program.store import members

# The workers begin when the transaction of the follower is sure to have ended.
KICK_AFTER_S = 0.2


async def take(
    context: Context, recorder: Events, connection: db.Connection, program_id: str, sequels: Sequence[Sequel]
) -> None:
    """Records and settles, in order, in the caller's transaction; workers bring it to the ledger right after."""
    # Before the heads of the feed, as everybody does: later, two that wait for each other would have to begin again.
    await members.lock_members(connection, program_id, sorted({each.member_id for each in sequels}))
    for kind, some in groupby(sequels, type):
        if kind is Event:
            await recorder.record_within(connection, program_id, [each for each in some if isinstance(each, Event)])
            await context.kick(POST_EFFECTS, KICK_AFTER_S)
        else:
            for each in some:
                assert isinstance(each, Settled), "A sequel is an event or settles one."
                wanted = Wanted(each.event_id, each.settling, each.reason)
                await settlements.settle_within(context, connection, program_id, wanted)
            await context.kick(SETTLE_EVENT, KICK_AFTER_S)
