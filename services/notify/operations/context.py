"""What every verb of notify works with, and what processes remember of programs between calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from services.kernel import clock, db, feed
from services.notify import model, reports, rules, templates
from services.notify.store import endpoints, programs

Encode = Callable[[model.Published], feed.Outgoing]
# Asks the workers for a run of a job after some seconds; never raises, since the sweep comes anyway.
Kick = Callable[[str, float], Awaitable[None]]

TRIGGERS_PER_PROGRAM_MAX = 1000
ENDPOINTS_PER_PROGRAM_MAX = 100
PROGRAMS_REMEMBERED_MAX = 200


@dataclass
class Config:
    """What a program sends, compiled. Triggers that pause are known, and set nothing off."""

    revision: int
    settings: model.Settings | None
    triggers: dict[str, rules.CompiledTrigger]
    by_type: dict[str, list[rules.CompiledTrigger]]
    by_day: list[rules.CompiledTrigger]
    endpoints: dict[str, endpoints.Kept]
    report: reports.CompiledReport | None = None
    compiled: dict[str, templates.Compiled | None] = field(default_factory=dict)

    @property
    def zone(self) -> str:
        """Is the zone of members without one of their own."""
        return self.settings.time_zone if self.settings else "UTC"


@dataclass
class Context:
    """One database, one clock. `public_url` is where links of mails lead; its keys sign them and hide secrets."""

    pool: db.Pool
    time: clock.Clock
    encode: Encode
    kick: Kick
    link_key: bytes
    secret_key: bytes
    public_url: str
    _configs: dict[str, Config] = field(default_factory=dict)

    async def config(self, connection: db.Connection, program_id: str) -> tuple[Config, datetime]:
        """Gives what a program sends as it is now, and the time; compiles it anew only where it changed."""
        revision, database_now = await programs.get_revision(connection, program_id)
        now = self.time.tell(database_now)
        known = self._configs.get(program_id)
        if known is not None and known.revision == revision:
            return known, now
        program = await programs.get_program(connection, program_id)
        found = Config(program.revision, program.settings, {}, {}, [], {})
        if found.settings is not None and found.settings.report is not None:
            found.report = reports.compile_report(found.settings.report)
        listed = await programs.list_versioned(connection, program_id, model.Trigger, "", TRIGGERS_PER_PROGRAM_MAX)
        for trigger in listed:
            _add(found, rules.compile_trigger(trigger))
        for kept in await endpoints.list_endpoints(connection, program_id, "", ENDPOINTS_PER_PROGRAM_MAX):
            found.endpoints[kept.endpoint.endpoint_id] = kept
        if len(self._configs) >= PROGRAMS_REMEMBERED_MAX:
            self._configs.clear()
        self._configs[program_id] = found
        return found, now

    async def template(
        self, connection: db.Connection, program_id: str, config: Config, template_id: str
    ) -> templates.Compiled | None:
        """Gives the newest version of a template, compiled once for each change of the program; None for none."""
        if template_id not in config.compiled:
            template = await programs.get_versioned(connection, program_id, model.Template, template_id)
            config.compiled[template_id] = templates.compile_template(template) if template else None
        return config.compiled[template_id]

    async def publish(self, connection: db.Connection, program_id: str, *events: model.Published) -> None:
        """Appends to the feed, as the last thing of a transaction."""
        if events:
            now = await self.time.now(connection)
            await feed.append(connection, program_id, now, [self.encode(event) for event in events])


def _add(config: Config, compiled: rules.CompiledTrigger) -> None:
    trigger = compiled.trigger
    config.triggers[trigger.trigger_id] = compiled
    if not trigger.is_active:
        return
    if trigger.source.kind is model.SourceKind.EVENT:
        config.by_type.setdefault(trigger.source.type, []).append(compiled)
    else:
        config.by_day.append(compiled)
