"""Properties: free-form objects of callers, bounded and made plain."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from services.kernel.errors import Violation
from services.kernel.fields.limits import (
    EXACT_INTEGER_MAX,
    PATH_LENGTH_MAX,
    STRUCT_BYTES_MAX,
    STRUCT_DEPTH_MAX,
    STRUCT_KEYS_MAX,
    VIOLATIONS_MAX,
)


def struct_violations(struct: struct_pb2.Struct, path: str) -> list[Violation]:
    """Lists what is wrong with free-form properties: their size, depth, number of keys, texts and numbers."""
    if struct.ByteSize() > STRUCT_BYTES_MAX:
        return [Violation(path, f"must have at most {STRUCT_BYTES_MAX} bytes")]
    found: list[Violation] = []
    keys = _walk_fields(struct, path, 1, found)
    if keys > STRUCT_KEYS_MAX:
        found.append(Violation(path, f"must have at most {STRUCT_KEYS_MAX} keys and list items in all"))
    return [Violation(_shortened(each.field), each.message) for each in found[:VIOLATIONS_MAX]]


def _shortened(path: str) -> str:
    return path if len(path) <= PATH_LENGTH_MAX else path[: PATH_LENGTH_MAX - 1] + "…"


def _walk_fields(struct: struct_pb2.Struct, path: str, depth: int, found: list[Violation]) -> int:
    if depth > STRUCT_DEPTH_MAX:
        found.append(Violation(path, f"must be at most {STRUCT_DEPTH_MAX} levels deep"))
        return 0
    keys = 0
    for key, value in struct.fields.items():
        keys += 1 + _walk_value(value, f"{path}.{key}", depth, found)
        if "\0" in key:
            found.append(Violation(path, "must not have NUL in a key"))
    return keys


def _walk_value(value: struct_pb2.Value, path: str, depth: int, found: list[Violation]) -> int:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        if "\0" in value.string_value:
            found.append(Violation(path, "must not contain NUL"))
    elif kind == "number_value":
        if not abs(value.number_value) <= EXACT_INTEGER_MAX:
            found.append(Violation(path, "must lie within 2^53 of zero; send larger numbers as strings"))
    elif kind == "struct_value":
        return _walk_fields(value.struct_value, path, depth + 1, found)
    elif kind == "list_value":
        if depth + 1 > STRUCT_DEPTH_MAX:
            found.append(Violation(path, f"must be at most {STRUCT_DEPTH_MAX} levels deep"))
            return 0
        items = value.list_value.values
        return len(items) + sum(
            _walk_value(item, f"{path}[{index}]", depth + 1, found) for index, item in enumerate(items)
        )
    elif kind is None:
        found.append(Violation(path, "has no value"))
    return 0


def struct_to_dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Turns properties into plain values: a whole number becomes an int, so that arithmetic on it is exact."""
    return {key: _plain(value) for key, value in struct.fields.items()}


def dict_to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Turns plain values into properties."""
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)
