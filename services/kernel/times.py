"""Instants between protobuf and Python: aware, UTC, to the microsecond that PostgreSQL keeps."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_proto(value: Timestamp) -> datetime:
    """Gives the instant; what is finer than a microsecond is cut off."""
    return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def to_proto(value: datetime) -> Timestamp:
    """Gives the message for an aware instant."""
    delta = value - EPOCH
    return Timestamp(seconds=delta.days * 86400 + delta.seconds, nanos=delta.microseconds * 1000)


def to_text(value: datetime) -> str:
    """Writes an instant as proto3 JSON does: RFC 3339 in UTC with a Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
