"""The ledger's nouns: what is asked for, what is kept, what comes out. Values, no I/O.

What is made once an operation is not frozen, though nobody changes it: a frozen dataclass takes four times as long to
make, and an earn makes five of them.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from services.kernel import errors as kernel_errors
from services.ledger import expiry

BALANCE_MAX = 1_000_000_000_000_000
DEFAULT_ASSET = "points"
# Cashbacks carry what is less than one smallest unit in parts of this.
REMAINDER_PARTS = 10_000
# Sub-accounts of one budget, at most.
SHARDS_MAX = 64
# Lots are spent by priority, earliest end (never last), promotional before paid, earliest effect, number.
BURN_ORDER_VERSION = 1
# Behind every end that there can be.
NEVER = datetime.max.replace(tzinfo=UTC)


class Kind(StrEnum):
    """What a row of the journal does. Callers ask for those of `ASKED`; the others follow from them or from time."""

    EARN = "EARN"
    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    TIMEOUT = "TIMEOUT"
    REVERSE = "REVERSE"
    EXPIRY = "EXPIRY"
    SPEND = "SPEND"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    CLAW_BACK = "CLAW_BACK"
    REPAYMENT = "REPAYMENT"
    ADJUST = "ADJUST"
    EXCHANGE = "EXCHANGE"
    EXPIRE = "EXPIRE"
    UNEXPIRE = "UNEXPIRE"
    UNEXPIRY = "UNEXPIRY"
    FUND = "FUND"
    CLOSE = "CLOSE"
    ALERT = "ALERT"
    FORGET = "FORGET"


class HoldState(StrEnum):
    """Where a hold stands."""

    ACTIVE = "ACTIVE"
    CAPTURED = "CAPTURED"
    RELEASED = "RELEASED"
    TIMED_OUT = "TIMED_OUT"


class ClawBackPolicy(StrEnum):
    """Where a claw-back takes what the earn's own lot no longer has."""

    WRITE_OFF = "WRITE_OFF"
    OTHER_LOTS = "OTHER_LOTS"
    OTHER_LOTS_THEN_DEBT = "OTHER_LOTS_THEN_DEBT"
    DEBT = "DEBT"


Owner = tuple[str, str]  # member id and asset
Detail = dict[str, Any]


@dataclass(slots=True, unsafe_hash=True)
class Cause:
    """Why something happens, as far as the caller says so."""

    event_id: str | None = None
    rule_id: str | None = None
    rule_version: int | None = None
    redemption_id: str | None = None
    campaign_id: str | None = None


NO_CAUSE = Cause()


