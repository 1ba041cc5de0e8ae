"""A process of a service: starts or says why not, drains when it is stopped, and is found again when it is back."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import interceptors, rpc
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, credential
from tests.support.ledger import earn, hold
from tests.support.processes import ROOT, ServedProcess, environment, free_address, ledger_process, run_process, serving
from tests.support.waiting import PATIENCE_S, eventually

GOOD = credential("demo", LEDGER_SCOPES)


@pytest.fixture
async def served(databases: Databases, ledger_database: str, tmp_path: Path) -> AsyncIterator[ServedProcess]:
    """Runs a ledger as a process of its own."""
    process = ledger_process(databases.dsn(ledger_database, "ledger"), free_address(), tmp_path / "log")
    async with run_process(process):
        await serving(address_of(process))
        yield process


def address_of(process: ServedProcess) -> str:
    """Tells where a process serves."""
    return process.variables["PLAUDIT_LEDGER_LISTEN"]


def records(process: ServedProcess) -> list[dict[str, Any]]:
    """Gives the log of a process, each line of which is JSON."""
    return [json.loads(line) for line in process.log()]


async def post(address: str, *operations: ledger_pb2.Operation) -> ledger_pb2.OperationResult:
    """Posts over a channel of its own, without retries, and gives the first result."""
    async with rpc.channel(address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        request = ledger_service_pb2.PostOperationsRequest(operations=operations)
        response = await stub.PostOperations(request, metadata=GOOD, timeout=PATIENCE_S)
        result: ledger_pb2.OperationResult = response.results[0]
        return result


async def is_refused(address: str) -> bool:
    """Tells whether new calls are refused: as draining, or because nobody listens any more."""
    async with rpc.channel(address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        try:
            await stub.GetBalances(ledger_service_pb2.GetBalancesRequest(member_id="m1"), metadata=GOOD)
        except grpc.aio.AioRpcError as error:
            refusal = interceptors.from_error(error, dependency="ledger")
            return refusal.reason in ("DRAINING", "DEPENDENCY_UNAVAILABLE")
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_server_lets_calls_end(
    served: ServedProcess, databases: Databases, ledger_database: str, number: signal.Signals
) -> None:
    """A server that is told to stop says so, refuses new calls, ends those under way well, and exits with 0."""
    admin = await databases.admin(ledger_database)
    transaction = admin.transaction()
    await transaction.start()
    # Holds up what writes and lets through what reads, by which it is seen whether calls are refused.
    await admin.execute("LOCK TABLE journal IN SHARE MODE")
    under_way = asyncio.create_task(post(address_of(served), earn("e1")))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await eventually(lambda: admin.fetchval(waiting))
    served.signal(number)
    await eventually(lambda: is_refused(address_of(served)))
    assert not under_way.done()
    await transaction.rollback()

    assert (await under_way).HasField("posting")
    assert await served.ended() == 0
    assert await admin.fetchval("SELECT count(*) FROM journal") == 1
    await admin.close()


async def test_idle_server_stops(served: ServedProcess) -> None:
    """A server with nothing to do exits with 0 when it is told to stop, and its log is whole JSON without errors."""
    await post(address_of(served), earn("e1"))
    served.signal(signal.SIGTERM)

    assert await served.ended() == 0
    assert {record["level"] for record in records(served)} == {"info"}


async def test_log_tells_calls_and_no_secrets(served: ServedProcess) -> None:
    """The log of a process has a line for each call, and neither credentials nor what a member is called."""
    operation = earn("e1", "ada@example.com")
    await post(address_of(served), operation)
    with pytest.raises(grpc.aio.AioRpcError):
        await post(address_of(served))
    served.signal(signal.SIGTERM)
    await served.ended()

    told = [record for record in records(served) if record["event"] == "rpc"]
    assert [(line["service"], line["program"], line["code"], line["reason"]) for line in told] == [
        ("ledger", "demo", "OK", ""),
        ("ledger", "demo", "INVALID_ARGUMENT", "FIELD_INVALID"),
    ]
    assert all(line["correlation_id"] and line["duration_ms"] >= 0 for line in told)
    text = "\n".join(served.log())
    for secret in (GOOD[0][1].removeprefix("Bearer "), "ada@example.com", served.variables["PLAUDIT_LEDGER_DSN"]):
        assert secret not in text


async def test_restarted_server_is_found_again(served: ServedProcess) -> None:
    """A channel that was open before a server was killed reaches the one that is started in its place."""
    address = address_of(served)
    async with rpc.channel(address) as channel:
        stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        request = ledger_service_pb2.PostOperationsRequest(operations=[earn("e1")])
        first = await stub.PostOperations(request, metadata=GOOD)
        for _ in range(2):
            await served.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.PostOperations(request, metadata=GOOD, timeout=PATIENCE_S)
            served.start()
            again = await stub.PostOperations(request, metadata=GOOD, timeout=PATIENCE_S, wait_for_ready=True)
            assert again.results[0].replayed
            assert again.results[0].posting == first.results[0].posting


async def test_process_killed_before_it_served_starts_again(served: ServedProcess) -> None:
    """A server that is killed at any moment leaves nothing that keeps the next one from starting."""
    for _ in range(3):
        await served.kill()
        served.start()
    await serving(address_of(served))

    assert (await post(address_of(served), earn("e1"))).HasField("posting")


async def test_worker_books_without_redis_and_stops(
    served: ServedProcess, databases: Databases, ledger_database: str, tmp_path: Path
) -> None:
    """A worker whose Redis is away does what is due all the same, and exits with 0 when it is told to stop."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    await post(address_of(served), earn("e1", at=past), hold("h1", timeout_s=1))
    admin = await databases.admin(ledger_database)
    await admin.execute("UPDATE holds SET expires_at = placed_at")
    variables = {**served.variables, "PLAUDIT_REDIS_URL": f"unix://{tmp_path}/nothing.sock"}
    async with run_process(
        ServedProcess(["-m", "services.ledger", "work"], variables, tmp_path / "work.log")
    ) as worker:
        await eventually(lambda: admin.fetchval("SELECT bool_and(state = 'TIMED_OUT') FROM holds"))
        worker.signal(signal.SIGTERM)

        assert await worker.ended() == 0
    assert {record["level"] for record in records(worker)} <= {"info", "warning"}
    await admin.close()


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs a process of the ledger to its end."""
    command = [sys.executable, "-m", "services.ledger", *arguments]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def test_start_with_bad_settings_names_them_all() -> None:
    """A process that cannot read its settings says what is wrong with each, shows no secret, and exits with 2."""
    result = run("serve", PLAUDIT_LEDGER_DSN="mysql://user:hunter2@host", PLAUDIT_LEDGER_LISTEN="here")

    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "PLAUDIT_LEDGER_DSN",
        "PLAUDIT_LEDGER_LISTEN",
        "PLAUDIT_TOKEN_PUBLIC_KEYS",
        "PLAUDIT_LEDGER_SEAL_KEY",
        "PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS",
    ]
    assert all(line.startswith("plaudit: ") for line in lines)
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve", "now"]], ids=str)
def test_start_in_unknown_role_tells_usage(arguments: list[str]) -> None:
    """A process that is asked for what it is not says what it can be."""
    result = run(*arguments)

    assert result.returncode == 2
    assert result.stderr.startswith("plaudit: usage: python -m services.ledger {serve,work,migrate")
    assert len(result.stderr.splitlines()) == 1


async def test_start_without_database_says_so(served: ServedProcess, tmp_path: Path) -> None:
    """A process whose database is away says so in one sentence and exits with 2."""
    dsn = f"postgresql://nobody@/nothing?host={tmp_path}"
    result = await asyncio.to_thread(run, "serve", **{**served.variables, "PLAUDIT_LEDGER_DSN": dsn})

    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("plaudit: DEPENDENCY_UNAVAILABLE: The database did not answer")


async def test_start_on_taken_address_says_so(served: ServedProcess) -> None:
    """A process whose address is taken says so in one sentence and exits with 2."""
    result = await asyncio.to_thread(run, "serve", **served.variables)

    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"plaudit: {address_of(served)} cannot be listened on; is it taken?"
