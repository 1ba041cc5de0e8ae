"""Posting: every change of value goes through here, batched; each operation alone, or with those it is linked to."""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from services.kernel import batcher, clock, db, errors, feed
from services.ledger import batch, model
from services.ledger.decisions.budgets import NeedsWholeBudgetError
from services.ledger.model import Item, Operation, Outcome, Owner, Wallet
from services.ledger.operations.needs import Needs
from services.ledger.state import State
from services.ledger.store import alert_marks, loading, writing

# Wallets of owners that are known to exist; only a hint that saves a look, so it may forget.
KNOWN_OWNERS_MAX = 200_000
# How often a batch starts again because it needs more than it has locked: each time it asks for more.
ATTEMPTS_MAX = 100
# Budgets that are known to have little left in each sub-account; only a hint that saves an attempt, so it may forget.
SCARCE_BUDGETS_MAX = 10_000
# Asks for all sub-accounts of a budget instead of one.
WHOLE = -1


class NeedsWholeBudgetsError(Exception):
    """A batch needs all sub-accounts of some budgets of which it has locked one."""

    def __init__(self, budget_ids: set[str]) -> None:
        super().__init__(len(budget_ids))
        self.budget_ids = budget_ids


class LateTargetError(Exception):
    """What an operation is about came into being while the batch waited for its locks."""


class StaleOwnerError(Exception):
    """Owners have other wallets than it was thought: the members were forgotten, or another batch made theirs."""

    def __init__(self, owners: set[Owner]) -> None:
        super().__init__(len(owners))
        self.owners = owners


