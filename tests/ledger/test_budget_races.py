"""Budgets with many at once: never a unit over what was put in, used to the last one, and nobody stuck."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, db
from services.ledger import model
from services.ledger.store import loading
from tests.ledger.test_server import assert_sound
from tests.support.budgets import create_budget, get_budget
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import cancel, claw_back, close, confirm, earn, fund

CALLERS = 64
CAP = 1_000_000


@dataclass
class Books:
    """What callers were told of a budget, added up."""

    given: int = 0
    held: int = 0
    refused: list[str] = field(default_factory=list)
    pending: dict[str, int] = field(default_factory=dict)

    def add(self, operation: ledger_pb2.Operation, result: ledger_pb2.OperationResult) -> None:
        """Takes down what was answered to what was asked."""
        amount = result.posting.amount
        if result.HasField("refusal"):
            self.refused.append(result.refusal.reason)
            return
        match operation.WhichOneof("action"):
            case "earn" if operation.earn.pending:
                self.held += amount
            case "earn":
                self.given += amount
            case "confirm_earn":
                self.held, self.given = self.held - amount, self.given + amount
            case "cancel_earn":
                self.held -= amount
            case _:
                self.given -= sum(part.amount for part in result.posting.allocations)


def choose(name: str, earned: dict[str, bool], fate: random.Random) -> ledger_pb2.Operation:
    """Chooses what a caller does next: earns, pending or not, and what becomes of its own earlier ones."""
    dice = fate.random()
    pending = [each for each, is_pending in earned.items() if is_pending]
    if pending and dice < 0.3:
        target = fate.choice(pending)
        earned.pop(target)
        return confirm(name, target) if dice < 0.2 else cancel(name, target)
    if earned and dice < 0.4:
        return claw_back(name, fate.choice(list(earned)), fate.randint(0, 600))
    earned[name] = fate.random() < 0.4
    return earn(name, f"m{fate.randrange(200)}", fate.randint(1, 2000), budget_id="b", pending=earned[name])


@pytest.mark.parametrize("shards", [1, 16])
async def test_budget_raced_never_passes_its_cap(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock, shards: int
) -> None:
    """64 callers over two servers earn, confirm, cancel and take back: the budget is what they were told."""
    await create_budget(ledger, shard_count=shards)
    await ledger.post(fund("f", "b", CAP))
    books = Books()

    async def call(server: LedgerHarness, number: int) -> None:
        fate = random.Random(number)
        earned: dict[str, bool] = {}
        for step in range(3):
            asked = [choose(f"{number}.{step}.{each}", earned, fate) for each in range(20)]
            for operation, result in zip(asked, await server.post(*asked), strict=True):
                books.add(operation, result)
            budget = await get_budget(server)
            assert (budget.funded, budget.left >= 0) == (CAP, True)

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*(call((ledger, other)[number % 2], number) for number in range(CALLERS)))
    budget = await get_budget(ledger)
    assert (budget.given, budget.held, budget.left) == (books.given, books.held, CAP - books.given - books.held)
    assert "BUDGET_EXHAUSTED" in books.refused
    await assert_sound(ledger)


async def told_in_order(ledger: LedgerHarness) -> list[Any]:
    """Reads what happened to the budget and what was refused, in the order of commits."""
    query = "SELECT kind, budget_amount, refusal FROM journal ORDER BY partition, position"
    return list(await ledger.ledger.pool.fetch(query))


async def test_sharded_budget_is_used_up_before_it_refuses(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """A budget of 16 sub-accounts refuses nothing that all of them have together, and ends with nothing left."""
    await create_budget(ledger, shard_count=16)
    await ledger.post(fund("f", "b", CAP))

    async def call(server: LedgerHarness, number: int) -> None:
        fate = random.Random(number)
        for step in range(3):
            name = f"{number}.{step}"
            amounts = [fate.randint(1, 800) for _ in range(20)]
            asked = [earn(f"{name}.{each}", f"m{number}", amount, budget_id="b") for each, amount in enumerate(amounts)]
            await server.post(*asked)

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*(call((ledger, other)[number % 2], number) for number in range(CALLERS)))
        await ledger.post(*(earn(f"last.{each}", amount=1, budget_id="b") for each in range(500)))
    left, refused = 0, 0
    for row in await told_in_order(ledger):
        left += row["budget_amount"] or 0
        if row["refusal"]:
            refused += 1
            metadata = row["refusal"]["metadata"]
            assert int(metadata["left"]) == left < int(metadata["requested"])
    assert refused > 0
    assert (await get_budget(ledger)).given == CAP
    await assert_sound(ledger)


async def test_close_raced_with_earns_ends_them(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """While others earn and cancel, a closing takes out what is left, and the budget moves no more."""
    await create_budget(ledger, shard_count=16)
    await ledger.post(fund("f", "b", CAP))

    async def call(server: LedgerHarness, number: int) -> None:
        for step in range(5):
            name = f"{number}.{step}"
            await server.post(
                earn(f"e{name}", f"m{number}", 3, budget_id="b"),
                earn(f"p{name}", f"m{number}", 5, budget_id="b", pending=True),
            )
            await server.post(
                cancel(f"c{name}", f"p{name}") if step % 2 else confirm(f"c{name}", f"p{name}"),
                claw_back(f"k{name}", f"e{name}", 1),
                *([close(f"close-{number}", "b")] if step == 2 and number % 8 == 0 else []),
            )

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*(call((ledger, other)[number % 2], number) for number in range(CALLERS)))
    rows = await told_in_order(ledger)
    ends = [place for place, row in enumerate(rows) if row["kind"] == "CLOSE" and not row["refusal"]]
    moved = [row["budget_amount"] for row in rows if row["budget_amount"]]
    budget = await get_budget(ledger)

    assert len(ends) == 1
    assert {row["budget_amount"] for row in rows[ends[0] + 1 :]} == {None}
    assert {row["refusal"]["reason"] for row in rows[ends[0] :] if row["refusal"]} >= {"BUDGET_CLOSED"}
    assert sum(moved) == budget.left == 0
    assert budget.funded == budget.given + budget.held
    await assert_sound(ledger)


async def test_budgets_of_one_call_do_not_wait_for_each_other(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """Calls that name many budgets in other orders, some nearly empty, all end, each unit given once."""
    names = [f"b{number:02}" for number in range(12)]
    for name in names:
        await create_budget(ledger, name, shard_count=5)
        await ledger.post(fund(f"f-{name}", name, 400))

    async def call(server: LedgerHarness, number: int) -> list[ledger_pb2.OperationResult]:
        fate = random.Random(number)
        found = []
        for step in range(4):
            order = fate.sample(names, len(names))
            found += await server.post(
                *(earn(f"{number}.{step}.{name}", f"m{fate.randrange(30)}", 3, budget_id=name) for name in order)
            )
        return found

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        answers = await asyncio.gather(*(call((ledger, other)[number % 2], number) for number in range(CALLERS)))
    results = [result for found in answers for result in found]
    assert {result.refusal.reason for result in results} == {"", "BUDGET_EXHAUSTED"}
    for name in names:
        budget = await get_budget(ledger, name)
        assert (budget.given, budget.left) == (399, 1)
    await assert_sound(ledger)


async def test_scarce_budget_is_locked_whole_at_once(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one sub-account did not do, the next calls ask for all of them at once, until one does again."""
    locked: list[bool] = []
    lock = loading.lock_budgets

    async def record(connection: db.Connection, program_id: str, picks: dict[str, int]) -> dict[str, model.Budget]:
        locked.append(picks["b"] < 0)
        return await lock(connection, program_id, picks)

    monkeypatch.setattr(loading, "lock_budgets", record)
    await create_budget(ledger, shard_count=16)

    async def ask(operation: ledger_pb2.Operation) -> tuple[str, list[bool]]:
        locked.clear()
        [result] = await ledger.post(operation)
        return result.refusal.reason, list(locked)

    assert await ask(fund("f1", "b", 160)) == ("", [True])
    assert await ask(earn("e1", amount=10, budget_id="b")) == ("", [False])
    assert await ask(earn("e2", amount=40, budget_id="b")) == ("", [False, True])
    assert await ask(earn("e3", amount=111, budget_id="b")) == ("BUDGET_EXHAUSTED", [True])
    assert await ask(earn("e4", amount=5, budget_id="b")) == ("", [True])
    assert await ask(earn("e5", amount=5, budget_id="b")) == ("", [False])
    assert await ask(earn("e6", amount=101, budget_id="b")) == ("BUDGET_EXHAUSTED", [False, True])
    assert await ask(close("c", "b")) == ("", [True])
    assert await ask(earn("e7", amount=1, budget_id="b")) == ("BUDGET_CLOSED", [False])