@dataclass(slots=True)
class Operation:
    """What a caller asks for. `key` is the stored form of `request_id`, `fingerprint` that of its content.

    `content` is what makes it the same or another. Which of the other fields mean something depends on the kind; those
    that name a target say in `target_id` what the caller called it. `expired_amounts` says what is given back of which
    lots, instead of all that expired within the time.
    """

    request_id: str
    key: uuid.UUID
    kind: Kind
    occurred_at: datetime | None
    cause: Cause = NO_CAUSE
    content: dict[str, Any] = field(default_factory=dict)
    fingerprint: bytes = b""
    owner: Owner | None = None
    amount: int = 0
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int = 0
    timeout_s: int = 0
    target_id: str = ""
    target_key: uuid.UUID | None = None
    is_pending: bool = False
    is_promotional: bool = False
    policy: expiry.Policy | None = None
    base_amount: int = 0
    basis_points: int = 0
    allocated_value: int = 0
    budget_id: str | None = None
    claw_back: ClawBackPolicy = ClawBackPolicy.WRITE_OFF
    reason: str = ""
    actor: str = ""
    to_asset: str = ""
    expired_from: datetime | None = None
    expired_until: datetime | None = None
    expired_amounts: dict[int, int] | None = None

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Lists whose wallets it names."""
        if self.owner is None:
            return ()
        return (self.owner, (self.owner[0], self.to_asset)) if self.to_asset else (self.owner,)


@dataclass(frozen=True, slots=True)
class Linked:
    """Operations of which all happen or none."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Booking:
    """Books what is over in one wallet: timed-out holds, and expired lots, all of them or those of some numbers.

    Asked for by Plaudit itself.
    """

    owner: Owner
    numbers: frozenset[int] | None = None

    @property
    def weight(self) -> int:
        """Is the work that it is, in lots; a wallet of which nobody knows counts as one."""
        return max(1, len(self.numbers or ()))


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at one budget and tells of the shares that it has come to. Asked for by Plaudit itself."""

    budget_id: str


Item = Operation | Linked | Booking | Watch


@dataclass(slots=True)
class Wallet:
    """A member's holding of one asset, as it is being changed.

    `is_changed` asks for it to be written, `is_more_than_earned` for all of it and not only what earns change. One that
    `is_new` is not stored yet, and never will be unless something happens in it.
    """

    wallet_id: int
    member_id: str
    asset: str
    sequence: int
    balance: int
    earned: int = 0
    spent: int = 0
    expired: int = 0
    clawed_back: int = 0
    adjusted: int = 0
    debt: int = 0
    remainder: int = 0
    has_rolling: bool = False
    has_priorities: bool = False
    has_waiting: bool = False
    cashback_due: int = 0
    is_changed: bool = False
    is_more_than_earned: bool = False
    is_new: bool = False

    @property
    def is_unheard_of(self) -> bool:
        """Tells whether nothing has ever happened in it: its owner is nobody to the ledger."""
        return self.is_new and not self.is_changed


@dataclass(slots=True)
class Lot:
    """A parcel of value, as it is being changed. One without `effective_at` is pending, or was cancelled.

    `is_changed` asks for what it has left to be written, `is_redated` for all that can change. `source_number` is that
    of the lot that it gives back after its end; it is known of those made here and of those that a claw-back is about.
    """

    wallet_id: int
    number: int
    amount: int
    remaining: int
    effective_at: datetime | None
    expires_at: datetime | None = None
    occurred_at: datetime | None = None
    clawed_back: int | None = None
    priority: int = 0
    is_promotional: bool = False
    is_open: bool = True
    expiry_policy: str | None = None
    origin: str | None = None
    source_number: int | None = None
    is_new: bool = False
    is_changed: bool = False
    is_redated: bool = False

    def is_live(self, now: datetime) -> bool:
        """Tells whether it can be spent at an instant: the half-open interval of its life."""
        if self.effective_at is None or self.effective_at > now:
            return False
        return self.expires_at is None or now < self.expires_at

    def is_over(self, now: datetime) -> bool:
        """Tells whether its life has ended; what is pending has none yet."""
        return self.effective_at is not None and self.expires_at is not None and self.expires_at <= now


@dataclass(slots=True)
class Allocation:
    """What an operation took from one lot (positive) or gave back to it (negative)."""

    wallet_id: int
    lot_number: int
    amount: int
    allocated_at: datetime
    lot_expires_at: datetime | None
    root_id: uuid.UUID
    operation_id: uuid.UUID
    place: int
    kind: str


@dataclass(slots=True)
class TakenPart:
    """What a taking has of one lot still: `left` of what it took."""

    lot_number: int
    taken: int
    left: int
    lot_expires_at: datetime | None


@dataclass(slots=True)
class Taking:
    """What one operation took from lots, in order, less what was given back; `places` counts its allocations."""

    root_id: uuid.UUID
    wallet_id: int
    kind: str
    parts: list[TakenPart] = field(default_factory=list)
    places: int = 0

    @property
    def left(self) -> int:
        """Sums what was not given back."""
        return sum(part.left for part in self.parts)


@dataclass(slots=True)
class Hold:
    """A reservation of lots, as it is being changed; its taking says which."""

    hold_id: uuid.UUID
    wallet_id: int
    amount: int
    captured: int | None
    state: HoldState
    placed_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    capture_id: uuid.UUID | None = None
    cause_redemption_id: str | None = None
    request_name: str = ""
    is_new: bool = False
    is_changed: bool = False


@dataclass(slots=True)
class Shard:
    """A part of a budget, locked."""

    shard: int
    remaining: int
    held: int
    given: int
    is_closed: bool


@dataclass(slots=True)
class Budget:
    """A budget as far as it is locked: some of its shards, or all of them where `is_whole`."""

    budget_id: str
    asset: str
    shards: list[Shard]
    is_whole: bool
    is_changed: bool = False

    @property
    def is_closed(self) -> bool:
        """Tells whether it was closed, which all its shards know."""
        return self.shards[0].is_closed

    @property
    def remaining(self) -> int:
        """Sums what the locked shards have left."""
        return sum(shard.remaining for shard in self.shards)

    @property
    def used(self) -> int:
        """Sums what the locked shards gave or hold; one of them alone may be below zero."""
        return sum(shard.held + shard.given for shard in self.shards)


@dataclass(slots=True)
class AlertMark:
    """How far the feed was told of a budget, as it is being changed; who changes it has locked the budget whole.

    `told_percent` is the largest share that was reached when the budget was last looked at, 0 where none was, and
    `alert_count` numbers what was told.
    """

    budget_id: str
    percents: tuple[int, ...]
    told_percent: int
    alert_count: int
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """What an exchange gives: so many smallest units of one asset for so many of the other."""

    from_asset: str
    to_asset: str
    version: int
    numerator: int
    denominator: int
    set_at: datetime


@dataclass(frozen=True, slots=True)
class NewBudget:
    """A budget that is asked for; `content` is what the fingerprint was made of."""

    budget_id: str
    asset: str
    alert_percents: tuple[int, ...]
    shard_count: int
    key: uuid.UUID
    content: dict[str, Any]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget as it is shown: the sum of its sub-accounts, at first empty and open."""

    budget_id: str
    asset: str
    alert_percents: tuple[int, ...]
    shard_count: int
    is_closed: bool = False
    remaining: int = 0
    held: int = 0
    given: int = 0

    @property
    def funded(self) -> int:
        """Tells what was put in, less what was taken out when it was closed and since."""
        return self.remaining + self.held + self.given


