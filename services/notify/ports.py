"""What notify asks of others, in its own words; `clients`, `smtp` and `webhooks` say it on the wire."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.notify.model import AttemptOutcome


@dataclass(frozen=True, slots=True)
class Handover:
    """What became of one attempt. `is_gone` says that there is no such address, or no longer."""

    outcome: AttemptOutcome
    code: int = 0
    response: str = ""
    is_gone: bool = False
    retry_after_s: float | None = None


class Mailer(Protocol):
    """Hands mails to a server; what the server or the network does comes back as an outcome and is never raised."""

    def send(self, sender: str, recipient: str, content: bytes) -> Awaitable[Handover]:
        """Hands one mail over."""
        ...


class Poster(Protocol):
    """Posts to endpoints; what they or the network do comes back as an outcome and is never raised."""

    def post(self, url: str, headers: dict[str, str], content: bytes) -> Awaitable[Handover]:
        """Posts once, to a public address only, following nobody elsewhere."""
        ...


class Ledger(Protocol):
    """The ledger. Raises DEPENDENCY_UNAVAILABLE where it is away."""

    def expiring(
        self, program_id: str, member_id: str, asset: str, *, from_at: datetime, until_at: datetime
    ) -> Awaitable[int]:
        """Tells how much of a member's value ends within a time, as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a member stands beside others, where that may be told: ahead of so many of them, in per cent."""

    ahead_percent: int


class Peers(Protocol):
    """Whoever can compare members. Raises DEPENDENCY_UNAVAILABLE where it is away."""

    def compare(self, program_id: str, member_id: str, metric_id: str) -> Awaitable[Comparison | None]:
        """Tells how a member stands; None where that may not be told."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """Everybody that the sending of messages speaks to."""

    mailer: Mailer
    poster: Poster
    ledger: Ledger
    peers: Peers
