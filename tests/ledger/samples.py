"""One call with every kind of operation, all of which happen, and what must be there before it."""

from datetime import timedelta

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import errors
from tests.conftest import START
from tests.support import budgets
from tests.support.accounts import Account
from tests.support.harness import LedgerHarness
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
    cashback,
    claw_back,
    close,
    confirm,
    earn,
    exchange,
    expire,
    fund,
    hold,
    release,
    reverse,
    spend,
    unexpire,
)

DAY = timedelta(days=1)


async def prepare(ledger: LedgerHarness) -> Account:
    """Makes all that the operations of `every_kind` are about; gives the account of what was told."""
    await budgets.create_budget(ledger, "b1", shard_count=2)
    await budgets.create_budget(ledger, "b2")
    await budgets.set_rate(ledger, 1, 2)
    first = [
        *(fund("fund-b1", "b1", 1000), fund("fund-b2", "b2", 10)),
        *(earn("e1", amount=1000), earn("e2", amount=50), earn("e3", "m2", 70)),
        *(earn("p1", pending=True), earn("p2", pending=True, budget_id="b1")),
        *(hold("h1", amount=40), hold("h2", amount=30), spend("s1", amount=20)),
    ]
    account = Account()
    account.add(first, await ledger.post(*first))
    assert [each.refusal.reason for each in account.results.values() if each.HasField("refusal")] == []
    return account


def every_kind() -> list[ledger_pb2.Operation]:
    """Makes the operations."""
    return [
        earn("new-earn", "m3", 5),
        earn("new-budgeted", "m1", 600, budget_id="b1"),
        cashback("new-cashback", 1000, 125),
        confirm("new-confirm", "p1"),
        cancel("new-cancel", "p2"),
        spend("new-spend", amount=7),
        hold("new-hold", amount=9),
        capture("new-capture", "h1", 15),
        release("new-release", "h2"),
        reverse("new-reverse", "s1", 5),
        claw_back("new-claw-back", "e2", policy=ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT),
        adjust("new-gift", change=11),
        adjust("new-fine", change=-3),
        exchange("new-exchange", amount=21),
        expire("new-end", "m2"),
        unexpire("new-return", "m2", since=START - DAY, until=START + DAY),
        fund("new-fund", "b1", 1),
        close("new-close", "b2"),
    ]


async def assert_answered_once(ledger: LedgerHarness, account: Account, *, replayed: bool) -> None:
    """Asks for every kind again after a fault, twice: all happened, in one go, and are told the same from now on."""
    operations = every_kind()
    again = await ledger.post(*operations)
    assert [each.request_id for each in again if not each.HasField("posting")] == []
    assert {each.replayed for each in again} == {replayed}
    account.add(operations, again)
    once_more = await ledger.post(*operations)
    assert {each.replayed for each in once_more} == {True}
    account.add(operations, once_more)
    await assert_adds_up(ledger, account)


async def assert_adds_up(ledger: LedgerHarness, account: Account) -> None:
    """Compares all sums with what callers were told."""
    for (member_id, asset), standing in account.standings().items():
        balance = await ledger.balance(member_id, asset=asset)
        standing.assert_told(balance)
        assert balance.held == standing.held
    for budget_id, budget in account.budgets().items():
        budget.assert_told(await budgets.get_budget(ledger, budget_id))


def assert_refused(refusal: errors.DomainError) -> None:
    """Fails where a caller was not told to come back, and when."""
    assert (refusal.code, refusal.reason) == (errors.Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert refusal.metadata == {"dependency": "database"}
    assert refusal.retry_after_s is not None
