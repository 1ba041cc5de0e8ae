"""Gamification's nouns. Frozen values and pure rules, no I/O."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

VALUE_MAX = 1_000_000_000_000
# The first day of all time, so that a total has a period like all other values; PostgreSQL keeps it as -infinity.
ALL_TIME = date(1, 1, 1)


class Kind(StrEnum):
    """What can be defined."""

    METRIC = "metric"
    LADDER = "ladder"
    STREAK = "streak"
    BADGE = "badge"
    LEADERBOARD = "leaderboard"


class State(StrEnum):
    """Whether a definition is live."""

    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"


class Aggregation(StrEnum):
    """How events become a number."""

    COUNT = "COUNT"
    SUM = "SUM"
    DISTINCT_DAYS = "DISTINCT_DAYS"


class Period(StrEnum):
    """Is a span of the local calendar."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    ALL_TIME = "ALL_TIME"

    def start(self, day: date) -> date:
        """Gives the first day of the period that a day is in; weeks start on Monday."""
        match self:
            case Period.DAY:
                return day
            case Period.WEEK:
                return day - timedelta(days=day.weekday())
            case Period.MONTH:
                return day.replace(day=1)
            case Period.ALL_TIME:
                return ALL_TIME

    def following(self, start: date) -> date:
        """Gives the first day of the period behind the one that starts with a day."""
        assert self is not Period.ALL_TIME, "Nothing follows all time."
        return self.start(start + timedelta(days={Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 31}[self]))


class Ties(StrEnum):
    """Which ranks those get who have the same value."""

    COMPETITION = "COMPETITION"
    DENSE = "DENSE"
    ORDINAL = "ORDINAL"


class Subject(StrEnum):
    """Whose value it is."""

    MEMBER = "MEMBER"
    ORG = "ORG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What all definitions have; `version` is the etag, and the times are those of the first and of this version."""

    definition_id: str
    display_name: str
    description: str = ""
    state: State = State.ACTIVE
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Definition):
    """Turns events into a number."""

    event_type: str
    filter: str = ""
    aggregation: Aggregation = Aggregation.COUNT
    value: str = ""
    is_backfilled: bool = False


# What a metric counts: all else is reckoned from it, so it never changes.
FIXED = {
    "event_type": "eventType",
    "filter": "filter",
    "aggregation": "aggregation",
    "value": "value",
    "is_backfilled": "backfill",
}


@dataclass(frozen=True, slots=True)
class Level:
    """One step of a ladder."""

    level_id: str
    display_name: str
    threshold: int
    unlocks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder(Definition):
    """Levels that a metric leads up, lowest first."""

    metric_id: str
    levels: tuple[Level, ...]

    def reached(self, value: int) -> int:
        """Counts the levels that a value has reached."""
        return sum(level.threshold <= value for level in self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak(Definition):
    """A run of local days or weeks that each have an event of a metric."""

    metric_id: str
    period: Period
    initial_freezes: int = 0
    freeze_every: int = 0
    max_freezes: int = 0


@dataclass(frozen=True, slots=True)
class TotalGoal:
    """A value of a metric in all."""

    metric_id: str
    threshold: int


@dataclass(frozen=True, slots=True)
class RecordGoal:
    """A value of a metric within one period."""

    metric_id: str
    period: Period
    threshold: int


@dataclass(frozen=True, slots=True)
class StreakGoal:
    """A length of a streak."""

    streak_id: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge(Definition):
    """Is given for something that a member has reached."""

    goal: TotalGoal | RecordGoal | StreakGoal
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard(Definition):
    """Ranks members by a metric."""

    metric_id: str
    periods: tuple[Period, ...]
    ties: Ties = Ties.COMPETITION


AnyDefinition = Metric | Ladder | Streak | Badge | Leaderboard


@dataclass(frozen=True, slots=True)
class Member:
    """What is known here of a member."""

    member_id: str
    org_id: str = ""
    time_zone: str = ""
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the program's feed tells it; `depth` counts the events that led to it."""

    event_id: str
    type: str
    member_id: str
    org_id: str
    occurred_at: datetime
    utc_offset_minutes: int | None
    properties: dict[str, Any]
    depth: int = 0

    def visible(self) -> dict[str, Any]:
        """Gives what expressions can see: the same as rules of the program."""
        return {
            "event_id": self.event_id,
            "type": self.type,
            "member_id": self.member_id,
            "org_id": self.org_id,
            "occur_time": self.occurred_at,
            "properties": self.properties,
        }


@dataclass(frozen=True, slots=True)
class Happening:
    """One event as one metric counts it: how much, and on which local day by which clock."""

    metric_id: str
    member_id: str
    org_id: str
    event_id: str
    occurred_at: datetime
    local_date: date
    utc_offset_minutes: int
    amount: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """How one value of a subject changed: `before` is None where there was none."""

    metric_id: str
    subject: Subject
    subject_id: str
    period: Period
    start: date
    before: int | None
    after: int


@dataclass(frozen=True, slots=True)
class Addition:
    """What is added to one value; `reached_at` is when the last event of it occurred."""

    metric_id: str
    subject: Subject
    subject_id: str
    period: Period
    start: date
    amount: int
    reached_at: datetime


class MilestoneKind(StrEnum):
    """What can be reached, each once for a mark."""

    LEVEL = "LEVEL"
    BADGE = "BADGE"
    STREAK = "STREAK"
    RECORD = "RECORD"


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that a member reached, at the time when the event occurred that led there.

    `mark` tells it from others of its definition: the level, which badge it is in order, the length and day of a
    streak, the period and day of a record. `value` is what was reached, `previous` what it beats.
    """

    member_id: str
    kind: MilestoneKind
    definition_id: str
    mark: str
    value: int
    reached_at: datetime
    previous: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """What a milestone is told with: the member's company, and how many events led to the one that led to it."""

    org_id: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Reached:
    """Published: a member reached a milestone of a definition; a record has its metric.

    `count` tells how often the member has the badge by then.
    """

    milestone: Milestone
    definition: AnyDefinition
    cause: Cause
    count: int = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """One place of a ranking."""

    rank: int
    member_id: str
    value: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Published: a period of a leaderboard is over."""

    leaderboard: Leaderboard
    period: Period
    start: date
    member_count: int
    standings: tuple[Standing, ...]
    closed_at: datetime


Published = Reached | Closed


@dataclass(frozen=True, slots=True)
class Award:
    """A badge that a member has, and how often."""

    badge_id: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """The best value of a metric within one period."""

    metric_id: str
    period: Period
    value: int
    start: date


@dataclass(frozen=True, slots=True)
class LevelProgress:
    """Where a member stands on a ladder; `reached_at` is None before the first level."""

    ladder: Ladder
    current: int
    reached_at: datetime | None

    @property
    def level(self) -> Level | None:
        """Gives the level that is reached."""
        reached = self.ladder.reached(self.current)
        return self.ladder.levels[reached - 1] if reached else None

    @property
    def next(self) -> Level | None:
        """Gives the level that follows."""
        reached = self.ladder.reached(self.current)
        return self.ladder.levels[reached] if reached < len(self.ladder.levels) else None


@dataclass(frozen=True, slots=True)
class StreakProgress:
    """How a member's streak stands today."""

    streak: Streak
    current: int = 0
    longest: int = 0
    longest_start: date | None = None
    last_date: date | None = None
    freezes: int = 0
    last: int = 0
    last_start: date | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a member has reached."""

    levels: list[LevelProgress] = field(default_factory=list)
    streaks: list[StreakProgress] = field(default_factory=list)
    awards: list[Award] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
