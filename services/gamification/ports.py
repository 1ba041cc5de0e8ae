"""What gamification asks of the program's feed, in its own words; `worker` says it over gRPC."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

from services.gamification import model


class Reader(Protocol):
    """The program's feed beside the follower. Every call raises DEPENDENCY_UNAVAILABLE where the program is away."""

    def partitions(self, program_id: str) -> Awaitable[list[int]]:
        """Lists the partitions of a program."""
        ...

    def read(self, program_id: str, partition: int, after_position: int) -> Awaitable[tuple[list[model.Event], int]]:
        """Reads the events of a page, and up to which position it goes."""
        ...

    def is_behind(self, program_id: str, until: datetime) -> Awaitable[bool]:
        """Tells whether the follower has yet to see something that was recorded before an instant."""
        ...
