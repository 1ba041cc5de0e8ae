"""Seals in tests: what an outsider needs to verify them, and somebody who may change everything."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import asyncpg
from plaudit.ledger.v1 import ledger_pb2, seal_service_pb2

from services.kernel import clock
from services.ledger.operations import sealing
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential

MINUTE = timedelta(minutes=1)
SEALED_TABLES = ("journal", "seal_blocks", "seal_heads", "feed_heads")
Problem = tuple[str, int, int]  # flaw, block, position


@dataclass
class Verified:
    """What all calls of a verification told together."""

    problems: list[seal_service_pb2.SealProblem]
    blocks: int = 0
    rows: int = 0
    heads: int = 0
    calls: int = 0
    partitions: Sequence[seal_service_pb2.SealedPartition] = ()

    def found(self) -> set[Problem]:
        """Gives the problems without their sentences."""
        return {(flaw_of(each), each.block_number, each.position) for each in self.problems}

    def blocks_named(self) -> set[int]:
        """Gives the numbers of the blocks that have problems."""
        return {each.block_number for each in self.problems}


def flaw_of(problem: seal_service_pb2.SealProblem) -> str:
    """Names a flaw without its prefix."""
    return seal_service_pb2.SealFlaw.Name(problem.flaw).removeprefix("SEAL_FLAW_")


async def seal_now(ledger: LedgerHarness, time: clock.ManualClock) -> int:
    """Lets a minute pass, and seals all that was posted before."""
    time.value += MINUTE
    return await sealing.seal_due(ledger.ledger)


async def seal_each(ledger: LedgerHarness, time: clock.ManualClock, *blocks: Sequence[ledger_pb2.Operation]) -> None:
    """Posts and seals operations, a block for each sequence of them."""
    for operations in blocks:
        await ledger.post(*operations)
        await seal_now(ledger, time)


async def verify(ledger: LedgerHarness, *, program: str = "demo", **asked: Any) -> Verified:
    """Verifies to the end, call by call."""
    told, token = Verified([]), ""
    while told.calls == 0 or token:
        request = seal_service_pb2.VerifySealRequest(page_token=token, **asked)
        response = await ledger.seals.VerifySeal(request, metadata=credential(program, LEDGER_SCOPES))
        assert response.problem_count == len(response.problems)
        told.problems += response.problems
        told.blocks += response.block_count
        told.rows += response.row_count
        told.heads += response.head_count
        told.calls += 1
        told.partitions = response.partitions
        token = response.next_page_token
    return told


async def prove(
    ledger: LedgerHarness, request_id: str = "", *, program: str = "demo", leg: int = 0, entry_id: str = ""
) -> seal_service_pb2.GetInclusionProofResponse:
    """Asks for a proof."""
    request = seal_service_pb2.GetInclusionProofRequest(request_id=request_id, leg=leg, entry_id=entry_id)
    return await ledger.seals.GetInclusionProof(request, metadata=credential(program, LEDGER_SCOPES))


async def head_of(
    ledger: LedgerHarness, day: str = "", *, program: str = "demo"
) -> seal_service_pb2.GetSealHeadResponse:
    """Asks for a head, of this moment where no day is named."""
    request = seal_service_pb2.GetSealHeadRequest(day=day)
    return await ledger.seals.GetSealHead(request, metadata=credential(program, LEDGER_SCOPES))


async def list_blocks(
    ledger: LedgerHarness, *, program: str = "demo", **asked: Any
) -> list[seal_service_pb2.SealBlock]:
    """Lists a page of blocks, of 1,000 where no size is named."""
    request = seal_service_pb2.ListSealBlocksRequest(**{"page_size": 1000, **asked})
    response = await ledger.seals.ListSealBlocks(request, metadata=credential(program, LEDGER_SCOPES))
    return list(response.blocks)


def holds(proof: seal_service_pb2.GetInclusionProofResponse) -> bool:
    """Verifies a proof up to the hash of its block, with nothing but SHA-256, as an outsider would."""
    block = proof.block
    node, index, last = (
        sha256(b"\x00" + proof.content).digest(),
        proof.index,
        block.last_position - block.first_position,
    )
    for sibling in proof.siblings:
        while index == last and index % 2 == 0 and last > 0:
            index, last = index // 2, last // 2  # rises as it is
        pair = sibling + node if index % 2 else node + sibling
        node, index, last = sha256(b"\x01" + pair).digest(), index // 2, last // 2
    return block.root == node and node in block.header and sha256(b"\x02" + block.header).digest() == block.block_hash


@dataclass
class Tamperer:
    """A superuser of the database: no grant and, once `unbind` was called, no constraint is in the way."""

    connection: "asyncpg.Connection[asyncpg.Record]"

    async def unbind(self, *tables: str) -> None:
        """Drops every constraint of some tables."""
        rows = await self.connection.fetch(
            "SELECT conrelid::regclass AS place, conname FROM pg_constraint "
            "WHERE conrelid::regclass::text = ANY($1::text[]) AND contype <> 'n'",
            tables,
        )
        for row in rows:
            await self.connection.execute(f'ALTER TABLE {row["place"]} DROP CONSTRAINT "{row["conname"]}" CASCADE')
        columns = await self.connection.fetch(
            "SELECT attrelid::regclass AS place, attname FROM pg_attribute "
            "WHERE attrelid::regclass::text = ANY($1::text[]) AND attnum > 0 AND attnotnull AND NOT attisdropped",
            tables,
        )
        for row in columns:
            await self.connection.execute(f"ALTER TABLE {row['place']} ALTER COLUMN {row['attname']} DROP NOT NULL")

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Undoes at the end of the block what was done in it to journal, seals and feed: one database for many."""
        for table in SEALED_TABLES:
            await self.connection.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")
        yield
        for table in SEALED_TABLES:
            await self.connection.execute(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM kept_{table}")
            await self.connection.execute(f"DROP TABLE kept_{table}")

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Changes exactly what it says, and something."""
        done = await self.connection.execute(statement, *arguments)
        count = re.search(r"\d+$", done)
        assert count is None or int(count[0]) > 0, f"Nothing was done: {statement}"


def other_value(column: str, kind: str) -> str:
    """Writes an expression for another value of a column of a type."""
    match kind:
        case "bigint" | "integer" | "smallint":
            return f"coalesce({column}, 0) + 1"
        case "text":
            return f"coalesce({column}, '') || 'x'"
        case "bytea":
            return f"coalesce({column}, '') || '\\x00'::bytea"
        case "uuid":
            return "gen_random_uuid()"
        case "timestamp with time zone":
            return f"coalesce({column}, now()) + interval '1 microsecond'"
        case "jsonb":
            return f"coalesce({column}, '{{}}') || '{{\"x\": 1}}'"
    raise AssertionError(f"The journal has no {kind}.")
