"""Services in the test's own process: real servers on loopback over real databases, with a clock turned by hand."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from plaudit.feed.v1 import feed_service_pb2_grpc
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc, seal_service_pb2_grpc

from services.kernel import clock, db, rpc, times, tokens
from services.ledger import server as ledger_server
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Keys

PRIVATE_KEY = secrets.token_bytes(32)
MINTER = tokens.Minter(PRIVATE_KEY)
VERIFIER = tokens.Verifier([MINTER.public_key()])
SEAL_KEY = secrets.token_bytes(32)
# The key that signs heads is a pair like that of tokens.
SEAL_KEYS = Keys(SEAL_KEY, (tokens.Minter(SEAL_KEY).public_key(),))
LEDGER_SCOPES = ("ledger.read", "ledger.write", "feed.read")


def credential(program_id: str, scopes: Sequence[str]) -> list[tuple[str, str]]:
    """Makes the metadata of a caller of one program; good for longer than a whole run of the tests."""
    token = MINTER.mint(subject="test", program_id=program_id, scopes=scopes, lifetime_s=3600)
    return [("authorization", f"Bearer {token}")]


@dataclass(repr=False)
class LedgerHarness:
    """A running ledger: its operations, its stubs, its address, and shorthand for what tests do all the time."""

    ledger: Ledger
    address: str
    channel: grpc.aio.Channel
    stub: "ledger_service_pb2_grpc.LedgerServiceAsyncStub"
    feed: "feed_service_pb2_grpc.FeedServiceAsyncStub"
    seals: "seal_service_pb2_grpc.SealServiceAsyncStub"

    async def post(self, *operations: ledger_pb2.Operation, program: str = "demo") -> list[ledger_pb2.OperationResult]:
        """Posts operations and gives their results."""
        request = ledger_service_pb2.PostOperationsRequest(operations=operations)
        response = await self.stub.PostOperations(request, metadata=credential(program, LEDGER_SCOPES))
        return list(response.results)

    async def balance(
        self, member_id: str, as_of: Any = None, *, program: str = "demo", asset: str = "points"
    ) -> ledger_pb2.Balance:
        """Tells a member's balance in one asset."""
        request = ledger_service_pb2.GetBalancesRequest(
            member_id=member_id, as_of_time=times.to_proto(as_of) if as_of else None
        )
        response = await self.stub.GetBalances(request, metadata=credential(program, LEDGER_SCOPES))
        return next(balance for balance in response.balances if balance.asset == asset)

    async def statement(self, member_id: str, *, program: str = "demo") -> list[ledger_pb2.Entry]:
        """Gives the newest 1,000 entries."""
        request = ledger_service_pb2.ListEntriesRequest(member_id=member_id, page_size=1000)
        response = await self.stub.ListEntries(request, metadata=credential(program, LEDGER_SCOPES))
        return list(response.entries)

    async def lots(self, member_id: str, *, program: str = "demo") -> list[ledger_pb2.Lot]:
        """Gives the newest 1,000 lots."""
        request = ledger_service_pb2.ListLotsRequest(member_id=member_id, page_size=1000)
        response = await self.stub.ListLots(request, metadata=credential(program, LEDGER_SCOPES))
        return list(response.lots)


@asynccontextmanager
async def run_ledger(dsn: str, time: clock.Clock) -> AsyncIterator[LedgerHarness]:
    """Runs a ledger over a database until the block ends."""
    pool = await db.create_pool(dsn, service="ledger")
    ledger = Ledger(pool, time)
    server = ledger_server.build_server(ledger, SEAL_KEYS, rpc.token_authenticator(VERIFIER))
    await server.start("127.0.0.1:0")
    address = f"127.0.0.1:{server.port}"
    channel = rpc.channel(address)
    stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
    try:
        yield LedgerHarness(
            ledger,
            address,
            channel,
            stub,
            feed_service_pb2_grpc.FeedServiceStub(channel),
            seal_service_pb2_grpc.SealServiceStub(channel),
        )
    finally:
        await channel.close()
        await server.stop(notice_s=0)
        await ledger.writes.close()
        await pool.close()
