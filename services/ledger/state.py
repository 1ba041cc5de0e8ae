"""What a batch has read and locked, as its operations change it one by one, and what is to be written. Pure.

Decisions (`services.ledger.decisions`) call these steps once they have checked that nothing refuses them: a step never
refuses. Every change of a value that was read goes through `save`, so that linked operations can be taken back.
"""

import copy
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.kernel import ids
from services.ledger import expiry, model
from services.ledger.model import Hold, HoldState, Kind, Lot, Operation, Owner, Taking, Wallet

# Which total of a wallet an entry of a kind changes, and in which direction.
# Entries of one operation are counted in 15 bits: expiries beyond so many stand under ids of their own.
EXPIRY_LEGS_MAX = 20_000
TOTALS: dict[str, tuple[str, int]] = {
    Kind.EARN: ("earned", 1),
    Kind.CANCEL: ("earned", 1),
    Kind.SPEND: ("spent", -1),
    Kind.REVERSE: ("spent", -1),
    Kind.EXPIRY: ("expired", -1),
    Kind.UNEXPIRY: ("expired", -1),
    Kind.CLAW_BACK: ("clawed_back", -1),
    Kind.REPAYMENT: ("clawed_back", -1),
    Kind.ADJUST: ("adjusted", 1),
    Kind.EXCHANGE: ("adjusted", 1),
}


