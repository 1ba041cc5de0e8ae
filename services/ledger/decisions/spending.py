"""Spending: lots are burnt, reserved, given back. Pure."""

from datetime import timedelta

from services.ledger import errors, model
from services.ledger.model import Hold, HoldState, Kind, Operation, Posting, Taking, Target, Wallet
from services.ledger.state import State


def spend(state: State, item: Operation) -> Posting:
    """Spends lots in burn order."""
    assert item.owner is not None, "A spend names its owner."
    wallet = state.wallets[item.owner]
    taking = burn(state, item, wallet, item.amount, Kind.SPEND)
    state.enter(item, wallet, -item.amount, burn_order_version=model.BURN_ORDER_VERSION)
    state.add_target(_target(item, wallet, Kind.SPEND))
    state.extend(wallet, taking)
    return _posting(state, taking, item.amount)


def hold(state: State, item: Operation) -> Posting:
    """Reserves lots in burn order until the hold is captured, released or over."""
    assert item.owner is not None, "A hold names its owner."
    wallet = state.wallets[item.owner]
    taking = burn(state, item, wallet, item.amount, Kind.HOLD)
    placed = Hold(
        hold_id=item.key,
        wallet_id=wallet.wallet_id,
        amount=item.amount,
        captured=None,
        state=HoldState.ACTIVE,
        placed_at=state.now,
        expires_at=state.now + timedelta(seconds=item.timeout_s),
        cause_redemption_id=item.cause.redemption_id,
        request_name=item.request_id,
        is_new=True,
    )
    state.add(state.holds, placed.hold_id, placed)
    state.add_target(_target(item, wallet, Kind.HOLD))
    state.record(
        item,
        wallet,
        held_amount=item.amount,
        expires_at=placed.expires_at,
        burn_order_version=model.BURN_ORDER_VERSION,
    )
    state.extend(wallet)
    posting = _posting(state, taking, item.amount)
    posting.expires_at = placed.expires_at
    return posting


def burn(state: State, item: Operation, wallet: Wallet, amount: int, kind: Kind) -> Taking:
    """Takes an amount from live lots in burn order, debts first. Raises INSUFFICIENT_BALANCE."""
    available = state.available(wallet)
    if available < amount:
        raise errors.insufficient_balance(available, amount)
    state.settle(item, wallet)
    taking = state.start_taking(item.key, wallet, kind)
    missing = state.take(taking, state.live_lots(wallet), amount)
    assert missing == 0, "What is available covers the amount."
    return taking


def capture(state: State, item: Operation) -> Posting:
    """Spends a hold, in full or in part; the rest, which would have been spent last, is free again."""
    wallet, held = _active_hold(state, item)
    if item.amount > held.amount:
        raise errors.part_too_large(held.amount, item.amount)
    amount = item.amount or held.amount
    taking = state.takings[held.hold_id]
    state.record(item, wallet, held_amount=amount, target_id=held.hold_id)
    state.follow(
        item.key,
        Kind.SPEND,
        wallet,
        -amount,
        target_id=held.hold_id,
        cause=item.cause,
        occurred_at=item.occurred_at or state.now,
    )
    if amount < held.amount:
        state.give_back(wallet, taking, held.amount - amount, operation_id=item.key, at=state.now)
        state.settle(item, wallet)
    state.save(held)
    held.state, held.ended_at, held.is_changed = HoldState.CAPTURED, state.now, True
    held.capture_id, held.captured = item.key, amount
    target = _target(item, wallet, Kind.CAPTURE)
    target.hold_id = held.hold_id
    state.add_target(target)
    return Posting(state.now, amount, parts=left_parts(taking))


def release(state: State, item: Operation) -> Posting:
    """Frees a hold."""
    wallet, held = _active_hold(state, item)
    state.record(item, wallet, held_amount=held.amount, target_id=held.hold_id)
    parts = _give_back(state, item, wallet, state.takings[held.hold_id], held.amount)
    state.save(held)
    held.state, held.ended_at, held.is_changed = HoldState.RELEASED, state.now, True
    state.settle(item, wallet)
    return Posting(state.now, held.amount, parts=parts)


def reverse(state: State, item: Operation) -> Posting:
    """Undoes a spend or a capture: its lots are restored, those spent last first, with the ends that they have."""
    target = state.targets.get(item.target_key) if item.target_key else None
    if target is None or target.kind not in (Kind.SPEND, Kind.CAPTURE):
        raise errors.target_not_found(item.target_id)
    taking = state.takings[target.hold_id or target.key]
    left = taking.left
    if not left:
        raise errors.target_reversed(item.target_id)
    if item.amount > left:
        raise errors.part_too_large(left, item.amount)
    amount = item.amount or left
    wallet = state.by_id[target.wallet_id]
    state.time_out_holds(wallet)
    if not state.has_room(wallet, amount):
        raise errors.balance_limit(model.BALANCE_MAX)
    state.enter(item, wallet, amount, target_id=target.key)
    parts = _give_back(state, item, wallet, taking, amount)
    state.settle(item, wallet)
    return Posting(state.now, amount, parts=parts)


def left_parts(taking: Taking) -> tuple[model.Part, ...]:
    """Lists what a taking has still, lot by lot, in the order in which it took."""
    return tuple(
        model.Part(model.lot_id(taking.wallet_id, part.lot_number), part.left, part.lot_expires_at)
        for part in taking.parts
        if part.left
    )


def _give_back(state: State, item: Operation, wallet: Wallet, taking: Taking, amount: int) -> tuple[model.Part, ...]:
    given = state.give_back(wallet, taking, amount, operation_id=item.key, at=state.now)
    return tuple(
        model.Part(model.lot_id(wallet.wallet_id, lot.number), returned, lot.expires_at) for lot, returned in given
    )


def _active_hold(state: State, item: Operation) -> tuple[Wallet, Hold]:
    assert item.target_key is not None, "A capture or release names its hold."
    held = state.holds.get(item.target_key)
    if held is None:
        raise errors.hold_not_found(item.target_id)
    wallet = state.by_id[held.wallet_id]
    # All that are over, in their order: this one gives back to lots that another one may have come from too.
    state.time_out_holds(wallet)
    if held.state is not HoldState.ACTIVE:
        raise errors.hold_ended(item.target_id, held.state.value)
    return wallet, held


def _target(item: Operation, wallet: Wallet, kind: Kind) -> Target:
    return Target(item.key, kind, wallet.wallet_id, None, None, None)


def _posting(state: State, taking: Taking, amount: int) -> Posting:
    return Posting(state.now, amount, parts=model.taken_parts(taking), burn_order_version=model.BURN_ORDER_VERSION)
