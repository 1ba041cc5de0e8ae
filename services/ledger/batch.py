"""The state machine: decides what a batch asks for, one by one, on what was read and locked. Pure.

Each operation is judged on the state that the ones before it left; a refused one leaves nothing but its own frozen
outcome. Linked operations all happen, or each is refused and the state is as it was before them.
"""

import uuid
from dataclasses import dataclass

from services.kernel import errors as kernel_errors
from services.ledger import errors, fingerprints, model, refusals
from services.ledger.decisions import DECISIONS, budgets
from services.ledger.model import Operation, Outcome, Wallet
from services.ledger.state import State


@dataclass
class Batch:
    """One transaction's worth of decisions over one state."""

    state: State

    def post(self, item: model.Item) -> list[Outcome]:
        """Decides one item and gives the outcome of each operation in it."""
        if isinstance(item, Operation):
            return [self._post(item)]
        if isinstance(item, model.Linked):
            return self._post_linked(item.operations)
        if isinstance(item, model.Booking):
            wallet = self.state.wallets.get(item.owner)
            if wallet is not None:
                self.state.book(wallet)
            return [Outcome(replayed=False)]
        budget = self.state.budgets.get(item.budget_id)
        # One outcome for each share that is told.
        return [Outcome(replayed=False)] * (budgets.watch(self.state, budget) if budget is not None else 0)

    def _post(self, item: Operation) -> Outcome:
        prior = self.state.prior.get(item.key)
        if prior is not None:
            return _replay(prior, item)
        self.state.start()
        try:
            posting = DECISIONS[item.kind](self.state, item)
        except kernel_errors.DomainError as refusal:
            return self._refuse(item, refusal)
        return self._keep(item, Outcome(replayed=False, posting=posting))

    def _post_linked(self, operations: tuple[Operation, ...]) -> list[Outcome]:
        """Posts all or none; where one is refused, that one says why and the others name it."""
        self.state.begin()
        outcomes = []
        for item in operations:
            outcomes.append(self._post(item))
            refusal = outcomes[-1].refusal
            if refusal is not None:
                self.state.roll_back()
                return [self._refuse_linked(each, item, refusal) for each in operations]
        self.state.end()
        return outcomes

    def _refuse_linked(self, item: Operation, culprit: Operation, refusal: kernel_errors.DomainError) -> Outcome:
        prior = self.state.prior.get(item.key)
        if prior is not None:
            return _replay(prior, item)
        if item is culprit:
            return self._refuse(item, refusal)
        return self._refuse(item, errors.linked_refused(culprit.request_id, refusal.reason))

    def _refuse(self, item: Operation, refusal: kernel_errors.DomainError) -> Outcome:
        self.state.record(item, self._wallet_of(item), refusal=refusals.to_stored(refusal))
        return self._keep(item, Outcome(replayed=False, refusal=refusal))

    def _keep(self, item: Operation, outcome: Outcome) -> Outcome:
        owner, wallet = item.owner, self._wallet_of(item)
        if wallet is not None and wallet.is_unheard_of:
            # Who was only refused, or had nothing to be found, stays unknown to the ledger; the row is the newest.
            self.state.rows[-1].wallet_id, owner = None, None
        # A second item of this id in the same batch is a replay like any later one.
        prior = model.Prior(item.fingerprint, outcome, owner[0] if owner is not None else None)
        self.state.add(self.state.prior, item.key, prior)
        return outcome

    def _wallet_of(self, item: Operation) -> Wallet | None:
        if item.owner is not None:
            return self.state.wallets[item.owner]
        target = self.state.targets.get(item.target_key) if item.target_key else None
        return self.state.by_id[target.wallet_id] if target else None


def keys_of(item: model.Item) -> tuple[uuid.UUID, ...]:
    """Lists the ids that an item's outcomes are stored under."""
    if isinstance(item, model.Linked):
        return tuple(operation.key for operation in item.operations)
    return (item.key,) if isinstance(item, Operation) else ()


def operations_of(item: model.Item) -> tuple[Operation, ...]:
    """Lists the operations of an item."""
    if isinstance(item, Operation):
        return (item,)
    return item.operations if isinstance(item, model.Linked) else ()


def _replay(prior: model.Prior, item: Operation) -> Outcome:
    """Gives the first outcome again, or refuses other content by field; a reused id is no outcome of its own."""
    differing = fingerprints.differing_fields(prior, item)
    if differing:
        return Outcome(replayed=False, refusal=kernel_errors.request_id_reused(differing))
    return Outcome(replayed=True, posting=prior.outcome.posting, refusal=prior.outcome.refusal)
