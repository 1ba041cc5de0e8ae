"""Feeds without a service: a source over a database, and a follower's effects in a table of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.kernel import db, feed
from tests.conftest import START

TYPE = "plaudit.test.v1.Happened"
SEEN = """
CREATE TABLE seen (
    number bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL
)
"""


def happened(member_id: str, text: str = "", *, kind: str = TYPE) -> feed.Outgoing:
    """Makes an event to publish."""
    return feed.Outgoing(member_id, kind, text.encode())


async def publish(pool: db.Pool, *events: feed.Outgoing, program: str = "demo") -> None:
    """Publishes events in a transaction of their own."""
    await db.transaction(pool, lambda connection: feed.append(connection, program, START, events))


async def split(pool: db.Pool, partitions: int, *, program: str = "demo") -> None:
    """Gives a program so many partitions, before it has published anything."""
    await pool.executemany(
        "INSERT INTO feed_heads (program_id, partition, position) VALUES ($1, $2, 0)",
        [(program, partition) for partition in range(partitions)],
    )


async def heads(pool: db.Pool) -> list[feed.Head]:
    """Tells the heads."""
    return await db.read(pool, feed.read_heads)


async def page(
    pool: db.Pool, partition: int = 0, after: int = 0, *, limit: int = 1000, **options: Sequence[str]
) -> feed.Page:
    """Reads what stands behind a position of the demo program."""
    types = options.get("types", ())
    return await db.read(
        pool, lambda connection: feed.read_events(connection, "demo", partition, after, limit=limit, types=types)
    )


@dataclass
class LocalSource:
    """A feed in a database at hand; what it was asked for is kept."""

    pool: db.Pool
    types: Sequence[str] = ()
    limit: int = feed.READ_MAX
    reads: list[int] = field(default_factory=list)

    async def list_heads(self, wait_s: float) -> list[feed.Head]:
        """Tells the heads at once."""
        del wait_s
        return await heads(self.pool)

    async def read(self, program_id: str, partition: int, after_position: int) -> feed.Page:
        """Reads one page."""
        self.reads.append(after_position)
        return await db.read(
            self.pool,
            lambda connection: feed.read_events(
                connection, program_id, partition, after_position, limit=self.limit, types=self.types
            ),
        )


async def record(connection: db.Connection, events: Sequence[feed.Incoming]) -> None:
    """Has the one effect that handlers of tests have: a row an event."""
    await connection.executemany(
        "INSERT INTO seen (event_id, partition, position) VALUES ($1, $2, $3)",
        [(event.event_id, event.partition, event.position) for event in events],
    )


async def seen(pool: db.Pool, partition: int = 0) -> list[int]:
    """Tells which positions of a partition had their effect, in the order in which they had it."""
    rows = await pool.fetch("SELECT position FROM seen WHERE partition = $1 ORDER BY number", partition)
    return [row["position"] for row in rows]
