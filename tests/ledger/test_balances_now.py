"""Balances of now, by what wallets keep, are those of the same instant by what happened."""

from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, ids, times
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.histories import HOUR, MEMBERS, History
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import claw_back, earn, hold, spend


async def both(ledger: LedgerHarness, program: str, at: datetime) -> tuple[list[Any], list[Any]]:
    """Asks for all balances of now, and of the instant that it is."""
    told: list[list[Any]] = []
    for as_of in (None, times.to_proto(at)):
        request = ledger_service_pb2.BatchGetBalancesRequest(member_ids=[*MEMBERS, "nobody"], as_of_time=as_of)
        response = await ledger.stub.BatchGetBalances(request, metadata=credential(program, LEDGER_SCOPES))
        told.append(list(response.members))
    return told[0], told[1]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_now_equals_the_instant_it_is(
    ledger: LedgerHarness, time: clock.ManualClock, data: st.DataObject
) -> None:
    """After any history, swept or not, balances without an instant are those of the instant that the clock shows."""
    program = f"p{ids.new_id().hex}"
    history = History(data, ledger, time, (program,), dated=True)
    await history.begin()
    for _ in range(data.draw(st.integers(3, 15))):
        await history.step()
        if data.draw(st.integers(0, 4)) == 0:
            await booking.book_due(ledger.ledger)
        now, instant = await both(ledger, program, time.value)
        assert now == instant


async def test_balance_tells_what_is_over_before_the_sweep(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A lot and a hold whose time is over count as such at once: the balance is the same before and after the sweep."""
    await ledger.post(
        earn("e1", amount=50, expires=START + HOUR),
        earn("e2", amount=30, expires=START + 2 * HOUR),
        earn("e3", amount=7),
        hold("h1", amount=20, timeout_s=60),
    )
    time.value = START + HOUR
    before = await ledger.balance("m1")
    await booking.book_due(ledger.ledger)

    assert (before.available, before.held, before.lifetime_expired) == (37, 0, 50)
    assert (before.next_expiry.amount, before.next_expiry.expire_time) == (30, times.to_proto(START + 2 * HOUR))
    assert await ledger.balance("m1") == before


async def test_debt_takes_from_what_is_available(ledger: LedgerHarness) -> None:
    """What a member owes is told, and nothing is available until it is repaid."""
    await ledger.post(
        earn("e1", amount=50),
        spend("s1", amount=40),
        claw_back("b1", "e1", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT),
    )
    balance = await ledger.balance("m1")

    assert (balance.available, balance.debt, balance.lifetime_clawed_back) == (0, 40, 10)


async def test_balances_stay_in_their_program(ledger: LedgerHarness) -> None:
    """A member of the same id in another program has another balance."""
    await ledger.post(earn("e1", amount=50))
    await ledger.post(earn("e1", amount=3), program="other")

    assert (await ledger.balance("m1")).available == 50
    assert (await ledger.balance("m1", program="other")).available == 3
