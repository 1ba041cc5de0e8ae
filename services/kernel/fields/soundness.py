"""Soundness: whether all is well with a message, told fast; what is wrong otherwise is for `faults` to say.

Nearly every message is sound, and to see that must cost next to nothing: the ledger looks at 20,000 operations a
second. So each message type gets a Python function of its own, written from its contract when it is first seen: a line
or two a field, with the limits as constants in them. A list of closures, one a field, takes two fifths longer.

A function may say True of messages without faults only. To say False of one costs time and nothing else, since
`faults` has the last word; so that whatever is rare needs no fast way here.
"""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.type.v1 import options_pb2

from services.kernel.fields.faults import is_own_message, is_plain_text
from services.kernel.fields.limits import (
    ITEM_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
)
from services.kernel.fields.properties import struct_violations
from services.kernel.fields.texts import SLUG, text_fault

Check = Callable[[Any], bool]

# Slugs are names that a program makes once and sends again and again.
SLUGS_REMEMBERED_MAX = 1024

_checks: dict[tuple[Descriptor, bool], Check] = {}


@cache
def check_of(descriptor: Descriptor) -> Check:
    """Gives the function that tells whether a message of a type is known to have no fault by its contract."""
    return _check_of(descriptor, partial=False)


def _check_of(descriptor: Descriptor, *, partial: bool) -> Check:
    """Gives the function of a message type; where it is partial, nothing is required in it."""
    if (descriptor, partial) in _checks:
        return _checks[descriptor, partial]
    names: dict[str, Any] = {"is_slug": _is_slug, "is_item": _is_item, "text_fault": text_fault}
    source = "\n    ".join(["def is_sound(message):", *_lines(descriptor, partial=partial), "return True"])
    code = compile(source, f"<soundness of {descriptor.full_name}>", "exec")
    exec(code, names)  # noqa: S102 - made of names and numbers in contracts alone; nothing that is sent comes near it
    check: Check = names["is_sound"]
    # Known before its parts are made, so that a message that may hold another of its type finds this very function.
    _checks[descriptor, partial] = check
    parts = {field.name: _part_check(field) for field in descriptor.fields if _has_checked_parts(field)}
    names |= {f"check_{name}": part for name, part in parts.items()} | {"checks": parts}
    return check


def _has_checked_parts(field: FieldDescriptor) -> bool:
    return is_own_message(field) or _full_name(field) in _LEAVES


def _part_check(field: FieldDescriptor) -> Check:
    leaf = _LEAVES.get(_full_name(field))
    if leaf is not None:
        return leaf
    assert field.message_type is not None, "What has parts is a message."
    return _check_of(field.message_type, partial=field.GetOptions().Extensions[options_pb2.partial])


def _full_name(field: FieldDescriptor) -> str:
    return field.message_type.full_name if field.message_type is not None and not field.is_repeated else ""


def _lines(descriptor: Descriptor, *, partial: bool) -> Iterator[str]:
    """Writes the checks of a message, as statements of one line each that return False where they fail."""
    for field in descriptor.fields:
        behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY in behaviours:
            continue
        required = field_behavior_pb2.REQUIRED in behaviours and not partial
        if field.is_repeated:
            yield from _lines_of_list(field, required)
        elif field.message_type is not None:
            yield from _lines_of_message(field, required)
        else:
            yield from _lines_of_value(field, required)
    for oneof in descriptor.oneofs:
        if any(_is_choice(field) for field in oneof.fields):
            # One question instead of one for each of what may be chosen.
            yield f"chosen = message.WhichOneof('{oneof.name}')"
            yield "if chosen in checks and not checks[chosen](getattr(message, chosen)): return False"


def _is_choice(field: FieldDescriptor) -> bool:
    """Tells whether a field is a message that excludes others."""
    choices = field.containing_oneof.fields if field.containing_oneof is not None else ()
    return len(choices) > 1 and _has_checked_parts(field)


def _lines_of_list(field: FieldDescriptor, required: bool) -> Iterator[str]:
    options = field.GetOptions()
    yield f"values = message.{field.name}"
    if required:
        yield "if not values: return False"
    if options.HasExtension(options_pb2.items):
        limits = options.Extensions[options_pb2.items]
        yield f"if values and not {limits.min_items} <= len(values) <= {limits.max_items}: return False"
    if options.Extensions[options_pb2.itemized]:
        return
    if is_own_message(field):
        yield f"if values and not all(map(check_{field.name}, values)): return False"
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield "if values and not all(map(is_item, values)): return False"


def _lines_of_message(field: FieldDescriptor, required: bool) -> Iterator[str]:
    present = f"message.HasField('{field.name}')"
    if required:
        yield f"if not {present}: return False"
    if _has_checked_parts(field) and not _is_choice(field):
        yield f"if {present} and not check_{field.name}(message.{field.name}): return False"


def _lines_of_value(field: FieldDescriptor, required: bool) -> Iterator[str]:
    condition = _condition(field)
    if required or condition:
        yield f"value = message.{field.name}"
        # What is empty is fine or missing, except numbers, of which 0 may be outside of the limits.
        empty = "" if required else "value and " if field.type == FieldDescriptor.TYPE_STRING else ""
        fault = f"not ({condition})" if condition else ""
        missing = "not value.strip()" if is_plain_text(field) else "not value"
        yield f"if {' or '.join(filter(None, [missing if required else '', empty + fault]))}: return False"


def _condition(field: FieldDescriptor) -> str:
    """Says what is true of a sound value; empty where any is."""
    options = field.GetOptions()
    if field.type == FieldDescriptor.TYPE_STRING:
        text = options.Extensions[options_pb2.text]
        longest = text.max_length or TEXT_LENGTH_MAX
        fast = _TEXTS.get(text.kind, "False")
        return f"len(value) <= {longest} and {fast} or text_fault(value, {longest}, {text.kind}) is None"
    if options.HasExtension(options_pb2.integer):
        integer = options.Extensions[options_pb2.integer]
        return f"{integer.min} <= value <= {integer.max}"
    if field.enum_type is not None:
        return f"value in {set(field.enum_type.values_by_number)}"
    return ""


@lru_cache(SLUGS_REMEMBERED_MAX)
def _is_slug(value: str) -> bool:
    return SLUG.match(value) is not None


def _is_item(value: str) -> bool:
    return 0 < len(value) <= ITEM_LENGTH_MAX and "\0" not in value


def _is_time(value: Timestamp) -> bool:
    return TIMESTAMP_SECONDS_MIN <= value.seconds <= TIMESTAMP_SECONDS_MAX and 0 <= value.nanos < 10**9


def _is_properties(value: Struct) -> bool:
    return not struct_violations(value, "")


# The messages that are not of our contracts and have limits all the same.
_LEAVES: dict[str, Check] = {"google.protobuf.Timestamp": _is_time, "google.protobuf.Struct": _is_properties}

# What tells fast that a text of good length is one of its kind; what it does not know is looked at again.
_TEXTS = {
    options_pb2.TEXT_KIND_UNSPECIFIED: r"'\0' not in value",
    # Nothing printable but the plain space is a white space or a control character.
    options_pb2.TEXT_KIND_ID: (
        "value.isprintable() and ' ' not in value and '/' not in value and value not in ('.', '..')"
    ),
    options_pb2.TEXT_KIND_SLUG: "is_slug(value)",
}
