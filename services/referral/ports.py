"""What the referral service asks of the program service, in its own words; `clients` says it over gRPC."""

from collections.abc import Awaitable
from typing import Protocol


class Members(Protocol):
    """Members as the program service knows them now."""

    def email(self, program_id: str, member_id: str) -> Awaitable[str]:
        """Tells a member's e-mail address, empty where there is none. Raises DEPENDENCY_UNAVAILABLE."""
        ...
