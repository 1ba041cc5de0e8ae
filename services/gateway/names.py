"""Names over HTTP: what the contracts call a thing, said the way JSON says it.

Fields are lowerCamelCase, as proto3 JSON wants. Values of enums lose the prefix that protobuf's scoping asks for
(`EVENT_STATUS_ACCEPTED` is `ACCEPTED`), the first of the two house choices; `transcode` has the second.
"""

import re
from functools import cache

from google.api import field_behavior_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@cache
def enum_names(descriptor: EnumDescriptor) -> dict[int, str]:
    """Gives the name of each value over HTTP: without the prefix, where what is left is still a name."""
    prefix = CAMEL_HUMP.sub("_", descriptor.name).upper() + "_"
    names: dict[int, str] = {}
    for value in descriptor.values:
        short = value.name.removeprefix(prefix)
        # Of two names for one number the first is the one that is written.
        names.setdefault(value.number, short if short[:1].isalpha() else value.name)
    return names


@cache
def enum_numbers(descriptor: EnumDescriptor) -> dict[str, int]:
    """Gives the number behind each name that is understood: the short ones, and those of the contract."""
    prefix = CAMEL_HUMP.sub("_", descriptor.name).upper() + "_"
    numbers = {value.name.removeprefix(prefix): value.number for value in descriptor.values}
    return numbers | {value.name: value.number for value in descriptor.values}


def join(parent: str, child: str) -> str:
    """Joins two parts of a path: `events` and `[3].memberId`, or `rule` and `caps[0]`."""
    if not parent or not child or child.startswith("["):
        return parent + child
    return f"{parent}.{child}"


def is_map(field: FieldDescriptor) -> bool:
    """Says whether a field is a map, which descriptors show as repeated entries."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def has_oneof(field: FieldDescriptor) -> bool:
    """Says whether a field shares a oneof with others; the oneof behind `optional` holds one field alone."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) > 1


def has_behaviour(field: FieldDescriptor, behaviour: int) -> bool:
    """Says whether the contract marks a field REQUIRED, OUTPUT_ONLY and so on (`google.api.field_behavior`)."""
    return behaviour in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
