"""Services as processes of their own: started, stopped and killed as on a machine."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.devstack import ports
from services.kernel import rpc
from tests.support.harness import MINTER, SEAL_KEY, SEAL_KEYS
from tests.support.starter import Forked, Starter
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def environment(**variables: str) -> dict[str, str]:
    """Gives the environment of a child: this tree on its path, and nothing of Plaudit's but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")]), **variables}


def free_address() -> str:
    """Gives an address on loopback that nobody listens on."""
    return f"127.0.0.1:{ports.pick_one(())}"


@dataclass
class ServedProcess:
    """One process of a service; its log is kept in a file. With a starter of that service it starts in a moment."""

    command: Sequence[str]
    variables: dict[str, str]
    log_path: Path
    process: "subprocess.Popen[bytes] | Forked | None" = None
    starter: Starter | None = None

    def start(self) -> None:
        """Starts the process without waiting for it."""
        if self.starter is not None:
            self.process = self.starter.start(self.command[2:], self.variables, self.log_path)
            return
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command], env=environment(**self.variables), stderr=log, stdout=log, cwd=ROOT
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Waits for the end of the process and gives its exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    async def kill(self) -> None:
        """Ends the process as a crash would."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def log(self) -> list[str]:
        """Gives the lines that it wrote, over all its starts."""
        return self.log_path.read_text().splitlines()


def ledger_process(dsn: str, address: str, log_path: Path) -> ServedProcess:
    """Makes a process that serves the ledger, for callers whose tokens the tests mint."""
    key = base64.b64encode(MINTER.public_key()).decode()
    variables = {
        "PLAUDIT_LEDGER_DSN": dsn,
        "PLAUDIT_LEDGER_LISTEN": address,
        "PLAUDIT_TOKEN_PUBLIC_KEYS": key,
        "PLAUDIT_LEDGER_SEAL_KEY": base64.b64encode(SEAL_KEY).decode(),
        "PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS": base64.b64encode(SEAL_KEYS.public_keys[0]).decode(),
    }
    return ServedProcess(["-m", "services.ledger", "serve"], variables, log_path)


def ledger_worker(dsn: str, redis_url: str, log_path: Path) -> ServedProcess:
    """Makes a process that does the ledger's jobs."""
    variables = {
        "PLAUDIT_LEDGER_DSN": dsn,
        "PLAUDIT_REDIS_URL": redis_url,
        "PLAUDIT_LEDGER_SEAL_KEY": base64.b64encode(SEAL_KEY).decode(),
    }
    return ServedProcess(["-m", "services.ledger", "work"], variables, log_path)


async def serving(address: str) -> None:
    """Waits until a server says that it serves."""
    async with rpc.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE_S)
        assert response.status == health_pb2.HealthCheckResponse.SERVING


def children_of(process_id: int) -> list[int]:
    """Lists the processes that a process has started and that live."""
    return [int(each) for each in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


@asynccontextmanager
async def run_process(process: ServedProcess) -> AsyncIterator[ServedProcess]:
    """Runs a process until the block ends, and leaves none behind."""
    process.start()
    try:
        yield process
    finally:
        if process.process is not None and process.process.poll() is None:
            await process.kill()


async def unavailable(address: str) -> bool:
    """Tells whether nobody answers at an address any more."""
    async with rpc.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAVAILABLE)
        return False
