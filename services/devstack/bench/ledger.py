"""`./plaudit bench ledger`: how fast the ledger is, beside pgbench and COPY on the same server in the same run."""

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from services.devstack import processes
from services.devstack.bench import baselines, history
from services.devstack.bench.figures import Figure, Turns, of_turns, percentile
from services.devstack.bench.ledger_load import Load, connect
from services.devstack.catalogue import LOOPBACK
from services.devstack.children import ROOT
from services.devstack.errors import CannotRunError
from services.devstack.ports import pick_one
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.readiness import grpc_state
from services.devstack.redis import EmbeddedRedis
from services.kernel import db, tokens

WALLETS = 20_000
START_WAIT_S = 20.0
IN_FLIGHT = 200
PACE = 500
# With lots of 7 and spends of 10 they leave something in each wallet of 20 lots.
SPENDS_PER_WALLET = 10
CALLS = 300
CHECKED = 1_000_000
BOOKING_WAIT_S = 900.0
ROUNDS = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Keys:
    """The private keys of a bed: what signs tokens, and what signs seals."""

    tokens: bytes
    seals: bytes


class Start(Protocol):
    """Starts a role of the ledger; one that serves listens at an address."""

    def __call__(self, role: str, address: str = "") -> "subprocess.Popen[bytes]":
        """Starts it."""
        ...


@dataclass(frozen=True)
class Size:
    """How long the benchmark is.

    Operations of each bulk measure, seconds of each timed one, earns of the past that is added, lots that are due.
    """

    earns: int = 200_000
    seconds: int = 15
    history: int = 10_000_000
    due: int = 1_000_000


@dataclass(frozen=True)
class Bed:
    """A durable PostgreSQL, a ledger process on it and a client of it.

    `two_servers` starts a second one beside it, and gives a client of both; `start` starts another role.
    """

    server: EmbeddedPostgres
    load: Load
    pool: db.Pool
    start: Start
    two_servers: Callable[[], AbstractAsyncContextManager[Load]]


async def measure(size: Size, say: Say) -> list[Figure]:
    """Measures, one thing after the other, and tells what it is at. Raises CannotRunError."""
    async with bed(say) as found:
        await asyncio.to_thread(baselines.prepare_pgbench, found.server)
        figures, uniform, doubled = await _measure_earns(found, size, say)
        figures += await _measure_copy(found, doubled, say)
        await asyncio.to_thread(baselines.clear, found.server)
        figures += await _measure_calls(found, size, say)
        figures += await _measure_spends(found, size, say)
        figures += await _measure_past(found, size, uniform, say)
        figures += await _measure_booking(found, size, say)
    return figures


async def _measure_earns(found: Bed, size: Size, say: Say) -> tuple[list[Figure], float, float]:
    """Measures earns in calls of 1,000: by one process, which thinks on one core, and by two; and pgbench beside them.

    In turn, several times, since what else a machine does changes from minute to minute, and ratios are asked for.
    """
    load, each, turn_s = found.load, size.earns // ROUNDS, max(1, size.seconds // ROUNDS)
    await load.make_budget("campaign", 10**12)
    uniform, hot, budgeted, doubled, transactions = Turns(), Turns(), Turns(), Turns(), Turns(timed=True)
    async with found.two_servers() as both:
        turns: list[tuple[Turns, Callable[[], Awaitable[float]]]] = [
            (uniform, lambda: load.bulk(each, WALLETS)),
            (hot, lambda: load.bulk(each, 1)),
            (budgeted, lambda: load.bulk(each, WALLETS, budget_id="campaign")),
            (doubled, lambda: both.bulk(each, WALLETS)),
            (transactions, lambda: asyncio.to_thread(baselines.pgbench, found.server, turn_s)),
        ]
        # The first turn of each process counts for nothing: statements are prepared, and wallets become known.
        await load.bulk(each, WALLETS)
        await both.bulk(2 * each, WALLETS)
        for number in range(ROUNDS):
            say(
                "earns in calls of 1,000 over 20,000 wallets, to one wallet, from one budget; pgbench: "
                f"turn {number + 1} of {ROUNDS}"
            )
            # Another one begins each time, since what one leaves to write falls to the next.
            first = number % len(turns)
            for told, run in turns[first:] + turns[:first]:
                told.rates.append(await run())
    figures = [
        of_turns("earns in calls of 1,000, uniform over 20,000 wallets, one process", uniform, "earns/s", 20_000),
        of_turns("the same, two processes", doubled, "earns/s", 20_000),
        of_turns("one wallet against uniform", hot, "times", 0.9, against=uniform),
        of_turns("one budget against uniform", budgeted, "times", 0.9, against=uniform),
        of_turns("pgbench TPC-B-like, 20 clients, scale 10", transactions, "tps"),
        of_turns("bulk earns of two processes against pgbench", doubled, "times", 7, against=transactions),
    ]
    return figures, uniform.rate, doubled.rate


