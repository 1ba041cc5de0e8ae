"""Budgets: made once, told as they stand, listed by pages, and watched."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import budget_service_pb2, events_pb2

from services.devstack.redis import EmbeddedRedis
from services.kernel import errors, interceptors, jobs
from services.ledger import worker
from services.ledger.model import BALANCE_MAX
from services.ledger.operations import budgets
from services.ledger.seal import Keys
from tests.ledger.test_server import assert_sound
from tests.support.budgets import create_budget, get_budget, stub
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, PRIVATE_KEY, LedgerHarness, credential, run_ledger
from tests.support.ledger import cancel, claw_back, close, confirm, earn, fund
from tests.support.outcomes import happen, refused
from tests.support.refusals import refusal
from tests.support.waiting import eventually

CALLERS = 64


async def test_create_budget_again_gives_first_answer(ledger: LedgerHarness) -> None:
    """A request that is repeated gives the first answer, empty and open, however the budget stands by then."""
    first = await create_budget(ledger, asset="credits", alert_percents=[50], shard_count=3)
    await ledger.post(fund("f", "b", 100), close("c", "b"))
    again = await create_budget(ledger, asset="credits", alert_percents=[50], shard_count=3)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.budget == first.budget
    assert first.budget == budget_service_pb2.Budget(budget_id="b", asset="credits", alert_percents=[50], shard_count=3)


async def test_create_budget_without_choices_takes_defaults(ledger: LedgerHarness) -> None:
    """A budget that is asked for by its name and asset alone tells at 80 and 100 per cent and is one account."""
    budget = (await create_budget(ledger)).budget

    assert (list(budget.alert_percents), budget.shard_count) == ([80, 100], 1)
    assert await get_budget(ledger) == budget


async def test_create_budget_raced_by_64_callers_happens_once(ledger: LedgerHarness) -> None:
    """64 callers with one request make one budget and get equal answers."""
    made = await asyncio.gather(*(create_budget(ledger, shard_count=4) for _ in range(CALLERS)))

    assert sum(not each.replayed for each in made) == 1
    assert len({each.budget.SerializeToString(deterministic=True) for each in made}) == 1
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM budget_shards") == 4


async def test_create_budget_raced_for_one_id_has_one_winner(ledger: LedgerHarness) -> None:
    """64 requests for one budget id make it once, and all others are refused for ever."""

    async def ask(number: int) -> errors.DomainError | None:
        try:
            await create_budget(ledger, request_id=f"r{number}", shard_count=number % 3)
        except grpc.aio.AioRpcError as error:
            return interceptors.from_error(error, dependency="ledger")
        return None

    refused = [each for each in await asyncio.gather(*map(ask, range(CALLERS))) if each is not None]
    again = [each for each in await asyncio.gather(*map(ask, range(CALLERS))) if each is not None]
    told = {(each.code, each.reason, each.metadata["budgetId"]) for each in refused + again}
    assert told == {(errors.Code.ALREADY_EXISTS, "BUDGET_EXISTS", "b")}
    assert len(refused) == len(again) == CALLERS - 1


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"budget_id": "b2"}, ["budgetId"]),
        ({"asset": "credits"}, ["asset"]),
        ({"alert_percents": [80, 100]}, ["alertPercents"]),
        ({"shard_count": 1, "asset": "credits"}, ["asset", "shardCount"]),
    ],
)
async def test_create_budget_with_other_content_names_fields(
    ledger: LedgerHarness, change: dict[str, Any], fields: list[str]
) -> None:
    """A request id stands for what was first asked under it; what differs is named, and nothing is made."""
    await create_budget(ledger, request_id="r")
    refused = await refusal(create_budget(ledger, request_id="r", **change))

    assert (refused.reason, [each.field for each in refused.violations]) == ("REQUEST_ID_REUSED", fields)
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM budgets") == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"budget_id": ""}, "budgetId"),
        ({"budget_id": "a/b"}, "budgetId"),
        ({"asset": "Points"}, "asset"),
        ({"request_id": "x\0"}, "requestId"),
        ({"shard_count": 65}, "shardCount"),
        ({"shard_count": -1}, "shardCount"),
        ({"alert_percents": [0]}, "alertPercents"),
        ({"alert_percents": [50, 101]}, "alertPercents"),
        ({"alert_percents": [100, 80]}, "alertPercents"),
        ({"alert_percents": [80, 80]}, "alertPercents"),
        ({"alert_percents": list(range(1, 12))}, "alertPercents"),
    ],
)
async def test_create_budget_malformed_is_refused(ledger: LedgerHarness, change: dict[str, Any], field: str) -> None:
    """What a budget cannot be is refused by its field, and its ids stay free."""
    refused = await refusal(create_budget(ledger, **{"request_id": "r", **change}))

    assert (refused.reason, [each.field for each in refused.violations]) == ("FIELD_INVALID", [field])
    assert not (await create_budget(ledger, request_id="r")).replayed


async def test_get_budget_unknown_is_refused(ledger: LedgerHarness) -> None:
    """A budget that the program does not have is not found, though another program has one of that name."""
    await create_budget(ledger, program="other")
    refused = await refusal(get_budget(ledger))

    assert (refused.code, refused.reason) == (errors.Code.NOT_FOUND, "BUDGET_NOT_FOUND")
    assert dict(refused.metadata) == {"budgetId": "b"}


async def test_list_budgets_by_pages_is_the_whole(ledger: LedgerHarness) -> None:
    """Pages of any size put together are all budgets of the program by their ids, each as it stands."""
    names = [f"b{number:02}" for number in range(7)]
    for name in reversed(names):
        await create_budget(ledger, name, shard_count=3)
    await create_budget(ledger, "elsewhere", program="other")
    await ledger.post(fund("f", "b03", 10), earn("e", amount=4, budget_id="b03"))
    whole = [await get_budget(ledger, name) for name in names]
    for size in (1, 3, 7, 0):
        found: list[budget_service_pb2.Budget] = []
        token = ""
        for _ in names:
            request = budget_service_pb2.ListBudgetsRequest(page_size=size, page_token=token)
            page = await stub(ledger).ListBudgets(request, metadata=credential("demo", LEDGER_SCOPES))
            found += page.budgets
            token = page.next_page_token
            if not token:
                break
        assert found == whole
    assert (whole[3].funded, whole[3].given) == (10, 4)


async def test_list_budgets_with_strange_token_is_refused(ledger: LedgerHarness) -> None:
    """A token of another listing is refused."""
    for name in ("a", "b"):
        await create_budget(ledger, name)
    request = budget_service_pb2.ListBudgetsRequest(page_size=1)
    page = await stub(ledger).ListBudgets(request, metadata=credential("demo", LEDGER_SCOPES))
    other = budget_service_pb2.ListExchangeRatesRequest(page_token=page.next_page_token)
    refused = await refusal(stub(ledger).ListExchangeRates(other, metadata=credential("demo", LEDGER_SCOPES)))

    assert page.next_page_token
    assert [each.field for each in refused.violations] == ["pageToken"]


@pytest.mark.parametrize("shards", [1, 5])
async def test_budget_follows_its_earns(ledger: LedgerHarness, shards: int) -> None:
    """What is given, held and left follows each earn, what comes back of it, and the end, to the last unit."""
    await create_budget(ledger, shard_count=shards)

    async def after(*operations: Any) -> tuple[int, int, int, int]:
        results = await ledger.post(*operations)
        assert [each.refusal.reason for each in results if each.HasField("refusal")] == []
        budget = await get_budget(ledger)
        return budget.funded, budget.given, budget.held, budget.left

    assert await after(fund("f", "b", 1000)) == (1000, 0, 0, 1000)
    assert await after(earn("e1", amount=300, budget_id="b")) == (1000, 300, 0, 700)
    assert await after(earn("e2", amount=200, budget_id="b", pending=True)) == (1000, 300, 200, 500)
    assert await after(earn("e3", amount=100, budget_id="b", pending=True)) == (1000, 300, 300, 400)
    assert await after(confirm("k2", "e2")) == (1000, 500, 100, 400)
    assert await after(cancel("k3", "e3")) == (1000, 500, 0, 500)
    assert await after(claw_back("k1", "e1", 120)) == (1000, 380, 0, 620)
    assert await after(fund("f2", "b", 7)) == (1007, 380, 0, 627)
    assert await after(earn("e4", amount=27, budget_id="b", pending=True)) == (1007, 380, 27, 600)
    assert await after(close("c", "b")) == (407, 380, 27, 0)
    assert await after(claw_back("k4", "e2")) == (207, 180, 27, 0)
    assert await after(cancel("k5", "e4")) == (180, 180, 0, 0)
    await assert_sound(ledger)


async def test_budget_gives_its_own_asset_in_its_own_program(ledger: LedgerHarness) -> None:
    """A budget is unknown to earns of another asset, and to other programs, whatever they do about it."""
    await create_budget(ledger)
    await happen(ledger, fund("f", "b", 100))
    told = [await refused(ledger, earn("e1", asset="credits", budget_id="b"))]
    for operation in (earn("e1", budget_id="b"), fund("f", "b", 1), close("c", "b")):
        [result] = await ledger.post(operation, program="other")
        told.append((result.refusal.reason, dict(result.refusal.metadata)))

    assert told == [("BUDGET_NOT_FOUND", {"budgetId": "b"})] * 4
    assert (await get_budget(ledger)).left == 100


async def test_fund_fills_a_budget_to_its_limit(ledger: LedgerHarness) -> None:
    """A budget holds as much as a wallet may, to the unit, over all its sub-accounts; what it gave makes room."""
    await create_budget(ledger, shard_count=3)
    await happen(ledger, *(fund(f"f{number}", "b", 10**12) for number in range(1000)))
    reason = await refused(ledger, fund("over", "b", 1))
    await happen(ledger, earn("e1", amount=7, budget_id="b"), fund("fits", "b", 7))
    budget = await get_budget(ledger)

    assert reason == ("BALANCE_LIMIT", {"limit": str(BALANCE_MAX)})
    assert (budget.left, budget.given, budget.funded) == (BALANCE_MAX, 7, BALANCE_MAX + 7)
    await assert_sound(ledger)


async def alerts(ledger: LedgerHarness, program: str = "demo") -> list[tuple[int, int, int]]:
    """Reads what the feed tells of the budget b: per cent, what was left, what had been put in."""
    request = feed_service_pb2.ReadEventsRequest(max_events=10_000)
    found = []
    async for response in ledger.feed.ReadEvents(request, metadata=credential(program, LEDGER_SCOPES)):
        for event in response.events:
            if event.payload.type_url.endswith(events_pb2.BudgetThresholdReached.DESCRIPTOR.full_name):
                told = events_pb2.BudgetThresholdReached.FromString(event.payload.value)
                assert told.budget_id == "b"
                found.append((told.percent, told.left, told.funded))
    return found


async def test_watch_budgets_tells_each_share_once(ledger: LedgerHarness) -> None:
    """Each share is told when it is reached to the unit, again once use was below it, and never of a closed budget."""
    await create_budget(ledger, shard_count=7)
    await create_budget(ledger, "silent")

    async def after(*operations: Any) -> list[tuple[int, int, int]]:
        await ledger.post(*operations)
        before = await alerts(ledger)
        count = await budgets.watch_budgets(ledger.ledger)
        assert await budgets.watch_budgets(ledger.ledger) == 0
        new = (await alerts(ledger))[len(before) :]
        assert len(new) == count
        return new

    assert await after(fund("f1", "b", 1000), earn("e1", amount=799, budget_id="b")) == []
    assert await after(earn("e2", amount=1, budget_id="b", pending=True)) == [(80, 200, 1000)]
    assert await after(claw_back("k", "e1", 500)) == []
    assert await after(earn("e3", amount=700, budget_id="b")) == [(80, 0, 1000), (100, 0, 1000)]
    assert await after(fund("f2", "b", 1000)) == []
    assert await after(earn("e4", amount=1000, budget_id="b")) == [(80, 0, 2000), (100, 0, 2000)]
    assert await after(fund("f3", "b", 1000), close("c", "b"), claw_back("k4", "e4", 300)) == []
    await assert_sound(ledger)


async def test_watch_budgets_goes_on_behind_a_page(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets of all programs are watched, however few are looked at in one go."""
    monkeypatch.setattr(budgets, "BUDGETS_PER_ROUND", 2)
    for program in ("one", "two", "three"):
        for name in ("b", "b2", "b3"):
            await create_budget(ledger, name, program=program)
            await ledger.post(fund(f"f-{name}", name, 5), earn(f"e-{name}", amount=4, budget_id=name), program=program)

    assert await budgets.watch_budgets(ledger.ledger) == 9
    assert await budgets.watch_budgets(ledger.ledger) == 0


async def test_watch_budgets_raced_tells_once(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: Any
) -> None:
    """Workers that look at the same time tell together what one would."""
    await create_budget(ledger)
    await ledger.post(fund("f", "b", 10), earn("e", amount=10, budget_id="b"))
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*(budgets.watch_budgets(each.ledger) for _ in range(8) for each in (ledger, other)))

    assert await alerts(ledger) == [(80, 0, 10), (100, 0, 10)]


@pytest.fixture
async def working(
    ledger: LedgerHarness, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Runs the worker of the ledger, sweeping every second."""
    monkeypatch.setattr(jobs, "SWEEP_EVERY_S", 1)
    running = worker.build_worker(ledger.ledger, Keys(PRIVATE_KEY, ()), redis_server.url)
    task = asyncio.create_task(running.async_run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await running.close()


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
async def test_worker_watches_budgets(ledger: LedgerHarness, working: None) -> None:
    """The worker tells by itself what a budget has used."""
    del working
    await create_budget(ledger)
    await ledger.post(fund("f", "b", 10), earn("e", amount=8, budget_id="b"))

    async def is_told() -> bool:
        return await alerts(ledger) == [(80, 2, 10)]

    await eventually(is_told)
