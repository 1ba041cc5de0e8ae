"""What a member holds of one asset, as the oracle keeps it: lots, and all that was ever taken from them or given back.

Nothing is kept that follows from time: what is asked at an instant is computed from what was done by then.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tests.support.oracle_asks import Owner, Part, Policy
from tests.support.oracle_calendar import ends_at


@dataclass
class Taken:
    """What an operation has of one lot still, by the lot's number."""

    lot: int
    amount: int
    expires: datetime | None


@dataclass
class Taking:
    """What a spend or a hold took, lot by lot; whose it was."""

    owner: Owner
    parts: list[Taken]

    @property
    def left(self) -> int:
        """Sums what was not given back."""
        return sum(part.amount for part in self.parts)


@dataclass
class Hold(Taking):
    """A reservation, and how it ended: `CAPTURED` or `RELEASED` at an instant, or by itself at its end."""

    amount: int
    placed: datetime
    ends: datetime
    state: str = ""
    ended: datetime | None = None
    is_told: bool = False

    def has_timed_out(self, t: datetime) -> bool:
        """Tells whether its time was over by an instant."""
        return self.ended is None and self.ends <= t

    def reserves(self, t: datetime) -> bool:
        """Tells whether it holds its parts at an instant."""
        return not self.has_timed_out(t) and (self.ended is None or t < self.ended)

    def state_at(self, now: datetime) -> str:
        """Tells where it stands now."""
        return self.state or ("TIMED_OUT" if self.ends <= now else "ACTIVE")


@dataclass
class Move:
    """What was taken from a lot (positive) or given back to it (negative) at an instant."""

    at: datetime
    amount: int
    kind: str
    hold: Hold | None

    def counts(self, t: datetime) -> bool:
        """Tells whether it stands at an instant: what a hold that is over took is free again."""
        return self.at <= t and (self.hold is None or not self.hold.has_timed_out(t))

    def kind_at(self, t: datetime) -> str:
        """Tells what it is at an instant; what a hold took is spent once it is captured."""
        return "SPEND" if self.hold is not None and not self.hold.reserves(t) else self.kind


@dataclass
class Lot:
    """A parcel of value. Without `effective` it is pending, or was cancelled; `restores` is the lot it gave back."""

    number: int
    amount: int
    kind: str
    event: str
    occurred: datetime
    effective: datetime | None
    expires: datetime | None
    priority: int = 0
    promotional: bool = False
    policy: Policy | None = None
    clawed_back: int = 0
    restores: int | None = None
    is_told: bool = False
    moves: list[Move] = field(default_factory=list)

    def rest(self, t: datetime) -> int:
        """Tells what it has left at an instant."""
        return self.amount - sum(move.amount for move in self.moves if move.counts(t))

    def has_begun(self, t: datetime) -> bool:
        """Tells whether it has taken effect."""
        return self.effective is not None and self.effective <= t

    def is_over(self, t: datetime) -> bool:
        """Tells whether its end has come."""
        return self.has_begun(t) and self.expires is not None and self.expires <= t

    def lives(self, t: datetime) -> bool:
        """L6: effective <= t < expires."""
        return self.has_begun(t) and not self.is_over(t)

    def is_shown(self, t: datetime) -> bool:
        """Tells whether it counts for anything at an instant."""
        return self.occurred <= t or self.has_begun(t)

    def is_cancelled(self) -> bool:
        """Tells whether it was taken back while it was pending."""
        return any(move.kind == "CANCEL" for move in self.moves)


@dataclass(frozen=True)
class Standing:
    """How a member stands in one asset at an instant."""

    available: int = 0
    held: int = 0
    pending: int = 0
    lifetime_earned: int = 0
    lifetime_spent: int = 0
    lifetime_expired: int = 0
    lifetime_adjusted: int = 0
    lifetime_clawed_back: int = 0
    debt: int = 0
    next_expiry: tuple[int, datetime] | None = None