@dataclass
class State:
    """One transaction's worth of wallets, lots, holds, takings, budgets and rates, and the rows that come of them."""

    now: datetime
    wallets: dict[Owner, Wallet]
    prior: dict[uuid.UUID, model.Prior] = field(default_factory=dict)
    targets: dict[uuid.UUID, model.Target] = field(default_factory=dict)
    # What operations of the batch name as their targets: only these are kept as such when they are made here.
    awaited: set[uuid.UUID] = field(default_factory=set)
    lots: dict[int, dict[int, Lot]] = field(default_factory=dict)
    holds: dict[uuid.UUID, Hold] = field(default_factory=dict)
    takings: dict[uuid.UUID, Taking] = field(default_factory=dict)
    # Cashbacks that gave nothing and were taken back.
    undone: dict[uuid.UUID, bool] = field(default_factory=dict)
    budgets: dict[str, model.Budget] = field(default_factory=dict)
    # Of budgets that are looked at here, which are locked whole.
    alert_marks: dict[str, model.AlertMark] = field(default_factory=dict)
    rates: dict[tuple[str, str], model.Rate] = field(default_factory=dict)
    rows: list[model.Row] = field(default_factory=list)
    allocations: list[model.Allocation] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Indexes wallets by id."""
        self.by_id = {wallet.wallet_id: wallet for wallet in self.wallets.values()}
        self._legs = 0
        self._marks: tuple[int, int] | None = None
        self._saved: dict[int, tuple[Any, Any]] = {}
        self._added: list[tuple[dict[Any, Any], Any]] = []

    # What linked operations need: a place to come back to.

    def begin(self) -> None:
        """Marks the place that `roll_back` comes back to."""
        self._marks = (len(self.rows), len(self.allocations))

    def end(self) -> None:
        """Forgets the mark: what happened since stays."""
        self._marks, self._saved, self._added = None, {}, []

    def roll_back(self) -> None:
        """Undoes all that happened since `begin`."""
        assert self._marks is not None, "There is a place to come back to."
        for value, saved in self._saved.values():
            for name in type(value).__slots__:
                setattr(value, name, getattr(saved, name))
        for mapping, key in self._added:
            mapping.pop(key, None)
        del self.rows[self._marks[0] :], self.allocations[self._marks[1] :]
        self.end()

    def save(self, value: Any) -> None:
        """Keeps how a value is now, where it may have to be so again."""
        if self._marks is not None and id(value) not in self._saved:
            self._saved[id(value)] = (value, copy.deepcopy(value))

    def add(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        """Adds something new to one of the mappings."""
        mapping[key] = value
        if self._marks is not None:
            self._added.append((mapping, key))

    # Rows.

    def start(self) -> None:
        """Begins an operation: its own row has leg 0, what follows from it has the next ones."""
        self._legs = 0

    def record(self, item: Operation, wallet: Wallet | None, **what: Any) -> model.Row:
        """Adds the row of an operation that moves nothing in a wallet."""
        row = model.Row(item.key, 0, item.kind, item.occurred_at or self.now, **what)
        row.fingerprint, row.cause = item.fingerprint, item.cause
        if wallet is not None:
            row.wallet_id, row.member_id = wallet.wallet_id, wallet.member_id
        self.rows.append(row)
        return row

    def enter(self, item: Operation, wallet: Wallet, amount: int, **what: Any) -> model.Row:
        """Adds the row of an operation that moves value in a wallet: an entry."""
        row = self.record(item, wallet, amount=amount, **what)
        self.move(wallet, row)
        return row

    def follow(self, item_key: uuid.UUID, kind: Kind, wallet: Wallet, amount: int, **what: Any) -> model.Row:
        """Adds a further entry of an operation, whose first row is or will be its own."""
        self._legs += 1
        return self._append(item_key, self._legs, kind, wallet, amount, **what)

    def _append(
        self, request_id: uuid.UUID, leg: int, kind: Kind, wallet: Wallet, amount: int, **what: Any
    ) -> model.Row:
        what.setdefault("occurred_at", self.now)
        row = model.Row(
            request_id=request_id,
            leg=leg,
            kind=kind,
            wallet_id=wallet.wallet_id,
            member_id=wallet.member_id,
            amount=amount,
            **what,
        )
        self.rows.append(row)
        if amount:
            self.move(wallet, row)
        return row

    def move(self, wallet: Wallet, row: model.Row) -> None:
        """Makes an entry of a row that has an amount."""
        self.save(wallet)
        wallet.sequence += 1
        wallet.balance += row.amount
        if row.kind is Kind.EARN:
            wallet.earned += row.amount
        else:
            total, sign = TOTALS[row.kind]
            setattr(wallet, total, getattr(wallet, total) + sign * row.amount)
            wallet.is_more_than_earned = True
        wallet.is_changed = True
        assert wallet.balance >= 0, "A wallet never goes below zero (L4)."
        row.sequence, row.balance = wallet.sequence, wallet.balance

    # Lots.

    def lots_of(self, wallet: Wallet) -> dict[int, Lot]:
        """Gives the lots of a wallet that are known here, by number."""
        return self.lots.setdefault(wallet.wallet_id, {})

    def live_lots(self, wallet: Wallet) -> list[Lot]:
        """Lists what can be spent now, in burn order."""
        live = [lot for lot in self.lots_of(wallet).values() if lot.remaining and lot.is_live(self.now)]
        return sorted(live, key=model.burn_order)

    def available(self, wallet: Wallet) -> int:
        """Tells what can be spent now: what lots have left, less what is owed."""
        self.time_out_holds(wallet)
        return max(0, sum(lot.remaining for lot in self.live_lots(wallet)) - wallet.debt)

    def add_lot(self, wallet: Wallet, row: model.Row, *, effective_at: datetime | None, **what: Any) -> Lot:
        """Makes the lot of an entry; its number is the entry's."""
        assert row.sequence is not None, "An entry makes a lot."
        lot = Lot(wallet.wallet_id, row.sequence, row.amount, row.amount, effective_at, is_new=True, **what)
        if lot.priority and not wallet.has_priorities:
            wallet.has_priorities = wallet.is_more_than_earned = True
        if not wallet.has_waiting and (effective_at is None or effective_at > self.now):
            wallet.has_waiting = wallet.is_more_than_earned = True
        self.add(self.lots_of(wallet), lot.number, lot)
        return lot

    def add_target(self, target: model.Target) -> None:
        """Keeps what was made here where an operation of the batch names it."""
        if target.key in self.awaited:
            self.add(self.targets, target.key, target)

    def change_lot(self, lot: Lot, change: int) -> None:
        """Changes what a lot has left."""
        self.save(lot)
        lot.remaining += change
        assert 0 <= lot.remaining <= lot.amount, "A lot gives no more than it has (L3)."
        if not lot.remaining:
            lot.is_open = False
        elif change > 0:
            lot.is_open = True
        lot.is_changed = True

    def expire(
        self, wallet: Wallet, lot: Lot, *, request_id: uuid.UUID | None = None, at: datetime | None = None
    ) -> None:
        """Books what a lot that is over has left; as a leg of the operation under way, or under an id of its own.

        It is lost from the end of the lot on, or from `at` where it came into the lot later than that.
        """
        assert lot.expires_at is not None, "Only a lot with an end is over."
        self.save(lot)
        lot.is_open, lot.is_changed = False, True
        self._enter_expiry(wallet, lot, lot.remaining, request_id, max(at or lot.expires_at, lot.expires_at))

    def _enter_expiry(
        self, wallet: Wallet, lot: Lot, amount: int, request_id: uuid.UUID | None, occurred_at: datetime
    ) -> None:
        what: dict[str, Any] = {"lot_number": lot.number, "occurred_at": occurred_at}
        if request_id is not None and self._legs < EXPIRY_LEGS_MAX:
            self.follow(request_id, Kind.EXPIRY, wallet, -amount, **what)
            return
        request_id = ids.derived_id("expiry", str(wallet.wallet_id), str(lot.number), str(wallet.sequence))
        self._append(request_id, 0, Kind.EXPIRY, wallet, -amount, **what)

    def extend(self, wallet: Wallet, taking: Taking | None = None) -> None:
        """Moves the ends of what lives as long as the member is active: now, it is.

        That is all that has something left or held, with what this very activity took. What was spent before stays with
        the end that it had: there may be any number of such lots.
        """
        if not wallet.has_rolling:
            return
        holds = [self.takings[hold.hold_id] for hold in self.active_holds(wallet)]
        reserved = {part.lot_number for each in (*holds, taking) if each is not None for part in each.parts}
        for lot in self.lots_of(wallet).values():
            is_left = lot.remaining or lot.number in reserved
            if is_left and lot.expiry_policy is not None and lot.is_live(self.now):
                policy = expiry.from_text(lot.expiry_policy)
                end = expiry.ends_at(self.now, policy) if policy.rolling else None
                if end is not None and lot.expires_at is not None and end > lot.expires_at:
                    self.save(lot)
                    lot.expires_at, lot.is_redated = end, True

    # Takings.

    def take(self, taking: Taking, lots: Iterable[Lot], amount: int) -> int:
        """Takes an amount from lots in their order, as far as they have it; tells what is missing."""
        for lot in lots:
            if not amount:
                break
            taken = min(amount, lot.remaining)
            if taken:
                self.change_lot(lot, -taken)
                taking.parts.append(model.TakenPart(lot.number, taken, taken, lot.expires_at))
                self._allocate(taking, lot, taken, operation_id=taking.root_id, at=self.now)
                amount -= taken
        return amount

    def start_taking(self, root_id: uuid.UUID, wallet: Wallet, kind: Kind) -> Taking:
        """Begins what an operation takes from the lots of a wallet."""
        taking = Taking(root_id, wallet.wallet_id, kind)
        self.add(self.takings, root_id, taking)
        return taking

    def give_back(
        self, wallet: Wallet, taking: Taking, amount: int, *, operation_id: uuid.UUID, at: datetime, repays: bool = True
    ) -> list[tuple[Lot, int]]:
        """Returns part of a taking to its lots, the last ones first; what is over by then expires at once.

        That repays what the member owes before it expires: a lot that was taken back and is over would be lost twice
        otherwise.
        """
        self.save(taking)
        given, over = [], []
        for part in reversed(taking.parts):
            returned = min(amount, part.left)
            if not returned:
                continue
            part.left -= returned
            amount -= returned
            lot = self.lots_of(wallet)[part.lot_number]
            given.append((lot, returned))
            was_open = lot.is_open
            if lot.is_over(at) and was_open:
                self.expire(wallet, lot)
            self.change_lot(lot, returned)
            if lot.is_over(at):
                lot.is_open = False
                over.append((lot, returned))
            self._allocate(taking, lot, -returned, operation_id=operation_id, at=at)
        assert amount == 0, "No more comes back than was taken."
        for lot, returned in over:
            can_repay = repays and self._legs < EXPIRY_LEGS_MAX
            lost = returned - (self._repay(operation_id, wallet, [lot], returned) if can_repay else 0)
            if lost:
                self._enter_expiry(wallet, lot, lost, operation_id, at)
        return given

    def _allocate(
        self,
        taking: Taking,
        lot: Lot,
        amount: int,
        *,
        operation_id: uuid.UUID,
        at: datetime,
    ) -> None:
        self.allocations.append(
            model.Allocation(
                wallet_id=taking.wallet_id,
                lot_number=lot.number,
                amount=amount,
                allocated_at=at,
                lot_expires_at=lot.expires_at,
                root_id=taking.root_id,
                operation_id=operation_id,
                place=taking.places,
                kind=taking.kind,
            )
        )
        taking.places += 1

    def settle(self, item: Operation, wallet: Wallet) -> None:
        """Repays what the member owes, as far as there is something that can be spent."""
        if not wallet.debt:
            return
        self.time_out_holds(wallet)
        lots = self.live_lots(wallet)
        self._repay(item.key, wallet, lots, sum(lot.remaining for lot in lots))

    def _repay(self, operation_id: uuid.UUID, wallet: Wallet, lots: Iterable[Lot], amount: int) -> int:
        """Repays what the member owes out of what lots have, as far as that goes; tells how much it was."""
        amount = min(wallet.debt, amount)
        if not amount:
            return 0
        root_id = ids.derived_id("repayment", str(operation_id), str(wallet.wallet_id), str(wallet.sequence))
        self.take(self.start_taking(root_id, wallet, Kind.REPAYMENT), lots, amount)
        self.follow(operation_id, Kind.REPAYMENT, wallet, -amount, debt_amount=-amount)
        wallet.debt -= amount
        wallet.is_more_than_earned = True
        return amount

    # Holds and what is over.

    def active_holds(self, wallet: Wallet) -> list[Hold]:
        """Lists the holds of a wallet that are known here and that nobody has ended, over or not."""
        return [
            hold
            for hold in self.holds.values()
            if hold.wallet_id == wallet.wallet_id and hold.state is HoldState.ACTIVE
        ]

    def time_out_holds(self, wallet: Wallet) -> None:
        """Ends the holds of a wallet whose time is over: their lots are free.

        In the order of their ends: what comes back to a lot before the lot's own end must not come after it.
        """
        over = [hold for hold in self.active_holds(wallet) if hold.expires_at <= self.now]
        for hold in sorted(over, key=lambda hold: hold.expires_at):
            self.time_out(wallet, hold)

    def time_out(self, wallet: Wallet, hold: Hold) -> None:
        """Ends one hold at the instant its time was over."""
        operation_id = ids.derived_id("timeout", str(hold.hold_id))
        self.save(hold)
        hold.state, hold.ended_at, hold.is_changed = HoldState.TIMED_OUT, hold.expires_at, True
        legs, self._legs = self._legs, 0
        self._append(
            operation_id,
            0,
            Kind.TIMEOUT,
            wallet,
            0,
            held_amount=hold.amount,
            target_id=hold.hold_id,
            occurred_at=hold.expires_at,
            cause=model.Cause(redemption_id=hold.cause_redemption_id),
        )
        taking = self.takings[hold.hold_id]
        # It came back when its time was over, so that what is owed by now has nothing to do with it.
        self.give_back(wallet, taking, taking.left, operation_id=operation_id, at=hold.expires_at, repays=False)
        self._legs = legs

    def book(self, wallet: Wallet) -> None:
        """Books what is over in a wallet: first holds, whose lots come back, then lots. Idempotent."""
        self.time_out_holds(wallet)
        for lot in list(self.lots_of(wallet).values()):
            if lot.is_open and lot.is_over(self.now):
                self.expire(wallet, lot)

    def has_room(self, wallet: Wallet, amount: int) -> bool:
        """Tells whether a wallet can take an amount; what is over makes room, and is booked for it (L6)."""
        if wallet.balance + amount > model.BALANCE_MAX:
            self.book(wallet)
        return wallet.balance + amount <= model.BALANCE_MAX
