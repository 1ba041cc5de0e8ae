"""Earning: lots are made, confirmed, cancelled and taken back. Pure."""

from datetime import datetime

from services.ledger import errors, expiry, model
from services.ledger.decisions import budgets
from services.ledger.model import ClawBackPolicy, Kind, Lot, Operation, Posting, Target, Wallet
from services.ledger.state import State


def earn(state: State, item: Operation) -> Posting:
    """Gives a member a new lot; a cashback too small for one is carried to the next."""
    assert item.owner is not None, "An earn names its owner."
    wallet = state.wallets[item.owner]
    amount, remainder, due = _amount(item, wallet)
    effective_at, expires_at = _life(state, item)
    budget = budgets.find_open(state, item.budget_id, wallet.asset) if item.budget_id else None
    # What is pending begins now at the earliest.
    begins_at = effective_at or state.now
    if expires_at is not None and expires_at <= begins_at:
        raise errors.lot_life_empty(begins_at, expires_at)
    if budget is not None:
        budgets.check_left(budget, amount)
    if not state.has_room(wallet, amount):
        raise errors.balance_limit(model.BALANCE_MAX)
    if budget is not None and amount:
        budgets.take(state, budget, amount, is_pending=item.is_pending)
    detail: model.Detail | None = None
    if item.base_amount:
        state.save(wallet)
        wallet.remainder, wallet.cashback_due = remainder, due
        wallet.is_changed = wallet.is_more_than_earned = True
        detail = {"base": item.base_amount, "basis_points": item.basis_points, "remainder": remainder}
    if item.policy is not None:
        detail = {**(detail or {}), "expiry": expiry.to_text(item.policy)}
    row = state.record(
        item,
        wallet,
        expires_at=expires_at,
        budget_id=item.budget_id,
        budget_amount=-amount if budget is not None and amount else None,
        allocated_value=item.allocated_value or None,
        detail=detail,
    )
    if amount:
        row.amount = amount
        state.move(wallet, row)
        _add_lot(state, item, row, effective_at=effective_at, expires_at=expires_at)
    else:
        # A purchase is activity, whatever it gives.
        state.extend(wallet)
    share = item.base_amount * item.basis_points
    state.add_target(Target(item.key, Kind.EARN, wallet.wallet_id, row.sequence, None, item.budget_id, share))
    return Posting(state.now, amount, expires_at)


def _amount(item: Operation, wallet: Wallet) -> tuple[int, int, int]:
    """Computes a cashback in ten-thousandths with what was carried; gives the whole units and what is carried on.

    What is carried on are parts of a unit, and units that were given too many by now.
    """
    if not item.base_amount:
        return item.amount, wallet.remainder, wallet.cashback_due
    share = item.base_amount * item.basis_points
    units, remainder = divmod(share + wallet.remainder, model.REMAINDER_PARTS)
    units += wallet.cashback_due
    return max(0, units), remainder, min(0, units)


def _undo_carrying(state: State, wallet: Wallet, target: Target, amount: int) -> model.Detail:
    """Takes a cashback that gave an amount out of what is carried, as if it had never been, and tells by how much.

    What it had left to later ones, or had taken of earlier ones, is settled with the next.
    """
    if not target.share:
        return {}
    change = amount * model.REMAINDER_PARTS - target.share
    state.save(wallet)
    units, wallet.remainder = divmod(wallet.remainder + change, model.REMAINDER_PARTS)
    wallet.cashback_due += units
    wallet.is_changed = wallet.is_more_than_earned = True
    return {"carried": change}


def _life(state: State, item: Operation) -> tuple[datetime | None, datetime | None]:
    """Tells when the new lot takes effect and ends; a pending one begins when it is confirmed."""
    if item.is_pending:
        return None, item.expires_at
    effective_at = item.effective_at or item.occurred_at or state.now
    if item.policy is None:
        return effective_at, item.expires_at
    start = max(effective_at, state.now) if item.policy.rolling else effective_at
    return effective_at, expiry.ends_at(start, item.policy)


