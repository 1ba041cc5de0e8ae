"""The report of liability: the published examples end to end, and what became of every kind of value."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, db
from services.ledger import checks
from services.ledger.operations import booking, liability
from tests.conftest import START
from tests.support.budgets import set_rate
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import (
    adjust,
    cancel,
    capture,
    claw_back,
    confirm,
    earn,
    exchange,
    expire,
    hold,
    release,
    reverse,
    spend,
    unexpire,
)
from tests.support.liability import Key, estimate, figures, report
from tests.support.refusals import refusal
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
MONTH = timedelta(days=31)
MICROSECOND = timedelta(microseconds=1)
SPRING = ledger_pb2.Cause(campaign_id="spring")
AUTUMN = ledger_pb2.Cause(campaign_id="autumn")
OTHERS = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS
DEBT = ledger_pb2.CLAW_BACK_POLICY_DEBT

Step = ledger_pb2.Operation | timedelta | datetime
MARCH: Key = ("2026-03", "", "points")
APRIL: Key = ("2026-04", "", "points")


async def take(ledger: LedgerHarness, time: clock.ManualClock, steps: Sequence[Step]) -> None:
    """Posts operations one by one, each of which happens, and turns the clock where a span stands among them."""
    for step in steps:
        if isinstance(step, timedelta):
            time.value += step
        elif isinstance(step, datetime):
            time.value = step
        else:
            [result] = await ledger.post(step)
            assert result.HasField("posting"), result


@pytest.mark.parametrize(
    ("allocated_value", "first_rate", "first", "second_rate", "second"),
    [
        (9_000, 9_700, 4_175, 9_900, 3_552),
        (9_000, 9_700, 4_175, 9_200, 4_140),
        (8_676, 9_500, 4_110, 9_700, 3_493),
    ],
    ids=["KPMG 10A", "KPMG 10B", "IFRS 15 Example 52"],
)
async def test_report_matches_published_example(
    ledger: LedgerHarness,
    time: clock.ManualClock,
    allocated_value: int,
    first_rate: int,
    first: int,
    second_rate: int,
    second: int,
) -> None:
    """Ten members earn 10,000 points, spend 4,500 and then 4,000, and each period has the published revenue."""
    share = allocated_value // 10
    shares = [share] * 9 + [allocated_value - 9 * share]
    await ledger.post(*(earn(f"e{n}", f"m{n}", 1000, allocated_value=each) for n, each in enumerate(shares)))
    await estimate(ledger, first_rate)
    time.value += MONTH
    await ledger.post(*(spend(f"s{n}", f"m{n}", 450) for n in range(10)))
    before = time.value

    time.value += MONTH
    await estimate(ledger, second_rate, request_id="estimate-2")
    await ledger.post(*(spend(f"t{n}", f"m{n}", 400) for n in range(10)))

    for line in [*(await report(ledger, before, previous=START - HOUR)).lines]:
        assert (line.redemption_rate_bps, line.figures.expected) == (first_rate, first_rate)
        assert (line.figures.recognised_value, line.figures.recognised_since_value) == (first, first)
    now = await report(ledger, previous=before)
    [line], [total] = now.lines, now.totals
    assert line.redemption_rate_bps == line.figures.expected == second_rate
    assert line.figures == total.figures
    assert total.figures.recognised_since_value == second
    assert total.figures.recognised_value == first + second
    assert total.figures.deferred_value == allocated_value - first - second
    assert total.figures.breakage == 10_000 - second_rate


# What happens, and what became of it by cohort: (issued, redeemed, expired, clawed back, open, pending).
HISTORIES: dict[str, tuple[list[Step], dict[Key, tuple[int, int, int, int, int, int]]]] = {
    "spend and reverse a part": (
        [earn("e"), spend("s", amount=60), reverse("r", "s", 20)],
        {MARCH: (100, 40, 0, 0, 60, 0)},
    ),
    "hold": ([earn("e"), hold("h", amount=30)], {MARCH: (100, 0, 0, 0, 100, 0)}),
    "capture a part": ([earn("e"), hold("h", amount=30), capture("c", "h", 20)], {MARCH: (100, 20, 0, 0, 80, 0)}),
    "reverse a capture": (
        [earn("e"), hold("h", amount=30), capture("c", "h"), HOUR, reverse("r", "c", 10)],
        {MARCH: (100, 20, 0, 0, 80, 0)},
    ),
    "release": ([earn("e"), hold("h", amount=30), release("x", "h")], {MARCH: (100, 0, 0, 0, 100, 0)}),
    "hold until after the end of its lot": (
        [earn("e", expires=START + HOUR), hold("h", amount=40, timeout_s=7200), HOUR],
        {MARCH: (100, 0, 60, 0, 40, 0)},
    ),
    "hold that timed out after the end of its lot": (
        [earn("e", expires=START + HOUR), hold("h", amount=40, timeout_s=7200), 2 * HOUR],
        {MARCH: (100, 0, 100, 0, 0, 0)},
    ),
    "expire at the very instant": ([earn("e", expires=START + HOUR), HOUR], {MARCH: (100, 0, 100, 0, 0, 0)}),
    "live until just before it": (
        [earn("e", expires=START + HOUR), HOUR - MICROSECOND],
        {MARCH: (100, 0, 0, 0, 100, 0)},
    ),
    "earn what is over": (
        [earn("e", at=START - 2 * HOUR, expires=START - HOUR)],
        {MARCH: (100, 0, 100, 0, 0, 0)},
    ),
    "earn back-dated into another month": ([earn("e", at=START - MONTH)], {MARCH: (100, 0, 0, 0, 100, 0)}),
    "pending": ([earn("e", pending=True), MONTH], {MARCH: (0, 0, 0, 0, 0, 100)}),
    "effective later": ([earn("e", effective=START + HOUR)], {MARCH: (0, 0, 0, 0, 0, 100)}),
    "effective by now": ([earn("e", effective=START + HOUR), HOUR], {MARCH: (100, 0, 0, 0, 100, 0)}),
    "confirm in the next month": (
        [earn("e", pending=True), MONTH, confirm("c", "e")],
        {MARCH: (100, 0, 0, 0, 100, 0)},
    ),
    "cancel": ([earn("e", pending=True), cancel("c", "e")], {}),
    "cancel one of two": ([earn("e", pending=True), earn("f"), cancel("c", "e")], {MARCH: (100, 0, 0, 0, 100, 0)}),
    "claw back what is left": (
        [earn("e"), spend("s", amount=60), claw_back("c", "e")],
        {MARCH: (100, 60, 0, 40, 0, 0)},
    ),
    "claw back from the lot of another cohort": (
        [earn("e"), spend("s", amount=60), MONTH, earn("f", cause=SPRING), claw_back("c", "e", policy=OTHERS)],
        {MARCH: (100, 60, 0, 40, 0, 0), ("2026-04", "spring", "points"): (100, 0, 0, 60, 40, 0)},
    ),
    "claw back into a debt that the next earn repays": (
        [earn("e"), spend("s"), claw_back("c", "e", policy=DEBT), MONTH, earn("f", amount=70), earn("g", amount=70)],
        {MARCH: (100, 100, 0, 0, 0, 0), APRIL: (140, 0, 0, 100, 40, 0)},
    ),
    "claw back what has expired": (
        [earn("e", expires=START + HOUR), 2 * HOUR, claw_back("c", "e", 30)],
        {MARCH: (100, 0, 70, 30, 0, 0)},
    ),
    "claw back what was given back": (
        [
            earn("e", cause=SPRING, expires=START + HOUR),
            2 * HOUR,
            unexpire("u", since=START, until=START + 2 * HOUR, expires=START + MONTH),
            2 * MONTH,
            unexpire("v", since=START, until=START + 2 * MONTH),
            spend("t", amount=20),
            earn("f", amount=5, cause=AUTUMN),
            claw_back("c", "e", 60, policy=OTHERS),
        ],
        {
            ("2026-03", "spring", "points"): (100, 20, 0, 60, 20, 0),
            ("2026-05", "autumn", "points"): (5, 0, 0, 0, 5, 0),
        },
    ),
    "adjust": ([adjust("a", change=50), MONTH, adjust("b", change=-20)], {MARCH: (50, 20, 0, 0, 30, 0)}),
    "exchange": (
        [earn("e", cause=SPRING), MONTH, exchange("x", amount=40)],
        {("2026-03", "spring", "points"): (100, 40, 0, 0, 60, 0), ("2026-04", "", "credits"): (20, 0, 0, 0, 20, 0)},
    ),
    "end early": ([earn("e"), hold("h", amount=30), expire("x")], {MARCH: (100, 0, 70, 0, 30, 0)}),
    "unexpire": (
        [
            earn("e", cause=SPRING, expires=START + HOUR),
            spend("s", amount=10),
            MONTH,
            unexpire("u", since=START, until=START + 2 * HOUR),
            spend("t", amount=20),
        ],
        {("2026-03", "spring", "points"): (100, 30, 0, 0, 70, 0)},
    ),
    "unexpire twice": (
        [
            earn("e", cause=SPRING, expires=START + HOUR),
            MONTH,
            unexpire("u", since=START, until=START + 2 * HOUR, expires=START + MONTH + HOUR),
            earn("f", amount=5, cause=AUTUMN),
            MONTH,
            unexpire("v", since=START, until=START + 2 * MONTH),
            spend("t", amount=20),
        ],
        {
            ("2026-03", "spring", "points"): (100, 15, 0, 0, 85, 0),
            ("2026-04", "autumn", "points"): (5, 5, 0, 0, 0, 0),
        },
    ),
}
NAMES = ("issued", "redeemed", "expired", "clawed_back", "open", "pending")


@pytest.mark.parametrize("name", HISTORIES)
async def test_report_tells_what_became_of_value(ledger: LedgerHarness, time: clock.ManualClock, name: str) -> None:
    """Every kind of operation counts in the cohort and the figure that the contract says, booked or not."""
    steps, expected = HISTORIES[name]
    await set_rate(ledger, 1, 2)
    await take(ledger, time, steps)

    told = {
        key: {figure: each for figure, each in zip(NAMES, row, strict=True) if each} for key, row in expected.items()
    }
    assert figures(await report(ledger)) == told
    await booking.book_due(ledger.ledger)
    assert figures(await report(ledger)) == told
    assert await problems(ledger, time) == []


async def problems(ledger: LedgerHarness, time: clock.ManualClock) -> list[str]:
    """Lists what the ledger's own check finds."""
    return [problem for row in await checks.check(ledger.ledger.pool, time) for problem in row.problems]


