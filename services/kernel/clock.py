"""Time: the database's clock is the only one that orders what was posted.

Operations get `now` as an argument; the edges take it from a `Clock`. Tests turn theirs by hand.
"""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Tells the time of a transaction."""

    def now(self, connection: Any) -> Awaitable[datetime]:
        """Tells the time, aware and in UTC, for what this transaction will post."""
        ...

    def tell(self, database_now: datetime) -> datetime:
        """Tells the same where a query of the transaction has brought the database's time along."""
        ...


class DatabaseClock:
    """Asks the database, so that all replicas of a service agree."""

    async def now(self, connection: Any) -> datetime:
        """Tells the database's time."""
        value = await connection.fetchval("SELECT clock_timestamp()")
        assert isinstance(value, datetime)
        return value

    def tell(self, database_now: datetime) -> datetime:
        """Tells the database's time."""
        return database_now


class ManualClock:
    """Stands still until it is turned. For tests, and for programs with a test clock."""

    def __init__(self, now: datetime) -> None:
        self.value = now

    async def now(self, connection: Any) -> datetime:
        """Tells what it was set to."""
        del connection
        return self.value

    def tell(self, database_now: datetime) -> datetime:
        """Tells what it was set to."""
        del database_now
        return self.value
