"""What every verb of gamification works with, and what processes remember between calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.gamification import model, rules
from services.gamification.store import definitions
from services.kernel import clock, db, feed

Encode = Callable[[model.Published], feed.Outgoing]
# Asks the workers for a run of a job after some seconds; never raises, since the sweep comes anyway.
Kick = Callable[[str, float], Awaitable[None]]

PROGRAMS_REMEMBERED_MAX = 1000


@dataclass
class Context:
    """One database and one clock. `encode` turns what happened into what the feed publishes."""

    pool: db.Pool
    time: clock.Clock
    encode: Encode
    kick: Kick
    _rulebooks: dict[str, rules.Rulebook] = field(default_factory=dict)

    async def rulebook(self, connection: db.Connection, program_id: str) -> rules.Rulebook:
        """Gives the definitions of a program, which stay as they are until the transaction ends."""
        return await self._at(connection, program_id, await definitions.hold_program(connection, program_id))

    async def rulebook_to_read(self, connection: db.Connection, program_id: str) -> rules.Rulebook:
        """Gives the definitions of a program as the transaction sees them, and locks nothing."""
        return await self._at(connection, program_id, await definitions.get_revision(connection, program_id))

    async def _at(self, connection: db.Connection, program_id: str, revision: int) -> rules.Rulebook:
        known = self._rulebooks.get(program_id)
        if known is not None and known.revision == revision:
            return known
        found = rules.Rulebook(revision, await definitions.list_all(connection, program_id))
        if len(self._rulebooks) >= PROGRAMS_REMEMBERED_MAX:
            self._rulebooks.clear()
        self._rulebooks[program_id] = found
        return found

    async def publish(self, connection: db.Connection, program_id: str, *events: model.Published) -> None:
        """Appends to the feed, as the last thing of a transaction."""
        if events:
            now = await self.time.now(connection)
            await feed.append(connection, program_id, now, [self.encode(event) for event in events])
