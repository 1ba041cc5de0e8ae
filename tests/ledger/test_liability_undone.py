"""The price of sales that are undone: it goes with the sale, and with nothing else, wherever the points are."""

from datetime import timedelta

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_liability import Step, problems, take
from tests.support.harness import LedgerHarness
from tests.support.ledger import cancel, claw_back, confirm, earn, expire, spend, unexpire
from tests.support.liability import Key, report

HOUR = timedelta(hours=1)
MONTH = timedelta(days=31)
MICROSECOND = timedelta(microseconds=1)
SPRING = ledger_pb2.Cause(campaign_id="spring")
OTHERS = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS
DEBT = ledger_pb2.CLAW_BACK_POLICY_DEBT
MARCH: Key = ("2026-03", "", "points")
APRIL: Key = ("2026-04", "", "points")
SPRING_MARCH: Key = ("2026-03", "spring", "points")

Values = tuple[int, int, int, int]  # allocated, clawed back, recognised and deferred

SALE = earn("sale", "buyer", 100, allocated_value=9_000)
GIFT = earn("gift", "friend", 900)

# What happens, and what became of prices by cohort.
HISTORIES: dict[str, tuple[list[Step], dict[Key, Values]]] = {
    "a gift is taken back": ([SALE, GIFT, claw_back("c", "gift")], {MARCH: (9_000, 0, 0, 9_000)}),
    "a gift is taken back, and the sale's points are spent": (
        [SALE, GIFT, claw_back("c", "gift"), spend("s", "buyer", 100)],
        {MARCH: (9_000, 0, 9_000, 0)},
    ),
    "the only sale is undone": ([SALE, GIFT, claw_back("c", "sale")], {MARCH: (9_000, 9_000, 0, 0)}),
    "the only sale is undone, and gifts are spent": (
        [SALE, GIFT, claw_back("c", "sale"), spend("s", "friend", 900)],
        {MARCH: (9_000, 9_000, 0, 0)},
    ),
    "a spent sale is undone out of a gift of another month": (
        [SALE, spend("s", "buyer"), MONTH, earn("later", "buyer"), claw_back("c", "sale", policy=OTHERS)],
        {MARCH: (9_000, 9_000, 0, 0), APRIL: (0, 0, 0, 0)},
    ),
    "a spent sale is undone out of another sale": (
        [
            SALE,
            spend("s", "buyer"),
            MONTH,
            earn("later", "buyer", 150, allocated_value=8_000),
            claw_back("c", "sale", policy=OTHERS),
            spend("t", "buyer", 25),
        ],
        {MARCH: (9_000, 9_000, 0, 0), APRIL: (8_000, 0, 4_000, 4_000)},
    ),
    "a spent sale is undone, and the next one repays it": (
        [
            SALE,
            spend("s", "buyer"),
            claw_back("c", "sale", policy=DEBT),
            MONTH,
            earn("later", "buyer", 150, allocated_value=8_000),
        ],
        {MARCH: (9_000, 9_000, 0, 0), APRIL: (8_000, 0, 0, 8_000)},
    ),
    "a spent sale is undone and written off, beside another one": (
        [SALE, spend("s", "buyer"), earn("other", "friend", 100, allocated_value=600), claw_back("c", "sale")],
        {MARCH: (9_600, 9_000, 300, 300)},
    ),
    "a part of a sale is undone after a part was spent": (
        [SALE, GIFT, spend("s", "buyer", 80), claw_back("c", "sale", 50)],
        {MARCH: (9_000, 4_500, 4_500 * 80 // 980, 4_500 - 4_500 * 80 // 980)},
    ),
    "what has expired is undone": (
        [earn("e", expires=START + HOUR, allocated_value=90), 2 * HOUR, claw_back("c", "e", 30)],
        {MARCH: (90, 27, 63, 0)},
    ),
    "what was given back after its end is undone": (
        [
            earn("e", cause=SPRING, allocated_value=90),
            expire("x"),
            MONTH,
            unexpire("u", since=START, until=START + HOUR),
            claw_back("c", "e", policy=OTHERS),
        ],
        {SPRING_MARCH: (90, 90, 0, 0)},
    ),
    "what was pending is undone in another month": (
        [earn("e", pending=True, allocated_value=90), MONTH, confirm("k", "e"), claw_back("c", "e", 40)],
        {MARCH: (90, 36, 0, 54)},
    ),
    "a sale is undone beside what is pending or was cancelled": (
        [
            earn("p", pending=True, allocated_value=70),
            earn("q", pending=True, allocated_value=50),
            cancel("x", "q"),
            SALE,
            claw_back("c", "sale", 10),
        ],
        {MARCH: (9_000, 900, 0, 8_100)},
    ),
}


async def values(ledger: LedgerHarness) -> dict[Key, Values]:
    """Reads what became of prices until now."""
    return {
        (line.month, line.campaign_id, line.asset): (
            line.figures.allocated_value,
            line.figures.clawed_back_value,
            line.figures.recognised_value,
            line.figures.deferred_value,
        )
        for line in (await report(ledger)).lines
    }


@pytest.mark.parametrize("name", HISTORIES)
async def test_price_goes_with_the_sale_that_is_undone(
    ledger: LedgerHarness, time: clock.ManualClock, name: str
) -> None:
    """A claw-back undoes the price of the earn that it names, wherever it finds points, and no other."""
    steps, expected = HISTORIES[name]
    await take(ledger, time, steps)

    assert await values(ledger) == expected
    await booking.book_due(ledger.ledger)
    assert await values(ledger) == expected
    assert await problems(ledger, time) == []


async def test_undone_sale_takes_back_its_revenue_when_it_is_undone(
    ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """What a spent sale had earned is revenue less of the period in which it is undone, and of none before."""
    await take(ledger, time, [SALE, spend("s", "buyer"), MONTH])
    end = time.value
    before = await report(ledger, end, previous=START - HOUR)
    await take(ledger, time, [HOUR, earn("later", "buyer"), claw_back("c", "sale", policy=OTHERS)])

    assert await report(ledger, end, previous=START - HOUR) == before
    assert [total.figures.recognised_since_value for total in before.totals] == [9_000]
    lines = (await report(ledger, previous=end)).lines
    assert [line.figures.recognised_since_value for line in lines] == [-9_000, 0]


@pytest.mark.parametrize(
    ("amount", "price", "parts", "undone"),
    [
        (3, 100, [1, 1, 1], [33, 67, 100]),
        (2, 1, [1, 1], [1, 1]),
        (4, 1, [1, 1, 2], [0, 1, 1]),
        (7, 0, [3, 4], [0, 0]),
        (10**12, 10**12, [1, 10**12 - 2, 1], [1, 10**12 - 1, 10**12]),
        (10**12 - 1, 1, [5 * 10**11 - 1, 1, 1], [0, 1, 1]),
    ],
)
async def test_parts_of_a_sale_add_up_to_its_price(
    ledger: LedgerHarness, time: clock.ManualClock, amount: int, price: int, *, parts: list[int], undone: list[int]
) -> None:
    """A sale that is undone in parts is rounded half up in their sum, and all of them are its price exactly."""
    await take(ledger, time, [earn("e", amount=amount, allocated_value=price), spend("s", amount=1)])
    found = []
    for number, part in enumerate(parts):
        await take(ledger, time, [claw_back(f"c{number}", "e", part), MICROSECOND])
        found.append((await values(ledger))[MARCH][1])
    assert found == undone
