"""Needs: what a batch must read before it can be decided, told from what it asks for. Pure."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.ledger import batch, model
from services.ledger.model import Kind, Operation, Owner, Wallet
from services.ledger.state import State

# These spend lots of the wallet that they name, in burn order.
BURNING = (Kind.SPEND, Kind.HOLD, Kind.ADJUST, Kind.EXCHANGE)
# These are activity, which moves the ends of rolling lots.
ACTIVITIES = (Kind.EARN, Kind.SPEND, Kind.HOLD)


@dataclass
class Needs:
    """What the operations of a batch name, and what must be read of it."""

    operations: list[Operation] = field(default_factory=list)
    keys: list[uuid.UUID] = field(default_factory=list)
    booked: set[Owner] = field(default_factory=set)
    booked_lots: dict[Owner, set[int]] = field(default_factory=dict)
    owners: set[Owner] = field(default_factory=set)
    target_keys: set[uuid.UUID] = field(default_factory=set)
    # What is asked of each budget, at most.
    budget_amounts: Counter[str] = field(default_factory=Counter)
    whole_budget_ids: set[str] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    given: int = 0
    is_plain: bool = True

    @classmethod
    def of(cls, items: Sequence[model.Item]) -> "Needs":
        """Collects what the items name."""
        needs = cls()
        for item in items:
            if isinstance(item, model.Booking):
                if item.numbers is None:
                    needs.booked.add(item.owner)
                else:
                    needs.booked_lots.setdefault(item.owner, set()).update(item.numbers)
                needs.owners.add(item.owner)
                needs.is_plain = False
            elif isinstance(item, model.Watch):
                needs.whole_budget_ids.add(item.budget_id)
                needs.is_plain = False
            needs.operations.extend(batch.operations_of(item))
            needs.keys.extend(batch.keys_of(item))
        for operation in needs.operations:
            needs._collect(operation)
        return needs

    def _collect(self, operation: Operation) -> None:
        self.owners.update(operation.owners)
        given = max(0, operation.amount)
        if operation.kind is Kind.EARN:
            # An upper bound: a cashback is computed under the lock.
            given = given or operation.base_amount * operation.basis_points // model.REMAINDER_PARTS + 1
        else:
            self.is_plain = False
        self.given += given
        if operation.target_key is not None:
            self.target_keys.add(operation.target_key)
        if operation.budget_id is not None:
            self.is_plain = False
            if operation.kind is Kind.EARN:
                self.budget_amounts[operation.budget_id] += given
            else:
                self.whole_budget_ids.add(operation.budget_id)
        if operation.kind is Kind.EXCHANGE and operation.owner is not None:
            self.pairs.add((operation.owner[1], operation.to_asset))

    def _given_to(self, wallet: Wallet) -> int:
        """Tells what a wallet is given at most."""
        return self.given + max(0, wallet.cashback_due)

    def is_simple(self, state: State) -> bool:
        """Tells whether nothing more is needed: plain earns into wallets that have room, owe nothing, do not roll."""
        return self.is_plain and not any(
            wallet.debt or wallet.has_rolling or wallet.balance + self._given_to(wallet) > model.BALANCE_MAX
            for wallet in state.wallets.values()
        )

    def roots(self, state: State) -> dict[uuid.UUID, int]:
        """Tells what was taken by operations that may be given back, and from which wallets."""
        return {
            target.hold_id or target.key: target.wallet_id
            for target in state.targets.values()
            if target.kind in (Kind.SPEND, Kind.CAPTURE, Kind.HOLD)
        }

    def wallets_with_holds(self, state: State) -> list[int]:
        """Lists the wallets whose timed-out holds must be read: all but those that only earn."""
        owners = (
            self.booked
            | self.booked_lots.keys()
            | {owner for operation in self.operations if operation.kind is not Kind.EARN for owner in operation.owners}
        )
        found = {state.wallets[owner].wallet_id for owner in owners if owner in state.wallets}
        found |= {target.wallet_id for target in state.targets.values()}
        # What a hold that is over had repays a debt.
        found |= {wallet.wallet_id for wallet in state.wallets.values() if wallet.debt}
        return sorted(found | self._near_limit(state))

    def rolling_wallets(self, state: State) -> list[int]:
        """Lists the wallets in which lots live on, those too that a hold has all of."""
        active = {owner for operation in self.operations if operation.kind in ACTIVITIES for owner in operation.owners}
        return sorted(state.wallets[owner].wallet_id for owner in active if state.wallets[owner].has_rolling)

    def earns_of_nothing(self, state: State) -> dict[uuid.UUID, int]:
        """Tells the earns to be taken back that made no lot, and whose wallets they are about."""
        return {target.key: target.wallet_id for target in self._taken_back(state) if target.number is None}

    def _taken_back(self, state: State) -> list[model.Target]:
        """Lists the earns that claw-backs are about."""
        keys = {operation.target_key for operation in self.operations if operation.kind is Kind.CLAW_BACK}
        return [target for key, target in state.targets.items() if key in keys and target.kind is Kind.EARN]

    def named_lots(self, state: State) -> list[tuple[int, int]]:
        """Lists the lots that earns made which operations are about, and those that takings came from."""
        named = {
            (target.wallet_id, target.number)
            for target in state.targets.values()
            if target.kind is Kind.EARN and target.number is not None
        }
        for owner, numbers in self.booked_lots.items():
            if owner in state.wallets:
                named |= {(state.wallets[owner].wallet_id, number) for number in numbers}
        for taking in state.takings.values():
            named |= {(taking.wallet_id, part.lot_number) for part in taking.parts}
        return sorted(named)

    def lots_given_back(self, state: State) -> list[tuple[int, int]]:
        """Lists the lots that claw-backs are about and that un-expiries may have emptied: others have to be read too.

        Those are over and have less than they had; all that this very batch gives back is known anyway.
        """
        found = []
        for target in self._taken_back(state):
            if target.number is not None:
                lot = state.lots[target.wallet_id][target.number]
                if lot.is_over(state.now) and lot.remaining < lot.amount:
                    found.append((target.wallet_id, target.number))
        return sorted(found)

    def wallets_of_lots(self, state: State) -> tuple[list[int], list[int], list[int]]:
        """Lists the wallets of which all lots are needed, the open ones, and those that are over."""
        whole, opened = set(), set()
        over = {state.wallets[owner].wallet_id for owner in self.booked if owner in state.wallets}
        over |= self._near_limit(state)
        for operation in self.operations:
            target = state.targets.get(operation.target_key) if operation.target_key else None
            if operation.kind is Kind.UNEXPIRE or (operation.kind is Kind.EXPIRE and operation.target_key is None):
                whole |= {state.wallets[owner].wallet_id for owner in operation.owners}
            elif operation.kind is Kind.CLAW_BACK:
                # From other lots; or into a debt, which a later operation of this batch may repay out of any.
                opened |= {target.wallet_id} if target is not None else self._made_here(state, operation)
            elif operation.kind is Kind.EXPIRE:
                # Once the named lot has ended, what is spent later in this batch comes out of others.
                opened |= {state.wallets[owner].wallet_id for owner in operation.owners}
        opened |= set(self.rolling_wallets(state))
        return sorted(whole), sorted(opened - whole), sorted(over - whole - opened)

    def burnt(self, state: State) -> dict[int, int]:
        """Tells how much of which wallets is spent at most, in burn order, debts included."""
        needed: dict[int, int] = {}
        for operation in self.operations:
            if operation.kind in BURNING and operation.owner is not None:
                is_given = operation.kind is Kind.ADJUST and operation.amount > 0
                wallet_id = state.wallets[operation.owner].wallet_id
                needed[wallet_id] = needed.get(wallet_id, 0) + (0 if is_given else abs(operation.amount))
        for wallet in state.wallets.values():
            if wallet.debt:
                needed[wallet.wallet_id] = needed.get(wallet.wallet_id, 0) + wallet.debt
        return {wallet_id: amount for wallet_id, amount in needed.items() if amount}

    def _made_here(self, state: State, operation: Operation) -> set[int]:
        """Tells the wallet of a target that this very batch makes."""
        return {
            state.wallets[owner].wallet_id
            for other in self.operations
            if other.key == operation.target_key
            for owner in other.owners
        }

    def _near_limit(self, state: State) -> set[int]:
        """Tells the wallets that may have room only once what is over is booked, for all that anybody knows yet."""
        found = {
            wallet.wallet_id
            for wallet in state.wallets.values()
            if wallet.balance + self._given_to(wallet) > model.BALANCE_MAX
        }
        for operation in self.operations:
            if operation.kind is Kind.EXCHANGE:
                found |= {state.wallets[owner].wallet_id for owner in operation.owners}
            elif operation.kind is Kind.REVERSE and operation.target_key in state.targets:
                found.add(state.targets[operation.target_key].wallet_id)
        return found
