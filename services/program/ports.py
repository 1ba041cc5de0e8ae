"""What the program asks of the ledger, in its own words; `clients` says it over gRPC."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.program import model

# What one call to the ledger carries at most.
EARNS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Earn:
    """Value for a member, and why. `expires_at` counts where the terms have no rolling expiry."""

    request_id: str
    member_id: str
    asset: str
    amount: int
    occurred_at: datetime
    expires_at: datetime | None
    event_id: str
    rule_id: str
    rule_version: int
    terms: model.Terms = model.PLAIN


class Step(StrEnum):
    """What is done about an earn: each once."""

    CONFIRM = "confirm"
    CANCEL = "cancel"
    CLAW_BACK = "claw-back"


@dataclass(frozen=True, slots=True)
class LedgerRefusal:
    """Why the ledger refused one operation; its outcome for ever."""

    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)


class Ledger(Protocol):
    """The ledger. Every call is idempotent by its request ids and raises DEPENDENCY_UNAVAILABLE where it is away."""

    def earn(self, program_id: str, earns: Sequence[Earn]) -> Awaitable[list[LedgerRefusal | None]]:
        """Posts 1 to 1,000 earns; tells for each why it was refused, None where it was not."""
        ...

    def settle(self, program_id: str, steps: Sequence[tuple[Earn, Step]]) -> Awaitable[list[LedgerRefusal | None]]:
        """Takes 1 to 1,000 steps about earns, in order; tells for each why it was refused."""
        ...

    def hold(
        self, program_id: str, *, redemption_id: str, member_id: str, asset: str, amount: int, timeout_s: int
    ) -> Awaitable[LedgerRefusal | None]:
        """Holds the cost of a redemption."""
        ...

    def capture(self, program_id: str, *, redemption_id: str) -> Awaitable[LedgerRefusal | None]:
        """Spends what is held for a redemption."""
        ...

    def release(self, program_id: str, *, redemption_id: str) -> Awaitable[LedgerRefusal | None]:
        """Frees what is held for a redemption."""
        ...

    def reverse(self, program_id: str, *, redemption_id: str) -> Awaitable[LedgerRefusal | None]:
        """Gives back what was spent for a redemption."""
        ...
