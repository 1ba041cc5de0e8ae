"""What `plaudit check` and `plaudit status` print: rows that each service makes for itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.kernel import db


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


async def compare(connection: "db.Connection", query: str, *arguments: Any, subject: str, examined: int) -> CheckRow:
    """Makes a row of a query that selects what does not add up; each row that it finds is a problem."""
    rows = await connection.fetch(query, *arguments)
    problems = (", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)
    return CheckRow(subject, examined, tuple(problems))
