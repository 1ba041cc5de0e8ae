"""Instants between protobuf and Python: aware, UTC, to the microsecond that PostgreSQL keeps."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The driver takes the very first and the very last instant of Python for infinity, which has no zone when it is back.
EARLIEST = datetime.min.replace(tzinfo=UTC) + timedelta(microseconds=1)
LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)
EARLIEST_S = -62135596800
LATEST_S = 253402300799


def from_proto(value: Timestamp) -> datetime:
    """Gives the instant; what is finer than a microsecond is cut off, and so is the microsecond at each end of time."""
    seconds = value.seconds
    instant = EPOCH + timedelta(0, seconds, value.nanos // 1000)
    # Only the first and the last second can be out of bounds.
    return instant if EARLIEST_S < seconds < LATEST_S else min(max(instant, EARLIEST), LATEST)


def to_proto(value: datetime) -> Timestamp:
    """Gives the message for an aware instant."""
    delta = value - EPOCH
    return Timestamp(seconds=delta.days * 86400 + delta.seconds, nanos=delta.microseconds * 1000)


def optional_to_proto(value: datetime | None) -> Timestamp | None:
    """Gives the message for an instant, where there is one."""
    return to_proto(value) if value else None


def to_text(value: datetime) -> str:
    """Writes an instant as proto3 JSON does: RFC 3339 in UTC with a Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
