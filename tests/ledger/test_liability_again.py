"""A month's end that is run again later is the same, whatever has happened since; and it is what members have."""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, liability_service_pb2

from services.kernel import clock, db, ids
from services.ledger.operations import booking, liability
from tests.conftest import START
from tests.support.budgets import set_rate
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
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
from tests.support.liability import estimate, report

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
ROLLING = ledger_pb2.ExpiryPolicy(time_zone="UTC", days=2, rolling=True)
SPRING = ledger_pb2.Cause(campaign_id="spring")

# The long search, for whoever changes the ledger: PLAUDIT_TEST_SEARCH=2000.
SEEDS = range(int(os.environ.get("PLAUDIT_TEST_SEARCH", "9")))
STEPS = 60
MEMBERS = ("m1", "m2", "m3")
POLICIES = (
    ledger_pb2.CLAW_BACK_POLICY_WRITE_OFF,
    ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS,
    ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT,
    ledger_pb2.CLAW_BACK_POLICY_DEBT,
)

# What stands at the month's end, before each of the changes.
BEFORE = [
    earn("plain", amount=100, allocated_value=90, cause=SPRING),
    earn("ending", amount=50, expires=START + DAY),
    earn("over", amount=40, effective=START - DAY, expires=START - HOUR),
    earn("waiting", amount=30, pending=True, allocated_value=20),
    earn("later", amount=20, effective=START + 3 * DAY),
    earn("rolling", "m2", 60, expiry=ROLLING),
    spend("spent", amount=15),
    hold("kept", amount=10, timeout_s=7 * 86400),
    hold("short", amount=5, timeout_s=3600),
    earn("brief", "m3", 25, expires=START + HOUR / 2),
    hold("longer", "m3", 10, timeout_s=7200),
    hold("taken", amount=12),
    capture("captured", "taken", 8),
]
CHANGES: dict[str, list[ledger_pb2.Operation]] = {
    "earn": [earn("e")],
    "spend": [spend("s", amount=30)],
    "hold": [hold("h", amount=30)],
    "capture": [capture("c", "kept", 4), capture("d", "longer", 4)],
    "release": [release("c", "kept"), release("d", "longer")],
    "reverse a spend": [reverse("r", "spent", 7)],
    "reverse a capture": [reverse("r", "captured")],
    "claw back": [claw_back("c", "plain", 60)],
    "claw back into other lots": [spend("s", amount=80), claw_back("c", "plain", policy=POLICIES[1])],
    "claw back into a debt": [spend("s", amount=80), claw_back("c", "plain", policy=POLICIES[3]), earn("e")],
    "claw back what has expired": [claw_back("c", "over")],
    "back-dated earn": [earn("e", at=START - 9 * DAY), earn("f", effective=START - 9 * DAY, expires=START - DAY)],
    "activity that moves an end": [spend("s", "m2", 1), earn("e", "m2", 1)],
    "early end": [expire("x")],
    "early end of a rolling lot": [expire("x", "m2")],
    "unexpire": [unexpire("u", since=START - DAY, until=START + DAY)],
    "confirm": [confirm("c", "waiting"), confirm("d", "later")],
    "cancel": [cancel("c", "waiting"), cancel("d", "later")],
    "adjust": [adjust("a", change=9), adjust("b", change=-9)],
    "exchange": [exchange("x", amount=30)],
}


@pytest.mark.parametrize("change", CHANGES)
async def test_report_of_a_past_instant_stays(ledger: LedgerHarness, time: clock.ManualClock, change: str) -> None:
    """No kind of operation, no end of a lot or a hold and no booking changes the report of an instant before it."""
    await set_rate(ledger, 1, 2)
    await estimate(ledger)
    assert all(result.HasField("posting") for result in await ledger.post(*BEFORE))
    first = await report(ledger)
    time.value += HOUR - MICROSECOND
    second = await report(ledger)

    time.value += HOUR
    assert all(result.HasField("posting") for result in await ledger.post(*CHANGES[change]))
    await estimate(ledger, 5_000, request_id="estimate-2", valid_from=time.value)
    assert [await report(ledger, START), await report(ledger, START + HOUR - MICROSECOND)] == [first, second]
    time.value += 10 * DAY
    await booking.book_due(ledger.ledger)
    assert [await report(ledger, START), await report(ledger, START + HOUR - MICROSECOND)] == [first, second]
    assert (await report(ledger)).totals != first.totals


