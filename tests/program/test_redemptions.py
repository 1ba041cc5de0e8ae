"""Redemptions: value for rewards, exactly once, or nothing at all."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import grpc
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.kernel import clock, due, errors, interceptors
from services.ledger.operations import booking
from services.program import checks
from services.program.operations import redemptions
from services.program.operations.redemptions import REDEEM
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import earn
from tests.support.program import ProgramHarness, run_program
from tests.support.refusals import refusal

YEAR = timedelta(days=365)
FULFILLED = program_pb2.REDEMPTION_STATE_FULFILLED


async def assert_sound(program: ProgramHarness) -> None:
    """Compares all that must agree."""
    rows = await checks.check(program.context.pool)
    assert [problem for row in rows for problem in row.problems] == []


async def reason_of(call: Awaitable[Any]) -> str:
    """Gives the reason of a refusal."""
    return (await refusal(call)).reason


async def cancel(program: ProgramHarness, redemption_id: str) -> program_pb2.Redemption:
    """Cancels a redemption of the member m1."""
    request = program_service_pb2.CancelRedemptionRequest(member_id="m1", redemption_id=redemption_id)
    return (await program.stub.CancelRedemption(request, metadata=program.metadata())).redemption


async def test_200_redemptions_of_100_on_1000(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """Exactly 10 succeed with 10 different codes, 190 are refused, nothing goes below zero."""
    await ledger.post(earn("e1", amount=1000, expires=START + YEAR))
    await program.reward(codes=500)
    results = await asyncio.gather(*(program.redeem(f"r{n}") for n in range(200)), return_exceptions=True)

    done = [result for result in results if isinstance(result, program_pb2.Redemption)]
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    reasons = {interceptors.from_error(error, dependency="program").reason for error in refused}
    assert (len(done), len(refused), reasons) == (10, 190, {"INSUFFICIENT_BALANCE"})
    assert len({redemption.code for redemption in done}) == 10
    balance = await ledger.balance("m1")
    assert (balance.available, balance.held, balance.lifetime_spent) == (0, 0, 1000)
    await assert_sound(program)


async def test_cancel_restores_lots_with_their_expiry(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """Cancelling gives back the exact lots, voids the code, and is idempotent."""
    await ledger.post(earn("e1", amount=60, expires=START + YEAR), earn("e2", amount=60, expires=START + 2 * YEAR))
    before = await ledger.lots("m1")
    await program.reward()
    redemption = await program.redeem("r1")
    cancelled = await cancel(program, redemption.redemption_id)
    again = await cancel(program, redemption.redemption_id)

    assert redemption.state == FULFILLED
    assert cancelled == again
    assert (cancelled.state, cancelled.code) == (program_pb2.REDEMPTION_STATE_CANCELLED, "")
    assert await ledger.lots("m1") == before
    others = await asyncio.gather(*(program.redeem(f"o{n}") for n in range(1)))
    assert others[0].code != redemption.code
    await assert_sound(program)


async def test_redeem_again_replays_the_same_code(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """The same request id gives the same redemption for ever; other content is refused by field."""
    await ledger.post(earn("e1", amount=500))
    await program.reward()
    first = await program.redeem("r1")
    raced = await asyncio.gather(*(program.redeem("r1") for _ in range(64)))

    assert all(redemption == first for redemption in raced)
    assert await reason_of(program.redeem("r1", "m2")) == "REQUEST_ID_REUSED"
    assert (await ledger.balance("m1")).available == 400


async def test_refusal_stays_after_top_up(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A redemption that was refused stays refused for its request id."""
    await program.reward()
    first = await reason_of(program.redeem("r1"))
    await ledger.post(earn("e1", amount=500))

    assert first == await reason_of(program.redeem("r1")) == "INSUFFICIENT_BALANCE"
    assert (await ledger.balance("m1")).available == 500