def _add_lot(
    state: State, item: Operation, row: model.Row, *, effective_at: datetime | None, expires_at: datetime | None
) -> None:
    assert row.wallet_id is not None, "A lot is in a wallet."
    wallet = state.by_id[row.wallet_id]
    occurred_at = item.occurred_at or state.now
    lot = state.add_lot(
        wallet,
        row,
        effective_at=effective_at,
        expires_at=expires_at,
        occurred_at=None if occurred_at == effective_at else occurred_at,
        priority=item.priority,
        is_promotional=item.is_promotional,
        expiry_policy=expiry.to_text(item.policy) if item.policy else None,
    )
    if item.policy is not None and item.policy.rolling:
        wallet.has_rolling = wallet.is_more_than_earned = True
    state.extend(wallet)
    if lot.is_over(state.now):
        # A back-dated earn may be over on arrival: it is earned and expires in the same breath.
        state.expire(wallet, lot, request_id=item.key, at=state.now)
    state.settle(item, wallet)


def confirm(state: State, item: Operation) -> Posting:
    """Makes a pending earn spendable from now on."""
    wallet, lot, target = _pending(state, item)
    expires_at = lot.expires_at
    if lot.expiry_policy is not None:
        expires_at = expiry.ends_at(state.now, expiry.from_text(lot.expiry_policy))
    if expires_at is not None and expires_at <= state.now:
        raise errors.lot_life_empty(state.now, expires_at)
    state.save(lot)
    was_pending = lot.effective_at is None
    lot.occurred_at = lot.occurred_at or lot.effective_at
    lot.effective_at, lot.expires_at, lot.is_redated = state.now, expires_at, True
    if target.budget_id is not None and was_pending:
        budgets.confirm(state, state.budgets[target.budget_id], lot.amount)
    state.record(item, wallet, held_amount=lot.amount, expires_at=expires_at, target_id=target.key)
    state.settle(item, wallet)
    return Posting(state.now, lot.amount, expires_at)


def cancel(state: State, item: Operation) -> Posting:
    """Takes a pending earn back; its budget has it again."""
    wallet, lot, target = _pending(state, item)
    returned = None
    if target.budget_id is not None:
        budget = state.budgets[target.budget_id]
        returned = budgets.put_back(state, budget, lot.amount, was_pending=lot.effective_at is None) or None
    taking = state.start_taking(item.key, wallet, Kind.CANCEL)
    state.take(taking, [lot], lot.amount)
    state.enter(
        item,
        wallet,
        -lot.amount,
        target_id=target.key,
        budget_id=target.budget_id,
        budget_amount=returned,
        detail=_undo_carrying(state, wallet, target, lot.amount) or None,
    )
    lot.occurred_at, lot.effective_at, lot.is_redated = lot.occurred_at or lot.effective_at, None, True
    return Posting(state.now, lot.amount, parts=model.taken_parts(taking))


def _pending(state: State, item: Operation) -> tuple[Wallet, Lot, Target]:
    target = _target(state, item)
    if target.number is None:
        raise errors.earn_not_pending(item.target_id)
    wallet, lot = _lot(state, target, target.number)
    is_pending = lot.effective_at is None or lot.effective_at > state.now
    if not is_pending or lot.remaining < lot.amount:
        raise errors.earn_not_pending(item.target_id)
    return wallet, lot, target


def _target(state: State, item: Operation) -> Target:
    """Gives the earn that an operation is about; one of less than a unit made no lot. Raises EARN_NOT_FOUND."""
    target = state.targets.get(item.target_key) if item.target_key else None
    if target is None or target.kind is not Kind.EARN:
        raise errors.earn_not_found(item.target_id)
    return target


def _lot(state: State, target: Target, number: int) -> tuple[Wallet, Lot]:
    wallet = state.by_id[target.wallet_id]
    return wallet, state.lots_of(wallet)[number]