async def _measure_copy(found: Bed, doubled: float, say: Say) -> list[Figure]:
    """Measures what COPY makes of the same rows, with one core of this server, and what they take."""
    say("COPY of the same rows")
    # Each made a lot, and nothing else did so far.
    earns = await found.pool.fetchval("SELECT count(*) FROM lots")
    copied = await baselines.copy_same_rows(found.server.dsn("ledger"), earns)
    stored = await baselines.bytes_per_earn(found.server.dsn("ledger"), earns)
    return [
        Figure("COPY of the same rows into the same indexed tables", copied, "earns/s"),
        Figure("bulk earns of two processes against COPY", doubled / copied, "times", 0.4),
        Figure("bytes per earn, tables and indexes", stored, "bytes", 450, at_most=True),
    ]


async def _measure_calls(found: Bed, size: Size, say: Say) -> list[Figure]:
    say(f"earns one by one, {IN_FLIGHT} in flight")
    rate, crowded = await found.load.unary(size.seconds, IN_FLIGHT, WALLETS)
    say(f"earns one by one, {PACE} a second")
    paced = await found.load.paced(size.seconds, PACE, WALLETS)
    return [
        Figure(f"unary earns, {IN_FLIGHT} in flight, one process", rate, "earns/s", 3_000),
        Figure("their p99", 1000 * percentile(crowded, 0.99), "ms", 100, at_most=True),
        Figure(f"unary earns at {PACE} a second, p99", 1000 * percentile(paced, 0.99), "ms", 15, at_most=True),
    ]


