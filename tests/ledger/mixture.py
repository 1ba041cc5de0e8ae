"""Calls of every kind that the ledger takes, drawn by chance: about what was asked for before, by anybody."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from plaudit.ledger.v1 import ledger_pb2

from tests.support import ledger as operations
from tests.support.accounts import TARGETS

# Of the last member time takes things away: its lots end and its holds time out within a second or two.
STEADY = tuple(f"m{number}" for number in range(7))
FLEETING = "brief"
MEMBERS = (*STEADY, FLEETING)
ASSETS = ("points", "points", "points", "credits")
# One whole, one in parts of which each is soon empty, and some that are closed at some time.
LASTING_BUDGETS = ("whole", "split")
BUDGETS = (*LASTING_BUDGETS, *(f"closing-{number}" for number in range(8)))
POLICIES = tuple(value for value in ledger_pb2.ClawBackPolicy.values() if value)
HOLD_S = 24 * 3600
# How far back an operation looks for what it is about: far enough for others to have been there first.
RECENT = 30

KINDS = {
    "earn": 24,
    "spend": 8,
    "hold": 12,
    "capture": 9,
    "release": 4,
    "reverse": 6,
    "confirm_earn": 5,
    "cancel_earn": 3,
    "claw_back": 6,
    "adjust": 6,
    "exchange": 5,
    "expire": 1,
    "unexpire": 1,
    "fund_budget": 6,
    "close_budget": 1,
}
TARGET_KINDS = {
    "capture": ("hold",),
    "release": ("hold",),
    "reverse": ("spend", "capture"),
    "confirm_earn": ("pending",),
    "cancel_earn": ("pending",),
    "claw_back": ("earn",),
}


@dataclass(frozen=True)
class Call:
    """One call to make: its operations, and whether all of them happen or none."""

    operations: list[ledger_pb2.Operation]
    linked: bool = False


@dataclass
class Mixture:
    """Draws calls; remembers the ids that it gave out, by what they are good for as targets."""

    fate: Random
    ids: dict[str, list[str]] = field(default_factory=dict)

    def draw(self, name: str) -> Call:
        """Draws a call, whose ids end in `name`: one linked in five."""
        if self.fate.random() < 0.2:
            return Call(self._linked(name), linked=True)
        kinds = self.fate.choices(list(KINDS), list(KINDS.values()), k=self.fate.randint(1, 4))
        return Call([self._operation(kind, f"{kind}-{name}.{number}") for number, kind in enumerate(kinds)])

    def _operation(self, kind: str, request_id: str) -> ledger_pb2.Operation:
        """Draws an operation of a kind."""
        if kind == "earn":
            return self._earn(request_id)
        self.ids.setdefault(kind, []).append(request_id)
        if kind in TARGETS:
            return self._about(kind, request_id, self._target(kind))
        if kind in ("fund_budget", "close_budget"):
            return self._budget(kind, request_id)
        return self._about_member(kind, request_id)

    def _earn(self, request_id: str) -> ledger_pb2.Operation:
        fate, what = self.fate, dict[str, Any]()
        member_id, asset = fate.choice(MEMBERS), fate.choice(ASSETS)
        is_pending = fate.random() < 0.25
        self.ids.setdefault("pending" if is_pending else "earn", []).append(request_id)
        if is_pending:
            what["pending"] = True
        if asset == "points" and fate.random() < 0.4:
            what["budget_id"] = fate.choice(BUDGETS)
        if fate.random() < 0.2:
            share = ledger_pb2.Cashback(base_amount=fate.randint(1, 5000), basis_points=fate.randint(1, 500))
            return operations.earn(request_id, member_id, 0, asset=asset, cashback=share, **what)
        ends = None
        if member_id == FLEETING and fate.random() < 0.7:
            ends = datetime.now(UTC) + timedelta(milliseconds=fate.randint(-200, 2000))
        return operations.earn(
            request_id, member_id, fate.randint(1, 60), asset=asset, expires=ends, priority=fate.randint(0, 2), **what
        )

    def _about(self, kind: str, request_id: str, target: str) -> ledger_pb2.Operation:
        """Makes an operation about an earlier one, of all of it or a part."""
        part = self.fate.choice((0, self.fate.randint(1, 20)))
        match kind:
            case "capture":
                return operations.capture(request_id, target, part)
            case "release":
                return operations.release(request_id, target)
            case "reverse":
                return operations.reverse(request_id, target, part)
            case "confirm_earn":
                return operations.confirm(request_id, target)
            case "cancel_earn":
                return operations.cancel(request_id, target)
            case _:
                return operations.claw_back(request_id, target, part, self.fate.choice(POLICIES))

    def _target(self, kind: str) -> str:
        """Draws what an operation is about: something recent that it may be about, or now and then anything."""
        kinds = TARGET_KINDS[kind] if self.fate.random() < 0.95 else tuple(self.ids)
        known = [each for name in kinds for each in self.ids.get(name, [])[-RECENT:]]
        return self.fate.choice(known) if known else "unknown"

    def _budget(self, kind: str, request_id: str) -> ledger_pb2.Operation:
        if kind == "close_budget":
            return operations.close(request_id, self.fate.choice(BUDGETS[len(LASTING_BUDGETS) :]))
        return operations.fund(request_id, self.fate.choice(BUDGETS), self.fate.randint(20, 200))

    def _about_member(self, kind: str, request_id: str) -> ledger_pb2.Operation:
        fate, now = self.fate, datetime.now(UTC)
        member_id, asset = fate.choice(MEMBERS), fate.choice(ASSETS)
        match kind:
            case "spend":
                return operations.spend(request_id, member_id, fate.randint(1, 60), asset=asset)
            case "hold":
                timeout_s = 1 if member_id == FLEETING else HOLD_S
                return operations.hold(request_id, member_id, fate.randint(1, 60), timeout_s=timeout_s, asset=asset)
            case "adjust":
                change = fate.choice((1, 1, -1)) * fate.randint(1, 50)
                return operations.adjust(request_id, member_id, change, asset=asset)
            case "exchange":
                source, target = fate.sample(("points", "credits"), 2)
                return operations.exchange(request_id, member_id, fate.randint(1, 40), source=source, target=target)
            case "expire":
                return operations.expire(request_id, member_id, asset=asset)
            case _:
                since = now - timedelta(seconds=fate.randint(1, 60))
                return operations.unexpire(request_id, member_id, since=since, until=now, asset=asset)

    def _linked(self, name: str) -> list[ledger_pb2.Operation]:
        """Draws operations that belong together, some of which refuse the others now and then."""
        fate, member_id = self.fate, self.fate.choice(MEMBERS)
        first, second, third = (f"{part}-{name}" for part in ("a", "b", "c"))
        amount = fate.randint(1, 80)
        match fate.randrange(4):
            case 0:
                self.ids.setdefault("earn", []).append(first)
                held = operations.hold(second, member_id, amount, timeout_s=HOLD_S)
                return [operations.earn(first, member_id, 10), held, operations.capture(third, second, 5)]
            case 1:
                self.ids.setdefault("spend", []).append(first)
                bought = operations.earn(second, member_id, amount, asset="credits")
                return [operations.spend(first, member_id, amount), bought]
            case 2:
                budget_id = fate.choice(BUDGETS)
                earned = operations.earn(second, member_id, amount, budget_id=budget_id)
                return [
                    operations.fund(first, budget_id, 40),
                    earned,
                    operations.adjust(third, fate.choice(MEMBERS), 1),
                ]
            case _:
                self.ids.setdefault("spend", []).append(first)
                taken = operations.spend(first, member_id, amount)
                returned = operations.reverse(second, first, min(amount, 3))
                return [taken, returned, operations.spend(third, fate.choice(MEMBERS), amount, asset="credits")]
