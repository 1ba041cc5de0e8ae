"""A running program over a running ledger, and shorthand for what tests do with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from plaudit.program.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    program_pb2,
    program_service_pb2,
    program_service_pb2_grpc,
)

from services.kernel import clock, db, rpc, times
from services.program import events as program_events
from services.program import server as program_server
from services.program import worker
from services.program.clients import CONTRACTS, RemoteLedger
from services.program.operations.access import PRODUCT_SCOPES
from services.program.operations.context import Context
from services.program.operations.events import Events
from tests.support.harness import MINTER, VERIFIER, credential

LEDGER_SCOPES = ("ledger.write", "feed.read")


@dataclass
class ProgramHarness:
    """A running program: its operations, stubs and address."""

    context: Context
    events: Events
    address: str
    stub: "program_service_pb2_grpc.ProgramServiceAsyncStub"
    access: "access_service_pb2_grpc.AccessServiceAsyncStub"
    channel: grpc.aio.Channel
    ledger_channel: grpc.aio.Channel
    identity: rpc.ServiceIdentity
    kicks: list[str]

    def metadata(self, program: str = "demo") -> list[tuple[str, str]]:
        """Gives the metadata of a product of a program."""
        return credential(program, PRODUCT_SCOPES)

    async def create(self, program_id: str = "demo", time_zone: str = "UTC") -> None:
        """Makes a program."""
        await self.access.CreateProgram(
            access_service_pb2.CreateProgramRequest(
                program=program_pb2.Program(program_id=program_id, time_zone=time_zone)
            ),
            metadata=credential("*", ["operator"]),
        )

    async def rule(self, rule_id: str, *, program: str = "demo", **values: Any) -> program_pb2.Rule:
        """Makes a rule."""
        rule = program_pb2.Rule(**{"rule_id": rule_id, "display_name": rule_id, **values})
        request = program_service_pb2.CreateRuleRequest(rule=rule, request_id=f"rule-{rule_id}")
        response = await self.stub.CreateRule(request, metadata=self.metadata(program))
        return response.rule

    async def record(self, *events: program_pb2.Event, program: str = "demo") -> list[program_pb2.EventResult]:
        """Records events and gives their results."""
        request = program_service_pb2.RecordEventsRequest(events=events)
        response = await self.stub.RecordEvents(request, metadata=self.metadata(program))
        return list(response.results)

    async def redeem(
        self, request_id: str, member_id: str = "m1", reward_id: str = "mug", *, program: str = "demo"
    ) -> program_pb2.Redemption:
        """Redeems a reward."""
        request = program_service_pb2.CreateRedemptionRequest(
            member_id=member_id, reward_id=reward_id, request_id=request_id
        )
        response = await self.stub.CreateRedemption(request, metadata=self.metadata(program))
        return response.redemption

    async def reward(self, reward_id: str = "mug", *, cost: int = 100, codes: int = 100, program: str = "demo") -> None:
        """Makes a reward with some codes."""
        reward = program_pb2.Reward(
            reward_id=reward_id,
            display_name=reward_id,
            cost=cost,
            codes=[f"{reward_id}-{number}" for number in range(codes)],
        )
        request = program_service_pb2.CreateRewardRequest(reward=reward, request_id=f"reward-{reward_id}")
        await self.stub.CreateReward(request, metadata=self.metadata(program))

    def follower(self) -> Any:
        """Makes the follower of the ledger."""
        return worker.build_follower(self.context, self.ledger_channel, self.identity)


def event(
    event_id: str,
    type_: str = "purchase.completed",
    member_id: str = "m1",
    *,
    at: datetime,
    org_id: str = "",
    utc_offset_minutes: int | None = None,
    **properties: Any,
) -> program_pb2.Event:
    """Makes an event."""
    struct = Struct()
    struct.update(properties)
    return program_pb2.Event(
        event_id=event_id,
        type=type_,
        member_id=member_id,
        org_id=org_id,
        occur_time=times.to_proto(at),
        properties=struct,
        utc_offset_minutes=utc_offset_minutes,
    )


@asynccontextmanager
async def run_program(dsn: str, time: clock.Clock, ledger_address: str) -> AsyncIterator[ProgramHarness]:
    """Runs a program over a database and a ledger until the block ends."""
    pool = await db.create_pool(dsn, service="program")
    ledger_channel = rpc.channel(ledger_address, CONTRACTS)
    identity = rpc.ServiceIdentity(MINTER, service="program", scopes=LEDGER_SCOPES)
    kicks: list[str] = []

    async def kick(job: str, after_s: float) -> None:
        del after_s  # Tests drain by hand.
        kicks.append(job)

    context = Context(pool, time, program_events.encode, RemoteLedger(ledger_channel, identity), kick)
    events = Events(context)
    server = program_server.build_server(context, events, minter=MINTER, verifier=VERIFIER)
    await server.start("127.0.0.1:0")
    address = f"127.0.0.1:{server.port}"
    channel = rpc.channel(address)
    try:
        yield ProgramHarness(
            context,
            events,
            address,
            program_service_pb2_grpc.ProgramServiceStub(channel),
            access_service_pb2_grpc.AccessServiceStub(channel),
            channel,
            ledger_channel,
            identity,
            kicks,
        )
    finally:
        await channel.close()
        await server.stop(notice_s=0)
        await events.close()
        await ledger_channel.close()
        await pool.close()
