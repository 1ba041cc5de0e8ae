"""The state machine: decides operations one by one on what was read, and collects what is to be written. Pure.

`Batch` starts from the wallets, lots, holds and prior outcomes that the operations need, all locked. `post` judges one
operation on the state that the ones before it left; a refused one leaves nothing but its own frozen outcome.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from services.kernel import errors as kernel_errors
from services.kernel import ids, requests
from services.ledger import errors, model
from services.ledger.model import Booking, Hold, HoldState, Kind, Lot, Operation, Outcome, Owner, Part, Posting, Wallet


@dataclass
class Batch:
    """One transaction's worth of decisions. `lots` and `holds` are those of the wallets that need them."""

    now: datetime
    wallets: Mapping[Owner, Wallet]
    prior: dict[uuid.UUID, model.Prior]
    lots: dict[uuid.UUID, dict[uuid.UUID, Lot]] = field(default_factory=dict)
    holds: dict[uuid.UUID, Hold] = field(default_factory=dict)
    rows: list[model.Row] = field(default_factory=list)
    allocations: list[model.Allocation] = field(default_factory=list)
    events: list[model.Event] = field(default_factory=list)
    touched_lots: dict[uuid.UUID, Lot] = field(default_factory=dict)
    touched_holds: dict[uuid.UUID, Hold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Indexes wallets by id."""
        self._by_id = {wallet.wallet_id: wallet for wallet in self.wallets.values()}
        self._booked: set[uuid.UUID] = set()
        self._fingerprint = b""
        self.index()

    def index(self) -> None:
        """Indexes holds by their captures; call it again where `holds` was set later."""
        self._captures = {hold.capture_id: hold for hold in self.holds.values() if hold.capture_id}

    def parts_of(self, hold_id: uuid.UUID | None) -> tuple[Part, ...]:
        """Tells what a hold took from which lots; nothing where there is no hold."""
        return self._parts(self.holds[hold_id]) if hold_id in self.holds else ()

    def post(self, item: Operation | Booking) -> Outcome:
        """Decides one item and gives its outcome."""
        if isinstance(item, Booking):
            wallet = self.wallets.get(item.owner)
            if wallet is not None:
                self.book(wallet)
            return Outcome(replayed=False)
        prior = self.prior.get(item.key)
        if prior is not None:
            return _replay(prior, item)
        self._fingerprint = model.fingerprint(item)
        try:
            posting = self._decide(item)
        except kernel_errors.DomainError as refusal:
            outcome = Outcome(replayed=False, refusal=refusal)
            self._record(item, wallet=self._wallet_of(item), refusal=refusal)
        else:
            outcome = Outcome(replayed=False, posting=posting)
        # A second item of this id in the same batch is a replay like any later one.
        target = item.target_key
        self.prior[item.key] = model.Prior(item.key, item.kind, self._fingerprint, outcome, target)
        return outcome

    def book(self, wallet: Wallet) -> None:
        """Books what is over in a wallet: first holds, whose lots come back, then lots. Idempotent."""
        if wallet.wallet_id in self._booked:
            return
        self._booked.add(wallet.wallet_id)
        for hold in list(self.holds.values()):
            if hold.wallet_id == wallet.wallet_id and self._is_over(hold):
                self._time_out(wallet, hold)
        for lot in list(self.lots.get(wallet.wallet_id, {}).values()):
            if lot.remaining and lot.is_over(self.now):
                self._expire(wallet, lot, ids.derived_id("expiry", str(lot.lot_id), str(wallet.sequence)), leg=0)

    def _decide(self, item: Operation) -> Posting:
        match item.kind:
            case Kind.EARN:
                return self._earn(item)
            case Kind.HOLD:
                return self._hold(item)
            case Kind.CAPTURE:
                return self._capture(item)
            case Kind.RELEASE:
                return self._release(item)
            case Kind.REVERSE:
                return self._reverse(item)
        raise AssertionError(f"No caller asks for {item.kind}.")

    def _earn(self, item: Operation) -> Posting:
        assert item.owner is not None, "An earn names its owner."
        wallet = self.wallets[item.owner]
        occurred_at = item.occurred_at or self.now
        effective_at = item.effective_at or occurred_at
        if item.expires_at is not None and item.expires_at <= effective_at:
            raise errors.lot_life_empty(effective_at, item.expires_at)
        if not self._has_room(wallet, item.amount):
            raise errors.balance_limit(model.BALANCE_MAX)
        lot = Lot(
            wallet_id=wallet.wallet_id,
            lot_id=item.key,
            amount=item.amount,
            remaining=item.amount,
            expired=0,
            priority=item.priority,
            occurred_at=occurred_at,
            effective_at=effective_at,
            expires_at=item.expires_at,
            is_new=True,
        )
        self._record(item, wallet=wallet, change=item.amount, expires_at=item.expires_at)
        self.lots.setdefault(wallet.wallet_id, {})[lot.lot_id] = lot
        self.touched_lots[lot.lot_id] = lot
        if lot.is_over(self.now):
            # A back-dated earn may be over on arrival: it is earned and expires in the same breath.
            self._expire(wallet, lot, item.key, leg=1)
        return Posting(self.now, item.amount, item.expires_at)

    def _hold(self, item: Operation) -> Posting:
        assert item.owner is not None, "A hold names its owner."
        wallet = self.wallets[item.owner]
        self.book(wallet)
        live = [lot for lot in self.lots.get(wallet.wallet_id, {}).values() if lot.remaining and lot.is_live(self.now)]
        available = sum(lot.remaining for lot in live)
        if available < item.amount:
            raise errors.insufficient_balance(available, item.amount)
        hold = Hold(
            hold_id=item.key,
            wallet_id=wallet.wallet_id,
            amount=item.amount,
            state=HoldState.ACTIVE,
            placed_at=self.now,
            expires_at=self.now + timedelta(seconds=item.timeout_s),
            cause_redemption_id=item.cause.redemption_id,
            is_new=True,
        )
        missing = item.amount
        parts = []
        for lot in sorted(live, key=model.burn_order):
            taken = min(missing, lot.remaining)
            hold.parts.append((lot.lot_id, taken))
            parts.append(Part(lot.lot_id, taken, lot.expires_at))
            self._allocate(hold, lot, item.key, taken, self.now)
            missing -= taken
            if not missing:
                break
        assert missing == 0, "What is available covers the amount."
        self.holds[hold.hold_id] = hold
        self._record(item, wallet=wallet, held=item.amount, expires_at=hold.expires_at)
        self._changed(wallet, hold)
        return Posting(self.now, item.amount, hold.expires_at, tuple(parts))

    def _capture(self, item: Operation) -> Posting:
        wallet, hold = self._active_hold(item)
        hold.state, hold.ended_at, hold.capture_id = HoldState.CAPTURED, self.now, item.key
        self._captures[item.key] = hold
        self._record(item, wallet=wallet, change=-hold.amount, target=hold.hold_id)
        self._changed(wallet, hold)
        return Posting(self.now, hold.amount, parts=self._parts(hold))

    def _release(self, item: Operation) -> Posting:
        wallet, hold = self._active_hold(item)
        hold.state, hold.ended_at = HoldState.RELEASED, self.now
        parts = self._parts(hold)
        self._record(item, wallet=wallet, held=hold.amount, target=hold.hold_id)
        self._give_back(wallet, hold, item.key, self.now)
        self._changed(wallet, hold)
        return Posting(self.now, hold.amount, parts=parts)

    def _reverse(self, item: Operation) -> Posting:
        assert item.target_key is not None, "A reversal names its target."
        hold = self._captures.get(item.target_key)
        if hold is None:
            raise errors.target_not_found(item.target_id)
        if hold.reversed_at is not None:
            raise errors.target_reversed(item.target_id)
        wallet = self._by_id[hold.wallet_id]
        if not self._has_room(wallet, hold.amount):
            raise errors.balance_limit(model.BALANCE_MAX)
        hold.reversed_at = self.now
        parts = self._parts(hold)
        self._record(item, wallet=wallet, change=hold.amount, target=item.target_key)
        self._give_back(wallet, hold, item.key, self.now)
        self.touched_holds[hold.hold_id] = hold
        return Posting(self.now, hold.amount, parts=parts)

    def _active_hold(self, item: Operation) -> tuple[Wallet, Hold]:
        assert item.target_key is not None, "A capture or release names its hold."
        hold = self.holds.get(item.target_key)
        if hold is None:
            raise errors.hold_not_found(item.target_id)
        wallet = self._by_id[hold.wallet_id]
        if self._is_over(hold):
            self._time_out(wallet, hold)
        if hold.state is not HoldState.ACTIVE:
            raise errors.hold_ended(item.target_id, hold.state.value)
        return wallet, hold

    def _has_room(self, wallet: Wallet, amount: int) -> bool:
        """Tells whether a wallet can take an amount; what is over makes room, and is booked for it (L6)."""
        if wallet.balance + amount > model.BALANCE_MAX:
            self.book(wallet)
        return wallet.balance + amount <= model.BALANCE_MAX

    def _is_over(self, hold: Hold) -> bool:
        return hold.state is HoldState.ACTIVE and hold.expires_at <= self.now

    def _time_out(self, wallet: Wallet, hold: Hold) -> None:
        operation_id = ids.derived_id("timeout", str(hold.hold_id))
        hold.state, hold.ended_at = HoldState.TIMED_OUT, hold.expires_at
        cause = model.Cause(redemption_id=hold.cause_redemption_id)
        self._append(
            request_id=operation_id,
            kind=Kind.TIMEOUT,
            wallet=wallet,
            held=hold.amount,
            target=hold.hold_id,
            occurred_at=hold.expires_at,
            cause=cause,
        )
        self._give_back(wallet, hold, operation_id, hold.expires_at)
        self._changed(wallet, hold)

    def _give_back(self, wallet: Wallet, hold: Hold, operation_id: uuid.UUID, at: datetime) -> None:
        """Returns a hold's parts to their lots; a lot that is over by now expires at once, as further legs."""
        lots = self.lots[wallet.wallet_id]
        for lot_id, amount in hold.parts:
            self._allocate(hold, lots[lot_id], operation_id, -amount, at)
        over = [lots[lot_id] for lot_id, _ in hold.parts if lots[lot_id].is_over(self.now)]
        for leg, lot in enumerate(over, start=1):
            self._expire(wallet, lot, operation_id, leg=leg)

    def _expire(self, wallet: Wallet, lot: Lot, request_id: uuid.UUID, *, leg: int) -> None:
        assert lot.expires_at is not None, "Only a lot with an end is over."
        amount = lot.remaining
        lot.remaining = 0
        lot.expired += amount
        self.touched_lots[lot.lot_id] = lot
        self._append(
            request_id=request_id,
            leg=leg,
            kind=Kind.EXPIRY,
            wallet=wallet,
            change=-amount,
            target=lot.lot_id,
            occurred_at=lot.expires_at,
        )

    def _allocate(self, hold: Hold, lot: Lot, operation_id: uuid.UUID, amount: int, at: datetime) -> None:
        lot.remaining -= amount
        assert 0 <= lot.remaining <= lot.amount - lot.expired, "A lot gives no more than it has (L3)."
        self.touched_lots[lot.lot_id] = lot
        self.allocations.append(
            model.Allocation(
                wallet_id=lot.wallet_id,
                operation_id=operation_id,
                lot_id=lot.lot_id,
                hold_id=hold.hold_id,
                amount=amount,
                allocated_at=at,
                place=len(self.allocations),
            )
        )

    def _parts(self, hold: Hold) -> tuple[Part, ...]:
        lots = self.lots[hold.wallet_id]
        return tuple(Part(lot_id, amount, lots[lot_id].expires_at) for lot_id, amount in hold.parts)

    def _changed(self, wallet: Wallet, hold: Hold) -> None:
        self.touched_holds[hold.hold_id] = hold
        self.events.append(model.HoldChanged((wallet.member_id, wallet.asset), hold, hold.state))

    def _wallet_of(self, item: Operation) -> Wallet | None:
        if item.owner is not None:
            return self.wallets[item.owner]
        hold = self.holds.get(item.target_key) if item.target_key else None
        return self._by_id[hold.wallet_id] if hold else None

    def _record(self, item: Operation, *, wallet: Wallet | None, **what: Any) -> None:
        refusal: kernel_errors.DomainError | None = what.pop("refusal", None)
        stored = None
        if refusal is not None:
            stored = {
                "code": refusal.code.value,
                "reason": refusal.reason,
                "message": refusal.message,
                "metadata": dict(refusal.metadata),
            }
        self._append(
            request_id=item.key,
            kind=item.kind,
            fingerprint=self._fingerprint,
            wallet=wallet,
            occurred_at=item.occurred_at or self.now,
            cause=item.cause,
            refusal=stored,
            **what,
        )

    def _append(
        self,
        *,
        request_id: uuid.UUID,
        kind: Kind,
        wallet: Wallet | None,
        occurred_at: datetime,
        leg: int = 0,
        fingerprint: bytes | None = None,
        change: int = 0,
        held: int | None = None,
        target: uuid.UUID | None = None,
        expires_at: datetime | None = None,
        refusal: dict[str, Any] | None = None,
        cause: model.Cause = model.NO_CAUSE,
    ) -> None:
        """Adds one row to the journal and, where value moves, the entry to its wallet."""
        if change:
            assert wallet is not None, "Value moves in a wallet."
            wallet.sequence += 1
            wallet.balance += change
            wallet.changed = True
            assert wallet.balance >= 0, "A wallet never goes below zero (L4)."
        row = model.Row(
            request_id=request_id,
            leg=leg,
            kind=kind,
            fingerprint=fingerprint,
            wallet_id=wallet.wallet_id if wallet else None,
            account=model.ACCOUNTS[kind] if change else None,
            amount=change,
            sequence=wallet.sequence if wallet and change else None,
            balance=wallet.balance if wallet and change else None,
            held_amount=held,
            target_id=target,
            occurred_at=occurred_at,
            expires_at=expires_at,
            refusal=refusal,
            cause=cause,
        )
        self.rows.append(row)
        if change and wallet is not None:
            self.events.append(model.EntryPosted((wallet.member_id, wallet.asset), row))


def _replay(prior: model.Prior, item: Operation) -> Outcome:
    """Gives the first outcome again, or refuses other content by field; a reused id is no outcome of its own."""
    stored, content = prior.fingerprint or b"", {"kind": item.kind.value, **item.fields}
    differing = requests.differing_fields(stored, content)
    if differing:
        return Outcome(replayed=False, refusal=kernel_errors.request_id_reused(differing))
    return Outcome(replayed=True, posting=prior.outcome.posting, refusal=prior.outcome.refusal)
