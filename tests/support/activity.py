"""Recorded activity, and what follows from its rows alone: the oracle that knows nothing of how the service reckons."""

import csv
import gzip
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

FILE_VARIABLE = "PLAUDIT_ACTIVITY_FILE"
# Beside the checkout, never in it.
DEFAULT_FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "activity.csv.gz"
HEADER = ("event_id", "actor_id", "occurred_at")
THRESHOLDS = (10, 100, 1000)
DAY = timedelta(days=1)
ZONES = ("Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Sydney", "America/Sao_Paulo", "UTC")


@dataclass(frozen=True)
class Row:
    """One contribution, at an instant with its author's offset."""

    event_id: str
    actor_id: str
    occurred_at: datetime


@dataclass(frozen=True)
class Expected:
    """What one actor has reached: runs as (length, first day), and of the last one the last day too."""

    longest: tuple[int, str]
    last: tuple[int, str]
    last_date: str
    best_week: tuple[int, str]
    badges: dict[str, datetime]


@cache
def rows() -> tuple[Row, ...]:
    """Reads the real recording where it is at hand, else makes one with the same traits."""
    path = Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))
    return tuple(_read(path) if path.is_file() else _stand_in())


def _read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [
            Row(row["event_id"], row["actor_id"], datetime.fromisoformat(row["occurred_at"]))
            for row in csv.DictReader(file)
        ]


def _stand_in() -> list[Row]:
    """Makes three years of 320 people: clocks that change and travel, bursts, long gaps, and a few who do most."""
    chance = random.Random(20260301)
    made: list[Row] = []
    for number in range(320):
        left = 1_100 if number == 0 else min(900, int(chance.paretovariate(0.8)) + 1)
        moment = datetime(2021, 9, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(500_000))
        home = ZoneInfo(chance.choice(ZONES))
        while left:
            zone = ZoneInfo(chance.choice(ZONES[:3])) if chance.random() < 0.05 else home
            burst = min(left, chance.choice((1, 1, 2, 3, 8)))
            for _ in range(burst):
                moment += timedelta(seconds=chance.choice((0, 40, 2_000)))
                local = moment.astimezone(zone)
                # The offset alone, as recordings have it.
                made.append(Row(f"e{len(made):06}", f"u{number:04}", datetime.fromisoformat(local.isoformat())))
            left -= burst
            pause = chance.choice((600, 1_100, 1_440, 1_440, 1_440, 2_000, 9_000, 90_000 if left < 40 else 1_440))
            moment += timedelta(minutes=pause + chance.randrange(-300, 300))
    return made


def write(path: Path, some: Iterable[Row]) -> Path:
    """Writes a recording."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows((row.event_id, row.actor_id, row.occurred_at.isoformat()) for row in some)
    return path


@cache
def expected() -> dict[str, Expected]:
    """Reckons what each actor has reached, from the rows alone."""
    by_actor: dict[str, list[Row]] = {}
    for row in rows():
        by_actor.setdefault(row.actor_id, []).append(row)
    return {actor_id: _expected(some) for actor_id, some in by_actor.items()}


def _expected(some: Sequence[Row]) -> Expected:
    days = sorted({row.occurred_at.date() for row in some})
    runs: list[list[date]] = [[days[0]]]
    for day in days[1:]:
        if day - runs[-1][-1] == DAY:
            runs[-1].append(day)
        else:
            runs.append([day])
    longest = max(runs, key=len)  # the earliest of equal ones
    weeks = Counter(row.occurred_at.date() - DAY * row.occurred_at.weekday() for row in some)
    best = min(weeks, key=lambda week: (-weeks[week], week))
    in_order = sorted(some, key=lambda row: (row.occurred_at, row.event_id))
    return Expected(
        longest=(len(longest), longest[0].isoformat()),
        last=(len(runs[-1]), runs[-1][0].isoformat()),
        last_date=days[-1].isoformat(),
        best_week=(weeks[best], best.isoformat()),
        badges={
            f"contributions-{threshold}": in_order[threshold - 1].occurred_at.astimezone(UTC)
            for threshold in THRESHOLDS
            if len(some) >= threshold
        },
    )


@cache
def standings() -> list[tuple[int, str, int]]:
    """Ranks all actors: the same rank for the same count, and of those who have it the first to reach it first."""
    counts = Counter(row.actor_id for row in rows())
    last: dict[str, datetime] = {}
    for row in rows():
        last[row.actor_id] = max(last.get(row.actor_id, row.occurred_at), row.occurred_at)
    order = sorted(counts, key=lambda actor: (-counts[actor], last[actor], actor))
    more = {count: sum(other > count for other in counts.values()) for count in set(counts.values())}
    return [(more[counts[actor]] + 1, actor, counts[actor]) for actor in order]
