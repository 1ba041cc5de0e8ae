"""What the ledger is compared with, on the same server in the same run: pgbench's TPC-B, and COPY of the same rows."""

import re
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.devstack.errors import CannotRunError
from services.devstack.postgres import EmbeddedPostgres, postgres_binary
from services.devstack.servers import environment
from services.kernel import db

DATABASE = "baseline"
CLIENTS = 20
SCALE = 10
TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
TABLES = ("journal", "lots")


def prepare_pgbench(server: EmbeddedPostgres) -> None:
    """Makes the tables of the built-in TPC-B-like script, at scale 10."""
    server.execute(f"CREATE DATABASE {DATABASE}")
    _run("-i", "-q", "-s", str(SCALE), server.dsn(DATABASE))


def pgbench(server: EmbeddedPostgres, seconds: int) -> float:
    """Runs the built-in TPC-B-like script with 20 clients; gives transactions a second."""
    output = _run("-c", str(CLIENTS), "-j", "2", "-T", str(seconds), server.dsn(DATABASE))
    found = TPS.search(output)
    if found is None:
        raise CannotRunError(f"pgbench told no rate: {output[-300:]}")
    return float(found[1])


def clear(server: EmbeddedPostgres) -> None:
    """Takes away what the baselines made, and has it written what they left to write: no later measure pays for it."""
    server.execute(f"DROP DATABASE {DATABASE}")
    server.execute("CHECKPOINT")


def _run(*arguments: str) -> str:
    result = subprocess.run(
        [postgres_binary("pgbench"), *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    if result.returncode:
        raise CannotRunError(f"pgbench ended with {result.returncode}: {result.stderr[-300:]}")
    return result.stdout


async def copy_same_rows(dsn: str, earns: int) -> float:
    """Copies all that the earns wrote into tables of the same shape and indexes, in one go; gives earns a second."""
    async with _connected(dsn) as connection:
        spent_s = 0.0
        with tempfile.TemporaryDirectory() as folder:
            for table in TABLES:
                path = Path(folder) / table
                await connection.copy_from_table(table, output=path, format="binary")
                await connection.execute(f"CREATE TABLE copied_{table} (LIKE {table} INCLUDING ALL)")
                started = time.perf_counter()
                await connection.copy_to_table(f"copied_{table}", source=path, format="binary")
                spent_s += time.perf_counter() - started
                await connection.execute(f"DROP TABLE copied_{table}")
        return earns / spent_s


async def bytes_per_earn(dsn: str, earns: int) -> float:
    """Measures the tables and indexes that an earn writes to, after a vacuum; gives bytes an earn."""
    async with _connected(dsn) as connection:
        total = 0
        for table in (*TABLES, "wallets"):
            await connection.execute(f"VACUUM {table}")
            total += await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table)
        return total / earns


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[db.Connection]:
    pool = await db.create_pool(dsn, service="bench", size_max=1)
    try:
        async with pool.acquire() as connection:
            yield connection
    finally:
        await pool.close()
