"""Messages into JSON values, compiled once for each message type.

Fields without presence are always written, so that a reader finds zeros, empty strings and empty lists where it looks
for them; absent messages and absent members of a oneof are left out, and so is what the contract marks INPUT_ONLY.
"""

import base64
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from services.gateway import names, well_known

# Writes a message as a JSON value.
Encode = Callable[[Any], Any]

LONG_TYPES = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
FLOAT_TYPES = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


@cache
def encoder(descriptor: Descriptor) -> Encode:
    """Compiles the encoder of a message type."""
    special = well_known.ENCODERS.get(descriptor.full_name)
    if special is not None:
        return special
    if descriptor.file.package == "google.protobuf":
        return _encode_by_json_format
    rows = [
        (field.name, field.json_name, _converter(field), field.has_presence)
        for field in descriptor.fields
        if not names.has_behaviour(field, field_behavior_pb2.INPUT_ONLY)
    ]

    def encode(message: Any) -> dict[str, Any]:
        written = {}
        for name, json_name, convert, has_presence in rows:
            if has_presence and not message.HasField(name):
                continue
            value = getattr(message, name)
            written[json_name] = value if convert is None else convert(value)
        return written

    return encode


def _converter(field: FieldDescriptor) -> Encode | None:
    """Gives what turns the value of a field into JSON, None where it is JSON already."""
    if names.is_map(field):
        return _map_converter(field)
    convert = _item_converter(field)
    if not field.is_repeated:
        return convert
    if convert is None:
        return list
    return lambda values: [convert(value) for value in values]


def _item_converter(field: FieldDescriptor) -> Encode | None:
    if field.message_type is not None:
        return encoder(field.message_type)
    if field.enum_type is not None:
        return _enum_converter(field.enum_type)
    if field.cpp_type in LONG_TYPES:
        return str
    if field.cpp_type in FLOAT_TYPES:
        return _float_text if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else _float32_text
    return _bytes_text if field.type == FieldDescriptor.TYPE_BYTES else None


def _map_converter(field: FieldDescriptor) -> Encode:
    assert field.message_type is not None, "A map shows as a list of entries."
    entry = field.message_type.fields_by_name
    is_bool = entry["key"].type == FieldDescriptor.TYPE_BOOL
    convert = _item_converter(entry["value"]) or (lambda value: value)

    def write_map(value: Any) -> dict[str, Any]:
        # In order of their keys, since the map itself keeps none.
        return {str(key).lower() if is_bool else str(key): convert(value[key]) for key in sorted(value)}

    return write_map


def _enum_converter(descriptor: EnumDescriptor) -> Encode:
    known = names.enum_names(descriptor)
    if descriptor.full_name == "google.protobuf.NullValue":
        return lambda _: None
    # A value that a newer service sends and this contract does not know stays a number, as proto3 JSON says.
    return lambda number: known.get(number, number)


def _float_text(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _float32_text(value: float) -> float | str:
    written = _float_text(value)
    # Nine digits are enough to come back to the same float, and spare the reader the tail that a double shows.
    return float(f"{written:.9g}") if isinstance(written, float) else written


def _bytes_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _encode_by_json_format(message: Message) -> Any:
    return json_format.MessageToDict(message)
