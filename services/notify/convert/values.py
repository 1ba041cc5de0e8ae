"""What all of notify's messages are made of: times of day and enums."""

import re
from enum import StrEnum
from typing import Any, TypeVar

from services.kernel import errors
from services.notify import model

Chosen = TypeVar("Chosen", bound=StrEnum)

CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


def clock(text: str, field: str) -> int | None:
    """Reads a time of day as a minute of the day; None where it is empty. Raises FIELD_INVALID."""
    if not text:
        return None
    match = CLOCK.match(text)
    if match is None:
        raise invalid(field, "is not a time of day of the form HH:MM")
    return int(match[1]) * 60 + int(match[2])


def clock_to_text(minute: int | None) -> str:
    """Writes a minute of the day as a time of day."""
    return "" if minute is None else f"{minute // 60:02}:{minute % 60:02}"


def invalid(field: str, message: str) -> errors.DomainError:
    """Makes the error of a field that is not as it must be."""
    return errors.field_invalid(errors.Violation(field, message))


def quiet(message: Any, prefix: str) -> model.Quiet | None:
    """Reads quiet hours; None where there are none. Raises FIELD_INVALID."""
    since = clock(message.quiet_from, f"{prefix}.quietFrom")
    until = clock(message.quiet_until, f"{prefix}.quietUntil")
    if (since is None) != (until is None):
        raise invalid(f"{prefix}.quietUntil", "comes with quietFrom, or neither is set")
    return None if since is None or until is None else model.Quiet(since, until)


def chosen(kind: type[Chosen], proto: Any, prefix: str, number: int) -> Chosen | None:
    """Reads an enum; None where nothing is chosen."""
    name = proto.Name(number).removeprefix(prefix)
    return None if name == "UNSPECIFIED" else kind(name)
