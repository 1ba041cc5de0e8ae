"""Encoding: values as bytes, so that no two rows are hashed alike; the package says how."""

import struct
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from services.kernel.times import EPOCH

ENCODING_VERSION = b"\x01"
INTEGER_BYTES = 8
# What `encode` raises for a value that the ledger never writes.
UNENCODABLE = (TypeError, ValueError, struct.error, RecursionError)

Value = bool | int | str | bytes | uuid.UUID | datetime | dict[str, Any] | list[Any] | None


def encode(values: Sequence[Value]) -> bytes:
    """Encodes values as the module says; different values never encode alike.

    Raises TypeError for what has no tag and for instants without a zone, struct.error for integers beyond 64 bits,
    ValueError for texts that UTF-8 cannot write, RecursionError for objects nested beyond reason.
    """
    return ENCODING_VERSION + _join(values)


def encode_rows(rows: Sequence[Sequence[Value]], before: Sequence[Value] = ()) -> list[bytes]:
    """Encodes many rows of one table, each behind some values that they share.

    Gives for each what `encode` gives, in a third of the time: values of a column are mostly of one type, and often
    equal. Raises what `encode` raises, for whichever row.
    """
    head = encode(before)
    columns = [_encode_column(column) for column in zip(*rows, strict=True)]
    if not columns:
        return [head] * len(rows)
    return [head + b"".join(cells) for cells in zip(*columns, strict=True)]


def _encode_column(column: Sequence[Value]) -> Sequence[bytes]:
    kinds = set(map(type, column))
    if kinds == {type(None)}:
        return [_NULL] * len(column)
    # Values of different types can be equal, as True and 1 are, also within objects and lists.
    if len(kinds) == 1 and not kinds & {dict, list} and column.count(column[0]) == len(column):
        return [_join(column[:1])] * len(column)
    if kinds == {int}:
        packed = struct.pack(f">{len(column)}q", *column)
        return [_INTEGER_HEAD + packed[at : at + INTEGER_BYTES] for at in range(0, len(packed), INTEGER_BYTES)]
    return [_NULL if value is None else _ENCODERS[type(value)](value) for value in column]


def _encode_boolean(value: bool) -> bytes:
    return b"B\x00\x00\x00\x01\x01" if value else b"B\x00\x00\x00\x01\x00"


def _encode_integer(value: int) -> bytes:
    return _TAGGED_INTEGER(b"I", 8, value)


def _encode_text(value: str) -> bytes:
    content = value.encode()
    return _TAG(b"S", len(content)) + content


def _encode_bytes(value: bytes) -> bytes:
    return _TAG(b"X", len(value)) + value


def _encode_id(value: uuid.UUID) -> bytes:
    return b"U\x00\x00\x00\x10" + value.bytes


def _encode_instant(value: datetime) -> bytes:
    since = value - EPOCH
    return _TAGGED_INTEGER(b"T", 8, (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds)


def _encode_list(value: list[Any]) -> bytes:
    content = _join(value)
    return _TAG(b"L", len(content)) + content


def _encode_object(value: dict[str, Any]) -> bytes:
    if not all(isinstance(key, str) for key in value):
        raise TypeError("the keys of an object are texts")
    content = b"".join([_encode_text(key) + _join((value[key],)) for key in sorted(value)])
    return _TAG(b"D", len(content)) + content


class _Encoders(dict[type, Callable[[Any], bytes]]):
    """Finds the encoder of a type; what derives from one (the driver's UUID, a StrEnum) is encoded as that one is."""

    def __missing__(self, kind: type) -> Callable[[Any], bytes]:
        for base in kind.__mro__:
            if base in self:
                return self.setdefault(kind, self[base])
        raise TypeError(f"a {kind.__name__} has no tag")


_NULL = b"N\x00\x00\x00\x00"
_INTEGER_HEAD = b"I\x00\x00\x00\x08"
# Sealing spends its time here: one lookup finds the encoder, and one call packs tag, length and number.
_TAG = struct.Struct(">cI").pack
_TAGGED_INTEGER = struct.Struct(">cIq").pack
_ENCODERS = _Encoders(
    {
        bool: _encode_boolean,
        int: _encode_integer,
        str: _encode_text,
        bytes: _encode_bytes,
        uuid.UUID: _encode_id,
        datetime: _encode_instant,
        list: _encode_list,
        dict: _encode_object,
    }
)


def _join(values: Sequence[Value]) -> bytes:
    # Half of a row is null, which needs no call.
    return b"".join([_NULL if value is None else _ENCODERS[type(value)](value) for value in values])