async def _measure_spends(found: Bed, size: Size, say: Say) -> list[Figure]:
    say("spends in calls of 1,000, from wallets with 20 lots")
    wallets = max(1, size.earns // SPENDS_PER_WALLET)
    await history.add_earns(found.pool, "s", wallets=wallets, each=20)
    spends = await found.load.bulk_spends(size.earns, wallets, prefix="s")
    say("the same, two processes")
    await history.add_earns(found.pool, "t", wallets=wallets, each=20)
    async with found.two_servers() as both:
        doubled = await both.bulk_spends(size.earns, wallets, prefix="t")
    say("a wallet with 10,000 lots")
    await history.add_earns(found.pool, "b", wallets=1, each=10_000)
    balances = await found.load.time_balances(["b0"] * CALLS)
    taken = await found.load.time_spends(CALLS, "b0")
    return [
        Figure("spends in calls of 1,000, wallets with 20 lots, one process", spends, "spends/s", 8_000),
        Figure("the same, two processes", doubled, "spends/s", 8_000),
        Figure("balance of a wallet with 10,000 lots, p99", 1000 * percentile(balances, 0.99), "ms", 5, at_most=True),
        Figure("spend from it, p99", 1000 * percentile(taken, 0.99), "ms", 20, at_most=True),
    ]


async def _measure_past(found: Bed, size: Size, uniform: float, say: Say) -> list[Figure]:
    say("check of all so far, and of 1,000,000 earns of the past")
    checked = min(size.history, CHECKED)
    await history.add_earns(found.pool, "c", wallets=WALLETS, each=max(1, checked // WALLETS))
    sealed = await history.seal(found.pool)
    begun = time.perf_counter()
    if await asyncio.to_thread(found.start("check").wait):
        raise CannotRunError("the ledger does not add up after the benchmark")
    check_s = time.perf_counter() - begun
    entries = await found.pool.fetchval("SELECT count(*) FROM journal")
    say(f"adding {size.history:,} earns of the past")
    await history.add_earns(found.pool, "h", wallets=WALLETS, each=max(1, size.history // WALLETS))
    say("earns and balances with this past")
    later = await found.load.bulk(size.earns, WALLETS)
    members = [f"h{random.randrange(WALLETS)}" for _ in range(CALLS)]
    then = await found.load.time_balances(members, as_of=history.PAST + timedelta(days=30))
    return [
        Figure("sealing by one worker", sealed, "rows/s", 20_000),
        Figure(
            f"check of entries and their seals, for each million of {entries:,}",
            1_000_000 * check_s / entries,
            "s",
            30,
            at_most=True,
        ),
        Figure(f"cost of an earn with {size.history:,} earns before it", uniform / later, "times", 1.2, at_most=True),
        Figure(
            "balance at an instant of the past among them, p99", 1000 * percentile(then, 0.99), "ms", 20, at_most=True
        ),
    ]


async def _measure_booking(found: Bed, size: Size, say: Say) -> list[Figure]:
    say(f"booking {size.due:,} lots that are due, while {PACE} earns a second go on")
    each = max(1, size.due // WALLETS)
    await history.add_earns(found.pool, "d", wallets=WALLETS, each=each, expires_at=history.PAST + timedelta(days=365))
    # A worker that had been there all the time would have nothing to seal either.
    await history.seal(found.pool)
    worker = found.start("work")
    begun = time.perf_counter()
    paced: list[float] = []
    try:
        while await history.is_due(found.pool):
            paced += await found.load.paced(1, PACE, WALLETS)
            if time.perf_counter() - begun > BOOKING_WAIT_S:
                raise CannotRunError(f"the worker has not booked {size.due:,} lots in {BOOKING_WAIT_S:.0f} s")
        booking_s = time.perf_counter() - begun
    finally:
        processes.end(worker, [(signal.SIGTERM, START_WAIT_S)])
    return [
        Figure(f"booking {size.due:,} due lots", booking_s, "s", 60, at_most=True),
        Figure(
            f"unary earns at {PACE} a second meanwhile, p99", 1000 * percentile(paced, 0.99), "ms", 50, at_most=True
        ),
    ]


@asynccontextmanager
async def bed(say: Say) -> AsyncIterator[Bed]:
    """Makes a bed in an empty directory, and takes it away again."""
    with tempfile.TemporaryDirectory(prefix="plaudit-bench-", ignore_cleanup_errors=True) as folder:
        say("starting PostgreSQL, fsync and synchronous_commit on")
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            server.create_databases(["ledger"])
            keys = Keys(secrets.token_bytes(32), secrets.token_bytes(32))
            with EmbeddedRedis(Path(folder) / "redis") as redis:
                start = starter(server, redis.url, keys, Path(folder) / "ledger.log")
                async with _one_server(start, keys) as (address, load):
                    pool = await db.create_pool(server.dsn("ledger"), service="bench", size_max=2)
                    try:
                        yield Bed(server, load, pool, start, lambda: _two_servers(start, keys, address))
                    finally:
                        await pool.close()


@asynccontextmanager
async def _one_server(start: Start, keys: Keys) -> AsyncIterator[tuple[str, Load]]:
    address = f"{LOOPBACK}:{pick_one(())}"
    if await asyncio.to_thread(start("migrate").wait, START_WAIT_S):
        raise CannotRunError("the ledger's migrations failed")
    async with _serving(start, address), connect([address], keys.tokens) as load:
        yield address, load


@asynccontextmanager
async def _two_servers(start: Start, keys: Keys, first: str) -> AsyncIterator[Load]:
    second = f"{LOOPBACK}:{pick_one(())}"
    async with _serving(start, second), connect([first, second], keys.tokens) as load:
        yield load


def starter(server: EmbeddedPostgres, redis_url: str, keys: Keys, log: Path) -> Start:
    """Makes what starts a role of the ledger, everything switched on."""
    variables = {
        "PLAUDIT_LEDGER_OWNER_DSN": server.dsn("ledger", "ledger_owner"),
        "PLAUDIT_LEDGER_DSN": server.dsn("ledger", "ledger"),
        "PLAUDIT_REDIS_URL": redis_url,
        "PLAUDIT_TOKEN_PUBLIC_KEYS": b64encode(tokens.Minter(keys.tokens).public_key()).decode(),
        "PLAUDIT_LEDGER_SEAL_KEY": b64encode(keys.seals).decode(),
        "PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS": b64encode(tokens.Minter(keys.seals).public_key()).decode(),
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")} | variables
    return lambda role, address="": processes.spawn(
        [sys.executable, "-P", "-m", "services.ledger", role],
        log_path=log,
        env=env | {"PLAUDIT_LEDGER_LISTEN": address},
        cwd=ROOT,
    )


@asynccontextmanager
async def _serving(start: Start, address: str) -> AsyncIterator[None]:
    """Runs one ledger process, from when it serves."""
    child = start("serve", address)
    try:
        deadline = asyncio.get_running_loop().time() + START_WAIT_S
        while await grpc_state(address) != "SERVING":
            if child.poll() is not None or asyncio.get_running_loop().time() > deadline:
                raise CannotRunError("the ledger does not start")
            await asyncio.sleep(processes.POLL_S)
        yield
    finally:
        processes.end(child, [(signal.SIGTERM, START_WAIT_S)])
