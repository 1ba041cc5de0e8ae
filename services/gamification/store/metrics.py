"""Events that metrics count, values and records."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from services.gamification.goals import Passing
from services.gamification.model import Addition, Change, Happening, Period, Record, Subject
from services.gamification.store import QUERIES
from services.gamification.streaks import ActiveDay
from services.kernel import db

MemberMetric = tuple[str, str]  # member, metric


async def insert_events(connection: db.Connection, program_id: str, happenings: Sequence[Happening]) -> list[Happening]:
    """Writes what metrics count, and gives what was not counted yet."""
    rows = await connection.fetch(
        QUERIES["insert_metric_events"],
        program_id,
        [each.metric_id for each in happenings],
        [each.member_id for each in happenings],
        [each.occurred_at for each in happenings],
        [each.event_id for each in happenings],
        [each.local_date for each in happenings],
        [each.utc_offset_minutes for each in happenings],
        [each.amount for each in happenings],
    )
    fresh = {(row["metric_id"], row["event_id"]) for row in rows}
    return [each for each in happenings if (each.metric_id, each.event_id) in fresh]


async def mark_days(connection: db.Connection, program_id: str, days: Sequence[Addition]) -> list[Change]:
    """Writes that subjects had events on days, and tells how these values changed."""
    if not days:
        return []
    rows = await connection.fetch(
        QUERIES["mark_days"],
        program_id,
        [each.metric_id for each in days],
        [each.subject for each in days],
        [each.subject_id for each in days],
        [each.start for each in days],
        [each.reached_at for each in days],
    )
    return [_change(row) for row in rows]


async def add_values(connection: db.Connection, program_id: str, additions: Sequence[Addition]) -> list[Change]:
    """Adds to values, and tells how they changed."""
    if not additions:
        return []
    rows = await connection.fetch(
        QUERIES["add_values"],
        program_id,
        [each.metric_id for each in additions],
        [each.subject for each in additions],
        [each.subject_id for each in additions],
        [each.period for each in additions],
        [each.start for each in additions],
        [each.amount for each in additions],
        [each.reached_at for each in additions],
    )
    return [_change(row) for row in rows]


def _change(row: Any) -> Change:
    return Change(
        row["metric_id"],
        Subject(row["subject"]),
        row["subject_id"],
        Period(row["period"]),
        row["start_date"],
        row["before"],
        row["after"],
    )


async def find_active_days(
    connection: db.Connection, program_id: str, wanted: Sequence[MemberMetric]
) -> dict[MemberMetric, list[ActiveDay]]:
    """Finds the days on which members had events of metrics."""
    found: dict[MemberMetric, list[ActiveDay]] = {}
    metrics, members = [metric for _, metric in wanted], [member for member, _ in wanted]
    for row in await connection.fetch(QUERIES["find_active_days"], program_id, metrics, members):
        active = ActiveDay(row["day"], row["first_at"], row["first_offset"], row["last_at"], row["last_offset"])
        found.setdefault((row["member_id"], row["metric_id"]), []).append(active)
    return found


async def find_passings(
    connection: db.Connection, program_id: str, passings: Sequence[Passing], *, by_days: bool
) -> list[datetime]:
    """Finds when thresholds were passed, for each in order; by days for metrics that count these."""
    rows = await connection.fetch(
        QUERIES["find_day_passings"] if by_days else QUERIES["find_sum_passings"],
        program_id,
        list(range(len(passings))),
        [each.metric_id for each in passings],
        [each.member_id for each in passings],
        [each.threshold for each in passings],
        [each.from_date for each in passings],
        [each.before_date for each in passings],
    )
    found: dict[int, datetime] = {row["place"]: row["reached_at"] for row in rows}
    return [found[place] for place in range(len(passings))]


async def find_totals(
    connection: db.Connection, program_id: str, metric_ids: Sequence[str], member_ids: Sequence[str]
) -> dict[MemberMetric, int]:
    """Reads totals of members."""
    rows = await connection.fetch(QUERIES["find_totals"], program_id, metric_ids, member_ids)
    return {(row["member_id"], row["metric_id"]): row["amount"] for row in rows}


async def list_totals(
    connection: db.Connection, program_id: str, metric_id: str, after: str, limit: int
) -> list[tuple[str, int]]:
    """Lists the totals of a metric by member behind an id."""
    rows = await connection.fetch(QUERIES["list_totals"], program_id, metric_id, after, limit)
    return [(row["member_id"], row["amount"]) for row in rows]


async def find_values_at_least(
    connection: db.Connection,
    program_id: str,
    metric_id: str,
    member_ids: Sequence[str],
    *,
    period: Period,
    threshold: int,
) -> list[Change]:
    """Reads the values of members that come to a threshold, as changes from nothing."""
    rows = await connection.fetch(QUERIES["find_values_at_least"], program_id, metric_id, member_ids, period, threshold)
    return [
        Change(metric_id, Subject.MEMBER, row["member_id"], period, row["start_date"], None, row["amount"])
        for row in rows
    ]


async def list_values(
    connection: db.Connection,
    program_id: str,
    metric_id: str,
    *,
    subject: Subject,
    subject_id: str,
    period: Period,
    before: date,
    limit: int,
) -> list[tuple[date, int]]:
    """Lists the values of one subject, newest period first."""
    rows = await connection.fetch(
        QUERIES["list_values"], program_id, metric_id, subject, subject_id, period, before, limit
    )
    return [(row["start_date"], row["amount"]) for row in rows]


async def find_records(
    connection: db.Connection, program_id: str, wanted: Sequence[MemberMetric]
) -> dict[MemberMetric, list[Record]]:
    """Reads the records of members in metrics."""
    members, metrics = [member for member, _ in wanted], [metric for _, metric in wanted]
    found: dict[MemberMetric, list[Record]] = {}
    for row in await connection.fetch(QUERIES["find_records"], program_id, members, metrics):
        record = Record(row["metric_id"], Period(row["period"]), row["amount"], row["start_date"])
        found.setdefault((row["member_id"], row["metric_id"]), []).append(record)
    return found


async def put_records(connection: db.Connection, program_id: str, records: Iterable[tuple[str, Record]]) -> None:
    """Writes records, each with its member."""
    known = list(records)
    await connection.execute(
        QUERIES["put_records"],
        program_id,
        [member for member, _ in known],
        [each.metric_id for _, each in known],
        [each.period for _, each in known],
        [each.value for _, each in known],
        [each.start for _, each in known],
    )


async def list_records(connection: db.Connection, program_id: str, member_id: str) -> list[Record]:
    """Lists the records of a member."""
    rows = await connection.fetch(QUERIES["list_records"], program_id, member_id)
    return [Record(row["metric_id"], Period(row["period"]), row["amount"], row["start_date"]) for row in rows]
