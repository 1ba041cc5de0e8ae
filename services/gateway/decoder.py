"""JSON values into messages: strict, exact, and naming the field that is at fault.

A decoder is compiled once for each message type from its descriptor. It takes what proto3 JSON allows and nothing
else; where proto3 JSON leaves room, this takes the narrow side: instants are written as RFC 3339 says, numbers that a
double cannot hold exactly come as strings, numbers of enums must be known. Of a key that stands twice in an object the
last one counts, since the parser sees no other.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from plaudit.type.v1 import options_pb2

from services.gateway import names, well_known
from services.gateway.malformed import MalformedError
from services.kernel import fields
from services.kernel.errors import Violation

# Reads a JSON value into a message, or into one field of a message.
Decode = Callable[[Any, Any], None]
# Turns a JSON value into what a field, or an item of it, holds.
Convert = Callable[[Any], Any]

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})", re.ASCII)
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
# No integer type goes further, so the exponent of a longer number need not be worked out.
INTEGER_DIGITS_MAX = 20
FLOAT32_MAX = 3.4028235e38  # in its shortest form, which is a little more than the number itself

# For maps, and for lists whose contract states no limit.
ITEMS_MAX = 10_000

INTEGER_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
NULLABLE_TYPES = frozenset({"google.protobuf.Value"})


@cache
def decoder(descriptor: Descriptor) -> Decode:
    """Compiles the decoder of a message type. What it makes raises MalformedError with all faults that it finds."""
    special = well_known.DECODERS.get(descriptor.full_name)
    if special is not None:
        return special
    if descriptor.file.package == "google.protobuf":
        return _decode_by_json_format
    setters = {field.json_name: _setter(field) for field in descriptor.fields}
    aliases = {field.name: field.json_name for field in descriptor.fields}
    nullable = frozenset(field.json_name for field in descriptor.fields if _takes_null(field))

    def decode(source: Any, message: Any) -> None:
        if source.__class__ is not dict:
            raise MalformedError.at("must be an object")
        faults: list[Violation] = []
        for key, value in source.items():
            try:
                setter = setters.get(key) or setters[_json_name(key, aliases, source)]
                if value is not None or aliases.get(key, key) in nullable:
                    setter(value, message)
            except MalformedError as malformed:
                faults += malformed.under(key)
        if faults:
            raise MalformedError(faults)

    return decode


def _json_name(key: str, aliases: Mapping[str, str], source: Mapping[str, Any]) -> str:
    """Finds the JSON name behind the contract's own name of a field, which proto3 JSON takes as well."""
    name = aliases.get(key)
    if name is None:
        raise MalformedError.at("is not a known field")
    if name in source:
        raise MalformedError.at(f"is the same field as {name}; send one of them")
    return name


