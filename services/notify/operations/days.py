"""Days: each day of each zone is turned once, when it begins, and sets off what belongs to it.

A day that is turned late, since nobody worked, is turned all the same, one after the other; what belongs to a day that
is over for longer than another one is decided as too late.
"""

import calendar as months
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from services.kernel import calendar, db, due, ids
from services.notify import model, rules
from services.notify.model import DateKind, SourceKind
from services.notify.operations import deciding
from services.notify.operations.context import Context
from services.notify.store import members

TURN_DAY = "turn_day"
PAGE_MAX = 1000
# A loop of pages ends at some time; 100 million members of one zone are more than there are.
PAGES_MAX = 100_000
LATE_AFTER = timedelta(days=1)
DAY = timedelta(days=1)
POINTS = "points"
DATE_QUERIES = {
    DateKind.BIRTHDAY: "list_by_birthday",
    DateKind.JOINED: "list_by_joining",
    DateKind.ATTRIBUTE: "list_by_attribute",
}

# Reads a page of members behind an id: what the day has to do with each.
ReadPage = Callable[[db.Connection, str], Awaitable[list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class _Day:
    """One day of one zone of a program."""

    program_id: str
    zone: str
    day: date
    is_late: bool

    @property
    def start(self) -> datetime:
        """Is when it begins."""
        return calendar.day_start(self.day, self.zone)

    def span(self, days: int) -> tuple[datetime, datetime]:
        """Gives the begin and the end of the day so many days from it."""
        day = self.day + timedelta(days=days)
        return calendar.day_start(day, self.zone), calendar.day_start(day + DAY, self.zone)


@dataclass(frozen=True, slots=True)
class _Found:
    """A member that a day is of interest to: what it counts as, and what the message is told of it."""

    member_id: str
    occurrence: str
    properties: dict[str, Any]


def day_item(program_id: str, zone: str, day: date) -> due.DueItem:
    """Makes the duty to turn to a day of a zone when it begins."""
    return due.DueItem(
        program_id,
        TURN_DAY,
        ids.derived_id("day", zone, day.isoformat()),
        {"zone": zone, "day": day.isoformat()},
        calendar.day_start(day, zone),
    )


async def see_to_zones(connection: db.Connection, program_id: str, zones: set[str], now: datetime) -> None:
    """Sees to it that the days of every zone that a member has are turned, from today on."""
    missing = zones - await members.list_zones(connection, program_id) if zones else set()
    today = {zone: calendar.period_start(now, calendar.Period.DAY, zone) for zone in sorted(missing)}
    if not today:
        return
    added = await members.add_zones(connection, program_id, today)
    # Due from now on: it has not waited since the day began.
    items = [replace(day_item(program_id, zone, day), due_at=now) for zone, day in added]
    await due.schedule(connection, items)


async def turn(context: Context, item: due.DueItem) -> None:
    """Turns to a day of a zone: decides what it sets off, page by page, and sees to the next day. Idempotent."""
    zone, day = item.payload["zone"], date.fromisoformat(item.payload["day"])
    config, now = await db.read(context.pool, lambda connection: context.config(connection, item.program_id))
    today = calendar.period_start(now, calendar.Period.DAY, zone)
    turned = _Day(item.program_id, zone, day, is_late=day < today - LATE_AFTER)
    made = 0
    for compiled in config.by_day:
        async for page in _pages(context, turned, compiled.trigger.source):
            made += await _decide_page(context, turned, compiled, page)

    async def go_on(connection: db.Connection) -> None:
        await members.turn_zone(connection, item.program_id, zone, day, day + DAY)
        await due.schedule(connection, [day_item(item.program_id, zone, day + DAY)])

    await db.transaction(context.pool, go_on)
    if made:
        await context.kick(deciding.DELIVER, 0)


async def _decide_page(context: Context, day: _Day, compiled: rules.CompiledTrigger, page: Sequence[_Found]) -> int:
    async def work(connection: db.Connection) -> int:
        config, now = await context.config(connection, day.program_id)
        names = [each.member_id for each in page]
        found = await members.read_members(connection, day.program_id, names)
        totals = await members.read_totals(connection, day.program_id, names)
        candidates = []
        for each in page:
            cause = model.Cause(
                type=f"day.{compiled.trigger.source.kind.value.lower()}",
                cause_id=f"{compiled.trigger.trigger_id}:{each.occurrence}",
                member_id=each.member_id,
                occurred_at=day.start,
                properties=each.properties,
            )
            visible = {
                "event": cause.visible(),
                "member": found[each.member_id].visible(totals.get(each.member_id, {}), {}),
            }
            if rules.holds(compiled.condition, **visible):
                candidates.append(deciding.Candidate(compiled, cause, cause.cause_id, is_late=day.is_late))
        return await deciding.decide(connection, day.program_id, config, candidates, now) if candidates else 0

    return await db.transaction(context.pool, work)


async def _pages(context: Context, day: _Day, source: model.Source) -> AsyncIterator[list[_Found]]:
    """Gives the members that a day is of interest to, a page at a time."""
    for read, occurrence in _readings(day, source):
        after = ""
        for _ in range(PAGES_MAX):
            rows = await db.read(context.pool, lambda connection, r=read, a=after: r(connection, a))  # type: ignore[misc]
            if not rows:
                break
            found = [each for each in (occurrence(row) for row in rows) if each is not None]
            if found:
                yield found
            after = rows[-1]["member_id"]


Occurrence = Callable[[dict[str, Any]], _Found | None]


def _readings(day: _Day, source: model.Source) -> list[tuple[ReadPage, Occurrence]]:
    """Says how to find the members that a day is of interest to, by what sets a trigger off."""
    match source.kind:
        case SourceKind.DATE:
            return [_anniversaries(day, source)]
        case SourceKind.INACTIVITY:
            return [_inactivity(day, source.days[0])]
        case SourceKind.EXPIRY:
            return [_expiry(day, source.asset or POINTS, days) for days in source.days]
        case SourceKind.SCHEDULE if day.day.isoweekday() in source.weekdays:
            return [_schedule(day, source.active_days)]
    return []


def _anniversaries(day: _Day, source: model.Source) -> tuple[ReadPage, Occurrence]:
    days = [members.day_of_year(day.day)]
    # The 29th of February is the 28th where a year has none.
    if days == [228] and not months.isleap(day.day.year):
        days.append(229)

    async def read(connection: db.Connection, after: str) -> list[dict[str, Any]]:
        arguments: tuple[Any, ...] = (day.program_id, day.zone, days, after, PAGE_MAX)
        if source.date is DateKind.ATTRIBUTE:
            texts = [f"{each // 100:02}-{each % 100:02}" for each in days]
            arguments = (day.program_id, day.zone, texts, after, PAGE_MAX, source.attribute)
        assert source.date is not None, "A date source names its date."
        return await members.list_by(connection, DATE_QUERIES[source.date], *arguments)

    def occurrence(row: dict[str, Any]) -> _Found | None:
        since = _year(row["known_on"])
        if since is None or since > day.day.year:
            return None
        years = day.day.year - since
        # The very day is no anniversary of itself; a birthday is one each year.
        if years == 0 and source.date is not DateKind.BIRTHDAY:
            return None
        return _Found(row["member_id"], f"{day.day.year}", {"years": years})

    return read, occurrence


def _year(known_on: date | str) -> int | None:
    try:
        return (date.fromisoformat(known_on) if isinstance(known_on, str) else known_on).year
    except ValueError:
        return None  # An attribute that is no date is no anniversary either.


def _inactivity(day: _Day, days: int) -> tuple[ReadPage, Occurrence]:
    since, until = day.span(-days)
    active_on = (day.day - timedelta(days=days)).isoformat()

    async def read(connection: db.Connection, after: str) -> list[dict[str, Any]]:
        return await members.list_by(
            connection, "list_by_activity", day.program_id, day.zone, since, until, after, PAGE_MAX
        )

    return read, lambda row: _Found(row["member_id"], active_on, {"days": days, "active_on": active_on})


def _expiry(day: _Day, asset: str, days: int) -> tuple[ReadPage, Occurrence]:
    since, until = day.span(days)
    expires_on = (day.day + timedelta(days=days)).isoformat()
    properties = {
        "asset": asset,
        "days": days,
        "expires_on": expires_on,
        "from_time": since.isoformat(),
        "until_time": until.isoformat(),
    }

    async def read(connection: db.Connection, after: str) -> list[dict[str, Any]]:
        return await members.list_by(
            connection, "list_by_expiry", day.program_id, asset, since, until, day.zone, after, PAGE_MAX
        )

    return read, lambda row: _Found(row["member_id"], f"{asset}:{expires_on}:{days}", properties)


def _schedule(day: _Day, active_days: int) -> tuple[ReadPage, Occurrence]:
    since = day.span(-active_days)[0] if active_days else None

    async def read(connection: db.Connection, after: str) -> list[dict[str, Any]]:
        return await members.list_by(connection, "list_by_zone", day.program_id, day.zone, since, after, PAGE_MAX)

    return read, lambda row: _Found(row["member_id"], day.day.isoformat(), {"day": day.day.isoformat()})
