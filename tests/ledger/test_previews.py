"""Previews of spends: what the spend takes when it comes, lot by lot, and the refusal that it would meet."""

from collections.abc import Awaitable
from typing import Any

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, ids, interceptors
from tests.conftest import START
from tests.ledger.histories import HOUR, MEMBERS, History
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import adjust, claw_back, earn, hold, spend
from tests.support.refusals import refusal


async def preview(
    ledger: LedgerHarness, amount: int, *, member: str = "m1", program: str = "demo", asset: str = ""
) -> ledger_service_pb2.PreviewSpendResponse:
    """Previews a spend."""
    request = ledger_service_pb2.PreviewSpendRequest(member_id=member, asset=asset, amount=amount)
    return await ledger.stub.PreviewSpend(request, metadata=credential(program, LEDGER_SCOPES))


async def count_rows(ledger: LedgerHarness) -> list[int]:
    """Counts what a spend would write."""
    tables = ("wallets", "journal", "allocations")
    return [await ledger.ledger.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_preview_tells_lots_in_burn_order(ledger: LedgerHarness) -> None:
    """The lots are told in the order in which the spend takes them, with their ends, and what is left behind it."""
    await ledger.post(
        earn("never", amount=10),
        earn("late", amount=10, expires=START + 3 * HOUR),
        earn("soon", amount=10, expires=START + HOUR),
        earn("first", amount=4, priority=0, expires=START + HOUR, promotional=True),
        adjust("a1", change=100),
        earn("other", amount=50, asset="credits"),
    )
    before = await count_rows(ledger)
    told = await preview(ledger, 26)

    assert [part.amount for part in told.allocations] == [4, 10, 10, 2]
    assert [part.HasField("expire_time") for part in told.allocations] == [True, True, True, False]
    assert (told.burn_order_version, told.available_after) == (1, 108)
    assert await count_rows(ledger) == before
    assert (await ledger.balance("m1")).available == 134


async def test_preview_is_refused_as_the_spend(ledger: LedgerHarness) -> None:
    """More than there is is refused with what there is; whoever has no wallet has nothing, and gets none."""
    await ledger.post(earn("e1", amount=40), hold("h1", amount=15))
    before = await count_rows(ledger)

    found = await refusal(preview(ledger, 26))
    assert (found.code, found.reason) == (errors.Code.FAILED_PRECONDITION, "INSUFFICIENT_BALANCE")
    assert found.metadata == {"available": "25", "requested": "26"}
    assert (await refusal(preview(ledger, 1, member="nobody"))).metadata == {"available": "0", "requested": "1"}
    assert (await refusal(preview(ledger, 1, asset="credits"))).metadata == {"available": "0", "requested": "1"}
    assert await count_rows(ledger) == before


async def test_preview_stays_in_its_program(ledger: LedgerHarness) -> None:
    """A program sees nothing of what a member of that id has in another one."""
    await ledger.post(earn("e1", amount=40))

    assert (await refusal(preview(ledger, 1, program="other"))).metadata["available"] == "0"


async def test_preview_without_an_amount_is_refused(ledger: LedgerHarness) -> None:
    """An amount of nothing is malformed."""
    assert (await refusal(preview(ledger, 0))).violations[0].field == "amount"


async def test_preview_counts_a_hold_that_is_over(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What a hold reserved is there again from its end on, though nobody has booked that."""
    await ledger.post(earn("e1", amount=40), hold("h1", amount=40, timeout_s=60))
    time.value = START + HOUR

    assert (await preview(ledger, 40)).available_after == 0
    await assert_unbooked(ledger)


async def assert_unbooked(ledger: LedgerHarness) -> None:
    """Sees that the hold is still to be booked."""
    assert await ledger.ledger.pool.fetchval("SELECT state FROM holds") == "ACTIVE"


async def test_preview_leaves_out_what_is_owed(ledger: LedgerHarness) -> None:
    """What a debt will take first is neither available nor told, and the lots behind it are."""
    await ledger.post(
        earn("e1", amount=50),
        spend("s1", amount=50),
        earn("later", amount=100, effective=START + HOUR),
        claw_back("b1", "e1", 30, ledger_pb2.CLAW_BACK_POLICY_DEBT),
    )
    found = await refusal(preview(ledger, 1))

    assert found.metadata == {"available": "0", "requested": "1"}


async def outcome(call: Awaitable[ledger_service_pb2.PreviewSpendResponse]) -> tuple[Any, ...]:
    """Gives what a preview tells, or why it is refused."""
    try:
        told = await call
    except grpc.aio.AioRpcError as error:
        found = interceptors.from_error(error, dependency="ledger")
        return found.reason, dict(found.metadata)
    return list(told.allocations), told.burn_order_version, told.available_after


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_spend_does_what_was_previewed(
    ledger: LedgerHarness, time: clock.ManualClock, data: st.DataObject
) -> None:
    """After any history of lots, holds and debts a spend is told before what it is told then."""
    program = f"p{ids.new_id().hex}"
    history = History(data, ledger, time, (program,), dated=True)
    await history.begin()
    for number in range(data.draw(st.integers(2, 10))):
        await history.step()
        member = data.draw(st.sampled_from(MEMBERS))
        balance = (await ledger.balance(member, program=program)).available
        amount = data.draw(st.sampled_from(sorted({1, max(1, balance), balance + 1, max(1, balance // 2)})))
        before = await outcome(preview(ledger, amount, member=member, program=program))
        [result] = await ledger.post(spend(f"real-{number}", member, amount), program=program)
        if result.HasField("refusal"):
            assert before == (result.refusal.reason, dict(result.refusal.metadata))
        else:
            after = (await ledger.balance(member, program=program)).available
            assert before == (list(result.posting.allocations), result.posting.burn_order_version, after)
