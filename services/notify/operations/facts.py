"""Facts: what a message says that must be true when it is sent, asked for right before."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from services.kernel import db
from services.notify import model, ports, reports, rules
from services.notify.model import SourceKind
from services.notify.operations.context import Config
from services.notify.store import members

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Asked:
    """What facts are asked about: the message's member, the newest cause, the trigger, and what is visible."""

    program_id: str
    member: model.Member
    cause: model.Cause
    compiled: rules.CompiledTrigger
    visible: dict[str, Any]


async def find(pool: db.Pool, outside: ports.Outside, config: Config, asked: Asked) -> dict[str, Any] | None:
    """Gives the facts of a message; None where it is no longer true. Raises DEPENDENCY_UNAVAILABLE."""
    kind = asked.compiled.trigger.source.kind
    if kind is SourceKind.EXPIRY:
        return await _expiring(outside, asked)
    if kind is SourceKind.SCHEDULE and config.report is not None:
        return await _report(pool, outside, config, asked)
    return {}


async def _expiring(outside: ports.Outside, asked: Asked) -> dict[str, Any] | None:
    properties = asked.cause.properties
    amount = await outside.ledger.expiring(
        asked.program_id,
        asked.member.member_id,
        properties["asset"],
        from_at=datetime.fromisoformat(properties["from_time"]),
        until_at=datetime.fromisoformat(properties["until_time"]),
    )
    if amount <= 0:
        return None
    return {"amount": amount, "expires_on": properties["expires_on"], "days": properties["days"]}


async def _report(pool: db.Pool, outside: ports.Outside, config: Config, asked: Asked) -> dict[str, Any] | None:
    """Makes the weekly report: the seven days before the day that it is for, beside the seven before them."""
    compiled = config.report
    assert compiled is not None, "A report is made where there is one."
    day = date.fromisoformat(asked.cause.properties["day"])
    name = asked.member.member_id

    async def work(connection: db.Connection) -> tuple[dict[str, members.Sums], dict[str, members.Sums]]:
        week = await members.sum_activity(connection, asked.program_id, {name: (day - WEEK, day)})
        before = await members.sum_activity(connection, asked.program_id, {name: (day - 2 * WEEK, day - WEEK)})
        return week.get(name, {}), before.get(name, {})

    week, last_week = await db.read(pool, work)
    comparison: ports.Comparison | None = None
    if compiled.report.comparison_metric_id:
        comparison = await outside.peers.compare(asked.program_id, name, compiled.report.comparison_metric_id)
    locale = config.settings.locale if config.settings else ""
    seen = reports.Seen(asked.visible, week, last_week, comparison, (asked.member.locale, locale))
    return reports.build(compiled, seen)
