"""Redemptions: hold the cost, take a code, spend the hold; or give all back. Every step can be taken again.

A redemption moves by `advance`, which reads where it stands and takes the next step until it has ended. The call that
asked for it advances it at once; due work, written in the same transaction, goes on with it where that call did not
get to the end. All ids that the ledger sees are derived from the redemption, so a step taken twice happens once.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.kernel import db, due, ids, logs, pages, requests
from services.kernel import errors as kernel_errors
from services.program import errors, model, ports
from services.program.model import Fulfilment, Redemption, RedemptionState
from services.program.operations.context import Context
from services.program.store import rewards

REDEEM = "redeem"
# The call itself goes on at once; the sweep takes over what it did not finish in this time.
GO_ON_AFTER = timedelta(seconds=15)
# Longer than due work is tried: a hold outlives every attempt to capture it.
HOLD_TIMEOUT_S = 2 * 86_400
UUID_MAX = uuid.UUID(int=2**128 - 1)
UNDER_WAY = (RedemptionState.PENDING, RedemptionState.CANCELLING)


async def create_redemption(
    context: Context, program_id: str, *, member_id: str, reward_id: str, request_id: str
) -> tuple[Redemption, bool]:
    """Redeems a reward; tells whether the answer stood before. PENDING where the ledger is away.

    Raises REQUEST_ID_REUSED and REWARD_NOT_FOUND, and the refusal of the redemption: INSUFFICIENT_BALANCE,
    OUT_OF_STOCK.
    """
    content = {"memberId": member_id, "rewardId": reward_id}
    key = ids.request_key(request_id)

    async def work(connection: db.Connection) -> tuple[uuid.UUID, bool]:
        prior = await rewards.find_redemption_request(connection, program_id, key)
        if prior is not None:
            differing = requests.differing_fields(prior[1], content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            return prior[0], True
        reward = await rewards.get_reward(connection, program_id, reward_id)
        if reward is None:
            raise errors.reward_not_found(reward_id)
        now = await context.time.now(connection)
        redemption = _new(member_id, reward, now)
        await rewards.insert_redemption(
            connection, program_id, redemption, request_id=key, fingerprint=requests.fingerprint(content)
        )
        await _schedule(connection, program_id, redemption.redemption_id, now + GO_ON_AFTER)
        return redemption.redemption_id, False

    redemption_id, replayed = await db.transaction(context.pool, work)
    redemption = await _advance_if_possible(context, program_id, redemption_id)
    if redemption.refusal is not None:
        raise _to_error(redemption.refusal)
    return redemption, replayed


async def get_redemption(context: Context, program_id: str, member_id: str, redemption_id: str) -> Redemption:
    """Tells a redemption. Raises REDEMPTION_NOT_FOUND."""
    parsed = _parse(redemption_id)
    redemption = await db.read(context.pool, lambda c: rewards.get_redemption(c, program_id, parsed))
    if redemption is None or redemption.member_id != member_id:
        raise errors.redemption_not_found(redemption_id)
    return redemption


async def list_redemptions(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[Redemption], str]:
    """Lists a page of a member's redemptions, newest first, and the token of the next one."""
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, "redemptions", program_id, member_id, parse=_parse_position) or UUID_MAX
    found = await db.read(context.pool, lambda c: rewards.list_redemptions(c, program_id, member_id, before, limit + 1))
    if len(found) <= limit:
        return found, ""
    position = [str(found[limit - 1].redemption_id)]
    return found[:limit], pages.encode_token(position, "redemptions", program_id, member_id)


async def cancel_redemption(context: Context, program_id: str, member_id: str, redemption_id: str) -> Redemption:
    """Cancels a fulfilled redemption; one that is cancelled is answered as it is.

    Raises REDEMPTION_NOT_FOUND and REDEMPTION_STATE_INVALID. CANCELLING where the ledger is away; the rest follows.
    """
    found = await get_redemption(context, program_id, member_id, redemption_id)

    async def work(connection: db.Connection) -> None:
        locked = await rewards.lock_redemption(connection, program_id, found.redemption_id)
        assert locked is not None, "A redemption is never deleted."
        if locked.state in (RedemptionState.CANCELLING, RedemptionState.CANCELLED):
            return
        if locked.state is not RedemptionState.FULFILLED:
            raise errors.redemption_state_invalid(redemption_id, locked.state.value)
        now = await context.time.now(connection)
        await rewards.update_redemption(
            connection, program_id, replace(locked, state=RedemptionState.CANCELLING, updated_at=now)
        )
        await _schedule(connection, program_id, locked.redemption_id, now + GO_ON_AFTER)

    await db.transaction(context.pool, work)
    return await _advance_if_possible(context, program_id, found.redemption_id)


