"""The order in which lots are spent, against a list that is sorted by the words of the contract."""

import random
import uuid
from datetime import datetime, timedelta

from services.ledger.decisions import spending
from services.ledger.model import NO_CAUSE, Kind, Lot, Operation, lot_id
from services.ledger.state import State
from tests.conftest import START
from tests.support.harness import LedgerHarness
from tests.support.ledger import earn, spend
from tests.support.outcomes import happen
from tests.support.pure import OWNER, make_state

CASES = 10_000
HOUR = timedelta(hours=1)
FAR = datetime.max.replace(tzinfo=START.tzinfo)


def make_lots(state: State, fate: random.Random) -> list[Lot]:
    """Gives the member up to ten lots that agree in some things and differ in others; some are over, some to come."""
    wallet = state.wallets[OWNER]
    for number in range(1, fate.randint(2, 11)):
        effective = START + fate.randint(-2, 1) * HOUR
        amount = fate.randint(1, 5)
        lot = Lot(
            wallet.wallet_id,
            number,
            amount,
            amount,
            fate.choice((effective, effective, effective, None)),
            expires_at=fate.choice((None, effective + fate.randint(1, 4) * HOUR)),
            priority=fate.choice((0, 0, 1)),
            is_promotional=fate.random() < 0.5,
            is_open=True,
        )
        state.lots_of(wallet)[number] = lot
        wallet.balance += amount
    return list(state.lots_of(wallet).values())


def expected_parts(lots: list[Lot], amount: int) -> list[tuple[int, int]] | None:
    """Tells by the words of the contract which lots a spend takes how much of; None where they have too little."""
    live = [
        lot
        for lot in lots
        if lot.effective_at is not None and lot.effective_at <= START and (lot.expires_at or FAR) > START
    ]
    # Stable sorts, the last word first: the oldest, earliest effect, promotional before paid, earliest end, priority.
    live.sort(key=lambda lot: lot.number)
    live.sort(key=lambda lot: lot.effective_at or FAR)
    live.sort(key=lambda lot: "promotional" if lot.is_promotional else "standard")
    live.sort(key=lambda lot: lot.expires_at or FAR)
    live.sort(key=lambda lot: lot.priority)
    units = [lot.number for lot in live for _ in range(lot.remaining)]
    if len(units) < amount:
        return None
    return [(number, units[:amount].count(number)) for number in dict.fromkeys(units[:amount])]


def test_spend_takes_lots_in_the_order_of_the_contract() -> None:
    """In 10,000 cases a spend takes what a sorted list says, unit by unit, or nothing where there is too little."""
    fate = random.Random(12)
    refused = 0
    for number in range(CASES):
        state = make_state()
        lots = make_lots(state, fate)
        amount = fate.randint(1, 20)
        expected = expected_parts(lots, amount)
        item = Operation("s", uuid.UUID(int=number), Kind.SPEND, None, NO_CAUSE, {}, b"", owner=OWNER, amount=amount)
        if expected is None:
            refused += 1
            before = [lot.remaining for lot in lots]
            assert state.available(state.wallets[OWNER]) < amount
            assert [lot.remaining for lot in lots] == before
            continue
        wallet_id = state.wallets[OWNER].wallet_id
        found = [(part.lot_id, part.amount) for part in spending.spend(state, item).parts]
        assert found == [(lot_id(wallet_id, number), taken) for number, taken in expected]
    assert 100 < refused < CASES - 100


async def test_spends_take_lots_in_order_at_the_rpc(ledger: LedgerHarness) -> None:
    """Lots that are read from the database are spent in the same order, however little of them is read."""
    fate = random.Random(7)
    ends = [None, START + HOUR, START + 2 * HOUR]
    asked = [
        earn(
            f"e{number}",
            amount=fate.randint(1, 4),
            at=START - fate.randint(0, 2) * HOUR,
            expires=fate.choice(ends),
            priority=fate.choice((0, 0, 1)),
            promotional=fate.random() < 0.5,
        )
        for number in range(60)
    ]
    total = sum(posting.amount for posting in await happen(ledger, *asked))
    lots = await ledger.lots("m1")
    order = sorted(
        lots,
        key=lambda lot: (
            lot.priority,
            lot.expire_time.seconds if lot.HasField("expire_time") else 2**62,
            not lot.promotional,
            lot.effective_time.seconds,
            int(lot.lot_id.split(".")[1]),
        ),
    )
    units = [lot.lot_id for lot in order for _ in range(lot.amount)]
    number = 0
    while total:
        amount = fate.randint(1, min(7, total))
        [posting] = await happen(ledger, spend(f"s{number}", amount=amount))
        found = [part.lot_id for part in posting.allocations for _ in range(part.amount)]
        assert found == units[:amount]
        units, total, number = units[amount:], total - amount, number + 1
    assert (await ledger.balance("m1")).available == 0
