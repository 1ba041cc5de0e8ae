"""Settlements: what an event gave is confirmed or taken back, decided once here and then brought to the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.kernel import db, due, ids, logs
from services.kernel.errors import DomainError
from services.program import errors, ports
from services.program.model import Recorded, Settlement, Settling
from services.program.operations.context import Context
from services.program.operations.events import earn_of
from services.program.ports import Step
from services.program.store import events, members

SETTLE_EVENT = "settle_event"
# The call itself goes on at once; the sweep takes over what it did not finish in this time.
SETTLE_AGAIN_AFTER = timedelta(seconds=10)
STEPS_PER_EARN_MAX = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of what an event gave, and why."""

    event_id: str
    settling: Settling
    reason: str = ""


async def settle(context: Context, program_id: str, wanted: Wanted) -> Recorded:
    """Settles an event and gives it as it is now; one that is settled so already is given as it is.

    Raises EVENT_NOT_FOUND and EVENT_TAKEN_BACK. Where the ledger is away it learns of it later.
    """
    await db.transaction(
        context.pool,
        lambda connection: settle_within(context, connection, program_id, wanted, retry_after=SETTLE_AGAIN_AFTER),
    )
    try:
        await _bring(context, program_id, wanted.event_id, wanted.settling)
    except DomainError as error:
        logs.get_logger().warning("settling_left_to_worker", event_id=wanted.event_id, error=error.reason)
        await context.kick(SETTLE_EVENT, SETTLE_AGAIN_AFTER.total_seconds())
    return await _read(context, program_id, wanted.event_id)


async def settle_within(
    context: Context,
    connection: db.Connection,
    program_id: str,
    wanted: Wanted,
    *,
    retry_after: timedelta = timedelta(0),
) -> None:
    """Settles an event in the caller's transaction; a worker brings it to the ledger after some time.

    Raises EVENT_NOT_FOUND and EVENT_TAKEN_BACK.
    """
    found = (await events.find_events(connection, program_id, [wanted.event_id])).get(wanted.event_id)
    if found is None:
        raise errors.event_not_found(wanted.event_id)
    # The member is the lock, so that of a confirmation and a taking back at once one comes first.
    await members.lock_members(connection, program_id, [found.event.member_id])
    settled = await events.find_settlements(connection, program_id, [wanted.event_id])
    if (wanted.event_id, wanted.settling) in settled:
        return
    if (wanted.event_id, Settling.TAKE_BACK) in settled:
        raise errors.event_taken_back(wanted.event_id)
    now = await context.time.now(connection)
    await events.insert_settlement(
        connection, program_id, wanted.event_id, Settlement(wanted.settling, now, wanted.reason)
    )
    payload = {"event_id": wanted.event_id, "settling": wanted.settling.value}
    work_id = ids.derived_id(SETTLE_EVENT, wanted.event_id, wanted.settling.value)
    await due.schedule(connection, [due.DueItem(program_id, SETTLE_EVENT, work_id, payload, now + retry_after)])


async def settle_due(context: Context, item: due.DueItem) -> None:
    """Brings to the ledger what an earlier call left; due work. Raises DEPENDENCY_UNAVAILABLE."""
    await _bring(context, item.program_id, item.payload["event_id"], Settling(item.payload["settling"]))


async def _bring(context: Context, program_id: str, event_id: str, settling: Settling) -> None:
    """Takes the steps of a settlement in the ledger and ends the due work. Each step happens once, however often."""
    recorded = await _read(context, program_id, event_id)
    earns = [earn_of(recorded.event, decision) for decision in recorded.decisions if decision.denial is None]
    size = ports.EARNS_MAX // STEPS_PER_EARN_MAX
    for start in range(0, len(earns), size):
        await _settle_earns(context, program_id, earns[start : start + size], recorded, settling)
    work_id = ids.derived_id(SETTLE_EVENT, event_id, settling.value)
    await db.transaction(context.pool, lambda c: due.complete(c, program_id, SETTLE_EVENT, work_id))


async def _settle_earns(
    context: Context, program_id: str, earns: Sequence[ports.Earn], recorded: Recorded, settling: Settling
) -> None:
    # They may be on their way still, and what is not there cannot be settled: under their ids they are posted once.
    refusals = await context.ledger.earn(program_id, earns)
    posted = [earn for earn, refusal in zip(earns, refusals, strict=True) if refusal is None]
    steps = [
        (earn, step) for earn in posted for step in steps_of(settling, is_held=earn.terms.is_pending, recorded=recorded)
    ]
    refused = await _take(context, program_id, steps)
    # Whoever settled it in the ledger itself was faster: what is pending no more is clawed back.
    again = [(earn, Step.CLAW_BACK) for earn, step in refused if step is Step.CANCEL]
    await _take(context, program_id, again)


def steps_of(settling: Settling, *, is_held: bool, recorded: Recorded) -> list[Step]:
    """Lists what is to be done about one earn of an event, in order."""
    if settling is Settling.CONFIRM:
        return [Step.CONFIRM] if is_held else []
    if not is_held:
        return [Step.CLAW_BACK]
    return [Step.CANCEL] if recorded.confirmed is None else [Step.CONFIRM, Step.CLAW_BACK]


async def _take(
    context: Context, program_id: str, steps: Sequence[tuple[ports.Earn, Step]]
) -> list[tuple[ports.Earn, Step]]:
    """Takes steps and gives those that the ledger refused."""
    refusals = await context.ledger.settle(program_id, steps) if steps else []
    refused = []
    for (earn, step), refusal in zip(steps, refusals, strict=True):
        if refusal is not None:
            refused.append((earn, step))
            logs.get_logger().warning(
                "settling_refused", event_id=earn.event_id, earn=earn.request_id, step=step, reason=refusal.reason
            )
    return refused


async def _read(context: Context, program_id: str, event_id: str) -> Recorded:
    found = await db.read(context.pool, lambda connection: events.find_events(connection, program_id, [event_id]))
    return found[event_id]
