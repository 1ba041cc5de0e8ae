"""What every verb of the program works with, and what servers remember between calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.kernel import clock, db, feed
from services.program import errors, model, ports, rules
from services.program.store import access
from services.program.store import rules as rules_store

Encode = Callable[[model.Published], feed.Outgoing]
# Asks the workers for a run of a job after some seconds; never raises, since the sweep comes anyway.
Kick = Callable[[str, float], Awaitable[None]]

RULES_PER_PROGRAM_MAX = 1000
PROGRAMS_REMEMBERED_MAX = 1000


@dataclass(frozen=True, slots=True)
class ProgramRules:
    """The live rules of a program, compiled, by type of event."""

    program: model.Program
    by_type: dict[str, list[rules.CompiledRule]]


@dataclass
class Context:
    """One database, one clock, one ledger. `encode` turns what happened into what the feed publishes."""

    pool: db.Pool
    time: clock.Clock
    encode: Encode
    ledger: ports.Ledger
    kick: Kick
    _rules: dict[str, ProgramRules] = field(default_factory=dict)

    async def rules(self, connection: db.Connection, program_id: str) -> tuple[ProgramRules, datetime]:
        """Gives a program and its rules as they are now, and the time; compiles rules anew only where they changed.

        Raises PROGRAM_NOT_FOUND.
        """
        read = await access.get_program_now(connection, program_id)
        if read is None:
            raise errors.program_not_found(program_id)
        program, now = read[0], self.time.tell(read[1])
        known = self._rules.get(program_id)
        if known is not None and known.program == program:
            return known, now
        found = ProgramRules(program, {})
        for rule in await rules_store.list_rules(connection, program_id, "", RULES_PER_PROGRAM_MAX):
            if rule.state is model.RuleState.ACTIVE:
                found.by_type.setdefault(rule.event_type, []).append(rules.compile_rule(rule))
        if len(self._rules) >= PROGRAMS_REMEMBERED_MAX:
            self._rules.clear()
        self._rules[program_id] = found
        return found, now

    async def publish(self, connection: db.Connection, program_id: str, *events: model.Published) -> None:
        """Appends to the feed, as the last thing of a transaction."""
        now = await self.time.now(connection)
        await feed.append(connection, program_id, now, [self.encode(event) for event in events])
