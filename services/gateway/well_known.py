"""The types of protobuf that have a JSON form of their own and that the hot path meets: instants and free-form values.

Others of `google.protobuf` go through protobuf's own json_format.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.message import Message

from services.gateway.malformed import MalformedError
from services.kernel import fields

# RFC 3339, with the fraction as far as a Timestamp goes.
INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
INSTANT_LENGTH_MAX = 35
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what is added to it is in UTC, and so is the Z behind what is written

# Protobuf's parsers give up at 100 nested messages, and each level of a Struct takes three of them; the contracts
# allow 8 levels, so whoever passes those still hears it in the words of the contract.
NESTING_MAX = 24
# The contracts allow 32 KiB, in which no more values than this can stand: a bound on work, not a promise.
VALUES_MAX = fields.STRUCT_BYTES_MAX // 4

FAULT_INSTANT = "must be an instant such as 2026-01-31T12:00:00Z, between the years 1 and 9999"
FAULT_INEXACT = "must lie within 2^53 of zero; send larger numbers as strings"


def decode_instant(value: Any, message: Any) -> None:
    """Reads an RFC 3339 instant into a Timestamp. More than nine digits of a second are refused, not cut."""
    match = INSTANT.fullmatch(value) if value.__class__ is str and len(value) <= INSTANT_LENGTH_MAX else None
    if match is None:
        raise MalformedError.at(FAULT_INSTANT)
    local, fraction, offset = match.groups()
    try:
        seconds = int(datetime.fromisoformat(local + offset).timestamp())
    except ValueError:
        seconds = fields.TIMESTAMP_SECONDS_MAX + 1
    if not fields.TIMESTAMP_SECONDS_MIN <= seconds <= fields.TIMESTAMP_SECONDS_MAX:
        raise MalformedError.at(FAULT_INSTANT)
    message.seconds = seconds
    if fraction is not None:
        message.nanos = int(fraction.ljust(9, "0"))


def encode_instant(message: Any) -> str:
    """Writes a Timestamp as RFC 3339 in UTC, with no digits of a second, or three, six or nine."""
    text = (EPOCH + timedelta(seconds=message.seconds)).isoformat()
    nanos = message.nanos
    if not nanos:
        return text + "Z"
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits}Z"


def decode_struct(value: Any, message: Any) -> None:
    """Reads an object into a Struct."""
    if value.__class__ is not dict:
        raise MalformedError.at("must be an object")
    message.SetInParent()
    _fill_struct(value, message, 1)


def decode_list(value: Any, message: Any) -> None:
    """Reads a list into a ListValue."""
    if value.__class__ is not list:
        raise MalformedError.at("must be a list")
    message.SetInParent()
    _fill_list(value, message, 1)


def decode_value(value: Any, message: Any) -> None:
    """Reads any JSON value into a Value."""
    _fill_value(value, message, 0)


def _fill_struct(source: dict[str, Any], struct: Any, depth: int) -> int:
    """Fills a Struct and counts the values in it. The two bounds make the work bounded."""
    count = len(source)
    _check_bounds(count, depth)
    targets = struct.fields
    for key, value in source.items():
        try:
            count += _fill_value(value, targets[key], depth)
            _check_bounds(count, depth)
        except MalformedError as malformed:
            raise MalformedError(malformed.under(key)) from None
    return count


def _fill_list(source: list[Any], target: Any, depth: int) -> int:
    count = len(source)
    _check_bounds(count, depth)
    add = target.values.add
    for index, value in enumerate(source):
        try:
            count += _fill_value(value, add(), depth)
            _check_bounds(count, depth)
        except MalformedError as malformed:
            raise MalformedError(malformed.under(f"[{index}]")) from None
    return count


def _fill_value(value: Any, target: Any, depth: int) -> int:
    kind = value.__class__
    if kind is str:
        target.string_value = value
    elif kind is int or kind is float:
        if not -fields.EXACT_INTEGER_MAX <= value <= fields.EXACT_INTEGER_MAX:
            raise MalformedError.at(FAULT_INEXACT)
        target.number_value = value
    elif kind is bool:
        target.bool_value = value
    elif value is None:
        target.null_value = 0
    elif kind is dict:
        target.struct_value.SetInParent()
        return _fill_struct(value, target.struct_value, depth + 1)
    else:
        target.list_value.SetInParent()
        return _fill_list(value, target.list_value, depth + 1)
    return 0


def _check_bounds(count: int, depth: int) -> None:
    if depth > NESTING_MAX:
        raise MalformedError.at(f"must be at most {fields.STRUCT_DEPTH_MAX} levels deep")
    if count > VALUES_MAX:
        raise MalformedError.at(f"must have at most {fields.STRUCT_BYTES_MAX} bytes")


def encode_struct(message: Any) -> dict[str, Any]:
    """Writes a Struct as an object, its keys in order, since the map behind it keeps none."""
    return {key: encode_value(value) for key, value in sorted(message.fields.items())}


def encode_list(message: Any) -> list[Any]:
    """Writes a ListValue as a list."""
    return [encode_value(value) for value in message.values]


def encode_value(message: Any) -> Any:
    """Writes a Value as what it holds; whole numbers without a fraction."""
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() else number
    if kind == "struct_value":
        return encode_struct(message.struct_value)
    if kind == "list_value":
        return encode_list(message.list_value)
    return None if kind in (None, "null_value") else getattr(message, kind)


DECODERS: dict[str, Callable[[Any, Message], None]] = {
    "google.protobuf.Timestamp": decode_instant,
    "google.protobuf.Struct": decode_struct,
    "google.protobuf.ListValue": decode_list,
    "google.protobuf.Value": decode_value,
}
ENCODERS: dict[str, Callable[[Any], Any]] = {
    "google.protobuf.Timestamp": encode_instant,
    "google.protobuf.Struct": encode_struct,
    "google.protobuf.ListValue": encode_list,
    "google.protobuf.Value": encode_value,
}