def claw_back(state: State, item: Operation) -> Posting:
    """Takes an earn back: what its lot has left or let expire, then by policy other lots, a debt, or nothing.

    What was given back of its lot after its end is its own too, though it is in another lot.
    """
    target = _target(state, item)
    if target.number is None:
        return _take_nothing_back(state, item, target)
    wallet, lot = _lot(state, target, target.number)
    is_cancelled = lot.effective_at is None and not lot.remaining
    if not is_cancelled and (lot.effective_at is None or lot.effective_at > state.now):
        raise errors.earn_pending(item.target_id)
    left = 0 if is_cancelled else lot.amount - (lot.clawed_back or 0)
    if not left:
        raise errors.earn_taken_back(item.target_id)
    if item.amount > left:
        raise errors.part_too_large(left, item.amount)
    amount = item.amount or left
    state.time_out_holds(wallet)
    taking = state.start_taking(item.key, wallet, Kind.CLAW_BACK)
    missing = amount
    for own in _own_lots(state, wallet, lot):
        if missing:
            _revive(state, item, wallet, own, missing)
            missing = state.take(taking, [own], missing)
    state.save(lot)
    lot.clawed_back, lot.is_redated = (lot.clawed_back or 0) + amount, True
    if missing and item.claw_back in (ClawBackPolicy.OTHER_LOTS, ClawBackPolicy.OTHER_LOTS_THEN_DEBT):
        others = [each for each in state.live_lots(wallet) if each is not lot]
        missing = state.take(taking, sorted(others, key=lambda each: -each.number), missing)
    debt = missing if item.claw_back in (ClawBackPolicy.DEBT, ClawBackPolicy.OTHER_LOTS_THEN_DEBT) else 0
    carried = _undo_carrying(state, wallet, target, lot.amount) if amount == left else {}
    return _enter_claw_back(state, item, target, amount=amount, taken=amount - missing, debt=debt, carried=carried)


def _take_nothing_back(state: State, item: Operation, target: Target) -> Posting:
    """Takes back a cashback that was too small for a unit: what it had left to the next one."""
    if target.key in state.undone:
        raise errors.earn_taken_back(item.target_id)
    if item.amount:
        raise errors.part_too_large(0, item.amount)
    wallet = state.by_id[target.wallet_id]
    state.add(state.undone, target.key, True)
    state.start_taking(item.key, wallet, Kind.CLAW_BACK)
    carried = _undo_carrying(state, wallet, target, 0)
    return _enter_claw_back(state, item, target, amount=0, taken=0, debt=0, carried=carried)


def _own_lots(state: State, wallet: Wallet, lot: Lot) -> list[Lot]:
    """Lists the lot of an earn, then those in which it was given back after its end, in the order of their making."""
    own = {lot.number: lot}
    if lot.is_over(state.now):
        restored = [each for each in state.lots_of(wallet).values() if each.source_number is not None]
        # A lot comes after the one whose rest it has.
        for each in sorted(restored, key=lambda each: each.number):
            if each.source_number in own:
                own[each.number] = each
    return list(own.values())


def _revive(state: State, item: Operation, wallet: Wallet, lot: Lot, amount: int) -> None:
    """Gives back what of the lot has expired and is now taken: the member lost it once already."""
    if not lot.is_over(state.now):
        return
    if lot.is_open:
        state.expire(wallet, lot, request_id=item.key)
    expired = min(amount, lot.remaining)
    if expired:
        state.follow(item.key, Kind.UNEXPIRY, wallet, expired, lot_number=lot.number)


def _enter_claw_back(
    state: State, item: Operation, target: Target, *, amount: int, taken: int, debt: int, carried: model.Detail
) -> Posting:
    wallet = state.by_id[target.wallet_id]
    written_off = amount - taken - debt
    returned = None
    if target.budget_id is not None and taken:
        returned = budgets.put_back(state, state.budgets[target.budget_id], taken, was_pending=False) or None
    what = {
        "target_id": target.key,
        "budget_id": target.budget_id,
        "budget_amount": returned,
        "debt_amount": debt or None,
        "burn_order_version": model.BURN_ORDER_VERSION,
        "detail": {
            "amount": amount,
            "written_off": written_off,
            "debt": debt,
            "policy": item.claw_back.value,
            **carried,
        },
    }
    if taken:
        state.enter(item, wallet, -taken, **what)
    else:
        state.record(item, wallet, **what)
    if debt:
        state.save(wallet)
        wallet.debt, wallet.is_changed, wallet.is_more_than_earned = wallet.debt + debt, True, True
        # Nothing may expire while it is owed: it would be lost, and owed all the same.
        state.settle(item, wallet)
    return Posting(
        state.now,
        amount,
        parts=model.taken_parts(state.takings[item.key]),
        written_off=written_off,
        debt=debt,
        burn_order_version=model.BURN_ORDER_VERSION,
    )