async def test_price_follows_its_points(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A price counts once its points take effect, goes with what is taken back, and comes back with what expired."""
    values: list[tuple[int, int, int, int]] = []
    steps: list[Step] = [
        earn("e", pending=True, allocated_value=90),
        confirm("c", "e"),
        claw_back("k", "e", 50),
        expire("x"),
        unexpire("u", since=START, until=START + HOUR),
    ]
    for step in steps:
        await take(ledger, time, [step, MICROSECOND])
        [line] = (await report(ledger)).lines
        told = line.figures
        values.append((told.allocated_value, told.clawed_back_value, told.recognised_value, told.deferred_value))

    assert values == [(0, 0, 0, 0), (90, 0, 0, 90), (90, 45, 0, 45), (90, 45, 45, 0), (90, 45, 0, 45)]


@pytest.mark.parametrize(
    ("posted", "zone", "month"),
    [
        ("2026-03-31T23:30", "", "2026-03"),
        ("2026-03-31T21:59", "Europe/Paris", "2026-03"),
        ("2026-03-31T22:00", "Europe/Paris", "2026-04"),
        ("2026-04-01T03:59", "America/New_York", "2026-03"),
        ("2026-04-01T04:00", "America/New_York", "2026-04"),
        ("2026-03-31T10:00", "Pacific/Kiritimati", "2026-04"),
        ("2026-12-31T23:00", "Europe/Paris", "2027-01"),
    ],
)
async def test_month_is_that_of_the_zone(
    ledger: LedgerHarness, time: clock.ManualClock, posted: str, zone: str, month: str
) -> None:
    """The month of issue is the one that the calendar of the zone showed when the value was posted."""
    time.value = datetime.fromisoformat(posted).replace(tzinfo=UTC)
    await ledger.post(earn("e", at=START))

    assert [line.month for line in (await report(ledger, time_zone=zone)).lines] == [month]


async def test_filter_leaves_out_what_it_does_not_name(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An asset or a campaign narrows lines and sums, also of what was given back after its end."""
    await take(
        ledger,
        time,
        [
            earn("e", cause=SPRING, expires=START + HOUR),
            earn("f", amount=7, cause=AUTUMN),
            earn("g", amount=5, asset="credits", cause=SPRING),
            2 * HOUR,
            unexpire("u", since=START, until=START + 2 * HOUR),
        ],
    )

    async def told(**what: Any) -> tuple[list[tuple[str, str, int]], list[tuple[str, int]]]:
        answer = await report(ledger, **what)
        lines = [(line.campaign_id, line.asset, line.figures.open) for line in answer.lines]
        return lines, [(total.asset, total.figures.open) for total in answer.totals]

    spring, autumn, cents = ("spring", "points", 100), ("autumn", "points", 7), ("spring", "credits", 5)
    assert await told() == ([autumn, cents, spring], [("credits", 5), ("points", 107)])
    assert await told(asset="points") == ([autumn, spring], [("points", 107)])
    assert await told(campaign_id="spring") == ([cents, spring], [("credits", 5), ("points", 100)])
    assert await told(campaign_id="spring", asset="points") == ([spring], [("points", 100)])
    assert await told(campaign_id="summer") == ([], [])


async def test_report_never_sees_other_programs(ledger: LedgerHarness) -> None:
    """The same members, requests and campaigns of another program are in neither lines nor sums nor rates."""
    await ledger.post(earn("e", cause=SPRING), program="other")
    await estimate(ledger, 5_000, program="other")
    assert figures(await report(ledger)) == {}

    await ledger.post(earn("e", amount=10), hold("h", amount=4), spend("s", amount=3))
    [line] = (await report(ledger)).lines
    assert (line.figures.issued, line.figures.redeemed, line.redemption_rate_bps) == (10, 3, 10_000)
    [line] = (await report(ledger, program="other")).lines
    assert (line.figures.issued, line.figures.redeemed, line.redemption_rate_bps) == (100, 0, 5_000)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"as_of": START + MICROSECOND}, "asOfTime"),
        ({"previous": START}, "previousAsOfTime"),
        ({"as_of": START - HOUR, "previous": START - HOUR}, "previousAsOfTime"),
        ({"time_zone": "Europe/Atlantis"}, "timeZone"),
        ({"asset": "Points"}, "asset"),
        ({"campaign_id": "c" * 129}, "campaignId"),
        ({"page_size": -1}, "pageSize"),
        ({"page_token": "x"}, "pageToken"),
    ],
)
async def test_report_malformed_is_refused(ledger: LedgerHarness, change: dict[str, Any], field: str) -> None:
    """What is no report is refused by its field: the future is nobody's to report."""
    refused = await refusal(report(ledger, **change))
    assert (refused.reason, [each.field for each in refused.violations]) == ("FIELD_INVALID", [field])


