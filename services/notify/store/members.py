"""Members: what is known of them, what happened to them, what they want, and which addresses get nothing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from services.kernel import db
from services.notify import definitions, model
from services.notify.store import QUERIES

# What happened to one member on one day: member, kind, day; and ever: member, kind.
DayKey = tuple[str, str, date]
Sums = tuple[int, int]  # how often, and how much in all


def day_of_year(day: date) -> int:
    """Writes a day of the year as a number: 229 is the 29th of February."""
    return day.month * 100 + day.day


async def ensure_members(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], zone: str, now: datetime
) -> None:
    """Makes members that are seen for the first time."""
    await connection.execute(QUERIES["ensure_members"], program_id, member_ids, zone, now, day_of_year(now.date()))


async def put_members(connection: db.Connection, program_id: str, profiles: Sequence[model.Profile], zone: str) -> None:
    """Writes what a feed told of members; those without a zone get their program's."""
    await connection.execute(
        QUERIES["put_members"],
        program_id,
        [each.member_id for each in profiles],
        [each.email for each in profiles],
        [each.display_name for each in profiles],
        [each.locale for each in profiles],
        [each.time_zone for each in profiles],
        [each.time_zone or zone for each in profiles],
        [each.birthday for each in profiles],
        [day_of_year(each.birthday) if each.birthday else None for each in profiles],
        [each.org_id for each in profiles],
        [each.attributes for each in profiles],
        [each.joined_at for each in profiles],
        [day_of_year(each.joined_at.date()) for each in profiles],
    )


async def read_members(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, model.Member]:
    """Reads members, by id."""
    rows = await connection.fetch(QUERIES["read_members"], program_id, member_ids)
    return {row["member_id"]: model.Member(**dict(row)) for row in rows}


async def lock_members(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> None:
    """Locks members in the order of their ids."""
    await connection.fetch(QUERIES["lock_members"], program_id, member_ids)


async def touch_members(connection: db.Connection, program_id: str, active: Mapping[str, datetime]) -> None:
    """Writes when members were active."""
    await connection.execute(QUERIES["touch_members"], program_id, list(active), list(active.values()))


async def add_activity(connection: db.Connection, program_id: str, done: Mapping[DayKey, Sums]) -> None:
    """Counts what happened, by day and ever."""
    totals: dict[tuple[str, str], Sums] = {}
    for (member_id, kind, _), (count, amount) in done.items():
        known = totals.get((member_id, kind), (0, 0))
        totals[member_id, kind] = (known[0] + count, known[1] + amount)
    await connection.execute(
        QUERIES["add_activity"],
        program_id,
        [key[0] for key in done],
        [key[1] for key in done],
        [key[2] for key in done],
        [sums[0] for sums in done.values()],
        [sums[1] for sums in done.values()],
    )
    await connection.execute(
        QUERIES["add_totals"],
        program_id,
        [key[0] for key in totals],
        [key[1] for key in totals],
        [sums[0] for sums in totals.values()],
        [sums[1] for sums in totals.values()],
    )


async def read_totals(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Tells how often each thing happened ever, by member."""
    found: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(QUERIES["read_totals"], program_id, member_ids):
        found.setdefault(row["member_id"], {})[row["kind"]] = row["count"]
    return found


async def sum_activity(
    connection: db.Connection, program_id: str, spans: Mapping[str, tuple[date, date]]
) -> dict[str, dict[str, Sums]]:
    """Tells how often each thing happened in a span of days of each member's own, the last day not counted."""
    rows = await connection.fetch(
        QUERIES["sum_activity"],
        program_id,
        list(spans),
        [span[0] for span in spans.values()],
        [span[1] for span in spans.values()],
    )
    found: dict[str, dict[str, Sums]] = {}
    for row in rows:
        found.setdefault(row["member_id"], {})[row["kind"]] = (row["count"], row["amount"])
    return found


async def add_expiries(connection: db.Connection, program_id: str, found: Iterable[model.Expiry]) -> None:
    """Writes when value ends."""
    expiries = list(dict.fromkeys(found))
    await connection.execute(
        QUERIES["add_expiries"],
        program_id,
        [each.member_id for each in expiries],
        [each.asset for each in expiries],
        [each.expires_at for each in expiries],
    )


async def add_zones(connection: db.Connection, program_id: str, zones: Mapping[str, date]) -> list[tuple[str, date]]:
    """Makes zones whose days are not turned yet, and gives those."""
    rows = await connection.fetch(QUERIES["add_zones"], program_id, list(zones), list(zones.values()))
    return [(row["zone"], row["next_day"]) for row in rows]


async def list_zones(connection: db.Connection, program_id: str) -> set[str]:
    """Lists the zones whose days are turned."""
    return {row["zone"] for row in await connection.fetch(QUERIES["list_zones"], program_id)}


async def turn_zone(connection: db.Connection, program_id: str, zone: str, day: date, following: date) -> bool:
    """Goes on to the next day of a zone; tells whether it stood at the day."""
    return await connection.fetchval(QUERIES["turn_zone"], program_id, zone, day, following) is not None


async def list_by(connection: db.Connection, query: str, program_id: str, *arguments: Any) -> list[dict[str, Any]]:
    """Lists a page of the members that a day may be of interest to, with what it is about."""
    return [dict(row) for row in await connection.fetch(QUERIES[query], program_id, *arguments)]


async def read_preferences(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, model.Preferences]:
    """Reads what members want, by id, for those who said something."""
    rows = await connection.fetch(QUERIES["read_preferences"], program_id, member_ids)
    return {
        row["member_id"]: definitions.read(
            model.Preferences, row["definition"], version=row["version"], updated_at=row["updated_at"]
        )
        for row in rows
    }


async def put_preferences(
    connection: db.Connection,
    program_id: str,
    preferences: model.Preferences,
    *,
    now: datetime,
    expected: int | None,
    source: str,
) -> int | None:
    """Writes what a member wants and keeps the change; gives the version, None where it is not the expected one."""
    written = definitions.write(preferences)
    member_id = preferences.member_id
    version = await connection.fetchval(QUERIES["put_preferences"], program_id, member_id, written, now, expected)
    if version is None:
        return None
    await connection.execute(QUERIES["insert_preference_change"], program_id, member_id, version, written, source, now)
    assert isinstance(version, int), "A version is a number."
    return version


async def read_suppressions(connection: db.Connection, program_id: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Tells which of some addresses, given as hashes, get no mail."""
    rows = await connection.fetch(QUERIES["read_suppressions"], program_id, hashes)
    return {row["address_hash"] for row in rows}


async def add_suppressions(
    connection: db.Connection, program_id: str, hashes: Sequence[bytes], reason: str, now: datetime
) -> None:
    """Makes addresses get no mail; the first reason stays."""
    await connection.execute(QUERIES["add_suppressions"], program_id, hashes, reason, now)


async def get_suppression(connection: db.Connection, program_id: str, address_hash: bytes) -> str | None:
    """Tells why an address gets no mail; None where it gets some."""
    reason: str | None = await connection.fetchval(QUERIES["get_suppression"], program_id, address_hash)
    return reason


async def delete_suppression(connection: db.Connection, program_id: str, address_hash: bytes) -> bool:
    """Lets an address get mail again; tells whether it got none."""
    return await connection.fetchval(QUERIES["delete_suppression"], program_id, address_hash) is not None
