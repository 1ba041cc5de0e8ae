"""What the feed tells of a budget's use: each share once when it is reached, whatever happens between two looks."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, db, ids
from services.ledger import model
from services.ledger.operations import budgets
from services.ledger.store import members
from tests.ledger.test_budgets import alerts
from tests.ledger.test_linked import link
from tests.ledger.test_server import assert_sound
from tests.support.budgets import create_budget, get_budget
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import cancel, claw_back, close, earn, fund
from tests.support.outcomes import happen, reasons
from tests.support.waiting import eventually

BOTH_AT_TEN = [(80, 0, 10), (100, 0, 10)]
WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def look(ledger: LedgerHarness) -> list[tuple[int, int, int]]:
    """Has the budgets watched twice, of which the second time tells nothing, and gives all that was told so far."""
    await budgets.watch_budgets(ledger.ledger)
    assert await budgets.watch_budgets(ledger.ledger) == 0
    return await alerts(ledger)


@pytest.mark.parametrize("shards", [1, 5])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("change", [fund("f2", "b", 90), close("c", "b")], ids=["fund", "close"])
async def test_change_of_budget_loses_no_alert(
    ledger: LedgerHarness, shards: int, at_once: bool, change: ledger_pb2.Operation
) -> None:
    """What was used is told though more is put in, or the budget is closed, before anybody looks at it."""
    await create_budget(ledger, shard_count=shards)
    operations = [fund("f1", "b", 10), earn("e1", amount=10, budget_id="b"), change]
    for some in [operations] if at_once else [[each] for each in operations]:
        await happen(ledger, *some)

    assert await alerts(ledger) == BOTH_AT_TEN
    await happen(ledger, claw_back("k", "e1", 1))
    assert await look(ledger) == BOTH_AT_TEN
    await assert_sound(ledger)


async def test_fund_that_leaves_a_share_reached_tells_it_no_more(ledger: LedgerHarness) -> None:
    """A share that stays reached however often a little is put in was told once, and for all."""
    await create_budget(ledger, shard_count=3)
    await happen(ledger, fund("f", "b", 1000), earn("e", amount=950, budget_id="b"))
    first = await look(ledger)
    for number in range(3):
        await happen(ledger, fund(f"f{number}", "b", 1))
        assert await look(ledger) == first

    assert first == [(80, 50, 1000)]


@pytest.mark.parametrize("is_seen", [False, True])
async def test_fund_lets_a_share_be_told_again(ledger: LedgerHarness, is_seen: bool) -> None:
    """A share below which a budget is once more was put in is told again when it is reached, seen in between or not."""
    await create_budget(ledger, shard_count=3)
    await happen(ledger, fund("f1", "b", 10), earn("e1", amount=8, budget_id="b"))
    assert await look(ledger) == [(80, 2, 10)]
    await happen(ledger, fund("f2", "b", 10))
    if is_seen:
        assert await look(ledger) == [(80, 2, 10)]
    await happen(ledger, earn("e2", amount=8, budget_id="b"))

    assert await look(ledger) == [(80, 2, 10), (80, 4, 20)]


async def test_give_back_lets_a_share_be_told_again(ledger: LedgerHarness) -> None:
    """A share is told again once use was seen below it, and not where use came back to it unseen."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 10), earn("e1", amount=8, budget_id="b", pending=True))
    assert await look(ledger) == [(80, 2, 10)]
    await happen(ledger, cancel("k1", "e1"), earn("e2", amount=9, budget_id="b"))
    assert await look(ledger) == [(80, 2, 10)]
    await happen(ledger, claw_back("k2", "e2", 2))
    assert await look(ledger) == [(80, 2, 10)]
    await happen(ledger, earn("e3", amount=1, budget_id="b"))

    # With as much left of as much as before.
    assert await look(ledger) == [(80, 2, 10), (80, 2, 10)]


async def wait_for(pool: db.Pool, count: int) -> None:
    """Waits until so many transactions are held up by a lock."""

    async def are_there() -> bool:
        return bool(await pool.fetchval(WAITERS) == count)

    await eventually(are_there)


@pytest.mark.parametrize("change", [fund("f2", "b", 90), close("c", "b")], ids=["fund", "close"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [0, 2, 1]], ids=["last", "first", "between"])
async def test_alert_raced_by_watchers_and_change_is_told_once(
    ledger: LedgerHarness,
    databases: Databases,
    ledger_database: str,
    time: clock.ManualClock,
    change: ledger_pb2.Operation,
    order: list[int],
) -> None:
    """Workers that look while the budget is funded or closed tell together what one of them would have told."""
    await create_budget(ledger, shard_count=4)
    await happen(ledger, fund("f1", "b", 10), earn("e1", amount=10, budget_id="b"))
    dsn, pool = databases.dsn(ledger_database, "ledger"), ledger.ledger.pool
    async with run_ledger(dsn, time) as second, run_ledger(dsn, time) as third:
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: budgets.watch_budgets(ledger.ledger),
            lambda: budgets.watch_budgets(second.ledger),
            lambda: third.post(change),
        ]
        async with asyncio.TaskGroup() as tasks, pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM budget_shards WHERE program_id = 'demo' FOR UPDATE")
            for count, index in enumerate(order, start=1):
                tasks.create_task(calls[index]())
                await wait_for(pool, count)

    assert await look(ledger) == BOTH_AT_TEN
    await assert_sound(ledger)