async def test_report_before_everything_is_empty(ledger: LedgerHarness) -> None:
    """An instant before the first posting, however long ago, has no lines and no sums."""
    await ledger.post(earn("e", at=datetime(1950, 1, 1, tzinfo=UTC)))
    for instant in (START - MICROSECOND, datetime(1969, 7, 20, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)):
        answer = await report(ledger, instant, time_zone="America/New_York")
        assert (list(answer.lines), list(answer.totals)) == ([], [])


async def test_reports_leave_room_for_writes(ledger: LedgerHarness, databases: Databases, ledger_database: str) -> None:
    """Of many reports at once a few are made and the others wait, so that what is posted meanwhile is posted."""
    connection = await databases.admin(ledger_database)

    async def count_waiting() -> int:
        return int(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async def are_stuck() -> bool:
        return await count_waiting() == liability.REPORTS_MAX

    async with connection.transaction():
        await connection.execute("LOCK TABLE redemption_estimates IN ACCESS EXCLUSIVE MODE")
        reports = [asyncio.create_task(report(ledger)) for _ in range(3 * db.POOL_SIZE_MAX)]
        await eventually(are_stuck)
        [earned] = await ledger.post(earn("e"))
        assert earned.HasField("posting")
        assert await count_waiting() == liability.REPORTS_MAX
    await connection.close()
    assert all(answer.HasField("as_of_time") for answer in await asyncio.gather(*reports))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE lots SET amount = amount + 5, remaining = remaining + 5",
        "UPDATE wallets SET balance = balance - 1, earned = earned - 1",
        "UPDATE allocations SET kind = 'CANCEL'",
        "DELETE FROM journal WHERE kind = 'EARN'",
    ],
)
async def test_check_sees_liability_that_balances_do_not_explain(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock, change: str
) -> None:
    """Whatever makes the report and what members have two different things is a problem of its own."""
    await ledger.post(earn("e"), spend("s", amount=30))
    connection = await databases.admin(ledger_database)
    await connection.execute(change)
    await connection.close()

    rows = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    [problem] = rows["liability against balances"]
    assert problem.startswith("program_id demo, asset points, ")
