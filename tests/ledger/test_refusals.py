"""What operations are refused with: each reason, its place among the others, what it leaves, and for how long."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from plaudit.ledger.v1 import error_reason_pb2, ledger_pb2

from services.kernel import clock, errors
from tests.conftest import START
from tests.ledger.test_server import MICROSECOND, YEAR, assert_sound
from tests.support.budgets import create_budget, set_rate
from tests.support.harness import LedgerHarness
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
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
from tests.support.outcomes import happen, reasons, refused
from tests.support.refusals import refusal
from tests.support.tables import changed, dump
from tests.support.twins import call

DAY = timedelta(days=1)
ORDER = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name]
Cure = ledger_pb2.Operation | Callable[[LedgerHarness], Awaitable[object]]

# Of each reason: an operation that is refused with it after `prepare`, its metadata, and what takes the cause away.
REFUSED: dict[str, tuple[ledger_pb2.Operation, dict[str, str], Cure | None]] = {
    "HOLD_NOT_FOUND": (capture("x", "hold"), {"holdRequestId": "hold"}, hold("hold", amount=1)),
    "HOLD_ENDED": (release("x", "freed"), {"holdRequestId": "freed", "state": "RELEASED"}, None),
    "EARN_NOT_FOUND": (cancel("x", "earn"), {"earnRequestId": "earn"}, earn("earn", pending=True)),
    "EARN_PENDING": (claw_back("x", "p1"), {"earnRequestId": "p1"}, confirm("confirm", "p1")),
    "EARN_NOT_PENDING": (confirm("x", "e1"), {"earnRequestId": "e1"}, None),
    "EARN_TAKEN_BACK": (claw_back("x", "back"), {"earnRequestId": "back"}, None),
    "TARGET_NOT_FOUND": (reverse("x", "spend"), {"targetRequestId": "spend"}, spend("spend", amount=1)),
    "TARGET_REVERSED": (reverse("x", "undone"), {"targetRequestId": "undone"}, None),
    "PART_TOO_LARGE": (capture("x", "h1", 11), {"left": "10", "requested": "11"}, None),
    "BUDGET_NOT_FOUND": (fund("x", "new", 1), {"budgetId": "new"}, lambda ledger: create_budget(ledger, "new")),
    "BUDGET_CLOSED": (earn("x", budget_id="shut"), {"budgetId": "shut"}, None),
    "RATE_NOT_FOUND": (
        exchange("x", amount=5, target="miles"),
        {"fromAsset": "points", "toAsset": "miles"},
        lambda ledger: set_rate(ledger, 1, 1, target="miles"),
    ),
    "EXCHANGE_TOO_SMALL": (exchange("x", amount=9), {"amountMin": "10"}, lambda ledger: set_rate(ledger, 1, 1)),
    "LOT_LIFE_EMPTY": (
        earn("x", effective=START + DAY, expires=START + DAY),
        {"effectiveTime": "2026-03-02T12:00:00Z", "expireTime": "2026-03-02T12:00:00Z"},
        None,
    ),
    "BUDGET_EXHAUSTED": (
        earn("x", amount=51, budget_id="b"),
        {"budgetId": "b", "left": "50", "requested": "51"},
        fund("fund", "b", 1),
    ),
    "INSUFFICIENT_BALANCE": (
        spend("x", amount=10**6),
        {"available": "70", "requested": "1000000"},
        earn("rich", amount=10**6),
    ),
    "BALANCE_LIMIT": (earn("x", "full", 1), {"limit": str(10**15)}, spend("less", "full", 1)),
}


async def prepare(ledger: LedgerHarness) -> None:
    """Makes what the operations of this file need: among others a member whose wallet is full."""
    await create_budget(ledger, shard_count=4)
    await create_budget(ledger, "shut")
    await set_rate(ledger, 1, 10)
    await set_rate(ledger, 10**9, 1, source="gems", target="points")
    await happen(
        ledger,
        fund("f", "b", 50),
        close("c", "shut"),
        earn("e1", amount=100),
        earn("p1", pending=True),
        earn("back", "m2"),
        claw_back("k", "back"),
        spend("undone", amount=20),
        reverse("r", "undone"),
        spend("s1", amount=20),
        hold("freed", amount=5),
        release("l", "freed"),
        hold("h1", amount=10),
    )
    await happen(
        ledger,
        earn("lost", "full", 10),
        expire("x-lost", "full", earn_id="lost"),
        *(earn(f"fill{number}", "full", 10**12) for number in range(990)),
    )
    await happen(
        ledger,
        spend("s-full", "full", 10),
        spend("undone-full", "full", 10),
        reverse("r-full", "undone-full"),
        earn("ten", "full", 10),
        *(earn(f"full{number}", "full", 10**12) for number in range(10)),
        earn("gem", "full", 5, asset="gems"),
    )


def renamed(operation: ledger_pb2.Operation, request_id: str) -> ledger_pb2.Operation:
    """Gives the same operation under another id."""
    other = ledger_pb2.Operation.FromString(operation.SerializeToString())
    other.request_id = request_id
    return other


async def cure(ledger: LedgerHarness, means: Cure | None) -> None:
    """Takes a cause away, where that can be done."""
    if isinstance(means, ledger_pb2.Operation):
        await happen(ledger, means)
    elif means is not None:
        await means(ledger)


async def test_refusal_says_why_and_leaves_nothing_else(ledger: LedgerHarness) -> None:
    """Each reason is reached with its code and metadata, and no row changes but its own, which is new, and the head."""
    await prepare(ledger)
    for reason, (operation, metadata, _) in REFUSED.items():
        before = await dump(ledger.ledger.pool)
        refused_with = await refusal(call(ledger, renamed(operation, f"x-{reason}")))
        code = errors.Code.NOT_FOUND if reason.endswith("_NOT_FOUND") else errors.Code.FAILED_PRECONDITION
        told = (refused_with.reason, refused_with.code, refused_with.domain, dict(refused_with.metadata))
        assert told == (reason, code, "ledger.plaudit", metadata)
        differences = changed(before, await dump(ledger.ledger.pool))
        assert differences.keys() == {"feed_heads", "journal"}
        assert [len(rows) for rows in differences["journal"]] == [0, 1]
        [again] = await ledger.post(renamed(operation, f"x-{reason}"))
        assert (again.refusal.reason, dict(again.refusal.metadata), again.replayed) == (reason, metadata, True)
    await assert_sound(ledger)


async def test_refusal_of_a_stranger_leaves_nothing_else(ledger: LedgerHarness) -> None:
    """A member of whom the ledger has never heard is not in it either once an operation was refused."""
    await create_budget(ledger)
    await happen(ledger, earn("e1"))
    before = await dump(ledger.ledger.pool)
    results = await ledger.post(
        spend("x1", "stranger"),
        hold("x2", "stranger", asset="credits"),
        earn("x3", "stranger", budget_id="b"),
        adjust("x4", "stranger", -1),
        exchange("x5", "stranger"),
        earn("e1", "stranger"),
    )

    assert reasons(results) == [
        *["INSUFFICIENT_BALANCE"] * 2,
        "BUDGET_EXHAUSTED",
        "INSUFFICIENT_BALANCE",
        "RATE_NOT_FOUND",
        "REQUEST_ID_REUSED",
    ]
    differences = changed(before, await dump(ledger.ledger.pool))
    assert differences.keys() == {"feed_heads", "journal"}
    assert [each.replayed for each in await ledger.post(spend("x1", "stranger"))] == [True]
    await happen(ledger, earn("e2", "stranger", 5), spend("s2", "stranger", 5))
    await assert_sound(ledger)


async def test_refusal_stays_when_its_cause_is_gone(ledger: LedgerHarness) -> None:
    """Whatever an operation was refused for, its id stays refused for that; under another id it happens by then."""
    await prepare(ledger)
    first = {}
    for reason, (operation, _, _) in REFUSED.items():
        [first[reason]] = await ledger.post(renamed(operation, f"x-{reason}"))
    for reason, (operation, _, means) in REFUSED.items():
        await cure(ledger, means)
        [again] = await ledger.post(renamed(operation, f"x-{reason}"))
        assert (again.replayed, again.refusal) == (True, first[reason].refusal)
        assert again.refusal.reason == reason
        if means is not None:
            await happen(ledger, renamed(operation, f"y-{reason}"))
    await assert_sound(ledger)


def full(budget_id: str = "", amount: int = 1, *, over: bool = False) -> ledger_pb2.Operation:
    """Makes an earn that does not fit into its wallet."""
    return earn("x", "full", amount, budget_id=budget_id, **(OVER if over else {}))


def over(budget_id: str = "") -> ledger_pb2.Operation:
    """Makes an earn whose lot would end before it begins."""
    return earn("x", budget_id=budget_id, **OVER)


OVER: dict[str, Any] = {"effective": START + DAY, "expires": START + DAY}
# Two reasons that apply at once to the first operation; the second one has the later reason alone.
PAIRS: list[tuple[str, str, ledger_pb2.Operation, ledger_pb2.Operation]] = [
    ("HOLD_ENDED", "PART_TOO_LARGE", capture("x", "freed", 9), capture("x", "h1", 11)),
    ("EARN_PENDING", "PART_TOO_LARGE", claw_back("x", "p1", 101), claw_back("x", "e1", 101)),
    ("EARN_NOT_PENDING", "LOT_LIFE_EMPTY", confirm("x", "gone"), confirm("x", "late")),
    ("EARN_TAKEN_BACK", "PART_TOO_LARGE", claw_back("x", "back", 1), claw_back("x", "e1", 101)),
    ("TARGET_REVERSED", "PART_TOO_LARGE", reverse("x", "undone", 21), reverse("x", "s1", 21)),
    ("TARGET_REVERSED", "BALANCE_LIMIT", reverse("x", "undone-full"), reverse("x", "s-full")),
    ("PART_TOO_LARGE", "BALANCE_LIMIT", reverse("x", "s-full", 11), reverse("x", "s-full", 10)),
    ("BUDGET_NOT_FOUND", "LOT_LIFE_EMPTY", over("none"), over()),
    ("BUDGET_NOT_FOUND", "BALANCE_LIMIT", full("none"), full()),
    ("BUDGET_CLOSED", "LOT_LIFE_EMPTY", over("shut"), over()),
    ("BUDGET_CLOSED", "BUDGET_EXHAUSTED", earn("x", budget_id="shut"), earn("x", budget_id="b")),
    ("BUDGET_CLOSED", "BALANCE_LIMIT", full("shut"), full("b")),
    ("RATE_NOT_FOUND", "INSUFFICIENT_BALANCE", exchange("x", target="miles"), exchange("x")),
    ("RATE_NOT_FOUND", "BALANCE_LIMIT", exchange("x", "full", 1, source="credits", target="points"), full()),
    ("EXCHANGE_TOO_SMALL", "INSUFFICIENT_BALANCE", exchange("x", "m3", 9), exchange("x", "m3", 10)),
    ("LOT_LIFE_EMPTY", "BUDGET_EXHAUSTED", over("b"), earn("x", budget_id="b")),
    ("LOT_LIFE_EMPTY", "BALANCE_LIMIT", full(over=True), full()),
    (
        "LOT_LIFE_EMPTY",
        "BALANCE_LIMIT",
        unexpire("x", "full", since=START, until=START + YEAR, expires=START),
        unexpire("x", "full", since=START, until=START + YEAR),
    ),
    ("LOT_LIFE_EMPTY", "BALANCE_LIMIT", adjust("x", "full", 1, expires=START), adjust("x", "full", 1)),
    ("BUDGET_EXHAUSTED", "BALANCE_LIMIT", full("b", 51), full("b", 50)),
    (
        "INSUFFICIENT_BALANCE",
        "BALANCE_LIMIT",
        exchange("x", "full", 6, source="gems", target="points"),
        exchange("x", "full", 5, source="gems", target="points"),
    ),
]


async def test_refusal_is_the_first_of_all_that_apply(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Where two reasons apply at once, the one that stands before the other in the contract is told."""
    await prepare(ledger)
    await happen(ledger, earn("gone", pending=True, expires=START + MICROSECOND), confirm("k-gone", "gone"))
    await happen(ledger, earn("late", pending=True, expires=START + MICROSECOND))
    time.value = START + MICROSECOND
    for number, (first, second, both, alone) in enumerate(PAIRS):
        assert ORDER.index(first) < ORDER.index(second)
        assert (await refused(ledger, renamed(both, f"both{number}")))[0] == first, both
        assert (await refused(ledger, renamed(alone, f"alone{number}")))[0] == second, alone


async def test_refusal_of_the_request_comes_before_all_others(ledger: LedgerHarness) -> None:
    """A malformed operation is told first, then an id that is used; only then what stands in the way of it."""
    await prepare(ledger)
    malformed = spend("e1", "", 10**6)
    results = await ledger.post(malformed, spend("e1", amount=10**6), spend("new", amount=10**6))

    assert reasons(results) == ["FIELD_INVALID", "REQUEST_ID_REUSED", "INSUFFICIENT_BALANCE"]


def test_every_reason_of_operations_is_here() -> None:
    """No reason that an operation can be refused with is left out; LINKED_REFUSED has a file of its own."""
    last = ORDER.index("LINKED_REFUSED")
    others = {"UNSPECIFIED", "BUDGET_EXISTS"}

    assert set(ORDER[:last]) - others == set(REFUSED)
    assert {reason for first, second, _, _ in PAIRS for reason in (first, second)} <= set(REFUSED)