async def go_on(context: Context, item: due.DueItem) -> None:
    """Goes on with a redemption; due work. Raises DEPENDENCY_UNAVAILABLE."""
    redemption = await advance(context, item.program_id, item.work_id)
    if redemption.state is RedemptionState.REFUSED:
        await _free(context, item.program_id, redemption)


async def hold_ended(context: Context, connection: db.Connection, program_id: str, redemption_id: str) -> None:
    """Makes a redemption due whose hold has timed out, so that it ends; follows the ledger's feed."""
    try:
        parsed = uuid.UUID(redemption_id)
    except ValueError:
        return  # A hold of somebody else's making: it has no redemption here.
    redemption = await rewards.get_redemption(connection, program_id, parsed)
    if redemption is not None and redemption.state in UNDER_WAY:
        await _schedule(connection, program_id, parsed, await context.time.now(connection))


async def advance(context: Context, program_id: str, redemption_id: uuid.UUID) -> Redemption:
    """Takes step after step until the redemption has ended. Raises DEPENDENCY_UNAVAILABLE where it must wait."""
    redemption = await db.read(context.pool, lambda c: rewards.get_redemption(c, program_id, redemption_id))
    assert redemption is not None, "Only a redemption that exists is advanced."
    if redemption.state is RedemptionState.PENDING:
        return await _redeem(context, program_id, redemption)
    if redemption.state is RedemptionState.CANCELLING:
        refusal = await context.ledger.reverse(program_id, redemption_id=str(redemption_id))
        assert refusal is None, f"A captured hold can be reversed: {refusal}."
        return await _end(context, program_id, redemption_id, _cancelled)
    return redemption


async def _free(context: Context, program_id: str, redemption: Redemption) -> Redemption:
    """Gives back what is held for a redemption that is refused already, and ends its due work."""
    # A release that is refused found no hold, or one that is over: nothing is held either way.
    await context.ledger.release(program_id, redemption_id=str(redemption.redemption_id))
    await db.transaction(context.pool, lambda c: due.complete(c, program_id, REDEEM, redemption.redemption_id))
    return redemption


async def _redeem(context: Context, program_id: str, redemption: Redemption) -> Redemption:
    redemption_id = redemption.redemption_id
    refusal = await context.ledger.hold(
        program_id,
        redemption_id=str(redemption_id),
        member_id=redemption.member_id,
        asset=redemption.asset,
        amount=redemption.cost,
        timeout_s=HOLD_TIMEOUT_S,
    )
    if refusal is not None:
        return await _end(context, program_id, redemption_id, _refused(_translate(refusal)))
    if redemption.fulfilment is Fulfilment.CODE:
        coded = await _take_code(context, program_id, redemption_id)
        if coded.state is RedemptionState.REFUSED:
            return await _free(context, program_id, coded)
        if coded.state is not RedemptionState.PENDING:
            return coded  # Another caller was faster, and it may be cancelled by now.
    refusal = await context.ledger.capture(program_id, redemption_id=str(redemption_id))
    if refusal is not None:
        return await _end(context, program_id, redemption_id, _refused(_translate(refusal)))
    return await _end(context, program_id, redemption_id, _fulfilled)


async def _take_code(context: Context, program_id: str, redemption_id: uuid.UUID) -> Redemption:
    """Binds a code to the redemption, the same one however often it is asked for; refuses it where there is none.

    The refusal is written before the hold is freed: from then on no other caller can capture.
    """

    async def work(connection: db.Connection) -> Redemption:
        locked = await rewards.lock_redemption(connection, program_id, redemption_id)
        assert locked is not None, "A redemption is never deleted."
        if locked.code or locked.state is not RedemptionState.PENDING:
            return locked
        now = await context.time.now(connection)
        code = await rewards.claim_code(connection, program_id, locked.reward_id, redemption_id)
        if code is not None:
            changed = replace(locked, code=code, updated_at=now)
            await rewards.update_redemption(connection, program_id, changed)
            return changed
        changed = _refused(errors.out_of_stock(locked.reward_id))(locked, now)
        await rewards.update_redemption(connection, program_id, changed)
        await context.publish(connection, program_id, model.RedemptionChanged(changed))
        return changed

    return await db.transaction(context.pool, work)


