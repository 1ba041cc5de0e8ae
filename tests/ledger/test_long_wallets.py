"""Wallets with many lots: what is read and spent of them is what it is of any, though few lots are looked at."""

from datetime import timedelta

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger import checks
from services.ledger.store import loading
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import cancel, confirm, earn, hold, release, spend

DAY = timedelta(days=1)
LOTS = 3 * loading.FIRST_LOTS


def earns(count: int = LOTS, **what: object) -> list[ledger_pb2.Operation]:
    """Makes earns of 10, of which each ends a day before the one that was made before."""
    return [
        earn(f"e{number}", amount=10, expires=START + (count - number) * DAY, **what)  # type: ignore[arg-type]
        for number in range(count)
    ]


async def spent_lots(ledger: LedgerHarness, request_id: str, amount: int) -> list[int]:
    """Spends and tells the numbers of the lots that were taken, in order."""
    [result] = await ledger.post(spend(request_id, amount=amount))
    return [int(each.lot_id.partition(".")[2]) for each in result.posting.allocations]


async def test_spend_takes_first_lots_of_many(ledger: LedgerHarness) -> None:
    """A spend takes the lots that end first, whether few or more than are looked at first make it up."""
    await ledger.post(*earns())
    few = await spent_lots(ledger, "s1", 25)
    many = await spent_lots(ledger, "s2", 10 * loading.FIRST_LOTS + 5)

    assert few == [LOTS, LOTS - 1, LOTS - 2]
    assert many == list(range(LOTS - 2, LOTS - 3 - loading.FIRST_LOTS, -1))


async def test_spend_of_all_and_of_more(ledger: LedgerHarness) -> None:
    """What is missing is told by all that there is, and all of it can be spent."""
    await ledger.post(*earns())
    [refused] = await ledger.post(spend("s1", amount=10 * LOTS + 1))
    whole = await spent_lots(ledger, "s2", 10 * LOTS)

    assert refused.refusal.metadata["available"] == str(10 * LOTS)
    assert whole == list(range(LOTS, 0, -1))


async def test_priority_comes_before_the_end(ledger: LedgerHarness) -> None:
    """Where lots have priorities the order is by them, though the end comes first in the index."""
    await ledger.post(*earns(priority=1))
    await ledger.post(earn("urgent", amount=10, expires=START + 2 * LOTS * DAY))

    assert await spent_lots(ledger, "s1", 15) == [LOTS + 1, LOTS]


@pytest.mark.parametrize("ends", ["confirm", "cancel"])
async def test_balance_knows_what_waits(ledger: LedgerHarness, time: clock.ManualClock, ends: str) -> None:
    """Pending value and value of later is no more available in a wallet that had none of it before."""
    await ledger.post(*earns(5))
    await ledger.post(earn("pending", amount=7, pending=True), earn("later", amount=9, effective=START + DAY / 2))
    waiting = await ledger.balance("m1")
    time.value = START + DAY / 2
    await ledger.post((confirm if ends == "confirm" else cancel)("end", "pending"))
    after = await ledger.balance("m1")

    assert (waiting.available, waiting.pending, waiting.lifetime_earned) == (50, 16, 50)
    assert (after.available, after.pending) == (66 if ends == "confirm" else 59, 0)


async def test_balance_knows_holds_and_ends(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What holds reserve and what is over is not available, whether it is booked or not."""
    await ledger.post(*earns(5))
    await ledger.post(hold("h1", amount=25, timeout_s=7 * 86_400))
    held = await ledger.balance("m1")
    time.value = START + 2 * DAY
    over = await ledger.balance("m1")
    await ledger.post(release("r1", "h1"))
    released = await ledger.balance("m1")

    assert (held.available, held.held, held.next_expiry.amount) == (25, 25, 5)
    assert (over.available, over.lifetime_expired) == (25, 0)
    assert (released.available, released.held, released.lifetime_expired) == (30, 0, 20)
    assert released.next_expiry.expire_time.ToDatetime(tzinfo=START.tzinfo) == START + 3 * DAY


async def test_check_finds_wallet_that_is_read_too_shortly(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """A wallet that denies a lot with a priority, or one that waits, is found."""
    await ledger.post(earn("e1", "m1", priority=1), earn("e2", "m2", pending=True), earn("e3", "m3"))
    subject = "traits of wallets against lots"
    before = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    connection = await databases.admin(ledger_database)
    await connection.execute("UPDATE wallets SET has_priorities = false, has_waiting = false")
    await connection.close()
    after = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}

    assert before[subject] == ()
    assert len(after[subject]) == 2


async def test_lots_that_are_over_are_not_the_first(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Lots that are over and yet to be booked, however many, do not hide what can be spent behind them."""
    await ledger.post(*earns(), earn("last", amount=10))
    time.value = START + LOTS * DAY

    assert await spent_lots(ledger, "s1", 10) == [LOTS + 1]


async def test_lots_that_wait_are_not_the_first(ledger: LedgerHarness) -> None:
    """Lots that take effect later or are pending, however many, do not hide what can be spent behind them."""
    lots = [earn(f"p{number}", amount=10, pending=True, expires=START + DAY) for number in range(LOTS)]
    await ledger.post(*lots, *earns(effective=START + DAY / 2), earn("last", amount=10))

    assert await spent_lots(ledger, "s1", 10) == [2 * LOTS + 1]


@pytest.mark.parametrize("what", [{"promotional": True}, {"at": START - DAY}], ids=["promotional", "effective before"])
async def test_spend_finds_the_first_lot_behind_many(ledger: LedgerHarness, what: dict[str, object]) -> None:
    """Of many lots that end together the promotional one, or the oldest, is spent first, though it was made last."""
    lots = [earn(f"e{number}", amount=10) for number in range(LOTS)]
    await ledger.post(*lots, earn("last", amount=10, **what))  # type: ignore[arg-type]

    assert await spent_lots(ledger, "s1", 15) == [LOTS + 1, 1]
