"""Processes that die in the middle: nothing that was acknowledged is lost, nothing happens twice."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.devstack.postgres import EmbeddedPostgres
from services.kernel import db, interceptors, migrations, rpc
from services.ledger import checks
from tests.ledger.test_races import MEMBERS, choose
from tests.support.accounts import Account
from tests.support.databases import SERVICES
from tests.support.harness import LEDGER_SCOPES, credential
from tests.support.ledger import earn
from tests.support.processes import ServedProcess, free_address, ledger_process, run_process, serving
from tests.support.waiting import eventually

CLIENTS = 12
STEPS = 40
DEATHS = 3
# How long a client waits for an answer before it asks again: well above what an answer takes.
ANSWER_WAIT_S = 5.0
AGAIN = ("DEPENDENCY_UNAVAILABLE", "DEADLINE_EXCEEDED", "DRAINING", "QUEUE_FULL")


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """Runs a PostgreSQL of its own, which keeps what it was told through a crash, with a ledger's database."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("durable") / "data") as running:
        running.create_databases(["ledger"])
        folder = SERVICES / "ledger" / "sql" / "migrations"
        await migrations.migrate(running.dsn("ledger", "ledger_owner"), folder, role="ledger_service")
        yield running


@pytest.fixture
async def served(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[ServedProcess]:
    """Runs a ledger over it as a process of its own."""
    process = ledger_process(server.dsn("ledger", "ledger"), free_address(), tmp_path / "log")
    async with run_process(process):
        await serving(process.variables["PLAUDIT_LEDGER_LISTEN"])
        yield process


@dataclass
class Load:
    """Clients that post what they have to, and ask again under the same ids until they are answered."""

    stub: "ledger_service_pb2_grpc.LedgerServiceAsyncStub"
    account: Account = field(default_factory=Account)
    asked_again: int = 0

    async def post(self, operations: list[ledger_pb2.Operation]) -> None:
        """Posts until there is an answer."""
        await eventually(lambda: self._try(operations))

    async def _try(self, operations: list[ledger_pb2.Operation]) -> bool:
        request = ledger_service_pb2.PostOperationsRequest(operations=operations)
        metadata = credential("demo", LEDGER_SCOPES)
        try:
            response = await self.stub.PostOperations(request, metadata=metadata, timeout=ANSWER_WAIT_S)
        except grpc.aio.AioRpcError as error:
            refusal = interceptors.from_error(error, dependency="ledger")
            assert refusal.reason in AGAIN, refusal
            self.asked_again += 1
            return False
        self.account.add(operations, response.results)
        return True

    async def run(self) -> None:
        """Lets all clients post all they have to."""
        await self.post([earn(f"first-{member_id}", member_id, 300) for member_id in MEMBERS])

        async def client(number: int) -> None:
            fate = random.Random(number)
            for step in range(STEPS):
                await self.post(choose(number, step, fate))

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    async def repeat(self) -> None:
        """Posts everything once more: each answer must be the one that was given."""
        operations = list(self.account.operations.values())
        for start in range(0, len(operations), 500):
            await self.post(operations[start : start + 500])


async def survive(served: ServedProcess, server: EmbeddedPostgres, die: Callable[[], Awaitable[None]]) -> Load:
    """Loads a ledger while something dies again and again, and compares what it told with what it holds."""
    async with rpc.channel(served.variables["PLAUDIT_LEDGER_LISTEN"]) as channel:
        load = Load(ledger_service_pb2_grpc.LedgerServiceStub(channel))
        running = asyncio.create_task(load.run())
        for death in range(1, DEATHS + 1):
            enough = death * CLIENTS * STEPS // (DEATHS + 1)
            await eventually(lambda: running.done() or len(load.account.results) >= enough)  # noqa: B023 - see above
            assert not running.done()
            await die()
        await running
        before = dict(load.account.results)
        await load.repeat()

        assert load.account.results == before
        load.account.assert_ends_once()
        totals, held = load.account.totals(), load.account.held()
        for member_id in MEMBERS:
            request = ledger_service_pb2.GetBalancesRequest(member_id=member_id)
            response = await load.stub.GetBalances(request, metadata=credential("demo", LEDGER_SCOPES))
            [balance] = response.balances
            assert (balance.available + balance.held, balance.held) == (totals[member_id], held[member_id])
    await assert_sound(server, load.account)
    return load


async def assert_sound(server: EmbeddedPostgres, account: Account) -> None:
    """Replays the journal, and counts its outcomes: one for each id that was asked for, and no other."""
    pool = await db.create_pool(server.dsn("ledger", "ledger"), service="test")
    rows = await checks.check(pool)
    outcomes = await pool.fetchval("SELECT count(*) FROM journal WHERE fingerprint IS NOT NULL")
    await pool.close()

    assert [problem for row in rows for problem in row.problems] == []
    assert outcomes == len(account.results)


async def test_killed_server_loses_nothing(served: ServedProcess, server: EmbeddedPostgres) -> None:
    """While the server is killed under load, callers who ask again are told what then stands, each thing once."""

    async def die() -> None:
        await served.kill()
        served.start()

    load = await survive(served, server, die)
    assert load.asked_again > 0


async def test_killed_database_loses_nothing(served: ServedProcess, server: EmbeddedPostgres) -> None:
    """While PostgreSQL is killed under load, callers who ask again are told what then stands, each thing once."""

    async def die() -> None:
        server.kill()
        await server.start_async()

    load = await survive(served, server, die)
    assert load.asked_again > 0
    assert served.process is not None
    assert served.process.poll() is None