@dataclass
class History:
    """Does what comes to a mind without a plan, in a program of its own, and keeps every report on the way."""

    ledger: LedgerHarness
    time: clock.ManualClock
    mind: random.Random
    with_debts: bool
    program: str = field(default_factory=lambda: f"p{ids.new_id().hex}")
    asked: dict[str, list[str]] = field(default_factory=dict)
    reports: list[tuple[datetime, liability_service_pb2.GetLiabilityResponse]] = field(default_factory=list)
    # What was earned, and what was claimed back of it.
    earned: dict[str, ledger_pb2.Earn] = field(default_factory=dict)
    claimed: Counter[str] = field(default_factory=Counter)
    count: int = 0

    async def take_step(self) -> None:
        """Posts some operations, turns the clock, books what is over, or stores an estimate."""
        step = self.mind.choice(("post",) * 8 + ("turn", "turn", "turn", "book", "estimate"))
        match step:
            case "post":
                operations = [self.operation() for _ in range(self.mind.randint(1, 4))]
                results = await self.ledger.post(*operations, program=self.program)
                for operation, result in zip(operations, results, strict=True):
                    self.remember(operation, result)
            case "turn":
                self.time.value += self.mind.choice((MICROSECOND, HOUR, HOUR, 5 * HOUR, DAY, 20 * DAY))
            case "book":
                await booking.book_due(self.ledger.ledger)
            case _:
                await estimate(
                    self.ledger,
                    self.mind.randint(1, 10_000),
                    request_id=self.name("estimate"),
                    campaign_id=self.mind.choice(("", "spring")),
                    valid_from=self.mind.choice((None, self.time.value + DAY)),
                    program=self.program,
                )

    def remember(self, operation: ledger_pb2.Operation, result: ledger_pb2.OperationResult) -> None:
        """Keeps what was earned, and what was claimed back of it."""
        if not result.HasField("posting"):
            return
        if operation.HasField("earn"):
            self.earned[operation.request_id] = operation.earn
        elif operation.HasField("claw_back"):
            self.claimed[operation.claw_back.target_request_id] += result.posting.amount

    def undone(self) -> dict[str, int]:
        """Computes by asset the price of what was claimed back, of each earn to the nearest unit of money."""
        sums: Counter[str] = Counter()
        for name, claimed in self.claimed.items():
            earn = self.earned[name]
            sums[earn.asset] += floor(Fraction(earn.allocated_value * claimed, earn.amount) + Fraction(1, 2))
        return +sums

    def name(self, kind: str) -> str:
        """Makes an id that later steps may come back to."""
        self.count += 1
        self.asked.setdefault(kind, []).append(f"{kind}-{self.count}")
        return self.asked[kind][-1]

    def target(self, kind: str) -> str:
        """Picks something to come back to, mostly what is new."""
        known = self.asked.get(kind) or ["unknown"]
        return self.mind.choice(known[-6:])

    def operation(self) -> ledger_pb2.Operation:
        """Picks an operation; whether it is refused does not matter."""
        kinds: list[Callable[[], ledger_pb2.Operation]] = [
            *[self.earn] * 6,
            lambda: spend(self.name("spend"), self.member(), self.amount(), asset=self.asset()),
            lambda: spend(self.name("spend"), self.member(), self.amount(), asset=self.asset()),
            lambda: hold(self.name("hold"), self.member(), self.amount(), timeout_s=self.mind.choice((3600, 200_000))),
            lambda: hold(self.name("hold"), self.member(), self.amount(), timeout_s=self.mind.choice((3600, 200_000))),
            lambda: capture(self.name("capture"), self.target("hold"), self.mind.choice((0, 1, 5))),
            lambda: release(self.name("release"), self.target("hold")),
            lambda: reverse(self.name("reverse"), self.target("spend"), self.mind.choice((0, 3))),
            lambda: reverse(self.name("reverse"), self.target("capture"), self.mind.choice((0, 1))),
            self.claw_back,
            lambda: confirm(self.name("confirm"), self.target("pending")),
            lambda: cancel(self.name("cancel"), self.target("pending")),
            lambda: adjust(self.name("adjust"), self.member(), self.mind.choice((-5, 8)), asset=self.asset()),
            lambda: exchange(self.name("exchange"), self.member(), self.amount()),
            lambda: expire(self.name("expire"), self.member(), earn_id=self.mind.choice(("", self.target("earn")))),
            self.unexpire,
        ]
        return self.mind.choice(kinds)()

    def member(self) -> str:
        """Picks a member."""
        return self.mind.choice(MEMBERS)

    def asset(self) -> str:
        """Picks an asset, mostly points."""
        return self.mind.choice(("points",) * 4 + ("credits",))

    def amount(self) -> int:
        """Picks an amount that there may be."""
        return self.mind.choice((1, 7, 20, 60))

    def instant(self) -> datetime:
        """Picks an instant before or after now."""
        return self.time.value + self.mind.randint(-30, 60) * HOUR

    def earn(self) -> ledger_pb2.Operation:
        """Picks an earn: now, back-dated or ahead, pending, with an end, or with one that rolls."""
        is_pending = self.mind.random() < 0.2
        what: dict[str, Any] = {"allocated_value": self.mind.choice((0, 13)), "pending": is_pending}
        if self.mind.random() < 0.3:
            what["at"] = min(self.instant(), self.time.value)
        if not is_pending and self.mind.random() < 0.4:
            what["effective"] = self.instant()
        if self.mind.random() < 0.3:
            what["expiry"] = ROLLING
        elif self.mind.random() < 0.5:
            what["expires"] = self.instant()
        campaign = self.mind.choice(("", "spring", "autumn"))
        return earn(
            self.name("pending" if is_pending or "effective" in what else "earn"),
            self.member(),
            self.mind.choice((5, 40, 100)),
            asset=self.asset(),
            cause=ledger_pb2.Cause(campaign_id=campaign) if campaign else None,
            **what,
        )

    def claw_back(self) -> ledger_pb2.Operation:
        """Picks a claw-back, into debts only where there are to be some."""
        policy = self.mind.choice(POLICIES if self.with_debts else POLICIES[:2])
        target = self.target(self.mind.choice(("earn", "earn", "pending")))
        return claw_back(self.name("claw"), target, self.mind.choice((0, 4)), policy)

    def unexpire(self) -> ledger_pb2.Operation:
        """Picks what gives back what ended lately."""
        end = self.mind.choice((None, self.time.value + 10 * HOUR))
        since, until = self.time.value - 3 * DAY, self.time.value + MICROSECOND
        return unexpire(self.name("unexpire"), self.member(), since=since, until=until, expires=end)

    async def look(self) -> None:
        """Takes the report of now, compares it with what happened, and lets no later posting be of this instant."""
        told = await report(self.ledger, program=self.program)
        self.reports.append((self.time.value, told))
        values = {total.asset: total.figures.clawed_back_value for total in told.totals}
        assert {asset: value for asset, value in values.items() if value} == self.undone()
        for line in told.lines:
            earned = line.figures.recognised_value, line.figures.deferred_value
            assert min(earned) >= 0
            assert sum(earned) == line.figures.allocated_value - line.figures.clawed_back_value
        if not self.with_debts:
            held = {total.asset: total.figures.open + total.figures.pending for total in told.totals}
            assert {asset: amount for asset, amount in held.items() if amount} == await self.balances()
        self.time.value += MICROSECOND

    async def balances(self) -> dict[str, int]:
        """Sums up what all members have, by asset."""
        request = ledger_service_pb2.BatchGetBalancesRequest(member_ids=MEMBERS)
        answer = await self.ledger.stub.BatchGetBalances(request, metadata=credential(self.program, LEDGER_SCOPES))
        sums: dict[str, int] = {}
        for each in [balance for member in answer.members for balance in member.balances]:
            amount = each.available + each.held + each.pending
            sums[each.asset] = sums.get(each.asset, 0) + amount
        return {asset: amount for asset, amount in sums.items() if amount}


@pytest.mark.parametrize("seed", SEEDS)
async def test_reports_of_any_history_stay(ledger: LedgerHarness, time: clock.ManualClock, seed: int) -> None:
    """Whatever happens in whatever order, each report is what members have and what was undone, then and later."""
    history = History(ledger, time, random.Random(seed), with_debts=seed % 3 == 2)
    await set_rate(ledger, 1, 2, program=history.program)
    for number in range(STEPS):
        await history.take_step()
        if number % 4 == 3:
            await history.look()
            assert await problems(ledger, time) == []

    for instant, told in history.reports:
        assert await report(ledger, instant, program=history.program) == told
    time.value += 100 * DAY
    await booking.book_due(ledger.ledger)
    assert await problems(ledger, time) == []
    for instant, told in history.reports:
        assert await report(ledger, instant, program=history.program) == told


async def problems(ledger: LedgerHarness, time: clock.ManualClock) -> list[str]:
    """Lists what the ledger finds of liability that balances do not explain."""
    return await db.read(ledger.ledger.pool, lambda connection: liability.find_problems(connection, time.value))
