"""Giving and taking by decision: adjustments, exchanges, early ends, and what is given back after its end. Pure."""

from services.ledger import errors, model
from services.ledger.decisions.spending import burn
from services.ledger.model import Kind, Lot, Operation, Posting, Wallet
from services.ledger.state import State

# Lots that one operation ends or gives back: each is an entry of its own. Another operation goes on with the rest.
LOTS_MAX = 10_000


def adjust(state: State, item: Operation) -> Posting:
    """Gives or takes value, with its reason and who decided it."""
    assert item.owner is not None, "An adjustment names its owner."
    wallet = state.wallets[item.owner]
    detail = _decided(item)
    if item.amount < 0:
        taking = burn(state, item, wallet, -item.amount, Kind.ADJUST)
        state.enter(item, wallet, item.amount, burn_order_version=model.BURN_ORDER_VERSION, detail=detail)
        parts = model.taken_parts(taking)
        return Posting(state.now, -item.amount, parts=parts, burn_order_version=model.BURN_ORDER_VERSION)
    if item.expires_at is not None and item.expires_at <= state.now:
        raise errors.lot_life_empty(state.now, item.expires_at)
    if not state.has_room(wallet, item.amount):
        raise errors.balance_limit(model.BALANCE_MAX)
    row = state.enter(item, wallet, item.amount, expires_at=item.expires_at, detail=detail)
    state.add_lot(wallet, row, effective_at=state.now, expires_at=item.expires_at, origin=Kind.ADJUST.value)
    state.settle(item, wallet)
    return Posting(state.now, item.amount, item.expires_at)


def exchange(state: State, item: Operation) -> Posting:
    """Turns one asset into another at the rate in force, rounded down; takes the least that gives the same.

    What the taken amount is worth beyond the units that were given is the `rounding` of the entry, in parts of the
    rate's denominator.
    """
    assert item.owner is not None, "An exchange names its owner."
    source, target = state.wallets[item.owner], state.wallets[item.owner[0], item.to_asset]
    rate = state.rates.get((source.asset, target.asset))
    if rate is None:
        raise errors.rate_not_found(source.asset, target.asset)
    given = item.amount * rate.numerator // rate.denominator
    if not given:
        raise errors.exchange_too_small(-(-rate.denominator // rate.numerator))
    taken = -(-given * rate.denominator // rate.numerator)
    available = state.available(source)
    if available < taken:
        raise errors.insufficient_balance(available, taken)
    if not state.has_room(target, given):
        raise errors.balance_limit(model.BALANCE_MAX)
    taking = burn(state, item, source, taken, Kind.EXCHANGE)
    rounding = taken * rate.numerator - given * rate.denominator
    detail = {
        "given": given,
        "to_asset": target.asset,
        "rate_version": rate.version,
        "numerator": rate.numerator,
        "denominator": rate.denominator,
        "rounding": rounding,
    }
    state.enter(item, source, -taken, burn_order_version=model.BURN_ORDER_VERSION, detail=detail)
    occurred_at = item.occurred_at or state.now
    row = state.follow(item.key, Kind.EXCHANGE, target, given, cause=item.cause, occurred_at=occurred_at)
    state.add_lot(target, row, effective_at=state.now, origin=Kind.EXCHANGE.value)
    state.settle(item, target)
    parts = model.taken_parts(taking)
    return Posting(state.now, taken, parts=parts, given=given, burn_order_version=model.BURN_ORDER_VERSION)


def expire(state: State, item: Operation) -> Posting:
    """Ends one lot now, or all that can be spent; what holds reserve of them expires once it comes back."""
    assert item.owner is not None, "An early end names its owner."
    wallet = state.wallets[item.owner]
    lots = _lots_to_end(state, item, wallet)
    total = sum(lot.remaining for lot in lots)
    state.record(item, wallet, held_amount=total, detail=_decided(item))
    for lot in lots:
        state.save(lot)
        lot.expires_at, lot.is_redated = state.now, True
        if lot.remaining:
            state.expire(wallet, lot, request_id=item.key, at=state.now)
    return Posting(state.now, total)


def _lots_to_end(state: State, item: Operation, wallet: Wallet) -> list[Lot]:
    state.time_out_holds(wallet)
    lots = state.lots_of(wallet)
    if item.target_key is None:
        found = list(lots.values())
    else:
        target = state.targets.get(item.target_key)
        if target is None or target.kind is not Kind.EARN or target.wallet_id != wallet.wallet_id:
            raise errors.earn_not_found(item.target_id)
        found = [lots[target.number]] if target.number is not None else []
    live = [lot for lot in found if lot.is_live(state.now)]
    # What has something left first, so that who asks until nothing is left has ended all.
    return sorted(live, key=lambda lot: (not lot.remaining, lot.number))[:LOTS_MAX]


def unexpire(state: State, item: Operation) -> Posting:
    """Gives back what expired within a time, each lot's as a new one with the end that is asked for."""
    assert item.owner is not None, "What is given back has an owner."
    wallet = state.wallets[item.owner]
    if item.expires_at is not None and item.expires_at <= state.now:
        raise errors.lot_life_empty(state.now, item.expires_at)
    state.book(wallet)
    amounts = _expired_amounts(state, item, wallet)
    total = sum(amount for _, amount in amounts)
    if not state.has_room(wallet, total):
        raise errors.balance_limit(model.BALANCE_MAX)
    state.record(item, wallet, held_amount=total, expires_at=item.expires_at, detail=_decided(item))
    taking = state.start_taking(item.key, wallet, Kind.UNEXPIRY)
    for lot, amount in amounts:
        state.take(taking, [lot], amount)
        row = state.follow(item.key, Kind.UNEXPIRY, wallet, amount, lot_number=lot.number)
        state.add_lot(
            wallet,
            row,
            effective_at=state.now,
            expires_at=item.expires_at,
            priority=lot.priority,
            is_promotional=lot.is_promotional,
            origin=Kind.UNEXPIRY.value,
            source_number=lot.number,
        )
    state.settle(item, wallet)
    return Posting(state.now, total, item.expires_at, model.taken_parts(taking))


def _expired_amounts(state: State, item: Operation, wallet: Wallet) -> list[tuple[Lot, int]]:
    """Lists the lots that are over and end within the time, the oldest first, with what is given back of each."""
    assert item.expired_from is not None, "A time that is asked for has a beginning."
    assert item.expired_until is not None, "A time that is asked for has an end."
    found = []
    for lot in sorted(state.lots_of(wallet).values(), key=lambda lot: lot.number):
        if not lot.is_over(state.now) or lot.expires_at is None:
            continue
        if not item.expired_from <= lot.expires_at < item.expired_until:
            continue
        amount = lot.remaining
        if item.expired_amounts is not None:
            # What came back since had not expired then, and what was taken since is there no more.
            amount = min(amount, item.expired_amounts.get(lot.number, 0))
        if amount:
            found.append((lot, amount))
    return found[:LOTS_MAX]


def _decided(item: Operation) -> model.Detail:
    return {"reason": item.reason, "actor": item.actor}
