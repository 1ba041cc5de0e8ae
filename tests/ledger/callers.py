"""Callers who want to be told what became of what they asked for: they ask again under the same ids until they are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from plaudit.ledger.v1 import (
    budget_service_pb2,
    budget_service_pb2_grpc,
    ledger_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
)

from services.kernel import interceptors, refusals
from tests.ledger.mixture import BUDGETS, FLEETING, Call, Mixture
from tests.support.accounts import Account
from tests.support.harness import LEDGER_SCOPES, credential
from tests.support.waiting import eventually

# How long a caller waits for an answer before it asks again: well above what an answer takes.
ANSWER_WAIT_S = 5.0
AGAIN = ("DEPENDENCY_UNAVAILABLE", "DEADLINE_EXCEEDED", "DRAINING", "QUEUE_FULL")
# Callers that ask again at the same time: more would keep the machine from what they wait for.
ASKING_AGAIN_MAX = 2
REPEAT_MAX = 500
RATES = (("points", "credits", 3, 2), ("credits", "points", 2, 5))
# The methods for one operation, by its action, where they are not called as the action is.
METHODS = {"hold": "PlaceHold", "capture": "CaptureHold", "release": "ReleaseHold"}


def metadata() -> list[tuple[str, str]]:
    """Gives the credential of a caller."""
    return credential("demo", LEDGER_SCOPES)


@dataclass
class Callers:
    """Callers of one ledger, whose account is what they were told."""

    channel: grpc.aio.Channel
    mixture: Mixture
    account: Account = field(default_factory=Account)
    asked: int = 0
    asked_again: int = 0
    # Operations that had happened, or had been refused, when their first answer came: the one before it was lost.
    told_late: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        """Makes the stubs."""
        self._turns = asyncio.Semaphore(ASKING_AGAIN_MAX)
        self.ledger = ledger_service_pb2_grpc.LedgerServiceStub(self.channel)
        self.budgets = budget_service_pb2_grpc.BudgetServiceStub(self.channel)
        self.single = operation_service_pb2_grpc.OperationServiceStub(self.channel)

    async def ask(self, method: Any, request: Any) -> Any:
        """Calls until there is an answer, and gives it; gives a refusal that stands as a DomainError."""
        answer = await self._try(method, request)
        if answer is None:
            async with self._turns:
                answer = await eventually(lambda: self._try(method, request))
        return answer

    async def _try(self, method: Any, request: Any) -> Any:
        self.asked += 1
        try:
            return await method(request, metadata=metadata(), timeout=ANSWER_WAIT_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            refusal = interceptors.from_error(error, dependency="ledger")
            if not refusal.is_transient:
                return refusal
            assert refusal.reason in AGAIN, refusal
            self.asked_again += 1
            return None

    async def post(self, call: Call) -> list[ledger_pb2.OperationResult]:
        """Posts all operations of a call at once."""
        request = ledger_service_pb2.PostOperationsRequest(operations=call.operations, linked=call.linked)
        response = await self.ask(self.ledger.PostOperations, request)
        known = self.account.results.keys()
        self.told_late += sum(result.replayed and result.request_id not in known for result in response.results)
        self.account.add(call.operations, response.results, linked=call.linked)
        return list(response.results)

    async def post_single(self, operation: ledger_pb2.Operation) -> None:
        """Posts an operation by the method that is for it alone."""
        action = operation.WhichOneof("action") or ""
        method = METHODS.get(action, action.title().replace("_", ""))
        request = getattr(operation_service_pb2, f"{method}Request")(
            request_id=operation.request_id, **{action: getattr(operation, action)}
        )
        answer = await self.ask(getattr(self.single, method), request)
        result = ledger_pb2.OperationResult(request_id=operation.request_id)
        if isinstance(answer, Exception):
            result.refusal.CopyFrom(refusals.to_proto(answer))  # type: ignore[arg-type]
        else:
            result.posting.CopyFrom(answer.posting)
        self.account.add([operation], [result])

    async def prepare(self) -> None:
        """Makes budgets and rates, and gives everybody something to begin with."""
        for budget_id in BUDGETS:
            what: dict[str, Any] = {"alert_percents": [50, 90], "shard_count": 4 if budget_id == "split" else 1}
            request = budget_service_pb2.CreateBudgetRequest(
                budget_id=budget_id, asset="points", request_id=f"create-{budget_id}", **what
            )
            await self.ask(self.budgets.CreateBudget, request)
        for source, target, numerator, denominator in RATES:
            rate = budget_service_pb2.SetExchangeRateRequest(
                from_asset=source,
                to_asset=target,
                numerator=numerator,
                denominator=denominator,
                request_id=f"rate-{source}",
            )
            await self.ask(self.budgets.SetExchangeRate, rate)

    async def run(self, number: int) -> None:
        """Lets one caller call until all are stopped; what it was told it asks for once more now and then."""
        fate, step = self.mixture.fate, 0
        while not self.stopped:
            step += 1
            call = self.mixture.draw(f"{number}.{step}")
            if len(call.operations) == 1 and not call.linked and fate.random() < 0.5:
                await self.post_single(call.operations[0])
            else:
                await self.post(call)
            if fate.random() < 0.1:
                await self.post(call)

    async def assert_told(self) -> None:
        """Asks for everything once more, which must have been answered before, and compares all sums."""
        before = dict(self.account.results)
        operations = list(self.account.operations.values())
        for start in range(0, len(operations), REPEAT_MAX):
            again = await self.post(Call(operations[start : start + REPEAT_MAX]))
            assert [result.request_id for result in again if not result.replayed] == []
        assert self.account.results == before
        self.account.assert_ends_once()
        await self._assert_balances()
        for budget_id, standing in self.account.budgets().items():
            request = budget_service_pb2.GetBudgetRequest(budget_id=budget_id)
            standing.assert_told((await self.ask(self.budgets.GetBudget, request)).budget)

    async def _assert_balances(self) -> None:
        standings = self.account.standings()
        member_ids: Sequence[str] = sorted({member_id for member_id, _ in standings})
        request = ledger_service_pb2.BatchGetBalancesRequest(member_ids=member_ids)
        response = await self.ask(self.ledger.BatchGetBalances, request)
        told = {(each.member_id, balance.asset): balance for each in response.members for balance in each.balances}
        for owner, standing in standings.items():
            # Who holds nothing and had nothing to be found has no wallet, which is as good as an empty one.
            balance = told.get(owner, ledger_pb2.Balance())
            standing.assert_told(balance)
            assert owner[0] == FLEETING or balance.held == standing.held
