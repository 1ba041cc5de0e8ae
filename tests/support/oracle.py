"""The ledger as its promises say it, and as naively as they can be said: lists, and a loop over all of them each time.

Written from `services/ledger/__init__.py` and the comments of the contract; shares no code with the service. There is
no sweep, no running balance and no state of a lot: what is asked at an instant is computed from what was done by then.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

LIMIT = 10**15

Owner = tuple[str, str]


@dataclass(frozen=True)
class Ask:
    """One operation: what is asked for under which id."""

    request_id: str
    kind: str
    member: str = ""
    asset: str = "points"
    amount: int = 0
    at: datetime | None = None
    effective: datetime | None = None
    expires: datetime | None = None
    priority: int = 0
    timeout_s: int = 0
    target: str = ""

    @property
    def owner(self) -> Owner:
        """Names whose wallet it is about, where the operation says so."""
        return (self.member, self.asset)


@dataclass(frozen=True)
class Answer:
    """How an operation ended. `parts` names lots by the ids of their earns."""

    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    fields: frozenset[str] = frozenset()
    posted: datetime | None = None
    amount: int = 0
    expires: datetime | None = None
    parts: tuple[tuple[str, int], ...] = ()
    replayed: bool = False


@dataclass
class _Lot:
    """What one earn gave."""

    ask: Ask
    occurred: datetime
    effective: datetime

    def lives(self, t: datetime) -> bool:
        """L6: effective <= t < expires."""
        return self.effective <= t and not self.is_over(t)

    def is_over(self, t: datetime) -> bool:
        """Tells whether its end has come."""
        return self.ask.expires is not None and self.ask.expires <= t


@dataclass
class _Hold:
    """What one hold took, and what became of it."""

    ask: Ask
    placed: datetime
    ends: datetime
    parts: list[tuple[_Lot, int]]
    captured: datetime | None = None
    released: datetime | None = None
    reversed: datetime | None = None

    def reserves(self, t: datetime) -> bool:
        """Tells whether it holds its parts at an instant."""
        end = self.captured or self.released or self.ends
        return self.placed <= t < end

    def has_spent(self, t: datetime) -> bool:
        """Tells whether its parts are spent at an instant."""
        if self.captured is None or t < self.captured:
            return False
        return self.reversed is None or t < self.reversed

    def state(self, now: datetime) -> str:
        """Tells where it stands now."""
        if self.captured:
            return "CAPTURED"
        if self.released:
            return "RELEASED"
        return "ACTIVE" if now < self.ends else "TIMED_OUT"


@dataclass(frozen=True)
class Standing:
    """How a member stands in one asset at an instant."""

    available: int = 0
    held: int = 0
    pending: int = 0
    lifetime_earned: int = 0
    lifetime_spent: int = 0
    lifetime_expired: int = 0
    next_expiry: tuple[int, datetime] | None = None


@dataclass
class Oracle:
    """One program's ledger. `lot_ids` tells the service's own name of each earn's lot, which only breaks ties."""

    lot_ids: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, tuple[Ask, Answer]] = field(default_factory=dict)
    lots: list[_Lot] = field(default_factory=list)
    holds: dict[str, _Hold] = field(default_factory=dict)
    captures: dict[str, _Hold] = field(default_factory=dict)

    def post(self, ask: Ask, now: datetime) -> Answer:
        """Judges one operation. L5: an id has one outcome for ever, refusals included."""
        if ask.request_id in self.outcomes:
            first, answer = self.outcomes[ask.request_id]
            differing = _differing(first, ask)
            if differing:
                return Answer("REQUEST_ID_REUSED", fields=frozenset(differing))
            return replace(answer, replayed=True)
        outcome: Answer = getattr(self, f"_{ask.kind}")(ask, now)
        self.outcomes[ask.request_id] = (ask, outcome)
        return outcome

    def standing(self, owner: Owner, t: datetime) -> Standing:
        """Tells how a member stands at any instant, by what is known now."""
        lots = [lot for lot in self._lots_of(owner) if min(lot.occurred, lot.effective) <= t]
        begun = [lot for lot in lots if lot.effective <= t]
        holds = [hold for hold in self.holds.values() if hold.ask.owner == owner]
        ends = [lot.ask.expires for lot in begun if lot.lives(t) and lot.ask.expires and self._rest(lot, t)]
        soon = [lot for lot in begun if ends and lot.ask.expires == min(ends)]
        return Standing(
            available=sum(self._rest(lot, t) for lot in begun if lot.lives(t)),
            held=sum(hold.ask.amount for hold in holds if hold.reserves(t)),
            pending=sum(lot.ask.amount for lot in lots if lot.effective > t),
            lifetime_earned=sum(lot.ask.amount for lot in begun),
            lifetime_spent=sum(hold.ask.amount for hold in holds if hold.has_spent(t)),
            lifetime_expired=sum(self._rest(lot, t) for lot in begun if lot.is_over(t)),
            next_expiry=(sum(self._rest(lot, t) for lot in soon), min(ends)) if ends else None,
        )

    def total(self, owner: Owner, now: datetime) -> int:
        """Tells the balance of a wallet: all that was earned and is neither spent nor over, whenever it begins."""
        lots = self._lots_of(owner)
        held = sum(hold.ask.amount for hold in self.holds.values() if hold.ask.owner == owner and hold.reserves(now))
        return held + sum(self._rest(lot, now) for lot in lots if not lot.is_over(now))

    def spent(self, owner: Owner) -> dict[str, int]:
        """Sums by kind what a statement must tell, but for expiries."""
        holds = [hold for hold in self.holds.values() if hold.ask.owner == owner and hold.captured]
        return {
            "EARN": sum(lot.ask.amount for lot in self._lots_of(owner)),
            "SPEND": -sum(hold.ask.amount for hold in holds),
            "REVERSAL": sum(hold.ask.amount for hold in holds if hold.reversed),
        }

    def lots_of(self, owner: Owner, now: datetime) -> dict[str, tuple[str, int, int, int, int]]:
        """Tells of each lot, by the id of its earn, its state, its amount, and what of it remains, is held, is over."""
        found = {}
        for lot in self._lots_of(owner):
            rest = self._rest(lot, now)
            held = sum(
                amount
                for hold in self.holds.values()
                if hold.reserves(now)
                for each, amount in hold.parts
                if each is lot
            )
            remaining, expired = (0, rest) if lot.is_over(now) else (rest, 0)
            state = "ACTIVE" if remaining else "EXPIRED" if expired else "SPENT"
            if lot.effective > now:
                state = "PENDING"
            found[lot.ask.request_id] = (state, lot.ask.amount, remaining, held, expired)
        return found

    def _lots_of(self, owner: Owner) -> list[_Lot]:
        return [lot for lot in self.lots if lot.ask.owner == owner]

    def _rest(self, lot: _Lot, t: datetime) -> int:
        taken = 0
        for hold in self.holds.values():
            if hold.reserves(t) or hold.has_spent(t):
                taken += sum(amount for each, amount in hold.parts if each is lot)
        return lot.ask.amount - taken

    def _earn(self, ask: Ask, now: datetime) -> Answer:
        occurred = ask.at or now
        effective = ask.effective or occurred
        if ask.expires is not None and ask.expires <= effective:
            return Answer("LOT_LIFE_EMPTY", (("effectiveTime", _text(effective)), ("expireTime", _text(ask.expires))))
        if self.total(ask.owner, now) + ask.amount > LIMIT:
            return Answer("BALANCE_LIMIT", (("limit", str(LIMIT)),))
        self.lots.append(_Lot(ask, occurred, effective))
        return Answer(posted=now, amount=ask.amount, expires=ask.expires)

    def _hold(self, ask: Ask, now: datetime) -> Answer:
        lots = [lot for lot in self._lots_of(ask.owner) if lot.lives(now)]
        available = sum(self._rest(lot, now) for lot in lots)
        if available < ask.amount:
            return Answer("INSUFFICIENT_BALANCE", (("available", str(available)), ("requested", str(ask.amount))))
        missing, parts = ask.amount, []
        for lot in sorted(lots, key=self._burn_order):
            taken = min(missing, self._rest(lot, now))
            if taken:
                parts.append((lot, taken))
                missing -= taken
        hold = _Hold(ask, now, now + timedelta(seconds=ask.timeout_s), parts)
        self.holds[ask.request_id] = hold
        return Answer(posted=now, amount=ask.amount, expires=hold.ends, parts=_named(parts))

    def _capture(self, ask: Ask, now: datetime) -> Answer:
        hold, refusal = self._active(ask, now)
        if hold is None:
            return refusal
        hold.captured = now
        self.captures[ask.request_id] = hold
        return Answer(posted=now, amount=hold.ask.amount, parts=_named(hold.parts))

    def _release(self, ask: Ask, now: datetime) -> Answer:
        hold, refusal = self._active(ask, now)
        if hold is None:
            return refusal
        hold.released = now
        return Answer(posted=now, amount=hold.ask.amount, parts=_named(hold.parts[::-1]))

    def _reverse(self, ask: Ask, now: datetime) -> Answer:
        hold = self.captures.get(ask.target)
        if hold is None:
            return Answer("TARGET_NOT_FOUND", (("targetRequestId", ask.target),))
        if hold.reversed:
            return Answer("TARGET_REVERSED", (("targetRequestId", ask.target),))
        if self.total(hold.ask.owner, now) + hold.ask.amount > LIMIT:
            return Answer("BALANCE_LIMIT", (("limit", str(LIMIT)),))
        hold.reversed = now
        return Answer(posted=now, amount=hold.ask.amount, parts=_named(hold.parts[::-1]))

    def _active(self, ask: Ask, now: datetime) -> tuple[_Hold | None, Answer]:
        hold = self.holds.get(ask.target)
        if hold is None:
            return None, Answer("HOLD_NOT_FOUND", (("holdRequestId", ask.target),))
        state = hold.state(now)
        if state != "ACTIVE":
            return None, Answer("HOLD_ENDED", (("holdRequestId", ask.target), ("state", state)))
        return hold, Answer()

    def _burn_order(self, lot: _Lot) -> tuple[int, int, datetime, datetime, str]:
        never = lot.ask.expires is None
        return (
            lot.ask.priority,
            1 if never else 0,
            lot.ask.expires or lot.effective,
            lot.effective,
            self.lot_ids[lot.ask.request_id],
        )


def _named(parts: list[tuple[_Lot, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((lot.ask.request_id, amount) for lot, amount in parts)


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


# What each kind of operation is made of, by the names that a refusal gives the fields.
FIELDS = {
    "earn": {
        "memberId": "member",
        "asset": "asset",
        "amount": "amount",
        "occurTime": "at",
        "effectiveTime": "effective",
        "expireTime": "expires",
        "priority": "priority",
    },
    "hold": {"memberId": "member", "asset": "asset", "amount": "amount", "timeoutS": "timeout_s", "occurTime": "at"},
    "capture": {"holdRequestId": "target", "occurTime": "at"},
    "release": {"holdRequestId": "target", "occurTime": "at"},
    "reverse": {"targetRequestId": "target", "occurTime": "at"},
}


def _differing(first: Ask, second: Ask) -> set[str]:
    """Names the fields that differ; where the kinds do, that is all that is promised."""
    if first.kind != second.kind:
        return {"kind"}
    names = FIELDS[second.kind]
    return {name for name, attribute in names.items() if getattr(first, attribute) != getattr(second, attribute)}