@dataclass(frozen=True, slots=True)
class WatchedBudget:
    """An open budget as a look without locks finds it; `told_percent` is None where no look stored anything yet."""

    program_id: str
    budget_id: str
    alert_percents: tuple[int, ...]
    told_percent: int | None
    remaining: int
    used: int


@dataclass(frozen=True, slots=True)
class NewRate:
    """A rate that is asked for; `content` is what the fingerprint was made of."""

    from_asset: str
    to_asset: str
    numerator: int
    denominator: int
    key: uuid.UUID
    content: dict[str, Any]
    fingerprint: bytes


@dataclass(slots=True)
class Target:
    """What an operation can be about: an outcome of an earlier one.

    `number` is that of the lot that an earn made, `share` what a cashback is exactly, in `REMAINDER_PARTS`.
    """

    key: uuid.UUID
    kind: Kind
    wallet_id: int
    number: int | None
    hold_id: uuid.UUID | None
    budget_id: str | None
    share: int = 0


@dataclass(slots=True)
class Row:
    """One row of the journal."""

    request_id: uuid.UUID
    leg: int
    kind: str
    occurred_at: datetime
    wallet_id: int | None = None
    amount: int = 0
    sequence: int | None = None
    balance: int | None = None
    expires_at: datetime | None = None
    held_amount: int | None = None
    lot_number: int | None = None
    budget_amount: int | None = None
    debt_amount: int | None = None
    allocated_value: int | None = None
    target_id: uuid.UUID | None = None
    burn_order_version: int | None = None
    fingerprint: bytes | None = None
    cause: Cause = NO_CAUSE
    budget_id: str | None = None
    refusal: Detail | None = None
    detail: Detail | None = None
    member_id: str = ""


@dataclass(slots=True)
class Part:
    """What was taken from one lot, or given back to it, for the answer."""

    lot_id: str
    amount: int
    expires_at: datetime | None


@dataclass(slots=True)
class Posting:
    """The good end of an operation."""

    posted_at: datetime
    amount: int
    expires_at: datetime | None = None
    parts: tuple[Part, ...] = ()
    written_off: int = 0
    debt: int = 0
    given: int = 0
    burn_order_version: int = 0


@dataclass(slots=True)
class Outcome:
    """How an operation ended: a posting or a refusal, and whether that stood before."""

    replayed: bool
    posting: Posting | None = None
    refusal: kernel_errors.DomainError | None = None


@dataclass(slots=True)
class Prior:
    """An outcome that stands already for a request id, and whose it is; None where the ledger cannot say."""

    fingerprint: bytes
    outcome: Outcome
    member_id: str | None


def lot_id(wallet_id: int, number: int) -> str:
    """Names a lot to callers."""
    return f"{wallet_id}.{number}"


def taken_parts(taking: Taking) -> tuple[Part, ...]:
    """Lists what an operation took, lot by lot, in order."""
    return tuple(
        Part(lot_id(taking.wallet_id, part.lot_number), part.taken, part.lot_expires_at) for part in taking.parts
    )


def burn_order(lot: Lot) -> tuple[int, datetime, bool, datetime, int]:
    """Sorts live lots as they are spent (`BURN_ORDER_VERSION`)."""
    assert lot.effective_at is not None, "A live lot has taken effect."
    return (
        lot.priority,
        lot.expires_at or NEVER,
        not lot.is_promotional,
        lot.effective_at,
        lot.number,
    )