def _takes_null(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name in NULLABLE_TYPES and not field.is_repeated


def _setter(field: FieldDescriptor) -> Decode:
    if names.is_map(field):
        return _map_setter(field)
    if field.is_repeated:
        return _list_setter(field)
    setter = _message_setter(field) if field.message_type is not None else _scalar_setter(field)
    return _exclusive(field, setter) if names.has_oneof(field) else setter


def _exclusive(field: FieldDescriptor, setter: Decode) -> Decode:
    oneof = field.containing_oneof
    assert oneof is not None, "The caller asks for fields of a oneof."
    name, members = oneof.name, ", ".join(each.json_name for each in oneof.fields)

    def set_alone(value: Any, message: Any) -> None:
        if message.WhichOneof(name) is not None:
            raise MalformedError.at(f"stands beside another one of {members}; send one of them")
        setter(value, message)

    return set_alone


def _scalar_setter(field: FieldDescriptor) -> Decode:
    name, convert = field.name, scalar_converter(field)

    def set_scalar(value: Any, message: Any) -> None:
        setattr(message, name, convert(value))

    def set_text(value: Any, message: Any) -> None:
        if value.__class__ is not str:
            raise MalformedError.at("must be a string")
        setattr(message, name, value)

    return set_text if field.type == FieldDescriptor.TYPE_STRING else set_scalar


def _message_setter(field: FieldDescriptor) -> Decode:
    assert field.message_type is not None, "The caller asks for fields that hold messages."
    name, decode = field.name, decoder(field.message_type)

    def set_message(value: Any, message: Any) -> None:
        target = getattr(message, name)
        target.SetInParent()
        decode(value, target)

    return set_message


def _list_setter(field: FieldDescriptor) -> Decode:
    name, longest = field.name, items_max(field)
    decode = decoder(field.message_type) if field.message_type is not None else None
    convert = scalar_converter(field) if decode is None else None

    def set_list(value: Any, message: Any) -> None:
        if value.__class__ is not list:
            raise MalformedError.at("must be a list")
        if len(value) > longest:
            raise MalformedError.at(f"must have at most {longest} items")
        target = getattr(message, name)
        faults: list[Violation] = []
        for index, item in enumerate(value):
            try:
                if decode is not None:
                    decode(item, target.add())
                elif convert is not None:
                    target.append(convert(item))
            except MalformedError as malformed:
                faults += malformed.under(f"[{index}]")
                if len(faults) >= fields.VIOLATIONS_MAX:
                    break
        if faults:
            raise MalformedError(faults)

    return set_list


def items_max(field: FieldDescriptor) -> int:
    """Gives the largest number of items that the contract lets a list have."""
    options = field.GetOptions()
    return options.Extensions[options_pb2.items].max_items if options.HasExtension(options_pb2.items) else ITEMS_MAX


def _map_setter(field: FieldDescriptor) -> Decode:
    assert field.message_type is not None, "A map shows as a list of entries."
    entry = field.message_type.fields_by_name
    name, to_key = field.name, _key_converter(entry["key"])
    value_type = entry["value"].message_type
    decode = decoder(value_type) if value_type is not None else None
    convert = scalar_converter(entry["value"]) if decode is None else None

    def set_map(value: Any, message: Any) -> None:
        if value.__class__ is not dict:
            raise MalformedError.at("must be an object")
        if len(value) > ITEMS_MAX:
            raise MalformedError.at(f"must have at most {ITEMS_MAX} keys")
        target = getattr(message, name)
        for key, item in value.items():
            try:
                if decode is not None:
                    decode(item, target[to_key(key)])
                elif convert is not None:
                    target[to_key(key)] = convert(item)
            except MalformedError as malformed:
                raise MalformedError(malformed.under(key)) from None

    return set_map


def _key_converter(field: FieldDescriptor) -> Convert:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return to_bool_from_text
    return scalar_converter(field)


def scalar_converter(field: FieldDescriptor) -> Convert:
    """Gives what reads one value of a field that holds no message. It raises MalformedError."""
    if field.enum_type is not None:
        return _enum_converter(field.enum_type)
    if field.cpp_type in INTEGER_RANGES:
        return _integer_converter(*INTEGER_RANGES[field.cpp_type])
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return _float_converter(FLOAT32_MAX)
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _float_converter(float("inf"))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _to_bool
    return _to_bytes if field.type == FieldDescriptor.TYPE_BYTES else _to_text


def _to_text(value: Any) -> str:
    if value.__class__ is not str:
        raise MalformedError.at("must be a string")
    return str(value)


def _to_bool(value: Any) -> bool:
    if value.__class__ is not bool:
        raise MalformedError.at("must be true or false")
    return bool(value)


def to_bool_from_text(value: Any) -> bool:
    """Reads `true` and `false` where JSON has no room for the values themselves: in keys of maps and in queries."""
    if value not in ("true", "false"):
        raise MalformedError.at("must be true or false")
    return bool(value == "true")


def _to_bytes(value: Any) -> bytes:
    if value.__class__ is not str:
        raise MalformedError.at("must be bytes in base64")
    try:
        standard = value.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError.at("must be bytes in base64") from None


def _integer_converter(least: int, most: int) -> Convert:
    def to_integer(value: Any) -> int:
        kind = value.__class__
        number: int | None = None
        if kind is int:
            number = value
        elif kind is str:
            number = _integer_of_text(value)
        elif kind is float and value.is_integer():
            if not -fields.EXACT_INTEGER_MAX <= value <= fields.EXACT_INTEGER_MAX:
                raise MalformedError.at("is too large to be exact; send it as a string")
            number = int(value)
        if number is None:
            raise MalformedError.at("must be a whole number")
        if not least <= number <= most:
            raise MalformedError.at(f"must be from {least} to {most}")
        return number

    return to_integer


def _integer_of_text(value: str) -> int | None:
    if INTEGER.fullmatch(value):
        return int(value)
    if not NUMBER.fullmatch(value):
        return None
    number = Decimal(value)
    if number.adjusted() > INTEGER_DIGITS_MAX:
        raise MalformedError.at("is out of range")
    return int(number) if number == number.to_integral_value() else None


def _float_converter(largest: float) -> Convert:
    named = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

    def to_float(value: Any) -> float:
        kind = value.__class__
        if kind is str:
            if value in named:
                return named[value]
            if not NUMBER.fullmatch(value):
                raise MalformedError.at("must be a number")
        elif kind is not int and kind is not float:
            raise MalformedError.at("must be a number")
        try:
            number = float(value)
        except OverflowError:
            number = named["Infinity"]
        if not -largest <= number <= largest or number in (named["Infinity"], named["-Infinity"]):
            raise MalformedError.at("is out of range")
        return number

    return to_float


def _enum_converter(descriptor: EnumDescriptor) -> Convert:
    numbers, known = names.enum_numbers(descriptor), frozenset(descriptor.values_by_number)
    choices = ", ".join(name for number, name in names.enum_names(descriptor).items() if number)

    def to_number(value: Any) -> int:
        kind = value.__class__
        number = numbers.get(value) if kind is str else value if kind is int and value in known else None
        if number is None:
            raise MalformedError.at(f"must be one of {choices}")
        return int(number)

    return to_number


def _decode_by_json_format(value: Any, message: Message) -> None:
    try:
        json_format.ParseDict(value, message)
    except (json_format.ParseError, ValueError, TypeError):
        # The latter two are what json_format raises for some values that it cannot parse.
        raise MalformedError.at(f"is not a valid {message.DESCRIPTOR.name}") from None
