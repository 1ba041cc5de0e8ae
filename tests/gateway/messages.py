"""Messages by chance, for every message type: what hypothesis needs to look for the one that goes wrong."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from services.gateway import names
from services.kernel import fields

ITEMS_MAX = 3
EXACT = fields.EXACT_INTEGER_MAX

texts = st.text(max_size=8)
# Without the zero below zero, whose sign JSON readers lose.
finite = st.floats(-EXACT, EXACT).map(lambda number: number + 0.0)
# Free-form values, within what the gateway takes.
free_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | texts | st.integers(-EXACT, EXACT) | finite,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
free_objects = st.dictionaries(texts, free_values, max_size=4)
instants = st.tuples(
    st.integers(fields.TIMESTAMP_SECONDS_MIN, fields.TIMESTAMP_SECONDS_MAX),
    st.sampled_from([0, 1, 120_000_000, 120_450_000, 999_999_999]) | st.integers(0, 999_999_999),
)

SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: st.floats(-(2.0**100), 2.0**100, width=32),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Makes a message of a type, with some of its fields set."""
    message = GetMessageClass(descriptor)()
    _fill(draw, message)
    return message


def _fill(draw: st.DrawFn, message: Any) -> None:
    known = list(message.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(known), unique_by=id)) if known else ():
        target = getattr(message, field.name)
        if names.is_map(field):
            _fill_map(draw, field, target)
        elif field.is_repeated:
            for _ in range(draw(st.integers(0, ITEMS_MAX))):
                if field.message_type is not None:
                    _fill_message(draw, target.add())
                else:
                    target.append(draw(scalars(field)))
        elif field.message_type is not None:
            target.SetInParent()
            _fill_message(draw, target)
        else:
            setattr(message, field.name, draw(scalars(field)))


def _fill_map(draw: st.DrawFn, field: FieldDescriptor, target: Any) -> None:
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    for key in draw(st.lists(scalars(entry["key"]), max_size=ITEMS_MAX, unique=True)):
        if entry["value"].message_type is not None:
            _fill_message(draw, target[key])
        else:
            target[key] = draw(scalars(entry["value"]))


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Gives the values of a field that holds no message."""
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


def _fill_message(draw: st.DrawFn, message: Any) -> None:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds, message.nanos = draw(instants)
    elif name == "google.protobuf.Struct":
        message.update(draw(free_objects))
    elif name == "google.protobuf.ListValue":
        message.extend(draw(st.lists(free_values, max_size=3)))
    elif name == "google.protobuf.Value":
        message.struct_value.update({"value": draw(free_values)})
    elif name == "google.protobuf.Duration":
        message.FromMilliseconds(draw(st.integers(-(10**9), 10**9)))
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(draw(st.lists(st.sampled_from(["name", "display_name", "a.b_c"]), max_size=3)))
    else:
        _fill(draw, message)


def with_long_names(value: Any, descriptor: Descriptor) -> Any:
    """Undoes the house's choice on enums in a JSON value, so that json_format understands it."""
    if not isinstance(value, dict) or descriptor.file.package == "google.protobuf":
        return value
    by_name = {field.name: field for field in descriptor.fields} | {
        field.json_name: field for field in descriptor.fields
    }
    return {key: _with_long_names(item, by_name[key]) if key in by_name else item for key, item in value.items()}


def _with_long_names(value: Any, field: FieldDescriptor) -> Any:
    if names.is_map(field) and isinstance(value, dict):
        assert field.message_type is not None
        return {key: _with_long_names(item, field.message_type.fields_by_name["value"]) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_long_names(item, field) for item in value]
    if field.message_type is not None:
        return with_long_names(value, field.message_type)
    if field.enum_type is not None and isinstance(value, str):
        number = names.enum_numbers(field.enum_type).get(value)
        return value if number is None else field.enum_type.values_by_number[number].name
    return value
