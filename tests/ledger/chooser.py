"""Chooses what to do next: mostly what can succeed, so that histories grow deep, and sometimes what cannot.

A seed chooses always the same: nothing here depends on what the ledger answers, only on what its oracle does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from tests.support.oracle import Oracle
from tests.support.oracle_asks import Ask, Owner, Policy
from tests.support.oracle_wallet import Lot, Wallet

MEMBERS = ("m1", "m2")
ASSETS = ("points", "credits", "gems")
BUDGETS = {"b1": "points", "b2": "points", "b3": "credits"}
AMOUNT_MAX = 10**12
# At the first rate, so many points are all the gems that anybody can have.
RICHES = 10**6
TIMEOUT_MAX_S = 30 * 86400
MICROSECOND = timedelta(microseconds=1)

# Where clocks change, months and years end, and February has a day more.
STARTS = tuple(
    datetime(*day, tzinfo=UTC)
    for day in ((2026, 3, 1), (2026, 3, 27), (2026, 10, 24), (2026, 10, 30), (2026, 12, 30), (2028, 2, 27))
)
UNITS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=9))
# Some of them change their clocks at midnight, at odd hours, by half an hour, or never.
ZONES = (
    *("Europe/Paris", "America/New_York", "America/Santiago", "America/Havana", "Asia/Beirut", "Africa/Cairo"),
    *("Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Kiritimati", "Atlantic/Azores"),
)
# How often each kind is drawn, by weight.
TAKING = {"spend": 10, "hold": 10, "capture": 6, "release": 4, "reverse": 9}
GIVING = {"earn": 22, "confirm": 4, "cancel": 3, "claw_back": 9, "adjust": 5, "exchange": 5, "expire": 2, "unexpire": 3}
# What makes the targets of each kind.
MAKERS = {
    **dict.fromkeys(("confirm", "cancel", "claw_back", "expire"), ("earn",)),
    **dict.fromkeys(("capture", "release"), ("hold",)),
    "reverse": ("spend", "capture"),
}
KINDS = {**GIVING, **TAKING, "fund": 4, "close": 1}
STEPS = {"post": 20, "turn": 20, "look": 11, "read": 1, "sweep": 4, "again": 2, "rate": 1}
SIZES = (1, 2, 4, 8, 16, 40, 40)

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Call:
    """Operations of one call, linked or not; or none, but what is over in one wallet is booked."""

    asks: tuple[Ask, ...] = ()
    linked: bool = False
    booked: Owner | None = None


@dataclass(frozen=True)
class Step:
    """One thing to do: post calls in a batch, turn the clock, look at balances, read statements, sweep, set a rate."""

    what: str
    calls: tuple[Call, ...] = ()
    turn: timedelta = timedelta()
    instant: datetime | None = None
    member: str = ""
    rate: tuple[str, str, int, int] = ("", "", 0, 0)


@dataclass
class Chooser:
    """Draws steps for one world; `oracle` and `now` are those of the world."""

    random: Random
    oracle: Oracle
    operations: int
    asked: list[Ask] = field(default_factory=list)
    current: list[Ask] = field(default_factory=list)
    available: dict[Owner, int] = field(default_factory=dict)
    posted: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Draws what kind of world it is: when it begins, how fast it goes, how rich it is, and how crowded."""
        self.start = self.pick(STARTS) + self.random.randrange(48) * timedelta(hours=1)
        self.unit = self.pick(UNITS)
        self.is_rich = self.chance(5)
        often = "gems" if self.is_rich else "points"
        self.members = MEMBERS[: self.number(1, 2)]
        self.owners = [(member, asset) for member in self.members for asset in (often, often, often, *ASSETS)]
        self.now = self.start

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """Picks one."""
        return choices[self.random.randrange(len(choices))]

    def weigh(self, choices: dict[str, int]) -> str:
        """Picks one by its weight."""
        return self.random.choices(list(choices), list(choices.values()))[0]

    def number(self, least: int, most: int) -> int:
        """Picks a number."""
        return self.random.randint(least, most)

    def chance(self, one_in: int) -> bool:
        """Is true once in so many times."""
        return self.random.randrange(one_in) == 0

    def instant(self, least: int, most: int) -> datetime:
        """Picks an instant of a grid around now, so that ends, beginnings and clocks meet all the time."""
        return self.start + ((self.now - self.start) // self.unit + self.number(least, most)) * self.unit

    def step(self, now: datetime) -> Step | None:
        """Draws the next step, or none once all operations were asked for."""
        self.now = now
        if len(self.asked) >= self.operations:
            return None
        what = self.weigh(STEPS)
        if what == "post" or (what == "again" and not self.posted):
            self.posted.append(self.post())
            return self.posted[-1]
        if what == "again":
            return self.pick(self.posted[-5:])
        if what == "turn":
            return Step("turn", turn=self.turn())
        if what == "look":
            return Step("look", instant=self.look_at())
        if what == "rate":
            return Step("rate", rate=self.rate())
        return Step(what, member=self.pick(MEMBERS))

    def turn(self) -> timedelta:
        """Picks how far time goes: mostly to the grid, a microsecond before it or after it."""
        ahead = self.unit - (self.now - self.start) % self.unit
        ends = [hold.ends - self.now for hold in self.oracle.book.holds.values() if hold.reserves(self.now)]
        if ends and self.chance(4):
            return self.pick(ends)
        return self.pick((MICROSECOND, ahead, ahead, ahead - MICROSECOND, ahead + self.unit, ahead + 3 * self.unit))

    def look_at(self) -> datetime | None:
        """Picks an instant to ask about: now, the grid around now, or where something begins or ends."""
        if self.chance(3):
            return None
        if self.chance(2):
            return self.instant(-10, 12) + self.number(-1, 1) * MICROSECOND
        wallets = self.oracle.book.wallets.values()
        lots = [each for wallet in wallets for lot in wallet.lots for each in (lot.effective, lot.expires)]
        holds = [each for wallet in wallets for hold in wallet.holds for each in (hold.ends, hold.ended, hold.placed)]
        borders = [each for each in lots + holds if each is not None] or [self.now]
        return self.pick(borders) + self.number(-1, 1) * MICROSECOND

    def rate(self) -> tuple[str, str, int, int]:
        """Picks a new rate between two assets."""
        source, target = self.random.sample(ASSETS, 2)
        return source, target, *self.pick(((1, 3), (7, 2), (10**9, 1), (1, 999_999_937), (2, 2), (355, 113)))

    def post(self) -> Step:
        """Picks the calls of one batch: mostly one, and now and then several that came together."""
        self.current = []
        self.available = {owner: wallet.available(self.now) for owner, wallet in self.oracle.book.wallets.items()}
        if self.is_rich and not self.asked:
            return Step("post", (self.riches(),))
        if not self.chance(4):
            return Step("post", (self.call(self.pick(SIZES), linked=self.chance(8)),))
        calls = [self.call(self.pick(SIZES[:4]), linked=self.chance(2)) for _ in range(self.number(2, 4))]
        if self.chance(3):
            calls.insert(self.number(0, len(calls)), Call(booked=self.owner(rich=True)))
        return Step("post", tuple(calls))

    def call(self, size: int, *, linked: bool) -> Call:
        """Picks the operations of one call; few where they are linked, since one that is refused refuses all."""
        asks = [self.ask_again() for _ in range(min(size, SIZES[3]) if linked else size)]
        return Call(tuple(asks), linked)

    def riches(self) -> Call:
        """Gives a member nearly as much of an asset as anybody can have."""
        member = self.pick(self.members)
        gift = Ask("gift", "adjust", member=member, asset="points", amount=RICHES + 50, reason="first", actor="staff-1")
        change = Ask(
            "change", "exchange", member=member, asset="points", to_asset="gems", amount=RICHES - self.number(1, 9)
        )
        self.asked += [gift, change]
        return Call((gift, change))

    def ask_again(self) -> Ask:
        """Picks an operation, now and then one that was asked before, or another one under its id."""
        ask = self.pick(self.asked[-40:]) if self.asked and self.chance(20) else self.ask()
        if self.asked and self.chance(40):
            ask = self.other(self.pick(self.asked[-40:]), ask)
        self.asked.append(ask)
        self.current.append(ask)
        return ask

    def other(self, first: Ask, ask: Ask) -> Ask:
        """Picks something else under the id of a first operation: the first with one field changed, or another one."""
        match self.number(1, 5):
            case 1 if abs(first.amount) > 1:
                return replace(first, amount=first.amount + (1 if first.amount < 0 else -1))
            case 2:
                return replace(first, at=self.instant(-2, 2))
            case 3:
                return replace(first, event="other")
            case 4 if first.member:
                return replace(first, member=self.pick(MEMBERS))
        return replace(ask, request_id=first.request_id)

    def ask(self) -> Ask:
        """Picks one new operation."""
        kind = self.weigh(KINDS)
        if kind in MAKERS and not self.targets(kind)[0] and not self.chance(4):
            kind = self.pick(("earn", "earn", "spend", "hold"))
        request_id = f"{kind}-{len(self.asked)}"
        at = self.instant(-6, 3) if self.chance(8) else None
        ask = Ask(request_id, kind, at=at, event=request_id if self.chance(2) else "")
        changes: dict[str, object] = getattr(self, f"_{kind}", self._about)(kind)
        return replace(ask, **changes)  # type: ignore[arg-type]  # the names are those of an ask's fields

    def owner(self, *, rich: bool = False) -> Owner:
        """Picks whose wallet: mostly of points, and where that matters one that has some."""
        richer = [each for each in self.owners if self.available.get(each)] if rich else []
        return self.pick(richer if richer and not self.chance(10) else self.owners)

    def amount(self, asset: str) -> int:
        """Picks an amount that is given: enough of them come to the largest balance in a rich world."""
        return self.number(1, 30) * (3 * 10**10 if self.is_rich and asset == "gems" else 1)

    def part(self, whole: int) -> int:
        """Picks a part: all that is left, some of it, or more."""
        if self.chance(2):
            return 0
        if not whole:
            return self.number(0, 5)
        return min(self.number(1, whole + 1 if self.chance(4) else whole), AMOUNT_MAX)

    def over(self) -> list[tuple[Wallet, Lot]]:
        """Lists what is over."""
        wallets = self.oracle.book.wallets.values()
        return [(wallet, lot) for wallet in wallets for lot in wallet.lots if lot.is_over(self.now)]

    def end(self) -> datetime | None:
        """Picks an end, which may be over."""
        return self.instant(-1, 9) if self.chance(2) else None

    def policy(self) -> Policy:
        """Picks an expiry policy that fits how fast time goes."""
        is_slow = self.unit >= timedelta(days=1)
        months = self.pick((0, 0, 1, 2, 13)) if is_slow else 0
        days = self.number(0, 40) if is_slow else self.number(0, 2)
        end = self.pick(("", "DAY", "DAY", "MONTH", "QUARTER", "YEAR"))
        return Policy(self.pick(ZONES), months, days if end else max(days, 1), end, rolling=self.chance(2))

    def _earn(self, kind: str) -> dict[str, object]:
        del kind
        member, asset = self.owner()
        asked: dict[str, object] = {"member": member, "asset": asset, "priority": self.pick((0, 0, 0, 1, 2))}
        if self.chance(5):
            asked["cashback"] = (self.number(1, 500), self.number(1, 700))
        else:
            asked["amount"] = self.amount(asset)
        if self.chance(6):
            asked["pending"] = True
        elif self.chance(3):
            asked["effective"] = self.instant(-6, 4)
        if self.chance(3):
            asked["expiry"] = self.policy()
        else:
            asked["expires"] = self.end()
        if self.chance(4):
            asked["promotional"] = True
        if self.chance(6):
            asked["value"] = self.number(1, 100)
        fitting = [name for name, of in BUDGETS.items() if of == asset]
        if self.chance(3 if fitting else 20):
            asked["budget"] = self.pick(fitting if fitting and not self.chance(9) else [*BUDGETS, "unknown"])
        return asked

    def _spend(self, kind: str) -> dict[str, object]:
        member, asset = self.owner(rich=True)
        available = self.available.get((member, asset), 0)
        given = [ask for ask in self.current if ask.kind in ("earn", "adjust") and ask.amount > 0]
        if given and self.chance(4):
            # What this very call gives, and what was there.
            member, asset = given[-1].owner
            available = given[-1].amount + self.available.get((member, asset), 0)
        amount = available + 1 if self.chance(8) else self.number(1, max(1, available // self.pick((1, 2, 4))))
        asked: dict[str, object] = {"member": member, "asset": asset, "amount": min(amount, AMOUNT_MAX)}
        if kind == "hold":
            asked["timeout_s"] = min(self.number(1, 6) * int(self.unit.total_seconds()), TIMEOUT_MAX_S)
        return asked

    _hold = _spend

    def _adjust(self, kind: str) -> dict[str, object]:
        decided = {"reason": "goodwill", "actor": "staff-1"}
        if self.chance(2):
            taken = self._spend(kind)
            return {**decided, **taken, "amount": -int(str(taken["amount"]))}
        member, asset = self.owner()
        return {**decided, "member": member, "asset": asset, "amount": self.amount(asset), "expires": self.end()}

    def _exchange(self, kind: str) -> dict[str, object]:
        taken = self._spend(kind)
        asset = self.pick([asset for asset in ASSETS if asset != taken["asset"]])
        return {**taken, "to_asset": asset}

    def _expire(self, kind: str) -> dict[str, object]:
        member, asset = self.owner(rich=True)
        earns = [name for name, earned in self.oracle.book.earns.items() if earned.owner == (member, asset)]
        target = self.pick(earns[-8:]) if earns and not self.chance(3) else ""
        if target and self.chance(6):
            target = self.target(kind)
        return {"member": member, "asset": asset, "target": target, "reason": "closed", "actor": "staff-1"}

    def _unexpire(self, kind: str) -> dict[str, object]:
        del kind
        (member, asset), since = self.owner(), self.instant(-9, 0)
        over = [(wallet.owner, lot.expires) for wallet, lot in self.over() if lot.expires and lot.rest(self.now)]
        if over and not self.chance(4):
            (member, asset), since = self.pick(over)
        until = since + self.number(1, 9) * self.unit
        decided = {"reason": "the law changed", "actor": "staff-1"}
        return {**decided, "member": member, "asset": asset, "since": since, "until": until, "expires": self.end()}

    def _fund(self, kind: str) -> dict[str, object]:
        budget = "unknown" if self.chance(20) else self.pick(list(BUDGETS))
        return {"budget": budget} if kind == "close" else {"budget": budget, "amount": self.amount("points") * 5}

    _close = _fund

    def _about(self, kind: str) -> dict[str, object]:
        """Picks what an operation is about, and how much of it."""
        target = self.target(kind)
        book, whole = self.oracle.book, 0
        if kind == "capture" and target in book.holds:
            whole = book.holds[target].amount
        elif kind == "reverse" and target in book.takings:
            whole = book.takings[target].left
        elif kind == "claw_back" and target in book.earns:
            number = book.earns[target].lot
            lots = book.wallets[book.earns[target].owner].lots
            whole = lots[number].amount - lots[number].clawed_back if number is not None else 0
        asked: dict[str, object] = {"target": target}
        if kind == "claw_back":
            asked["policy"] = self.pick(("WRITE_OFF", "OTHER_LOTS", "OTHER_LOTS_THEN_DEBT", "DEBT", "DEBT"))
        return asked if kind in ("release", "confirm", "cancel") else {**asked, "amount": self.part(whole)}

    def target(self, kind: str) -> str:
        """Picks the id of what an operation is about: mostly what it can be done to, now and then anything."""
        fitting, known = self.targets(kind)
        here = [ask.request_id for ask in self.current if ask.kind in MAKERS[kind]]
        if here and self.chance(3 if fitting else 2):
            return self.pick(here)
        if fitting and not self.chance(6):
            return self.pick(fitting[-12:])
        if known and not self.chance(4):
            return self.pick(known[-12:])
        return self.pick([ask.request_id for ask in self.asked[-20:]]) if self.asked and self.chance(2) else "unknown"

    def targets(self, kind: str) -> tuple[list[str], list[str]]:
        """Lists what an operation can be done to, and what it could be done to at some time."""
        book = self.oracle.book
        if kind in ("capture", "release"):
            return [name for name, hold in book.holds.items() if hold.reserves(self.now)], list(book.holds)
        if kind == "reverse":
            return [name for name, taking in book.takings.items() if taking.left], list(book.takings)
        lots = {
            name: book.wallets[earned.owner].lots[earned.lot]
            for name, earned in book.earns.items()
            if earned.lot is not None
        }
        if kind in ("confirm", "cancel"):
            fitting = [name for name, lot in lots.items() if not lot.has_begun(self.now) and not lot.is_cancelled()]
        else:
            fitting = [name for name, lot in lots.items() if lot.has_begun(self.now) and lot.clawed_back < lot.amount]
        return fitting, list(book.earns)