async def test_out_of_stock_spends_nothing(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """5 codes and 40 takers with enough points: 5 different codes, 35 refusals, not a point lost."""
    await program.reward(codes=5)
    await ledger.post(*(earn(f"e{n}", f"m{n}", 100) for n in range(40)))
    results = await asyncio.gather(*(program.redeem(f"r{n}", f"m{n}") for n in range(40)), return_exceptions=True)

    codes = [result.code for result in results if isinstance(result, program_pb2.Redemption)]
    assert (len(codes), len(set(codes))) == (5, 5)
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    reasons = {interceptors.from_error(error, dependency="program").reason for error in refused}
    assert reasons == {"OUT_OF_STOCK"}
    balances = [await ledger.balance(f"m{n}") for n in range(40)]
    assert sum(balance.available for balance in balances) == 3500
    assert sum(balance.held for balance in balances) == 0
    await assert_sound(program)


async def test_redemption_goes_on_when_the_ledger_is_back(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """While the ledger is away a redemption is PENDING; due work fulfils it, once."""
    await ledger.post(earn("e1", amount=100))
    dsn = databases.dsn(program_database, "program")
    async with run_program(dsn, time, "127.0.0.1:1") as alone:
        await alone.create()
        await alone.reward()
        pending = await alone.redeem("r1")
        assert (pending.state, pending.code) == (program_pb2.REDEMPTION_STATE_PENDING, "")
        assert alone.kicks == [REDEEM]

    time.value += timedelta(seconds=60)
    async with run_program(dsn, time, ledger.address) as back:
        await due.drain(back.context.pool, REDEEM, lambda item: redemptions.go_on(back.context, item), time)
        replayed = await back.redeem("r1")
        await assert_sound(back)

    assert (replayed.state, replayed.redemption_id) == (FULFILLED, pending.redemption_id)
    assert (await ledger.balance("m1")).available == 0


async def test_unknown_reward_and_redemption_are_not_found(program: ProgramHarness) -> None:
    """What does not exist, or is another member's, is not found."""
    assert await reason_of(program.redeem("r1", reward_id="nope")) == "REWARD_NOT_FOUND"
    assert await reason_of(cancel(program, "nope")) == "REDEMPTION_NOT_FOUND"


async def test_hold_that_times_out_ends_its_redemption(
    program: ProgramHarness, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """The follower of the ledger makes a redemption due whose hold has timed out; it ends refused, nothing spent."""
    await ledger.post(earn("e1", amount=100))
    await program.reward(codes=1)
    context = program.context
    refuse = context.ledger.capture

    async def away(program_id: str, *, redemption_id: str) -> None:
        raise errors.dependency_unavailable("ledger")

    context.ledger.capture = away  # type: ignore[method-assign]
    pending = await program.redeem("r1")
    context.ledger.capture = refuse  # type: ignore[method-assign]
    assert pending.state == program_pb2.REDEMPTION_STATE_PENDING

    time.value += timedelta(seconds=redemptions.HOLD_TIMEOUT_S)
    await booking.book_due(ledger.ledger)
    follower = program.follower()
    await follower.catch_up(await follower._source.list_heads(0))
    await due.drain(context.pool, REDEEM, lambda item: redemptions.go_on(context, item), time)

    assert await reason_of(program.redeem("r1")) == "HOLD_ENDED"
    assert (await ledger.balance("m1")).available == 100
    await assert_sound(program)


async def test_cancel_of_a_refused_redemption_is_refused(program: ProgramHarness) -> None:
    """Only a fulfilled redemption can be cancelled."""
    await program.reward()
    await reason_of(program.redeem("r1"))
    request = program_service_pb2.ListRedemptionsRequest(member_id="m1")
    response = await program.stub.ListRedemptions(request, metadata=program.metadata())
    [listed] = response.redemptions

    assert listed.refusal.metadata == {"available": "0", "requested": "100"}
    assert await reason_of(cancel(program, listed.redemption_id)) == "REDEMPTION_STATE_INVALID"