async def test_fund_raced_by_64_callers_tells_once(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """Many who put more in at the same time tell once what was used before the first of them."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 10), earn("e", amount=10, budget_id="b"))
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*((ledger, other)[each % 2].post(fund(f"f{each}", "b", 1)) for each in range(64)))

    assert await look(ledger) == BOTH_AT_TEN
    assert (await get_budget(ledger)).funded == 74


async def test_refused_link_leaves_its_alert_to_the_next_look(ledger: LedgerHarness) -> None:
    """A funding that is undone with what it is linked to tells nothing, and keeps nothing from being told."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 10), earn("e", amount=10, budget_id="b"))
    results = await link(ledger, fund("f2", "b", 90), fund("f3", "unknown", 1))

    assert reasons(results) == ["LINKED_REFUSED", "BUDGET_NOT_FOUND"]
    assert await alerts(ledger) == []
    assert await look(ledger) == BOTH_AT_TEN


async def test_alert_of_older_code_is_told_no_more(ledger: LedgerHarness) -> None:
    """What older code told, which knew a share by what had been put in, is not told again by this one."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 10), earn("e", amount=9, budget_id="b"))
    pool = ledger.ledger.pool
    key = ids.derived_id("budget-alert", "b", "80", "10")
    detail = {"percent": 80, "left": 1, "funded": 10}

    async def tell(connection: db.Connection) -> None:
        now = await ledger.ledger.time.now(connection)
        row = model.Row(key, 0, model.Kind.ALERT, now, budget_id="b", detail=detail)
        await members.insert_request(connection, "demo", now, row, "")
        await connection.execute("UPDATE budgets SET told_percent = NULL")

    await db.transaction(pool, tell)
    assert await look(ledger) == [(80, 1, 10)]
    await happen(ledger, earn("e2", amount=1, budget_id="b"))
    assert await look(ledger) == [(80, 1, 10), (100, 0, 10)]


@dataclass
class Rule:
    """What is to be told, share by share, of each look at a budget: the rule in other words."""

    percents: tuple[int, ...]
    left: int = 0
    earned: dict[str, int] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    told: list[tuple[int, int, int]] = field(default_factory=list)

    def look(self) -> None:
        """Takes down what a look finds reached that the look before did not."""
        used = sum(self.earned.values())
        share = Fraction(used, self.left + used) if used else Fraction(0)
        now = {percent for percent in self.percents if share >= Fraction(percent, 100)}
        self.told += [(percent, self.left, self.left + used) for percent in sorted(now - self.reached)]
        self.reached = now


def choose(rule: Rule, name: str, fate: random.Random) -> ledger_pb2.Operation:
    """Chooses what happens next to a budget, and has the rule know of it."""
    dice = fate.random()
    backed = [each for each, amount in rule.earned.items() if amount]
    if backed and dice < 0.25:
        target = fate.choice(backed)
        amount = fate.randint(1, rule.earned[target])
        rule.left, rule.earned[target] = rule.left + amount, rule.earned[target] - amount
        return claw_back(name, target, amount)
    if rule.left and dice < 0.75:
        amount = fate.choice([rule.left, fate.randint(1, rule.left)])
        rule.left, rule.earned[name] = rule.left - amount, amount
        return earn(name, f"m{name}", amount, budget_id="b")
    amount = fate.choice([1, 1, 8, 64])
    rule.look()
    rule.left += amount
    rule.look()
    return fund(name, "b", amount)


@pytest.mark.parametrize("seed", range(4))
async def test_alerts_follow_the_rule(ledger: LedgerHarness, seed: int) -> None:
    """Whatever happens to a budget, with looks at any time, its alerts are those that the rule asks for, in order."""
    fate = random.Random(seed)
    rule = Rule((25, 50, 80, 100))
    await create_budget(ledger, shard_count=fate.choice([1, 3]), alert_percents=rule.percents)
    for step in range(40):
        await happen(ledger, *(choose(rule, f"{step}.{each}", fate) for each in range(fate.randint(1, 4))))
        if fate.random() < 0.4:
            rule.look()
            await budgets.watch_budgets(ledger.ledger)
        assert await alerts(ledger) == rule.told
    rule.look()
    await happen(ledger, close("c", "b"))

    assert await look(ledger) == rule.told
    assert len(rule.told) > 10
    await assert_sound(ledger)
