"""Budgets: what earns come out of, exactly. Pure.

A batch locks one shard of each budget that it takes from. Where that one does not do, `NeedsWholeBudgetError` asks for
the batch to be run again with all of them locked; what is left is then spread evenly, so that the next batches find it.

The feed tells of the use of a budget at looks: of the workers every few seconds, and before and after value is put in
and before the budget is closed, so that neither hides what was reached before. Earns look at nothing: they would have
to lock all shards.
"""

from collections.abc import Sequence

from services.kernel import ids
from services.ledger import errors, model
from services.ledger.model import Budget, Kind, Operation, Posting
from services.ledger.state import State


class NeedsWholeBudgetError(Exception):
    """A batch needs more of a budget than the shard that it has locked."""

    def __init__(self, budget_id: str) -> None:
        super().__init__(budget_id)
        self.budget_id = budget_id


def find_open(state: State, budget_id: str, asset: str | None) -> Budget:
    """Gives a budget that can be taken from. Raises BUDGET_NOT_FOUND and BUDGET_CLOSED."""
    budget = state.budgets.get(budget_id)
    if budget is None or (asset is not None and budget.asset != asset):
        raise errors.budget_not_found(budget_id)
    if budget.is_closed:
        raise errors.budget_closed(budget_id)
    return budget


def check_left(budget: Budget, amount: int) -> None:
    """Makes sure that a budget has an amount left. Raises BUDGET_EXHAUSTED and NeedsWholeBudgetError."""
    if budget.remaining >= amount:
        return
    if not budget.is_whole:
        raise NeedsWholeBudgetError(budget.budget_id)
    raise errors.budget_exhausted(budget.budget_id, budget.remaining, amount)


def take(state: State, budget: Budget, amount: int, *, is_pending: bool) -> None:
    """Takes an amount that the budget has: given, or held while the earn is pending."""
    state.save(budget)
    for shard in budget.shards:
        taken = min(shard.remaining, amount)
        shard.remaining -= taken
        amount -= taken
        if is_pending:
            shard.held += taken
        else:
            shard.given += taken
    assert amount == 0, "The budget was found to have it."
    if budget.is_whole:
        _spread(budget)
    budget.is_changed = True


def confirm(state: State, budget: Budget, amount: int) -> None:
    """Turns what a pending earn holds into what is given."""
    state.save(budget)
    budget.shards[0].held -= amount
    budget.shards[0].given += amount
    budget.is_changed = True


def put_back(state: State, budget: Budget, amount: int, *, was_pending: bool) -> int:
    """Returns an amount and tells what the budget has of it again: nothing where it was closed."""
    state.save(budget)
    shard = budget.shards[0]
    if was_pending:
        shard.held -= amount
    else:
        shard.given -= amount
    budget.is_changed = True
    if budget.is_closed:
        return 0
    shard.remaining += amount
    return amount


def fund(state: State, item: Operation) -> Posting:
    """Puts value into a budget."""
    assert item.budget_id is not None, "A funding names its budget."
    budget = find_open(state, item.budget_id, None)
    if not budget.is_whole:
        raise NeedsWholeBudgetError(budget.budget_id)
    if budget.remaining + item.amount > model.BALANCE_MAX:
        raise errors.balance_limit(model.BALANCE_MAX)
    watch(state, budget)
    state.save(budget)
    budget.shards[0].remaining += item.amount
    budget.is_changed = True
    _spread(budget)
    state.record(item, None, budget_id=item.budget_id, budget_amount=item.amount)
    watch(state, budget)
    return Posting(state.now, item.amount)


def close(state: State, item: Operation) -> Posting:
    """Closes a budget and takes out what it has left."""
    assert item.budget_id is not None, "A closing names its budget."
    budget = find_open(state, item.budget_id, None)
    if not budget.is_whole:
        raise NeedsWholeBudgetError(budget.budget_id)
    watch(state, budget)
    state.save(budget)
    left = budget.remaining
    for shard in budget.shards:
        shard.remaining, shard.is_closed = 0, True
    budget.is_changed = True
    state.record(item, None, budget_id=item.budget_id, budget_amount=-left if left else None)
    return Posting(state.now, left)


def watch(state: State, budget: Budget) -> int:
    """Tells of the shares that an open budget has come to since the look before, and gives the number of them.

    Once each: a share is told again where a look in between found use below it.
    """
    assert budget.is_whole, "A look is at all shards."
    mark = state.alert_marks[budget.budget_id]
    used, left = budget.used, budget.remaining
    reached = reached_percents(mark.percents, used=used, left=left)
    told_percent = reached[-1] if reached else 0
    if budget.is_closed or told_percent == mark.told_percent:
        return 0
    state.save(mark)
    due = [percent for percent in reached if percent > mark.told_percent]
    for percent in due:
        mark.alert_count += 1
        # Counted, so that it is one row however many look at the same time, and another one the next time.
        key = ids.derived_id("budget-share-reached", budget.budget_id, str(percent), str(mark.alert_count))
        row = model.Row(key, 0, Kind.ALERT, state.now, budget_id=budget.budget_id)
        row.detail = {"percent": percent, "left": left, "funded": left + used}
        state.rows.append(row)
    mark.told_percent, mark.is_changed = told_percent, True
    return len(due)


def reached_percents(percents: Sequence[int], *, used: int, left: int) -> list[int]:
    """Tells which shares of what was put in are used, the smallest first; of nothing, none is."""
    return [percent for percent in percents if used > 0 and used * 100 >= (used + left) * percent]


def _spread(budget: Budget) -> None:
    """Spreads what is left evenly over the shards, the first ones taking what cannot be divided."""
    each, more = divmod(budget.remaining, len(budget.shards))
    for index, shard in enumerate(budget.shards):
        shard.remaining = each + (index < more)
