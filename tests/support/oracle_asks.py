"""What the ledger's oracle is asked and what it answers; which fields of two questions differ."""

from dataclasses import dataclass
from datetime import datetime

Owner = tuple[str, str]  # member and asset


@dataclass(frozen=True)
class Policy:
    """How long value lives: a span, then to the end of a local period (`DAY`, `MONTH`, `QUARTER`, `YEAR`, or none)."""

    zone: str
    months: int = 0
    days: int = 0
    end: str = ""
    rolling: bool = False


@dataclass(frozen=True)
class Ask:
    """One operation: what is asked for under which id. Which fields mean something depends on the kind."""

    request_id: str
    kind: str
    member: str = ""
    asset: str = ""
    amount: int = 0
    at: datetime | None = None
    event: str = ""
    effective: datetime | None = None
    expires: datetime | None = None
    priority: int = 0
    pending: bool = False
    promotional: bool = False
    budget: str = ""
    value: int = 0
    cashback: tuple[int, int] | None = None  # the amount of the purchase, and the share in basis points
    expiry: Policy | None = None
    timeout_s: int = 0
    target: str = ""
    policy: str = ""
    to_asset: str = ""
    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""
    actor: str = ""

    @property
    def owner(self) -> Owner:
        """Names whose wallet it is about, where the operation says so."""
        return (self.member, self.asset)


@dataclass(frozen=True)
class Part:
    """What was taken from a lot or given back to it, and the end that the lot was to have."""

    lot: str
    amount: int
    expires: datetime | None


@dataclass(frozen=True)
class Answer:
    """How an operation ended: with a posting, or with a reason."""

    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    fields: frozenset[str] = frozenset()
    posted: datetime | None = None
    amount: int = 0
    expires: datetime | None = None
    parts: tuple[Part, ...] = ()
    written_off: int = 0
    debt: int = 0
    given: int = 0
    version: int = 0
    replayed: bool = False


class RefusedError(Exception):
    """An operation is refused: nothing moves."""

    def __init__(self, reason: str, **metadata: object) -> None:
        super().__init__(reason)
        told = {name: text(value) if isinstance(value, datetime) else str(value) for name, value in metadata.items()}
        self.answer = Answer(reason, tuple(sorted(told.items())))


def text(instant: datetime) -> str:
    """Writes an instant as proto JSON does."""
    return instant.isoformat().replace("+00:00", "Z")


# What each kind of operation is made of, by the names that a refusal gives the fields.
FIELDS = {
    "earn": "memberId asset amount effectiveTime expireTime priority pending promotional budgetId allocatedValue "
    "cashback expiry",
    "confirm": "earnRequestId",
    "cancel": "earnRequestId",
    "spend": "memberId asset amount",
    "hold": "memberId asset amount timeoutS",
    "capture": "holdRequestId amount",
    "release": "holdRequestId",
    "reverse": "targetRequestId amount",
    "claw_back": "targetRequestId amount policy",
    "adjust": "memberId asset change reason actor expireTime",
    "exchange": "memberId fromAsset toAsset amount",
    "expire": "memberId asset earnRequestId reason actor",
    "unexpire": "memberId asset expiredFromTime expiredUntilTime expireTime reason actor",
    "fund": "budgetId amount",
    "close": "budgetId",
}
ATTRIBUTES = {
    "memberId": "member",
    "effectiveTime": "effective",
    "expireTime": "expires",
    "budgetId": "budget",
    "allocatedValue": "value",
    "earnRequestId": "target",
    "holdRequestId": "target",
    "targetRequestId": "target",
    "timeoutS": "timeout_s",
    "change": "amount",
    "fromAsset": "asset",
    "toAsset": "to_asset",
    "expiredFromTime": "since",
    "expiredUntilTime": "until",
    "occurTime": "at",
    "cause": "event",
}


def content(ask: Ask) -> dict[str, object]:
    """Lists the fields of an operation, with what they say."""
    names = [*FIELDS[ask.kind].split(), "occurTime", "cause"]
    return {"kind": ask.kind, **{name: getattr(ask, ATTRIBUTES.get(name, name)) for name in names}}


def differing(first: Ask, second: Ask) -> frozenset[str]:
    """Names the fields in which two operations differ."""
    ours, theirs = content(second), content(first)
    return frozenset(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def names_rightly(named: frozenset[str], first: Ask, second: Ask) -> bool:
    """Tells whether a refusal names fields that do differ.

    It may miss one, since a byte a field is all that is kept, and then names all where no byte tells. Of another kind
    of operation it names the kind; which of its fields are those of the first is a question without an answer.
    """
    if first.kind != second.kind:
        return "kind" in named and named <= content(second).keys()
    return bool(named) and (named <= differing(first, second) or named == content(second).keys())
