"""What all of notify's messages are made of: etags, times of day, enums, instants."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel import errors, times
from services.notify import model

Chosen = TypeVar("Chosen", bound=StrEnum)

CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


def etag(text: str) -> int | None:
    """Reads an etag: the version that it stands for, -1 for one that no version has, None for none."""
    if not text:
        return None
    return int(text) if text.isdigit() and len(text) <= 18 else -1


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


def struct(values: dict[str, Any]) -> Struct:
    """Writes free values."""
    message = Struct()
    message.update(values)
    return message


def optional_time(value: datetime | None) -> Timestamp | None:
    """Writes an instant, where there is one."""
    return times.to_proto(value) if value else None
