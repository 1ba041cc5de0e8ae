"""What the ledger tells: balances, entries, lots, holds, ends and sums as callers see them. Values, no I/O."""

from dataclasses import dataclass
from datetime import datetime

from services.kernel.errors import DomainError
from services.ledger.model import Cause, HoldState, Kind, Part


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
    lifetime_adjusted: int = 0
    lifetime_clawed_back: int = 0
    debt: int = 0
    next_expires_at: datetime | None = None
    next_expiry_amount: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a statement; `reason` and `actor` where somebody decided it."""

    entry_id: str
    kind: Kind
    asset: str
    amount: int
    balance: int
    sequence: int
    occurred_at: datetime
    posted_at: datetime
    cause: Cause
    reason: str
    actor: str

    @property
    def length(self) -> int:
        """Counts the characters of the words that others gave it."""
        named = (self.cause.event_id, self.cause.rule_id, self.cause.redemption_id, self.cause.campaign_id)
        return len(self.reason) + len(self.actor) + sum(len(each) for each in named if each)


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums of a statement: `opening` and the changes by kind come to `closing`."""

    opening: int = 0
    earned: int = 0
    spent: int = 0
    expired: int = 0
    adjusted: int = 0
    exchanged: int = 0
    clawed_back: int = 0
    closing: int = 0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a spend would take, and what would be left to spend."""

    parts: tuple[Part, ...]
    burn_order_version: int
    available_after: int


@dataclass(frozen=True, slots=True)
class LotView:
    """A lot as it is shown."""

    lot_id: str
    number: int
    amount: int
    remaining: int
    held: int
    expired: int
    priority: int
    is_promotional: bool
    effective_at: datetime | None
    expires_at: datetime | None
    origin: Cause


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold as it stands at an instant; `spent` is less what was reversed."""

    hold_id: str
    request_name: str
    state: HoldState
    amount: int
    spent: int
    placed_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Expiration:
    """What of a wallet expires at one instant."""

    amount: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class UnexpiredMember:
    """What one member had back, and why no more."""

    member_id: str
    amount: int
    refusal: DomainError | None
