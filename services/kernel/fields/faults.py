"""Faults: what is wrong with a message by its contract, told field by field."""

from collections.abc import Callable
from functools import cache

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from plaudit.type.v1 import options_pb2

from services.kernel.errors import Violation
from services.kernel.fields.limits import (
    ITEM_LENGTH_MAX,
    TEXT_LENGTH_MAX,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
)
from services.kernel.fields.properties import struct_violations
from services.kernel.fields.texts import text_fault

Check = Callable[[Message, str, list[Violation]], None]


def find(message: Message) -> list[Violation]:
    """Lists everything that is wrong with a message, in the order of its contract."""
    found: list[Violation] = []
    for check in _checks(message.DESCRIPTOR):
        check(message, "", found)
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
    is_plain = is_plain_text(field)

    def check(message: Message, path: str, found: list[Violation]) -> None:
        if is_message:
            present = message.HasField(name)
        else:
            value = getattr(message, name)
            present = bool(value.strip() if is_plain else value)
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
    if is_own_message(field):

        def check_messages(message: Message, path: str, found: list[Violation]) -> None:
            for index, item in enumerate(getattr(message, name)):
                for check in _checks(item.DESCRIPTOR):
                    check(item, f"{path}{json_name}[{index}].", found)

        checks.append(check_messages)
    elif field.type == FieldDescriptor.TYPE_STRING:

        def check_texts(message: Message, path: str, found: list[Violation]) -> None:
            for index, value in enumerate(getattr(message, name)):
                fault = (
                    "must not be empty"
                    if not value
                    else text_fault(value, ITEM_LENGTH_MAX, options_pb2.TEXT_KIND_UNSPECIFIED)
                )
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
    return [check_nested] if is_own_message(field) else []


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


def is_plain_text(field: FieldDescriptor) -> bool:
    """Tells whether a field holds words, of which white space alone says nothing; other kinds of text take none."""
    kind = field.GetOptions().Extensions[options_pb2.text].kind
    is_text = field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
    return is_text and kind == options_pb2.TEXT_KIND_UNSPECIFIED


def is_own_message(field: FieldDescriptor) -> bool:
    """Tells whether a field holds a message, or a list of messages, of a contract of ours."""
    kind = field.message_type
    # A map is a list of messages to its descriptor only.
    return kind is not None and kind.full_name.startswith("plaudit.") and not kind.GetOptions().map_entry
