"""When a lot ends: a span by the calendar of a zone, stretched to the end of a local period. Pure.

The end is exclusive: a lot can be spent until just before it. The kernel's calendar computes it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.kernel import calendar
from services.kernel.calendar import Period

VERSION = 1


class End(StrEnum):
    """To which end a span is stretched: none, or that of the local period that it falls in."""

    INSTANT = "INSTANT"
    DAY = "DAY"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


PERIODS = {end: None if end is End.INSTANT else Period(end.value) for end in End}
NUMBER = "(0|[1-9][0-9]*)"
TEXT = re.compile(rf"{VERSION}:(rolling:)?P{NUMBER}M{NUMBER}D/({'|'.join(End)})/(\S+)")


@dataclass(frozen=True, slots=True)
class Policy:
    """How long value lives: months, then days, by the calendar of an IANA zone, then to an end.

    `rolling` counts from the last activity instead of from when the value takes effect. Without a span, the end is that
    of the current period; without that either, nothing is said, which the edge refuses.
    """

    zone: str
    months: int = 0
    days: int = 0
    end: End = End.INSTANT
    rolling: bool = False

    def __post_init__(self) -> None:
        """Holds the edge to what it has checked."""
        assert self.months >= 0, "A span does not go back."
        assert self.days >= 0, "A span does not go back."
        assert self.months or self.days or self.end is not End.INSTANT, "A policy has a span or an end."


def ends_at(start: datetime, policy: Policy) -> datetime:
    """Gives the exclusive end, in UTC, of what starts at an instant, or was last active at it where it rolls.

    It is after the start, and never raises for a known zone: beyond the year 9999 it is the last instant that is kept.
    """
    end = PERIODS[policy.end]
    return calendar.span_end(start, months=policy.months, days=policy.days, end=end, zone=policy.zone)


def to_text(policy: Policy) -> str:
    """Writes a policy as it is stored with a lot, for example `1:rolling:P12M0D/MONTH/Europe/Paris`.

    Equal policies have equal texts. The number in front is the version of the rules here: whoever changes what a policy
    means counts it up, and keeps the old meaning for what says 1.
    """
    rolling = "rolling:" if policy.rolling else ""
    return f"{VERSION}:{rolling}P{policy.months}M{policy.days}D/{policy.end.value}/{policy.zone}"


def from_text(text: str) -> Policy:
    """Reads what `to_text` wrote; anything else is a broken invariant."""
    match = TEXT.fullmatch(text)
    assert match is not None, f"{text!r} is no policy of version {VERSION}."
    rolling, months, days, end, zone = match.groups()
    return Policy(zone=zone, months=int(months), days=int(days), end=End(end), rolling=rolling is not None)
