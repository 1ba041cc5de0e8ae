"""Load on a ledger over gRPC: earns and spends in calls of many, and one by one."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from plaudit.ledger.v1 import (
    budget_service_pb2,
    budget_service_pb2_grpc,
    ledger_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
)

from services.kernel import rpc, times, tokens

CALL_SIZE = 1000
CALLS_IN_FLIGHT = 4
PROGRAM = "bench"
EXPIRES = times.to_proto(datetime(2100, 1, 1, tzinfo=UTC))
OCCURRED = times.to_proto(datetime(2026, 1, 1, tzinfo=UTC))
CALL_TIMEOUT_S = 30.0
LOT_AMOUNT = 7
SPEND_AMOUNT = 10


@dataclass
class Load:
    """A client of the processes of one ledger, each asked in its turn; every earn it makes is new."""

    stubs: "Iterator[ledger_service_pb2_grpc.LedgerServiceAsyncStub]"
    budgets: "budget_service_pb2_grpc.BudgetServiceAsyncStub"
    identity: rpc.ServiceIdentity
    run: str

    def __post_init__(self) -> None:
        """Starts the numbers that make each earn a new one."""
        self._numbers = itertools.count()

    def earn(self, wallets: int, *, budget_id: str = "", prefix: str = "m") -> ledger_pb2.Operation:
        """Makes an earn as the program service does: with its cause, a past and an end."""
        number = next(self._numbers)
        event_id = f"{self.run}-{number}"
        return ledger_pb2.Operation(
            request_id=event_id,
            occur_time=OCCURRED,
            cause=ledger_pb2.Cause(event_id=event_id, rule_id="purchase-completed", rule_version=1),
            earn=ledger_pb2.Earn(
                member_id=f"{prefix}{number % wallets}",
                asset="points",
                amount=LOT_AMOUNT,
                expire_time=EXPIRES,
                budget_id=budget_id,
            ),
        )

    def spend(self, wallets: int, *, prefix: str, amount: int = SPEND_AMOUNT) -> ledger_pb2.Operation:
        """Makes a spend of a lot and a half."""
        number = next(self._numbers)
        return ledger_pb2.Operation(
            request_id=f"{self.run}-{number}",
            cause=ledger_pb2.Cause(redemption_id=f"{self.run}-{number}"),
            spend=ledger_pb2.Spend(member_id=f"{prefix}{number % wallets}", asset="points", amount=amount),
        )

    async def post(self, operations: list[ledger_pb2.Operation]) -> None:
        """Posts operations and makes sure that each happened."""
        _make_sure(await self._post(ledger_service_pb2.PostOperationsRequest(operations=operations)))

    async def _post(self, request: ledger_service_pb2.PostOperationsRequest) -> Any:
        metadata = self.identity.metadata(PROGRAM)
        return await next(self.stubs).PostOperations(request, metadata=metadata, timeout=CALL_TIMEOUT_S)

    async def bulk(self, count: int, wallets: int, *, budget_id: str = "", prefix: str = "m") -> float:
        """Makes `count` earns over some wallets in calls of 1,000, several at once; gives earns a second."""
        return await self._bulk([self.earn(wallets, budget_id=budget_id, prefix=prefix) for _ in range(count)])

    async def bulk_spends(self, count: int, wallets: int, *, prefix: str) -> float:
        """Makes `count` spends over some wallets in calls of 1,000, several at once; gives spends a second."""
        return await self._bulk([self.spend(wallets, prefix=prefix) for _ in range(count)])

    async def _bulk(self, operations: list[ledger_pb2.Operation]) -> float:
        """Posts operations in requests made before, and looks at the answers afterwards; gives operations a second.

        What a client does beside sending and receiving is its own, and would take time from the server's two cores.
        """
        requests = [
            ledger_service_pb2.PostOperationsRequest(operations=operations[start : start + CALL_SIZE])
            for start in range(0, len(operations), CALL_SIZE)
        ]
        waiting = iter(requests)

        async def work() -> list[Any]:
            return [await self._post(request) for request in waiting]

        started = time.perf_counter()
        answers = await asyncio.gather(*(work() for _ in range(CALLS_IN_FLIGHT)))
        elapsed_s = time.perf_counter() - started
        responses = [response for some in answers for response in some]
        for response in responses:
            _make_sure(response)
        assert sum(len(response.results) for response in responses) == len(operations), "Each operation has a result."
        return len(operations) / elapsed_s

    async def unary(self, seconds: float, in_flight: int, wallets: int) -> tuple[float, list[float]]:
        """Makes earns one a call, so many at once, for some seconds; gives earns a second and each call's seconds."""
        latencies: list[float] = []
        started = time.perf_counter()

        async def work() -> None:
            while (begun := time.perf_counter()) - started < seconds:
                await self.post([self.earn(wallets)])
                latencies.append(time.perf_counter() - begun)

        await asyncio.gather(*(work() for _ in range(in_flight)))
        return len(latencies) / (time.perf_counter() - started), latencies

    async def time_balances(self, member_ids: list[str], as_of: datetime | None = None) -> list[float]:
        """Asks for balances one after the other; gives each call's seconds."""
        latencies = []
        for member_id in member_ids:
            request = ledger_service_pb2.GetBalancesRequest(
                member_id=member_id, as_of_time=times.to_proto(as_of) if as_of else None
            )
            begun = time.perf_counter()
            response = await next(self.stubs).GetBalances(
                request, metadata=self.identity.metadata(PROGRAM), timeout=CALL_TIMEOUT_S
            )
            latencies.append(time.perf_counter() - begun)
            assert response.balances[0].lifetime_earned, "A balance that is measured is not empty."
        return latencies

    async def time_spends(self, count: int, member_id: str) -> list[float]:
        """Spends one after the other from one member; gives each call's seconds."""
        latencies = []
        for _ in range(count):
            operation = self.spend(1, prefix="")
            operation.spend.member_id = member_id
            begun = time.perf_counter()
            await self.post([operation])
            latencies.append(time.perf_counter() - begun)
        return latencies

    async def make_budget(self, budget_id: str, amount: int) -> None:
        """Makes a budget and puts value into it."""
        await self.budgets.CreateBudget(
            budget_service_pb2.CreateBudgetRequest(
                request_id=f"{self.run}-budget", budget_id=budget_id, asset="points", shard_count=8
            ),
            metadata=self.identity.metadata(PROGRAM),
            timeout=CALL_TIMEOUT_S,
        )
        funding = ledger_pb2.FundBudget(budget_id=budget_id, amount=amount)
        await self.post([ledger_pb2.Operation(request_id=f"{self.run}-funding", fund_budget=funding)])

    async def paced(self, seconds: float, rate: int, wallets: int) -> list[float]:
        """Makes earns one a call at a fixed rate, whether answers come or not; gives each call's seconds.

        A latency counts from when the call was due, so that a stall is not hidden by calls that were never made.
        """
        loop = asyncio.get_running_loop()
        latencies: list[float] = []
        begun = loop.time()

        async def one(due: float) -> None:
            await self.post([self.earn(wallets)])
            latencies.append(loop.time() - due)

        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * rate)):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                group.create_task(one(due))
        return latencies


def _make_sure(response: Any) -> None:
    wrong = [result for result in response.results if not result.HasField("posting") or result.replayed]
    assert not wrong, f"Every earn of a benchmark is new and happens: {wrong[:1]}"


@asynccontextmanager
async def connect(addresses: Sequence[str], private_key: bytes) -> AsyncIterator[Load]:
    """Connects to the processes of one ledger as a service may."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(rpc.channel(address)) for address in addresses]
        stubs = [ledger_service_pb2_grpc.LedgerServiceStub(channel) for channel in channels]
        budgets = budget_service_pb2_grpc.BudgetServiceStub(channels[0])
        scopes = ["ledger.write", "ledger.read"]
        identity = rpc.ServiceIdentity(tokens.Minter(private_key), service="bench", scopes=scopes)
        yield Load(itertools.cycle(stubs), budgets, identity, secrets.token_hex(4))
