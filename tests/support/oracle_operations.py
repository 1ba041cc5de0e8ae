"""What each kind of operation does, by the comments of the contract.

Each first asks whatever can refuse it, in the order of `error_reason.proto`, and only then changes anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.support.oracle_asks import Answer, Ask, Owner, RefusedError
from tests.support.oracle_calendar import ends_at
from tests.support.oracle_wallet import Hold, Lot, Taken, Taking, Wallet

LIMIT = 10**15
VERSION = 1


@dataclass
class Budget:
    """An account that earns come out of."""

    asset: str
    left: int = 0
    held: int = 0
    given: int = 0
    closed: bool = False


@dataclass
class Earned:
    """What an earn made: a lot of a wallet, out of a budget or none."""

    owner: Owner
    lot: int | None
    budget: str
    share: int = 0
    is_undone: bool = False


@dataclass
class Book:
    """All that one program has."""

    wallets: dict[Owner, Wallet] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    rates: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    earns: dict[str, Earned] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    takings: dict[str, Taking] = field(default_factory=dict)

    def wallet(self, owner: Owner, now: datetime) -> Wallet:
        """Gives a wallet with all entered that expired by now."""
        wallet = self.wallets.setdefault(owner, Wallet(owner))
        wallet.pass_time(now)
        return wallet

    def open_budget(self, name: str, asset: str | None) -> Budget:
        """Gives a budget that can be taken from or put into."""
        budget = self.budgets.get(name)
        if budget is None or asset not in (None, budget.asset):
            raise RefusedError("BUDGET_NOT_FOUND", budgetId=name)
        if budget.closed:
            raise RefusedError("BUDGET_CLOSED", budgetId=name)
        return budget

    def earned(self, ask: Ask, now: datetime, nothing: str) -> tuple[Wallet, Lot, Budget | None]:
        """Gives what the earn made that an operation names; one that made nothing is refused with `nothing`."""
        earned = self.earns.get(ask.target)
        if earned is None:
            raise RefusedError("EARN_NOT_FOUND", earnRequestId=ask.target)
        if earned.lot is None:
            raise RefusedError(nothing, earnRequestId=ask.target)
        wallet = self.wallet(earned.owner, now)
        return wallet, wallet.lots[earned.lot], self.budgets.get(earned.budget)


def earn(book: Book, ask: Ask, now: datetime) -> Answer:
    """Gives a new lot; a cashback carries what is less than one smallest unit."""
    wallet = book.wallet(ask.owner, now)
    amount, carried = ask.amount, wallet.carried
    if ask.cashback:
        base, basis_points = ask.cashback
        exact = base * basis_points + wallet.carried
        amount = max(0, exact // 10_000)
        carried = exact - 10_000 * amount
    occurred = ask.at or now
    effective = None if ask.pending else ask.effective or occurred
    expires = ask.expires
    if ask.expiry is not None and effective is not None:
        expires = ends_at(max(effective, now) if ask.expiry.rolling else effective, ask.expiry)
    budget = book.open_budget(ask.budget, ask.asset) if ask.budget else None
    begins = now if effective is None else effective
    if expires is not None and expires <= begins:
        raise RefusedError("LOT_LIFE_EMPTY", effectiveTime=begins, expireTime=expires)
    if budget is not None and budget.left < amount:
        raise RefusedError("BUDGET_EXHAUSTED", budgetId=ask.budget, left=budget.left, requested=amount)
    _check_room(wallet, amount, now)
    wallet.carried = carried
    share = ask.cashback[0] * ask.cashback[1] if ask.cashback else 0
    book.earns[ask.request_id] = Earned(ask.owner, None, ask.budget, share)
    if amount:
        if budget is not None:
            budget.left -= amount
            budget.held += amount if ask.pending else 0
            budget.given += 0 if ask.pending else amount
        lot = wallet.add_lot(amount, "EARN", occurred, effective)
        lot.expires, lot.priority, lot.promotional = expires, ask.priority, ask.promotional
        lot.policy, lot.event = ask.expiry, ask.event
        book.earns[ask.request_id].lot = lot.number
        wallet.enter("EARN", occurred, amount, ask.event)
        wallet.roll(now)
        if lot.is_over(now):
            lot.is_told = True
            wallet.enter("EXPIRY", now, -amount, lot.event)
        wallet.settle(now)
    else:
        wallet.roll(now)
    return Answer(posted=now, amount=amount, expires=expires)


def confirm(book: Book, ask: Ask, now: datetime) -> Answer:
    """Makes a pending earn spendable from now on."""
    wallet, lot, budget = _pending(book, ask, now)
    expires = ends_at(now, lot.policy) if lot.policy else lot.expires
    if expires is not None and expires <= now:
        raise RefusedError("LOT_LIFE_EMPTY", effectiveTime=now, expireTime=expires)
    if budget is not None and lot.effective is None:
        budget.held -= lot.amount
        budget.given += lot.amount
    lot.effective, lot.expires = now, expires
    wallet.settle(now)
    return Answer(posted=now, amount=lot.amount, expires=expires)


def cancel(book: Book, ask: Ask, now: datetime) -> Answer:
    """Takes a pending earn back; its budget has it again."""
    wallet, lot, budget = _pending(book, ask, now)
    if budget is not None:
        budget.held -= 0 if lot.effective else lot.amount
        budget.given -= lot.amount if lot.effective else 0
        budget.left += 0 if budget.closed else lot.amount
    parts = wallet.take([lot], lot.amount, now, "CANCEL")
    _uncarry(wallet, book.earns[ask.target].share, lot.amount)
    lot.effective = None
    wallet.enter("CANCELLATION", ask.at or now, -lot.amount, ask.event)
    return Answer(posted=now, amount=lot.amount, parts=wallet.named(parts))


def _pending(book: Book, ask: Ask, now: datetime) -> tuple[Wallet, Lot, Budget | None]:
    wallet, lot, budget = book.earned(ask, now, "EARN_NOT_PENDING")
    if lot.has_begun(now) or lot.is_cancelled():
        raise RefusedError("EARN_NOT_PENDING", earnRequestId=ask.target)
    return wallet, lot, budget


def claw_back(book: Book, ask: Ask, now: datetime) -> Answer:
    """Takes an earn back: from its own lots, over or not; then from the newest others, a debt, or nowhere."""
    made = book.earns.get(ask.target)
    if made is not None and made.lot is None:
        return _claw_nothing_back(book, made, ask, now)
    wallet, lot, budget = book.earned(ask, now, "EARN_TAKEN_BACK")
    if not lot.has_begun(now) and not lot.is_cancelled():
        raise RefusedError("EARN_PENDING", earnRequestId=ask.target)
    left = lot.amount - lot.clawed_back
    if not left or lot.is_cancelled():
        raise RefusedError("EARN_TAKEN_BACK", earnRequestId=ask.target)
    if ask.amount > left:
        raise RefusedError("PART_TOO_LARGE", left=left, requested=ask.amount)
    amount = ask.amount or left
    parts: list[Taken] = []
    # Its own are also those that it became, each time that it expired and was given back.
    for own in (each for each in wallet.lots if lot in wallet.line(each)):
        taken = min(amount - sum(part.amount for part in parts), own.rest(now))
        if own.is_over(now) and taken:
            wallet.enter("UNEXPIRY", now, taken, own.event)
        parts += wallet.take([own], taken, now, "CLAW_BACK")
    lot.clawed_back += amount
    if lot.clawed_back == lot.amount:
        _uncarry(wallet, book.earns[ask.target].share, lot.amount)
    missing = amount - sum(part.amount for part in parts)
    if ask.policy.startswith("OTHER_LOTS"):
        others = [other for other in reversed(wallet.lots) if other is not lot and other.lives(now)]
        parts += wallet.take(others, missing, now, "CLAW_BACK")
    taken = sum(part.amount for part in parts)
    debt = amount - taken if ask.policy.endswith("DEBT") else 0
    if taken:
        wallet.enter("CLAW_BACK", ask.at or now, -taken, ask.event)
    if debt:
        wallet.debts.append((now, debt))
        wallet.settle(now)
    if budget is not None:
        budget.given -= taken
        budget.left += 0 if budget.closed else taken
    return Answer(
        posted=now,
        amount=amount,
        parts=wallet.named(parts),
        written_off=amount - taken - debt,
        debt=debt,
        version=VERSION if parts else 0,
    )


def _claw_nothing_back(book: Book, made: Earned, ask: Ask, now: datetime) -> Answer:
    """Takes back a cashback that gave nothing: what it left to the next one."""
    if made.is_undone:
        raise RefusedError("EARN_TAKEN_BACK", earnRequestId=ask.target)
    if ask.amount:
        raise RefusedError("PART_TOO_LARGE", left=0, requested=ask.amount)
    made.is_undone = True
    _uncarry(book.wallet(made.owner, now), made.share, 0)
    return Answer(posted=now, amount=0)


def _uncarry(wallet: Wallet, share: int, given: int) -> None:
    """Leaves a cashback out of what all of them have yet to give, or gave too much."""
    if share:
        wallet.carried -= share - 10_000 * given


def spend(book: Book, ask: Ask, now: datetime) -> Answer:
    """Spends lots in burn order."""
    wallet = book.wallet(ask.owner, now)
    parts = _burn(wallet, ask.amount, now, "SPEND")
    book.takings[ask.request_id] = Taking(ask.owner, parts)
    wallet.enter("SPEND", ask.at or now, -ask.amount, ask.event)
    answer = Answer(posted=now, amount=ask.amount, parts=wallet.named(parts), version=VERSION)
    wallet.roll(now, parts)
    return answer


def hold(book: Book, ask: Ask, now: datetime) -> Answer:
    """Reserves lots in burn order."""
    wallet = book.wallet(ask.owner, now)
    parts = _burn(wallet, ask.amount, now, "HOLD")
    ends = now + timedelta(seconds=ask.timeout_s)
    held = Hold(ask.owner, parts, ask.amount, now, ends)
    for part in parts:
        wallet.lots[part.lot].moves[-1].hold = held
    wallet.holds.append(held)
    book.holds[ask.request_id] = held
    answer = Answer(posted=now, amount=ask.amount, expires=ends, parts=wallet.named(parts), version=VERSION)
    wallet.roll(now)
    return answer


def capture(book: Book, ask: Ask, now: datetime) -> Answer:
    """Spends a hold, in full or in part; the rest is free again."""
    wallet, held = _active(book, ask, now)
    if ask.amount > held.amount:
        raise RefusedError("PART_TOO_LARGE", left=held.amount, requested=ask.amount)
    amount = ask.amount or held.amount
    held.state, held.ended = "CAPTURED", now
    wallet.enter("SPEND", ask.at or now, -amount, ask.event)
    if amount < held.amount:
        wallet.give_back(held, held.amount - amount, now, "HOLD")
        wallet.settle(now)
    book.takings[ask.request_id] = held
    return Answer(posted=now, amount=amount, parts=wallet.named(held.parts))


def release(book: Book, ask: Ask, now: datetime) -> Answer:
    """Frees a hold."""
    wallet, held = _active(book, ask, now)
    held.state, held.ended = "RELEASED", now
    returned = wallet.give_back(held, held.amount, now, "HOLD")
    wallet.settle(now)
    return Answer(posted=now, amount=held.amount, parts=wallet.named(returned))


def _active(book: Book, ask: Ask, now: datetime) -> tuple[Wallet, Hold]:
    held = book.holds.get(ask.target)
    if held is None:
        raise RefusedError("HOLD_NOT_FOUND", holdRequestId=ask.target)
    state = held.state_at(now)
    if state != "ACTIVE":
        raise RefusedError("HOLD_ENDED", holdRequestId=ask.target, state=state)
    return book.wallet(held.owner, now), held


def reverse(book: Book, ask: Ask, now: datetime) -> Answer:
    """Undoes a spend or a capture, in full or in part."""
    taking = book.takings.get(ask.target)
    if taking is None:
        raise RefusedError("TARGET_NOT_FOUND", targetRequestId=ask.target)
    if not taking.left:
        raise RefusedError("TARGET_REVERSED", targetRequestId=ask.target)
    if ask.amount > taking.left:
        raise RefusedError("PART_TOO_LARGE", left=taking.left, requested=ask.amount)
    wallet, amount = book.wallet(taking.owner, now), ask.amount or taking.left
    _check_room(wallet, amount, now)
    wallet.enter("REVERSAL", ask.at or now, amount, ask.event)
    returned = wallet.give_back(taking, amount, now, "SPEND")
    wallet.settle(now)
    return Answer(posted=now, amount=amount, parts=wallet.named(returned))


def adjust(book: Book, ask: Ask, now: datetime) -> Answer:
    """Gives or takes value by a decision of the staff."""
    wallet = book.wallet(ask.owner, now)
    if ask.amount < 0:
        parts = _burn(wallet, -ask.amount, now, "ADJUST")
        wallet.enter("ADJUSTMENT", ask.at or now, ask.amount, ask.event)
        return Answer(posted=now, amount=-ask.amount, parts=wallet.named(parts), version=VERSION)
    if ask.expires is not None and ask.expires <= now:
        raise RefusedError("LOT_LIFE_EMPTY", effectiveTime=now, expireTime=ask.expires)
    _check_room(wallet, ask.amount, now)
    lot = wallet.add_lot(ask.amount, "ADJUST", now, now)
    lot.expires, lot.event = ask.expires, ask.event
    wallet.enter("ADJUSTMENT", ask.at or now, ask.amount, ask.event)
    wallet.settle(now)
    return Answer(posted=now, amount=ask.amount, expires=ask.expires)


def exchange(book: Book, ask: Ask, now: datetime) -> Answer:
    """Turns one asset into another: what the rate gives, rounded down, for the least that gives as much."""
    source, target = book.wallet(ask.owner, now), book.wallet((ask.member, ask.to_asset), now)
    if (ask.asset, ask.to_asset) not in book.rates:
        raise RefusedError("RATE_NOT_FOUND", fromAsset=ask.asset, toAsset=ask.to_asset)
    numerator, denominator = book.rates[ask.asset, ask.to_asset]
    given = ask.amount * numerator // denominator
    if not given:
        raise RefusedError("EXCHANGE_TOO_SMALL", amountMin=_least(1, numerator, denominator))
    taken = _least(given, numerator, denominator)
    if source.available(now) < taken:
        raise RefusedError("INSUFFICIENT_BALANCE", available=source.available(now), requested=taken)
    _check_room(target, given, now)
    parts = _burn(source, taken, now, "EXCHANGE")
    source.enter("EXCHANGE", ask.at or now, -taken, ask.event)
    lot = target.add_lot(given, "EXCHANGE", now, now)
    lot.event = ask.event
    target.enter("EXCHANGE", ask.at or now, given, ask.event)
    target.settle(now)
    return Answer(posted=now, amount=taken, given=given, parts=source.named(parts), version=VERSION)


def _least(given: int, numerator: int, denominator: int) -> int:
    """Gives the least amount that gives as much, or more."""
    least = given * denominator // numerator
    while least * numerator < given * denominator:
        least += 1
    return least


def expire(book: Book, ask: Ask, now: datetime) -> Answer:
    """Ends one lot now, or all that have begun."""
    wallet = book.wallet(ask.owner, now)
    lots = wallet.lots
    if ask.target:
        earned = book.earns.get(ask.target)
        if earned is None or earned.owner != ask.owner:
            raise RefusedError("EARN_NOT_FOUND", earnRequestId=ask.target)
        lots = [] if earned.lot is None else [wallet.lots[earned.lot]]
    ended = [lot for lot in lots if lot.lives(now)]
    for lot in ended:
        lot.expires, lot.is_told = now, True
        wallet.enter("EXPIRY", now, -lot.rest(now), lot.event)
    return Answer(posted=now, amount=sum(lot.rest(now) for lot in ended))


def unexpire(book: Book, ask: Ask, now: datetime) -> Answer:
    """Gives back what expired within a time, as new lots."""
    wallet = book.wallet(ask.owner, now)
    assert ask.since is not None, "A time has a beginning."
    assert ask.until is not None, "A time has an end."
    if ask.expires is not None and ask.expires <= now:
        raise RefusedError("LOT_LIFE_EMPTY", effectiveTime=now, expireTime=ask.expires)
    over = [lot for lot in wallet.lots if lot.is_over(now) and lot.rest(now)]
    lots = [lot for lot in over if lot.expires and ask.since <= lot.expires < ask.until]
    total = sum(lot.rest(now) for lot in lots)
    _check_room(wallet, total, now)
    parts: list[Taken] = []
    for lot in lots:
        [part] = wallet.take([lot], lot.rest(now), now, "UNEXPIRY")
        parts.append(part)
        again = wallet.add_lot(part.amount, "UNEXPIRY", now, now)
        again.restores = lot.number
        again.expires, again.priority, again.promotional = ask.expires, lot.priority, lot.promotional
        wallet.enter("UNEXPIRY", now, part.amount, lot.event)
    wallet.settle(now)
    return Answer(posted=now, amount=total, expires=ask.expires, parts=wallet.named(parts))


def fund(book: Book, ask: Ask, now: datetime) -> Answer:
    """Puts value into a budget."""
    budget = book.open_budget(ask.budget, None)
    if budget.left + ask.amount > LIMIT:
        raise RefusedError("BALANCE_LIMIT", limit=LIMIT)
    budget.left += ask.amount
    return Answer(posted=now, amount=ask.amount)


def close(book: Book, ask: Ask, now: datetime) -> Answer:
    """Closes a budget and takes out what it has left."""
    budget = book.open_budget(ask.budget, None)
    left, budget.left, budget.closed = budget.left, 0, True
    return Answer(posted=now, amount=left)


def _check_room(wallet: Wallet, amount: int, now: datetime) -> None:
    if wallet.total(now) + amount > LIMIT:
        raise RefusedError("BALANCE_LIMIT", limit=LIMIT)


def _burn(wallet: Wallet, amount: int, now: datetime, kind: str) -> list[Taken]:
    """Takes an amount in burn order, once debts are repaid."""
    available = wallet.available(now)
    if available < amount:
        raise RefusedError("INSUFFICIENT_BALANCE", available=available, requested=amount)
    wallet.settle(now)
    return wallet.take(wallet.live_lots(now), amount, now, kind)


OPERATIONS: dict[str, Callable[[Book, Ask, datetime], Answer]] = {
    "earn": earn,
    "confirm": confirm,
    "cancel": cancel,
    "claw_back": claw_back,
    "spend": spend,
    "hold": hold,
    "capture": capture,
    "release": release,
    "reverse": reverse,
    "adjust": adjust,
    "exchange": exchange,
    "expire": expire,
    "unexpire": unexpire,
    "fund": fund,
    "close": close,
}
