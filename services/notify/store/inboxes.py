"""Inboxes: messages by position, and how far they are read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.kernel import db
from services.notify import model
from services.notify.store import QUERIES


@dataclass(frozen=True, slots=True)
class Head:
    """How far an inbox reaches, and how far it is read."""

    position: int = 0
    read_position: int = 0

    @property
    def unread_count(self) -> int:
        """Counts the messages that are not read."""
        return self.position - self.read_position


async def add_messages(
    connection: db.Connection, program_id: str, added: Sequence[tuple[str, model.InboxMessage]], now: datetime
) -> None:
    """Writes messages into the inboxes of members, behind what is there."""
    counts = Counter(member_id for member_id, _ in added)
    rows = await connection.fetch(QUERIES["advance_inboxes"], program_id, list(counts), list(counts.values()))
    following = {row["member_id"]: row["position"] - counts[row["member_id"]] for row in rows}
    positions = []
    for member_id, _ in added:
        following[member_id] += 1
        positions.append(following[member_id])
    await connection.execute(
        QUERIES["insert_messages"],
        program_id,
        now,
        [member_id for member_id, _ in added],
        positions,
        [each.delivery_id for _, each in added],
        [each.topic for _, each in added],
        [each.title for _, each in added],
        [each.body for _, each in added],
        [each.action_url for _, each in added],
        [each.action_label for _, each in added],
    )


async def list_messages(
    connection: db.Connection, program_id: str, member_id: str, below: int, limit: int
) -> list[model.InboxMessage]:
    """Lists the messages of a member below a position, newest first."""
    rows = await connection.fetch(QUERIES["list_messages"], program_id, member_id, below, limit)
    return [model.InboxMessage(**dict(row)) for row in rows]


async def list_messages_behind(
    connection: db.Connection, program_id: str, member_id: str, after: int, limit: int
) -> list[model.InboxMessage]:
    """Lists the messages of a member behind a position, oldest first."""
    rows = await connection.fetch(QUERIES["list_messages_behind"], program_id, member_id, after, limit)
    return [model.InboxMessage(**dict(row)) for row in rows]


async def get_head(connection: db.Connection, program_id: str, member_id: str) -> Head:
    """Tells how far an inbox reaches, and how far it is read."""
    row = await connection.fetchrow(QUERIES["get_inbox"], program_id, member_id)
    return Head(**dict(row)) if row else Head()


async def list_heads(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> dict[str, int]:
    """Tells how far some inboxes reach, by member."""
    rows = await connection.fetch(QUERIES["list_inboxes"], program_id, member_ids)
    return {row["member_id"]: row["position"] for row in rows}


async def mark_read(connection: db.Connection, program_id: str, member_id: str, position: int, now: datetime) -> Head:
    """Marks the messages of a member up to a position as read, and tells how the inbox stands then."""
    row = await connection.fetchrow(QUERIES["read_inbox"], program_id, member_id, position)
    if row is None:
        return Head()
    await connection.execute(QUERIES["mark_messages"], program_id, member_id, position, now)
    return Head(**dict(row))