@dataclass
class Ledger:
    """The ledger over one database: everything is posted through `writes`, in transactions of `batch_max` at most."""

    pool: db.Pool
    time: clock.Clock
    batch_max: int = batcher.ITEMS_MAX
    _known: dict[str, dict[Owner, int]] = field(default_factory=dict)
    _scarce: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Starts the batcher that every write goes through."""
        self.writes: batcher.Batcher[Item, list[Outcome]] = batcher.Batcher(
            "ledger", self._run, items_max=self.batch_max, weigh=_weigh
        )

    async def post(
        self, program_id: str, operations: Sequence[Operation], *, linked: bool = False
    ) -> list[Outcome | errors.DomainError]:
        """Posts 1 to 1,000 operations, each judged alone, or all or none; gives their outcomes in order.

        Idempotent by request id, for ever. Raises QUEUE_FULL, DRAINING and DEPENDENCY_UNAVAILABLE for all of them; one
        that broke the ledger itself has a DomainError for its outcome.
        """
        items: list[Item] = [model.Linked(tuple(operations))] if linked else list(operations)
        outcomes: list[Outcome | errors.DomainError] = []
        for item, outcome in zip(items, await self.writes.submit(program_id, items), strict=True):
            if isinstance(outcome, errors.DomainError):
                outcomes += [outcome] * len(batch.operations_of(item))
            else:
                outcomes += outcome
        return outcomes

    async def post_one(self, program_id: str, operation: Operation) -> Outcome:
        """Posts one operation and gives its posting; raises its refusal."""
        [outcome] = await self.post(program_id, [operation])
        if isinstance(outcome, errors.DomainError):
            raise outcome
        if outcome.refusal is not None:
            raise outcome.refusal
        return outcome

    def forget(self, program_id: str, owners: Iterable[Owner]) -> None:
        """Stops knowing the wallets of some owners."""
        known = self._known.get(program_id, {})
        for owner in owners:
            known.pop(owner, None)

    async def _run(self, program_id: str, items: list[Item]) -> list[list[Outcome]]:
        whole: set[str] = set()
        for _ in range(ATTEMPTS_MAX):
            try:
                outcomes, made = await db.transaction(
                    self.pool, lambda connection: self._post(connection, program_id, items, whole)
                )
            except NeedsWholeBudgetsError as error:
                whole.update(error.budget_ids)
            except StaleOwnerError as error:
                self.forget(program_id, error.owners)
            except LateTargetError:
                continue  # It is there now.
            else:
                self._remember(program_id, made)
                return outcomes
        raise AssertionError("A batch names no more budgets than it has operations.")

    def _remember(self, program_id: str, made: dict[Owner, int]) -> None:
        """Knows wallets from now on: only after the commit, since one that was rolled back does not exist."""
        if made and sum(map(len, self._known.values())) > KNOWN_OWNERS_MAX:
            self._known.clear()
        self._known.setdefault(program_id, {}).update(made)

    async def _post(
        self, connection: db.Connection, program_id: str, items: list[Item], whole: set[str]
    ) -> tuple[list[list[Outcome]], dict[Owner, int]]:
        """Reads and locks in sorted order, decides, writes in bulk; tells the wallets that were not known, too."""
        needs = Needs.of(items)
        everyone = self._known.get(program_id, {})
        known = {owner: everyone[owner] for owner in needs.owners if owner in everyone}
        missing = sorted(needs.owners - known.keys())
        found, new = await loading.find_wallets(connection, program_id, missing) if missing else ({}, [])
        state = await self._load(connection, program_id, needs, wallet_ids=known | found, new=new)
        if not needs.is_simple(state):
            await self.load_lots(connection, program_id, state, needs)
            await self._load_rest(connection, program_id, state, needs, whole)
        outcomes = _decide(state, items)
        self._notice_scarcity(program_id, state, needs)
        made = await self._make_wallets(connection, program_id, state, new) if new else {}
        await self._write(connection, program_id, state, frozenset(made.values()))
        return outcomes, found | made

    async def _load(
        self,
        connection: db.Connection,
        program_id: str,
        needs: Needs,
        *,
        wallet_ids: dict[Owner, int],
        new: Iterable[Wallet],
    ) -> State:
        keys = sorted(needs.target_keys)
        targets = await loading.find_targets(connection, program_id, keys) if keys else {}
        locked = await loading.lock_wallets(
            connection, program_id, {*wallet_ids.values(), *(target.wallet_id for target in targets.values())}
        )
        wallets = {(wallet.member_id, wallet.asset): wallet for wallet in locked}
        if not wallet_ids.keys() <= wallets.keys():
            raise StaleOwnerError(wallet_ids.keys() - wallets.keys())
        wallets |= {(wallet.member_id, wallet.asset): wallet for wallet in new}
        # The time is taken once the locks are held, so that it never runs backwards within a wallet.
        database_now, prior = await loading.find_outcomes(connection, program_id, needs.keys)
        late = sorted(key for key in needs.target_keys & prior.keys() if key not in targets)
        if late and await loading.find_targets(connection, program_id, late):
            # An outcome that is given again here must not be unknown to what is about it.
            raise LateTargetError
        state = State(now=self.time.tell(database_now), wallets=wallets, prior=prior, targets=targets)
        state.awaited = needs.target_keys
        return state

    async def load_lots(self, connection: db.Connection, program_id: str, state: State, needs: Needs) -> None:
        """Reads the holds, takings and lots that operations need; locks nothing, since the wallets are locked."""
        roots = needs.roots(state)
        touched = needs.wallets_with_holds(state)
        rolling = needs.rolling_wallets(state)
        hold_ids = [target.hold_id for target in state.targets.values() if target.hold_id is not None]
        if hold_ids or touched or rolling:
            state.holds = await loading.read_holds(
                connection, program_id, sorted(hold_ids), over=touched, active=rolling, now=state.now
            )
        roots |= {hold.hold_id: hold.wallet_id for hold in state.holds.values()}
        if roots:
            state.takings = await loading.read_takings(
                connection, program_id, sorted(set(roots.values())), sorted(roots)
            )
        nothing = needs.earns_of_nothing(state)
        if nothing:
            state.undone = await loading.find_undone(connection, program_id, nothing)
        named = needs.named_lots(state)
        whole, opened, over = needs.wallets_of_lots(state)
        lots = []
        if named or whole or opened or over:
            lots += await loading.read_lots(
                connection, program_id, whole=whole, opened=opened, over=over, named=named, now=state.now
            )
        burnt = needs.burnt(state)
        if burnt:
            ordered = {each for each in burnt if not state.by_id[each].has_priorities}
            lots += await loading.read_burnable_lots(connection, program_id, burnt, ordered=ordered, now=state.now)
        for lot in lots:
            state.lots.setdefault(lot.wallet_id, {})[lot.number] = lot
        given_back = needs.lots_given_back(state)
        if given_back:
            # In the place of what is known of them already, since these know what they were made of.
            for lot in await loading.read_restored_lots(connection, program_id, given_back):
                state.lots[lot.wallet_id][lot.number] = lot

    async def _load_rest(
        self, connection: db.Connection, program_id: str, state: State, needs: Needs, whole: set[str]
    ) -> None:
        budget_ids = needs.budget_amounts.keys() | needs.whole_budget_ids
        budget_ids |= {target.budget_id for target in state.targets.values() if target.budget_id is not None}
        if budget_ids:
            whole = whole | needs.whole_budget_ids | {each for each in budget_ids if (program_id, each) in self._scarce}
            pick = random.randrange(model.SHARDS_MAX)
            picks = {each: WHOLE if each in whole else pick for each in budget_ids}
            state.budgets = await loading.lock_budgets(connection, program_id, picks)
        looked_at = [state.budgets[each] for each in sorted(needs.whole_budget_ids & state.budgets.keys())]
        if looked_at:
            state.alert_marks = await alert_marks.read_alert_marks(connection, program_id, looked_at)
        if needs.pairs:
            state.rates = await loading.read_rates(connection, program_id, sorted(needs.pairs))

    def _notice_scarcity(self, program_id: str, state: State, needs: Needs) -> None:
        """Knows budgets of which one sub-account would not have done, until one would do again."""
        if len(self._scarce) > SCARCE_BUDGETS_MAX:
            self._scarce.clear()
        for budget in state.budgets.values():
            if budget.is_whole and len(budget.shards) > 1:
                each = budget.remaining // len(budget.shards)
                if each < needs.budget_amounts[budget.budget_id] and not budget.is_closed:
                    self._scarce.add((program_id, budget.budget_id))
                else:
                    self._scarce.discard((program_id, budget.budget_id))

    async def _make_wallets(
        self, connection: db.Connection, program_id: str, state: State, new: Sequence[Wallet]
    ) -> dict[Owner, int]:
        """Stores the new wallets in which something happened; others stay unknown to the ledger, with their members.

        Raises StaleOwnerError where another batch was faster.
        """
        made = {(each.member_id, each.asset): each for each in new if not each.is_unheard_of}
        if made and not await writing.insert_wallets(connection, program_id, list(made.values())):
            raise StaleOwnerError(set(made))
        return {owner: wallet.wallet_id for owner, wallet in made.items()}

    async def _write(self, connection: db.Connection, program_id: str, state: State, made: Collection[int]) -> None:
        await writing.write_lots(connection, program_id, [lot for lots in state.lots.values() for lot in lots.values()])
        await writing.write_holds(connection, program_id, state.holds.values())
        await writing.insert_allocations(connection, program_id, state.allocations)
        await writing.update_wallets(
            connection, program_id, [each for each in state.wallets.values() if each.wallet_id not in made]
        )
        await writing.update_budgets(connection, program_id, state.budgets.values())
        await alert_marks.update_alert_marks(connection, program_id, state.alert_marks.values())
        if state.rows:
            records = writing.journal_records(program_id, state.now, state.rows)
            # Last, with nothing left to think about, since every writer of the program needs the heads.
            places = await feed.place(connection, program_id, [row.member_id for row in state.rows])
            await writing.insert_journal(connection, records, places)


def _decide(state: State, items: list[Item]) -> list[list[Outcome]]:
    """Decides items in order. Raises NeedsWholeBudgetsError, once for all of them."""
    machine = batch.Batch(state)
    outcomes, whole = [], set()
    for item in items:
        try:
            outcomes.append(machine.post(item))
        except NeedsWholeBudgetError as error:
            # What happened of a linked item stays for now: all is decided again.
            state.end()
            whole.add(error.budget_id)
    if whole:
        raise NeedsWholeBudgetsError(whole)
    return outcomes


def _weigh(item: Item) -> int:
    if isinstance(item, model.Booking):
        return item.weight
    return len(item.operations) if isinstance(item, model.Linked) else 1
