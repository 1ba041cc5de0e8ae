"""What callers were told, added up: the simplest account there can be of what a ledger must hold."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from plaudit.ledger.v1 import budget_service_pb2, ledger_pb2

Owner = tuple[str, str]

# The field by which an operation names what it is about, where it names no member.
TARGETS = {
    "capture": "hold_request_id",
    "release": "hold_request_id",
    "reverse": "target_request_id",
    "confirm_earn": "earn_request_id",
    "cancel_earn": "earn_request_id",
    "claw_back": "target_request_id",
}
# What happens to a hold, a pending earn or a budget once at most.
ENDS = (("capture", "release"), ("confirm_earn", "cancel_earn"))
# What gives back a part of something, and never more of it than there was.
PARTS = ("reverse", "claw_back")


@dataclass
class Standing:
    """What a member must have of an asset; what time has ended since is left out."""

    earned: int = 0
    spent: int = 0
    adjusted: int = 0
    taken_back: int = 0
    held: int = 0
    pending: int = 0

    def assert_told(self, balance: ledger_pb2.Balance) -> None:
        """Compares with what the ledger tells, by which alone it is known what expired and what holds timed out."""
        assert balance.pending == self.pending
        assert balance.lifetime_earned == self.earned - self.pending
        assert (balance.lifetime_spent, balance.lifetime_adjusted) == (self.spent, self.adjusted)
        assert balance.lifetime_clawed_back + balance.debt == self.taken_back
        total = self.earned - self.spent + self.adjusted - balance.lifetime_clawed_back
        free = total - balance.lifetime_expired - balance.held - balance.pending
        assert balance.available == max(0, free - balance.debt)


@dataclass
class BudgetStanding:
    """What a budget must have given and hold."""

    funded: int = 0
    given: int = 0
    held: int = 0
    is_closed: bool = False

    def assert_told(self, budget: budget_service_pb2.Budget) -> None:
        """Compares with what the ledger tells."""
        left = 0 if self.is_closed else self.funded - self.given - self.held
        told = (budget.given, budget.held, budget.left, budget.closed)
        assert told == (self.given, self.held, left, self.is_closed)


@dataclass
class Account:
    """Collects results and says what they come to; a result that was given twice must be the same both times."""

    results: dict[str, ledger_pb2.OperationResult] = field(default_factory=dict)
    operations: dict[str, ledger_pb2.Operation] = field(default_factory=dict)

    def add(
        self,
        operations: Iterable[ledger_pb2.Operation],
        results: Iterable[ledger_pb2.OperationResult],
        *,
        linked: bool = False,
    ) -> None:
        """Takes down what was answered to what was asked; of linked operations all happened or none."""
        happened = set()
        for operation, result in zip(operations, results, strict=True):
            assert operation.request_id == result.request_id
            kept = ledger_pb2.OperationResult.FromString(result.SerializeToString())
            kept.replayed = False
            known = self.results.setdefault(result.request_id, kept)
            assert known == kept, "An id has one outcome for ever."
            self.operations[operation.request_id] = operation
            happened.add(result.HasField("posting"))
        assert not linked or len(happened) == 1, "Of linked operations all happen or none."

    def happened(self, *actions: str) -> list[tuple[ledger_pb2.Operation, ledger_pb2.Posting]]:
        """Lists what happened of some kinds of operations."""
        return [
            (self.operations[request_id], result.posting)
            for request_id, result in self.results.items()
            if result.HasField("posting") and self.operations[request_id].WhichOneof("action") in actions
        ]

    def owner_of(self, operation: ledger_pb2.Operation) -> Owner:
        """Tells whose wallet an operation is about, by what it is about where it does not say."""
        target = self.target_of(operation)
        if target is not None:
            return self.owner_of(target)
        action = getattr(operation, operation.WhichOneof("action") or "")
        return action.member_id, action.from_asset if operation.HasField("exchange") else action.asset

    def target_of(self, operation: ledger_pb2.Operation) -> ledger_pb2.Operation | None:
        """Gives the operation that another one is about, if any."""
        name = operation.WhichOneof("action") or ""
        if name not in TARGETS:
            return None
        return self.operations[getattr(getattr(operation, name), TARGETS[name])]

    def standings(self) -> dict[Owner, Standing]:
        """Tells what each member must have of each asset."""
        found: dict[Owner, Standing] = {}
        for request_id, result in self.results.items():
            operation = self.operations[request_id]
            if not result.HasField("posting") or operation.WhichOneof("action") in ("fund_budget", "close_budget"):
                continue
            self._count(found.setdefault(self.owner_of(operation), Standing()), operation, result.posting)
            if operation.HasField("exchange"):
                given = operation.exchange.member_id, operation.exchange.to_asset
                found.setdefault(given, Standing()).adjusted += result.posting.given
        return found

    def _count(self, standing: Standing, operation: ledger_pb2.Operation, posting: ledger_pb2.Posting) -> None:
        amount = posting.amount
        match operation.WhichOneof("action"):
            case "earn":
                standing.earned += amount
                standing.pending += amount * operation.earn.pending
            case "confirm_earn":
                standing.pending -= amount
            case "cancel_earn":
                standing.earned -= amount
                standing.pending -= amount
            case "spend":
                standing.spent += amount
            case "reverse":
                standing.spent -= amount
            case "hold":
                standing.held += amount
            case "release":
                standing.held -= amount
            case "capture":
                # Less than what was held may be spent; the rest is free again.
                standing.held -= self.results[operation.capture.hold_request_id].posting.amount
                standing.spent += amount
            case "claw_back":
                standing.taken_back += amount - posting.written_off
            case "adjust":
                standing.adjusted += amount if operation.adjust.change > 0 else -amount
            case "exchange":
                standing.adjusted -= amount

    def budgets(self) -> dict[str, BudgetStanding]:
        """Tells what each budget must have given and hold, of those that anything was put into."""
        found: dict[str, BudgetStanding] = {}
        for operation, posting in self.happened("fund_budget"):
            found.setdefault(operation.fund_budget.budget_id, BudgetStanding()).funded += posting.amount
        for operation, _ in self.happened("close_budget"):
            found.setdefault(operation.close_budget.budget_id, BudgetStanding()).is_closed = True
        for operation, posting in self.happened("earn", "confirm_earn", "cancel_earn", "claw_back"):
            earn = (self.target_of(operation) or operation).earn
            if not earn.budget_id:
                continue
            standing = found.setdefault(earn.budget_id, BudgetStanding())
            match operation.WhichOneof("action"):
                case "earn" if earn.pending:
                    standing.held += posting.amount
                case "earn":
                    standing.given += posting.amount
                case "confirm_earn":
                    standing.held -= posting.amount
                    standing.given += posting.amount
                case "cancel_earn":
                    standing.held -= posting.amount
                case "claw_back":
                    standing.given -= posting.amount - posting.written_off - posting.debt
        return found

    def assert_ends_once(self) -> None:
        """Fails where a hold, a pending earn or a budget was ended twice, or more came back than there was."""
        for actions in ENDS:
            ends = Counter(self._named(operation) for operation, _ in self.happened(*actions))
            assert [each for each, count in ends.items() if count > 1] == []
        closings = Counter(operation.close_budget.budget_id for operation, _ in self.happened("close_budget"))
        assert [each for each, count in closings.items() if count > 1] == []
        for action in PARTS:
            parts: Counter[str] = Counter()
            for operation, posting in self.happened(action):
                parts[self._named(operation)] += posting.amount
            assert [each for each, amount in parts.items() if amount > self.results[each].posting.amount] == []

    def _named(self, operation: ledger_pb2.Operation) -> str:
        target = self.target_of(operation)
        assert target is not None, "What ends or gives back names what it is about."
        return target.request_id
