"""The ledger's nouns: what is asked for, what is kept, what comes out. Frozen values, no I/O."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.kernel import errors as kernel_errors
from services.kernel import requests

BALANCE_MAX = 1_000_000_000_000_000
DEFAULT_ASSET = "points"


class Kind(StrEnum):
    """What an operation does."""

    EARN = "EARN"
    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    TIMEOUT = "TIMEOUT"
    REVERSE = "REVERSE"
    EXPIRY = "EXPIRY"


class HoldState(StrEnum):
    """Where a hold stands."""

    ACTIVE = "ACTIVE"
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"
    TIMED_OUT = "TIMED_OUT"


# The account of the program that each kind moves value from or to.
ACCOUNTS = {
    Kind.EARN: "issuance",
    Kind.CAPTURE: "redeemed",
    Kind.REVERSE: "redeemed",
    Kind.EXPIRY: "breakage",
}

Owner = tuple[str, str]  # member id and asset


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something happens, as far as the caller says so."""

    event_id: str | None = None
    rule_id: str | None = None
    rule_version: int | None = None
    redemption_id: str | None = None


NO_CAUSE = Cause()


@dataclass(frozen=True, slots=True)
class Operation:
    """What a caller asks for. `key` is the stored form of `request_id`; `fields` are its content for the fingerprint.

    Earns and holds name an owner and an amount; the others name a target: a hold, or a capture.
    """

    request_id: str
    key: uuid.UUID
    kind: Kind
    occurred_at: datetime | None
    cause: Cause
    fields: dict[str, Any]
    member_id: str = ""
    asset: str = ""
    amount: int = 0
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int = 0
    timeout_s: int = 0
    target_id: str = ""
    target_key: uuid.UUID | None = None

    @property
    def owner(self) -> Owner | None:
        """Gives the owner where the operation names one."""
        return (self.member_id, self.asset) if self.member_id else None


@dataclass(frozen=True, slots=True)
class Booking:
    """Books what is over in one wallet: expired lots and timed-out holds. Asked for by Plaudit itself."""

    owner: Owner


@dataclass(slots=True)
class Wallet:
    """A member's holding of one asset, as it is being changed."""

    wallet_id: uuid.UUID
    member_id: str
    asset: str
    sequence: int
    balance: int
    changed: bool = False


@dataclass(slots=True)
class Lot:
    """A parcel of value, as it is being changed."""

    wallet_id: uuid.UUID
    lot_id: uuid.UUID
    amount: int
    remaining: int
    expired: int
    priority: int
    occurred_at: datetime
    effective_at: datetime
    expires_at: datetime | None
    is_new: bool = False

    def is_live(self, now: datetime) -> bool:
        """Tells whether it can be spent at an instant: the half-open interval of its life."""
        return self.effective_at <= now and (self.expires_at is None or now < self.expires_at)

    def is_over(self, now: datetime) -> bool:
        """Tells whether its life has ended."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an operation took from one lot (positive) or gave back to it (negative)."""

    wallet_id: uuid.UUID
    operation_id: uuid.UUID
    lot_id: uuid.UUID
    hold_id: uuid.UUID
    amount: int
    allocated_at: datetime
    place: int


@dataclass(slots=True)
class Hold:
    """A reservation of lots, as it is being changed; `parts` is what it took, in order."""

    hold_id: uuid.UUID
    wallet_id: uuid.UUID
    amount: int
    state: HoldState
    placed_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    capture_id: uuid.UUID | None = None
    reversed_at: datetime | None = None
    cause_redemption_id: str | None = None
    parts: list[tuple[uuid.UUID, int]] = field(default_factory=list)
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the journal."""

    request_id: uuid.UUID
    leg: int
    kind: Kind
    fingerprint: bytes | None
    wallet_id: uuid.UUID | None
    account: str | None
    amount: int
    sequence: int | None
    balance: int | None
    held_amount: int | None
    target_id: uuid.UUID | None
    occurred_at: datetime
    expires_at: datetime | None
    refusal: dict[str, Any] | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Part:
    """What was taken from one lot, or given back to it, for the answer."""

    lot_id: uuid.UUID
    amount: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Posting:
    """The good end of an operation."""

    posted_at: datetime
    amount: int
    expires_at: datetime | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended: a posting or a refusal, and whether that stood before."""

    replayed: bool
    posting: Posting | None = None
    refusal: kernel_errors.DomainError | None = None


@dataclass(frozen=True, slots=True)
class Prior:
    """An outcome that stands already for a request id."""

    request_id: uuid.UUID
    kind: Kind
    fingerprint: bytes | None
    outcome: Outcome
    target_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a statement."""

    entry_id: str
    kind: Kind
    amount: int
    balance: int
    sequence: int
    occurred_at: datetime
    posted_at: datetime
    cause: Cause


@dataclass(frozen=True, slots=True)
class LotView:
    """A lot as it is shown."""

    lot_id: uuid.UUID
    amount: int
    remaining: int
    held: int
    expired: int
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    origin: Cause


@dataclass(frozen=True, slots=True)
class Balance:
    """How a member stands in one asset at one instant."""

    asset: str
    available: int = 0
    held: int = 0
    pending: int = 0
    lifetime_earned: int = 0
    lifetime_spent: int = 0
    lifetime_expired: int = 0
    next_expires_at: datetime | None = None
    next_expiry_amount: int = 0


@dataclass(frozen=True, slots=True)
class EntryPosted:
    """Published: value came into a wallet or left it."""

    owner: Owner
    row: Row


@dataclass(frozen=True, slots=True)
class HoldChanged:
    """Published: a hold was placed or has ended."""

    owner: Owner
    hold: Hold
    state: HoldState


Event = EntryPosted | HoldChanged


def fingerprint(operation: Operation) -> bytes:
    """Hashes the content of an operation; the kind is its first field."""
    return requests.fingerprint({"kind": operation.kind.value, **operation.fields})


def burn_order(lot: Lot) -> tuple[int, bool, datetime, datetime, uuid.UUID]:
    """Sorts lots as they are spent: priority, earliest expiry (never last), earliest effect, id."""
    never = lot.expires_at is None
    return lot.priority, never, lot.expires_at or lot.effective_at, lot.effective_at, lot.lot_id
