"""Fields: what the contracts say of them, enforced. Limits and behaviours are read from the descriptors once.

`violations` checks a message against `google.api.field_behavior` (REQUIRED) and the options of `plaudit.type.v1`;
`clear_output_only` takes away what callers cannot set. Repeated fields marked `itemized` are left to their method.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from plaudit.type.v1 import options_pb2

from services.kernel.errors import Violation

TEXT_LENGTH_MAX = 4096
VIOLATIONS_MAX = 20
# Of a path through properties, whose keys are the caller's: all violations together fit the metadata of an answer.
PATH_LENGTH_MAX = 120
TIMESTAMP_SECONDS_MIN = -62135596800  # 0001-01-01, the first instant of a Timestamp
TIMESTAMP_SECONDS_MAX = 253402300799  # 9999-12-31
STRUCT_KEYS_MAX = 100
STRUCT_DEPTH_MAX = 8
STRUCT_BYTES_MAX = 32 * 1024
EXACT_INTEGER_MAX = 2**53

SLUG = re.compile(r"[a-z][a-z0-9_.-]*\Z")
LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")
EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+\Z")

Check = Callable[[Message, str, list[Violation]], None]


def violations(message: Message) -> list[Violation]:
    """Lists what is wrong with a message, by field in lowerCamelCase; none where all is well."""
    found: list[Violation] = []
    for check in _checks(message.DESCRIPTOR):
        check(message, "", found)
    return found[:VIOLATIONS_MAX]


def clear_output_only(message: Message) -> None:
    """Empties the fields that only the service sets, as AIP-203 wants, down to every nested message."""
    for name, kind in _output_only(message.DESCRIPTOR):
        if kind == "clear":
            message.ClearField(name)
        elif kind == "repeated":
            for item in getattr(message, name):
                clear_output_only(item)
        elif message.HasField(name):
            clear_output_only(getattr(message, name))


@cache
def _output_only(descriptor: Descriptor) -> list[tuple[str, str]]:
    """Lists what to do about which fields; messages with nothing to clear in them are left out, however many come."""
    found = []
    for field in descriptor.fields:
        behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY in behaviours:
            found.append((field.name, "clear"))
        elif _is_own_message(field) and field.message_type is not None and _output_only(field.message_type):
            found.append((field.name, "repeated" if field.is_repeated else "nested"))
    return found


@cache
def _checks(descriptor: Descriptor, *, partial: bool = False) -> tuple[Check, ...]:
    found: list[Check] = []
    for field in descriptor.fields:
        options = field.GetOptions()
        behaviours = options.Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY in behaviours:
            continue
        if field_behavior_pb2.REQUIRED in behaviours and not partial:
            found.append(_required(field))
        if field.is_repeated:
            found.extend(_repeated(field))
        elif field.message_type is not None:
            found.extend(_message(field))
        elif field.type == FieldDescriptor.TYPE_STRING:
            found.append(_text(field, options.Extensions[options_pb2.text]))
        elif options.HasExtension(options_pb2.integer):
            found.append(_integer(field, options.Extensions[options_pb2.integer]))
        elif field.enum_type is not None:
            found.append(_enum(field))
    return tuple(found)


def _required(field: FieldDescriptor) -> Check:
    name, json_name = field.name, field.json_name
    is_message = field.message_type is not None and not field.is_repeated

    def check(message: Message, path: str, found: list[Violation]) -> None:
        present = message.HasField(name) if is_message else bool(getattr(message, name))
        if not present:
            found.append(Violation(path + json_name, "is required"))

    return check


def _repeated(field: FieldDescriptor) -> list[Check]:
    options, name, json_name = field.GetOptions(), field.name, field.json_name
    checks: list[Check] = []
    if options.HasExtension(options_pb2.items):
        limits = options.Extensions[options_pb2.items]
        least, most = limits.min_items, limits.max_items

        def check_count(message: Message, path: str, found: list[Violation]) -> None:
            count = len(getattr(message, name))
            # None at all is told by REQUIRED.
            if count > most or 0 < count < least:
                found.append(Violation(path + json_name, f"must have {least} to {most} items"))

        checks.append(check_count)
    if options.Extensions[options_pb2.itemized]:
        return checks
    if _is_own_message(field):

        def check_messages(message: Message, path: str, found: list[Violation]) -> None:
            for index, item in enumerate(getattr(message, name)):
                for check in _checks(item.DESCRIPTOR):
                    check(item, f"{path}{json_name}[{index}].", found)

        checks.append(check_messages)
    elif field.type == FieldDescriptor.TYPE_STRING:

        def check_texts(message: Message, path: str, found: list[Violation]) -> None:
            for index, value in enumerate(getattr(message, name)):
                fault = "must not be empty" if not value else text_fault(value, 200, options_pb2.TEXT_KIND_UNSPECIFIED)
                if fault:
                    found.append(Violation(f"{path}{json_name}[{index}]", fault))

        checks.append(check_texts)
    return checks


def _message(field: FieldDescriptor) -> list[Check]:
    name, json_name = field.name, field.json_name
    assert field.message_type is not None, "The caller asks for fields that hold messages."
    full_name = field.message_type.full_name
    partial = field.GetOptions().Extensions[options_pb2.partial]

    def check_struct(message: Message, path: str, found: list[Violation]) -> None:
        if message.HasField(name):
            found.extend(struct_violations(getattr(message, name), path + json_name))

    def check_time(message: Message, path: str, found: list[Violation]) -> None:
        if message.HasField(name):
            value = getattr(message, name)
            if not TIMESTAMP_SECONDS_MIN <= value.seconds <= TIMESTAMP_SECONDS_MAX or not 0 <= value.nanos < 10**9:
                found.append(Violation(path + json_name, "is not an instant between the years 1 and 9999"))

    def check_nested(message: Message, path: str, found: list[Violation]) -> None:
        if message.HasField(name):
            nested = getattr(message, name)
            for check in _checks(nested.DESCRIPTOR, partial=partial):
                check(nested, f"{path}{json_name}.", found)

    if full_name == "google.protobuf.Struct":
        return [check_struct]
    if full_name == "google.protobuf.Timestamp":
        return [check_time]
    return [check_nested] if _is_own_message(field) else []


def _text(field: FieldDescriptor, limits: options_pb2.TextLimits) -> Check:
    name, json_name = field.name, field.json_name
    longest, kind = limits.max_length or TEXT_LENGTH_MAX, limits.kind

    def check(message: Message, path: str, found: list[Violation]) -> None:
        value = getattr(message, name)
        if value:
            fault = text_fault(value, longest, kind)
            if fault:
                found.append(Violation(path + json_name, fault))

    return check


def _integer(field: FieldDescriptor, limits: options_pb2.IntegerLimits) -> Check:
    name, json_name, least, most = field.name, field.json_name, limits.min, limits.max

    def check(message: Message, path: str, found: list[Violation]) -> None:
        if not least <= getattr(message, name) <= most:
            found.append(Violation(path + json_name, f"must be from {least} to {most}"))

    return check


def _enum(field: FieldDescriptor) -> Check:
    name, json_name = field.name, field.json_name
    assert field.enum_type is not None, "The caller asks for fields that hold enums."
    known = frozenset(field.enum_type.values_by_number)

    def check(message: Message, path: str, found: list[Violation]) -> None:
        if getattr(message, name) not in known:
            found.append(Violation(path + json_name, "is not a known value"))

    return check


def text_fault(value: str, longest: int, kind: int) -> str | None:
    """Says what is wrong with a text of a kind, None where all is well."""
    if len(value) > longest:
        return f"must have at most {longest} characters"
    if "\0" in value:
        return "must not contain NUL"
    fault = _KIND_FAULTS.get(kind)
    return fault(value) if fault else None


def _id_fault(value: str) -> str | None:
    # The common case first: printable ASCII needs one look.
    if value.isascii() and value.isprintable() and "/" not in value and value[0] != " " and value[-1] != " ":
        return "must not be . or .." if value in (".", "..") else None
    if "/" in value or value != value.strip() or any(unicodedata.category(c).startswith("C") for c in value):
        return "must not contain slashes, control characters or white space at its ends"
    return None


def _slug_fault(value: str) -> str | None:
    return None if SLUG.match(value) else "must be lower-case letters, digits, _, - and ., starting with a letter"


def _zone_fault(value: str) -> str | None:
    return None if value in _zones() else "is not an IANA time zone such as Europe/Paris"


@cache
def _zones() -> frozenset[str]:
    # The package's list and not the machine's, which may differ from the next one's and knows "localtime".
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - {"Factory"}


def _locale_fault(value: str) -> str | None:
    return None if LOCALE.match(value) else "is not a language tag such as en or pt-BR"


def _date_fault(value: str) -> str | None:
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return "is not a date of the form YYYY-MM-DD"
    return None if parsed.isoformat() == value else "is not a date of the form YYYY-MM-DD"


def _email_fault(value: str) -> str | None:
    return None if EMAIL.match(value) else "is not an e-mail address"


_KIND_FAULTS: dict[int, Callable[[str], str | None]] = {
    options_pb2.TEXT_KIND_ID: _id_fault,
    options_pb2.TEXT_KIND_SLUG: _slug_fault,
    options_pb2.TEXT_KIND_TIME_ZONE: _zone_fault,
    options_pb2.TEXT_KIND_LOCALE: _locale_fault,
    options_pb2.TEXT_KIND_DATE: _date_fault,
    options_pb2.TEXT_KIND_EMAIL: _email_fault,
}


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


def _is_own_message(field: FieldDescriptor) -> bool:
    kind = field.message_type
    # A map is a list of messages to its descriptor only.
    return kind is not None and kind.full_name.startswith("plaudit.") and not kind.GetOptions().map_entry
