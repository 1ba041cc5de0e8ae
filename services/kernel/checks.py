"""What `plaudit check` and `plaudit status` print: rows that each service makes for itself."""

from dataclasses import dataclass

PROBLEMS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One thing that was replayed or compared: how much was looked at, and what does not add up."""

    subject: str
    examined: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One figure of a running service, with what it means."""

    subject: str
    value: str
    detail: str = ""
