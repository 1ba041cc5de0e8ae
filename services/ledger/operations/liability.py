"""Liability: what members may still redeem, by cohorts, and what of its price is earned by now."""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from services.kernel import calendar, db, errors, pages, times
from services.kernel.errors import Violation
from services.ledger import revenue
from services.ledger.operations.posting import Ledger
from services.ledger.revenue import Cohort, Figures, Line, Position
from services.ledger.store import liability as store

# Months are counted from here: no clock of a database shows an earlier one.
YEAR_MIN = 1970
# Reports that are made at once: each has a connection and a core for seconds, which writes need too. Others wait, as
# long as their callers do.
REPORTS_MAX = 2
# Zones and months whose beginnings are remembered: to compute those of one takes some milliseconds.
CALENDARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is to be of: an instant (None is now), a period before it, a calendar, and what to leave out."""

    as_of: datetime | None
    previous: datetime | None
    zone: str
    asset: str
    campaign_id: str

    def arguments(self) -> tuple[str, ...]:
        """Gives all of it as texts, which a page token is bound to."""
        instants = (times.to_text(each) if each else "" for each in (self.as_of, self.previous))
        return (*instants, self.zone, self.asset, self.campaign_id)


@dataclass(frozen=True, slots=True)
class Report:
    """A page of a report. `since` has the revenue of the period by cohort, `totals_since` by asset."""

    as_of: datetime
    lines: list[Line]
    totals: Mapping[str, Position]
    since: Mapping[Cohort, int]
    totals_since: Mapping[str, int]
    next_page_token: str


class Reporter:
    """Makes the reports of a ledger, a few at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._room = asyncio.Semaphore(REPORTS_MAX)

    async def get_liability(self, program_id: str, wanted: Wanted, *, page_size: int, page_token: str) -> Report:
        """Reports what became of all value of a program until an instant, by accounting time; a page of its lines.

        Reads the whole program for each page. Raises FIELD_INVALID for an instant in the future, and for a period that
        is none.
        """
        limit = pages.page_size(page_size)
        arguments = ("liability", program_id, *wanted.arguments())
        cursor = pages.read_cursor(page_token, *arguments, parse=_parse_cursor)

        async def work(connection: db.Connection) -> tuple[datetime, list[Line], list[Line]]:
            now = await self._ledger.time.now(connection)
            as_of = cursor[0] if cursor else wanted.as_of or now
            _check_instants(wanted, as_of, now)
            before = await _report(connection, program_id, wanted, wanted.previous) if wanted.previous else []
            return as_of, await _report(connection, program_id, wanted, as_of), before

        async with self._room:
            as_of, lines, before = await db.read(self._ledger.pool, work)
        since = _since(lines, before) if wanted.previous else {}
        start = bisect_right(lines, cursor[1], key=lambda line: line.cohort) if cursor else 0
        page = lines[start : start + limit]
        token = ""
        if start + limit < len(lines):
            last = page[-1].cohort
            token = pages.encode_token([as_of.isoformat(), last.month, last.campaign_id, last.asset], *arguments)
        return Report(as_of, page, revenue.total(lines), since, _sums_by_asset(since), token)


def _check_instants(wanted: Wanted, as_of: datetime, now: datetime) -> None:
    if as_of > now:
        message = f"must not lie in the future; it is {times.to_text(now)} now, which leaving it out means"
        raise errors.field_invalid(Violation("asOfTime", message))
    if wanted.previous is not None and wanted.previous >= as_of:
        raise errors.field_invalid(Violation("previousAsOfTime", "must lie before asOfTime"))


async def _report(connection: db.Connection, program_id: str, wanted: Wanted, as_of: datetime) -> list[Line]:
    rows = await store.measure(
        connection,
        program_id,
        as_of,
        months=month_starts(wanted.zone, as_of),
        asset=wanted.asset,
        campaign_id=wanted.campaign_id,
    )
    figures = {_cohort(row): _figures(row) for row in rows}
    # What was pending and was cancelled has left nothing to report.
    told = {cohort: each for cohort, each in figures.items() if each.issued or each.pending}
    return revenue.report(told, await store.read_estimates(connection, program_id, as_of), as_of)


def month_starts(zone: str, until: datetime) -> list[datetime]:
    """Lists where the months begin in a zone, from the first one of 1970 to the one that an instant is in."""
    return _month_starts(zone, calendar.period_start(until, calendar.Period.MONTH, zone))


@lru_cache(CALENDARS_MAX)
def _month_starts(zone: str, last: date) -> list[datetime]:
    # West of Greenwich the epoch itself is in the year before.
    count = max(1, (last.year - YEAR_MIN) * 12 + last.month)
    days = (date(YEAR_MIN + number // 12, number % 12 + 1, 1) for number in range(count))
    return [calendar.day_start(day, zone) for day in days]


def _cohort(row: Any) -> Cohort:
    number = row["month_number"] - 1
    assert number >= 0, "Nothing is posted before months are counted."
    return Cohort(f"{YEAR_MIN + number // 12}-{number % 12 + 1:02}", row["campaign_id"], row["asset"])


def _figures(row: Any) -> Figures:
    return Figures(
        issued=row["issued"],
        redeemed=row["redeemed"],
        expired=row["expired"],
        clawed_back=row["clawed_back"],
        open=row["open"],
        pending=row["pending"],
        allocated_value=row["allocated_value"],
        clawed_back_value=row["clawed_back_value"],
    )


def _since(lines: Sequence[Line], before: Sequence[Line]) -> dict[Cohort, int]:
    stood = {line.cohort: line for line in before}
    return {line.cohort: revenue.recognised_since(line, stood.get(line.cohort)) for line in lines}


def _sums_by_asset(since: Mapping[Cohort, int]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for cohort, value in since.items():
        sums[cohort.asset] = sums.get(cohort.asset, 0) + value
    return sums


async def find_problems(connection: db.Connection, now: datetime) -> list[str]:
    """Compares what the report says, by its own query, with what members have by their balances; in all programs."""
    problems = []
    for program_id in await store.list_programs(connection):
        owed: Counter[str] = Counter()
        for row in await store.measure(connection, program_id, now, months=[times.EARLIEST]):
            owed[row["asset"]] += row["open"] + row["pending"]
            parts = row["redeemed"] + row["expired"] + row["clawed_back"] + row["open"]
            if row["issued"] != parts:
                place = f"program_id {program_id}, asset {row['asset']}, campaign_id {row['campaign_id']}"
                problems.append(f"{place}, issued {row['issued']}, parts {parts}")
        for asset, amount in (await store.sum_balances(connection, program_id, now)).items():
            if owed[asset] != amount:
                problems.append(f"program_id {program_id}, asset {asset}, liability {owed[asset]}, balances {amount}")
    return problems


def _parse_cursor(as_of: Any, month: Any, campaign_id: Any, asset: Any) -> tuple[datetime, Cohort]:
    instant = datetime.fromisoformat(as_of)
    if instant.tzinfo is None:
        raise ValueError("An instant has a zone.")
    texts = (pages.parse_text(each) for each in (month, campaign_id, asset))
    return instant.astimezone(UTC), Cohort(*texts)