@dataclass
class Wallet:
    """One member's holding of one asset; `entries` sums its statement by kind, time and cause."""

    owner: Owner
    lots: list[Lot] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    debts: list[tuple[datetime, int]] = field(default_factory=list)
    carried: int = 0
    entries: Counter[tuple[str, datetime, str]] = field(default_factory=Counter)

    def debt(self, t: datetime) -> int:
        """Tells what is owed at an instant."""
        return sum(change for at, change in self.debts if at <= t)

    def available(self, t: datetime) -> int:
        """Tells what can be spent at an instant."""
        return max(0, sum(lot.rest(t) for lot in self.lots if lot.lives(t)) - self.debt(t))

    def total(self, now: datetime) -> int:
        """Tells the balance: all that has not left, whenever it begins and whoever reserves it."""
        held = sum(hold.left for hold in self.holds if hold.reserves(now))
        return held + sum(lot.rest(now) for lot in self.lots if not lot.is_over(now))

    def held_of(self, number: int, now: datetime) -> int:
        """Tells what holds reserve of a lot."""
        holds = [hold for hold in self.holds if hold.reserves(now)]
        return sum(part.amount for hold in holds for part in hold.parts if part.lot == number)

    def standing(self, t: datetime) -> Standing:
        """Tells how the member stands at any instant, by what is known now."""
        lots = [lot for lot in self.lots if lot.is_shown(t)]
        begun = [lot for lot in lots if lot.has_begun(t)]
        rests = {lot.number: lot.rest(t) for lot in lots}
        taken: Counter[str] = Counter()
        for lot in lots:
            for move in lot.moves:
                if move.counts(t):
                    taken[move.kind_at(t)] += move.amount
        given = sum(lot.amount for lot in begun if lot.kind in ("ADJUST", "EXCHANGE"))
        ends = [lot.expires for lot in begun if lot.lives(t) and lot.expires and rests[lot.number]]
        soon = sum(rests[lot.number] for lot in begun if ends and lot.lives(t) and lot.expires == min(ends))
        return Standing(
            available=max(0, sum(rests[lot.number] for lot in begun if lot.lives(t)) - self.debt(t)),
            held=taken["HOLD"],
            pending=sum(rests[lot.number] for lot in lots if not lot.has_begun(t)),
            lifetime_earned=sum(lot.amount for lot in begun if lot.kind == "EARN"),
            lifetime_spent=taken["SPEND"],
            lifetime_expired=sum(rests[lot.number] for lot in begun if lot.is_over(t)),
            lifetime_adjusted=given - taken["ADJUST"] - taken["EXCHANGE"],
            lifetime_clawed_back=taken["CLAW_BACK"] + taken["REPAYMENT"],
            debt=self.debt(t),
            next_expiry=(soon, min(ends)) if ends else None,
        )

    def live_lots(self, now: datetime) -> list[Lot]:
        """Lists what can be spent now in burn order: priority, end, promotional first, effect, creation."""
        never = datetime.max.replace(tzinfo=now.tzinfo)
        return sorted(
            (lot for lot in self.lots if lot.lives(now) and lot.rest(now)),
            key=lambda lot: (lot.priority, lot.expires or never, not lot.promotional, lot.effective, lot.number),
        )

    def line(self, lot: Lot) -> list[Lot]:
        """Lists a lot, the one that it gave back after its end, the one that this gave back, and so on to an earn."""
        return [lot, *(self.line(self.lots[lot.restores]) if lot.restores is not None else ())]

    def name(self, number: int) -> str:
        """Names a lot."""
        return f"{self.owner[0]}.{self.owner[1]}.{number}"

    def named(self, parts: Iterable[Taken]) -> tuple[Part, ...]:
        """Names what was touched, as an answer does."""
        return tuple(Part(self.name(part.lot), part.amount, part.expires) for part in parts if part.amount)

    def enter(self, kind: str, at: datetime, amount: int, event: str = "") -> None:
        """Adds to the statement; what expires or comes back has the cause of its earn."""
        self.entries[kind, at, event] += amount

    def add_lot(self, amount: int, kind: str, occurred: datetime, effective: datetime | None) -> Lot:
        """Makes a lot; lots count from 0 in the order in which they are made."""
        lot = Lot(len(self.lots), amount, kind, "", occurred, effective, None)
        self.lots.append(lot)
        return lot

    def take(self, lots: Iterable[Lot], amount: int, now: datetime, kind: str) -> list[Taken]:
        """Takes an amount from lots in their order, as far as they have it."""
        parts = []
        for lot in lots:
            taken = min(amount, lot.rest(now))
            if taken:
                lot.moves.append(Move(now, taken, kind, None))
                parts.append(Taken(lot.number, taken, lot.expires))
                amount -= taken
        return parts

    def give_back(self, taking: Taking, amount: int, now: datetime, kind: str) -> list[Taken]:
        """Gives back part of a taking, what was taken last first; what is over repays a debt or expires at once."""
        returned = []
        for part in reversed(taking.parts):
            given = min(amount, part.amount)
            if given:
                part.amount -= given
                amount -= given
                lot = self.lots[part.lot]
                lot.moves.append(Move(now, -given, kind, taking if isinstance(taking, Hold) else None))
                returned.append(Taken(part.lot, given, lot.expires))
                if lot.is_told:
                    repaid = min(given, self.debt(now))
                    if repaid:
                        lot.moves.append(Move(now, repaid, "REPAYMENT", None))
                        self.debts.append((now, -repaid))
                        self.enter("REPAYMENT", now, -repaid)
                    self.enter("EXPIRY", now, repaid - given, lot.event)
        return returned

    def settle(self, now: datetime) -> None:
        """Repays what is owed, as far as there is something to spend."""
        lots = self.live_lots(now)
        amount = min(self.debt(now), sum(lot.rest(now) for lot in lots))
        if amount:
            self.take(lots, amount, now, "REPAYMENT")
            self.debts.append((now, -amount))
            self.enter("REPAYMENT", now, -amount)

    def roll(self, now: datetime, touched: Iterable[Taken] = ()) -> None:
        """Moves the ends of what lives as long as the member is active: of all that had something left or held."""
        numbers = {part.lot for part in touched}
        numbers |= {part.lot for hold in self.holds if hold.reserves(now) for part in hold.parts}
        for lot in self.lots:
            if lot.policy and lot.policy.rolling and lot.lives(now) and (lot.rest(now) or lot.number in numbers):
                assert lot.expires is not None, "A policy gives an end."
                lot.expires = max(lot.expires, ends_at(now, lot.policy))

    def pass_time(self, now: datetime) -> None:
        """Enters what has expired since, in the order of time: of holds that time out, only what is over by then."""
        ends: list[tuple[datetime, int, Hold | Lot]] = [
            (hold.ends, 0, hold) for hold in self.holds if not hold.is_told and hold.has_timed_out(now)
        ]
        ends += [(lot.expires, 1, lot) for lot in self.lots if not lot.is_told and lot.expires and lot.is_over(now)]
        for at, _, what in sorted(ends, key=lambda end: end[:2]):
            what.is_told = True
            if isinstance(what, Lot):
                self.enter("EXPIRY", at, -what.rest(at), what.event)
            else:
                for lot, amount in ((self.lots[part.lot], part.amount) for part in what.parts):
                    self.enter("EXPIRY", at, -amount if lot.is_told else 0, lot.event)