Ending = Callable[[Redemption, datetime], Redemption]


def _fulfilled(redemption: Redemption, now: datetime) -> Redemption:
    return replace(redemption, state=RedemptionState.FULFILLED, updated_at=now)


def _cancelled(redemption: Redemption, now: datetime) -> Redemption:
    # The code was seen, so it stays with this redemption in the pool and is void: nobody else may get it.
    return replace(redemption, state=RedemptionState.CANCELLED, code="", updated_at=now)


def _refused(error: kernel_errors.DomainError) -> Ending:
    stored = {
        "code": error.code.value,
        "reason": error.reason,
        "message": error.message,
        "domain": error.domain,
        "metadata": dict(error.metadata),
    }

    def ending(redemption: Redemption, now: datetime) -> Redemption:
        return replace(redemption, state=RedemptionState.REFUSED, code="", refusal=stored, updated_at=now)

    return ending


async def _end(context: Context, program_id: str, redemption_id: uuid.UUID, ending: Ending) -> Redemption:
    """Writes the end of a redemption and of its due work; one that another caller ended meanwhile stays as it is."""

    async def work(connection: db.Connection) -> Redemption:
        locked = await rewards.lock_redemption(connection, program_id, redemption_id)
        assert locked is not None, "A redemption is never deleted."
        await due.complete(connection, program_id, REDEEM, redemption_id)
        if locked.state not in UNDER_WAY:
            return locked
        ended = ending(locked, await context.time.now(connection))
        if ended.state is RedemptionState.REFUSED and locked.code:
            await rewards.return_code(connection, program_id, redemption_id)
        await rewards.update_redemption(connection, program_id, ended)
        await context.publish(connection, program_id, model.RedemptionChanged(ended))
        return ended

    return await db.transaction(context.pool, work)


async def _advance_if_possible(context: Context, program_id: str, redemption_id: uuid.UUID) -> Redemption:
    try:
        return await advance(context, program_id, redemption_id)
    except kernel_errors.DomainError as error:
        if not error.is_transient:
            raise
        logs.get_logger().warning("redemption_left_to_worker", redemption_id=str(redemption_id), error=error.reason)
        await context.kick(REDEEM, GO_ON_AFTER.total_seconds())
    found = await db.read(context.pool, lambda c: rewards.get_redemption(c, program_id, redemption_id))
    assert found is not None, "A redemption is never deleted."
    return found


async def _schedule(connection: db.Connection, program_id: str, redemption_id: uuid.UUID, at: datetime) -> None:
    await due.schedule(connection, [due.DueItem(program_id, REDEEM, redemption_id, {}, at)])


def _new(member_id: str, reward: model.Reward, now: datetime) -> Redemption:
    return Redemption(
        redemption_id=ids.new_id(),
        member_id=member_id,
        reward_id=reward.reward_id,
        asset=reward.asset,
        cost=reward.cost,
        fulfilment=reward.fulfilment,
        state=RedemptionState.PENDING,
        code="",
        refusal=None,
        created_at=now,
        updated_at=now,
    )


def _parse(redemption_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(redemption_id)
    except ValueError:
        raise errors.redemption_not_found(redemption_id) from None


def _parse_position(text: Any) -> uuid.UUID:
    return uuid.UUID(pages.parse_text(text))


def _translate(refusal: ports.LedgerRefusal) -> kernel_errors.DomainError:
    """Says a refusal of the ledger in the program's words."""
    if refusal.reason == "INSUFFICIENT_BALANCE":
        return errors.insufficient_balance(refusal.metadata["available"], refusal.metadata["requested"])
    return kernel_errors.DomainError(
        kernel_errors.Code.FAILED_PRECONDITION,
        refusal.reason,
        refusal.message,
        domain="ledger.plaudit",
        metadata=refusal.metadata,
    )


def _to_error(stored: dict[str, Any]) -> kernel_errors.DomainError:
    return kernel_errors.DomainError(
        kernel_errors.Code(stored["code"]),
        stored["reason"],
        stored["message"],
        domain=stored["domain"],
        metadata=stored["metadata"],
    )
