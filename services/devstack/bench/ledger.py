"""`./plaudit bench ledger`: how fast the ledger takes earns, beside pgbench and COPY on the same server."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.devstack import processes
from services.devstack.bench import baselines
from services.devstack.bench.figures import Figure, percentile
from services.devstack.bench.ledger_load import CALL_SIZE, Load, connect
from services.devstack.catalogue import LOOPBACK
from services.devstack.children import ROOT
from services.devstack.errors import CannotRunError
from services.devstack.ports import pick_one
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.readiness import grpc_state
from services.kernel import tokens

WALLETS = 20_000
START_WAIT_S = 20.0
IN_FLIGHT = 200
PACE = 500
LOG_LEVELS = ("plaudit:", "Error")
WARM_UP = 5 * CALL_SIZE

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How long the benchmark is: earns of each bulk measure, and seconds of each measure that is timed."""

    earns: int = 100_000
    seconds: int = 15


@dataclass(frozen=True)
class Bed:
    """A durable PostgreSQL and one ledger process on it."""

    server: EmbeddedPostgres
    load: Load


async def measure(size: Size, say: Say) -> list[Figure]:
    """Measures, one thing after the other, and tells what it is at. Raises CannotRunError."""
    async with bed(say) as found:
        load, server = found.load, found.server
        say("earns in calls of 1,000 over 20,000 wallets")
        await load.bulk(WARM_UP, WALLETS)
        uniform = await load.bulk(size.earns, WALLETS)
        say("the same, all to one wallet")
        hot = await load.bulk(size.earns, 1)
        say("COPY of the same rows")
        earns = 2 * size.earns + WARM_UP
        copied = await baselines.copy_same_rows(server.dsn("ledger"), earns)
        stored = await baselines.bytes_per_earn(server.dsn("ledger"), earns)
        say(f"earns one by one, {IN_FLIGHT} in flight")
        rate, crowded = await load.unary(size.seconds, IN_FLIGHT, WALLETS)
        say(f"earns one by one, {PACE} a second")
        paced = await load.paced(size.seconds, PACE, WALLETS)
        say("pgbench, TPC-B-like")
        transactions = await asyncio.to_thread(baselines.pgbench, server, size.seconds)
    return [
        Figure("earns in calls of 1,000, uniform over 20,000 wallets", uniform, "earns/s", 20_000),
        Figure("the same, all to one wallet", hot, "earns/s"),
        Figure("one wallet against uniform", hot / uniform, "times", 0.9),
        Figure(f"unary earns, {IN_FLIGHT} in flight, one process", rate, "earns/s", 3_000),
        Figure("their p99", 1000 * percentile(crowded, 0.99), "ms", 100, at_most=True),
        Figure(f"unary earns at {PACE} a second, p99", 1000 * percentile(paced, 0.99), "ms", 15, at_most=True),
        Figure("pgbench TPC-B-like, 20 clients, scale 10", transactions, "tps"),
        Figure("bulk earns against pgbench", uniform / transactions, "times", 7),
        Figure("COPY of the same rows into the same indexed tables", copied, "earns/s"),
        Figure("bulk earns against COPY", uniform / copied, "times", 0.4),
        Figure("bytes per earn, tables and indexes", stored, "bytes", 450, at_most=True),
    ]


@asynccontextmanager
async def bed(say: Say) -> AsyncIterator[Bed]:
    """Makes a bed in an empty directory, and takes it away again."""
    with tempfile.TemporaryDirectory(prefix="plaudit-bench-", ignore_cleanup_errors=True) as folder:
        say("starting PostgreSQL, fsync and synchronous_commit on")
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            server.create_databases(["ledger"])
            private_key = secrets.token_bytes(32)
            address = f"{LOOPBACK}:{pick_one(())}"
            ledger = await start_ledger(server, private_key, address, Path(folder) / "ledger.log")
            load, channel = connect(address, private_key, secrets.token_hex(4))
            try:
                yield Bed(server, load)
            finally:
                await channel.close()
                processes.end(ledger, [(signal.SIGTERM, START_WAIT_S)])


async def start_ledger(
    server: EmbeddedPostgres, private_key: bytes, address: str, log: Path
) -> "subprocess.Popen[bytes]":
    """Migrates and starts one ledger process, everything switched on, and waits until it serves."""
    variables = {
        "PLAUDIT_LEDGER_OWNER_DSN": server.dsn("ledger", "ledger_owner"),
        "PLAUDIT_LEDGER_DSN": server.dsn("ledger", "ledger"),
        "PLAUDIT_LEDGER_LISTEN": address,
        "PLAUDIT_TOKEN_PUBLIC_KEYS": b64encode(tokens.Minter(private_key).public_key()).decode(),
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")} | variables
    command = [sys.executable, "-P", "-m", "services.ledger"]
    migrated = processes.spawn([*command, "migrate"], log_path=log, env=env, cwd=ROOT)
    if await asyncio.to_thread(migrated.wait, START_WAIT_S):
        raise CannotRunError(f"the ledger's migrations failed: {processes.log_tail(log, since=0, levels=LOG_LEVELS)}")
    child = processes.spawn([*command, "serve"], log_path=log, env=env, cwd=ROOT)
    deadline = asyncio.get_running_loop().time() + START_WAIT_S
    while await grpc_state(address) != "SERVING":
        if child.poll() is not None or asyncio.get_running_loop().time() > deadline:
            raise CannotRunError(f"the ledger does not start: {processes.log_tail(log, since=0, levels=LOG_LEVELS)}")
        await asyncio.sleep(processes.POLL_S)
    return child
