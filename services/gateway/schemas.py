"""JSON schemas of messages, from the same descriptors and options that the checks are made from: docs are the checks.

Written in JSON Schema 2020-12, as OpenAPI 3.1 takes it.
"""

from collections.abc import Callable
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from plaudit.type.v1 import options_pb2

from services.gateway import comments, names
from services.gateway.decoder import INTEGER_RANGES
from services.kernel import fields

Schema = dict[str, Any]

# Ends the name of each schema that only stands for what is sent.
BODY_SUFFIX = "Body"


INSTANT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
ANY_TEXT = r"^[^\u0000]*$"
# What is required says something: white space alone is none.
TEXT_NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
# The kernel's bounds on the texts in a list.
LISTED_TEXT: Schema = {"minLength": 1, "maxLength": 200, "pattern": ANY_TEXT}
# Without slashes, control characters and white space at the ends; `.` and `..` mean something in paths.
_ID_EDGE, _ID_INNER = r"[^\s/\u0000-\u001f\u007f-\u009f]", r"[^/\u0000-\u001f\u007f-\u009f]"
ID_TEXT = rf"^(?!\.{{1,2}}$){_ID_EDGE}({_ID_INNER}*{_ID_EDGE})?$"
PATTERNS = {
    options_pb2.TEXT_KIND_UNSPECIFIED: ANY_TEXT,
    options_pb2.TEXT_KIND_ID: ID_TEXT,
    options_pb2.TEXT_KIND_SLUG: r"^[a-z][a-z0-9_.-]*$",
    options_pb2.TEXT_KIND_TIME_ZONE: r"^[A-Za-z][A-Za-z0-9_+/-]*$",
    options_pb2.TEXT_KIND_LOCALE: r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
    options_pb2.TEXT_KIND_DATE: r"^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    options_pb2.TEXT_KIND_EMAIL: r"^[^\s@]+@[^\s@]+\.[^\s@.]+$",
}
FORMATS = {options_pb2.TEXT_KIND_DATE: "date", options_pb2.TEXT_KIND_EMAIL: "email"}

WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN},
    "google.protobuf.Struct": {"type": "object", "maxProperties": fields.STRUCT_KEYS_MAX},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
}


class Components:
    """The schemas of all messages that were asked for, by name; each is made once."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._owners: dict[str, str] = {}

    def reference(self, message: Descriptor) -> Schema:
        """Gives the schema of a message where it is used: a reference to its component, or one that is written out."""
        if message.file.package == "google.protobuf":
            return dict(WELL_KNOWN.get(message.full_name, {}))
        name = self._name(message)
        if name not in self.schemas:
            self.schemas[name] = {}
            self.schemas[name] = self.object(message, left_out=frozenset())
        return {"$ref": f"#/components/schemas/{name}"}

    def body(self, name: str, message: Descriptor, *, left_out: frozenset[str], partial: bool) -> Schema:
        """Gives the schema of a body: of a message without the fields that come from elsewhere.

        In a partial one nothing is required, since what is not sent stays as it is.
        """
        schema = self.object(message, left_out=left_out)
        if partial:
            schema.pop("required", None)
        self.schemas[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def _name(self, message: Descriptor) -> str:
        """Gives the short name, or one with its package in front where another package has the short one."""
        owner = self._owners.setdefault(message.name, message.full_name)
        return message.name if owner == message.full_name else message.full_name.replace(".", "_")

    def object(self, message: Descriptor, *, left_out: frozenset[str]) -> Schema:
        """Makes the schema of a message."""
        used = [field for field in message.fields if field.name not in left_out]
        required = [each.json_name for each in used if names.has_behaviour(each, field_behavior_pb2.REQUIRED)]
        schema: Schema = {"type": "object", "description": comments.of(message.full_name)}
        schema["properties"] = {field.json_name: self.field(field) for field in used}
        if required:
            schema["required"] = required
        return schema

    def field(self, field: FieldDescriptor) -> Schema:
        """Makes the schema of a field, with its comment and its limits."""
        make = self._map if names.is_map(field) else self._list if field.is_repeated else self._item
        schema = make(field)
        description = comments.of(field.full_name)
        if field.enum_type is not None:
            description += "\n\n" + _explained(field.enum_type)
        schema = {**schema, "description": description.strip()}
        if names.has_behaviour(field, field_behavior_pb2.OUTPUT_ONLY):
            schema["readOnly"] = True
        if names.has_behaviour(field, field_behavior_pb2.INPUT_ONLY):
            schema["writeOnly"] = True
        return schema

    def close(self) -> None:
        """Says of every message that can be sent that it takes no other fields; those only received may grow."""
        waiting = [name for name in self.schemas if name.endswith(BODY_SUFFIX)]
        while waiting:
            schema = self.schemas[waiting.pop()]
            if "properties" in schema and "additionalProperties" not in schema:
                schema["additionalProperties"] = False
                waiting += references(schema)

    def _map(self, field: FieldDescriptor) -> Schema:
        assert field.message_type is not None, "A map shows as a list of entries."
        return {"type": "object", "additionalProperties": self._item(field.message_type.fields_by_name["value"])}

    def _list(self, field: FieldDescriptor) -> Schema:
        schema: Schema = {"type": "array", "items": self._item(field)}
        options = field.GetOptions()
        if options.HasExtension(options_pb2.items):
            limits = options.Extensions[options_pb2.items]
            schema |= {"minItems": limits.min_items, "maxItems": limits.max_items}
            if field.type == FieldDescriptor.TYPE_STRING:
                schema["items"] |= LISTED_TEXT
        return schema

    def _item(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            known = names.enum_names(field.enum_type)
            return {"type": "string", "enum": [name for number, name in known.items() if number]}
        if field.type == FieldDescriptor.TYPE_STRING:
            return text(field)
        return _SCALARS[field.cpp_type](field)


def references(value: Any) -> list[str]:
    """Lists the names of the components that a piece of the document refers to."""
    if isinstance(value, dict):
        found = [each for part in value.values() for each in references(part)]
        return found + ([value["$ref"].rpartition("/")[2]] if "$ref" in value else [])
    return [each for part in value for each in references(part)] if isinstance(value, list) else []


def text(field: FieldDescriptor) -> Schema:
    """Makes the schema of a text. One that may be left out may be empty too, which means the same."""
    options = field.GetOptions()
    if not options.HasExtension(options_pb2.text):
        return {"type": "string"}
    limits = options.Extensions[options_pb2.text]
    pattern = PATTERNS[limits.kind]
    schema: Schema = {"type": "string", "maxLength": limits.max_length or fields.TEXT_LENGTH_MAX}
    if names.has_behaviour(field, field_behavior_pb2.REQUIRED):
        schema["minLength"] = 1
        if limits.kind in FORMATS:
            schema["format"] = FORMATS[limits.kind]
        if not limits.kind:
            pattern = TEXT_NOT_BLANK
    elif limits.kind:
        pattern = f"^$|{pattern}"
    schema["pattern"] = pattern
    return schema


def integer_range(field: FieldDescriptor) -> tuple[int, int]:
    """Gives the smallest and the largest value that a field takes."""
    least, most = INTEGER_RANGES[field.cpp_type]
    options = field.GetOptions()
    if options.HasExtension(options_pb2.integer):
        limits = options.Extensions[options_pb2.integer]
        least, most = max(least, limits.min), min(most, limits.max)
    return least, most


def _short(field: FieldDescriptor) -> Schema:
    least, most = integer_range(field)
    return {"type": "integer", "format": "int32", "minimum": least, "maximum": most}


def _long(field: FieldDescriptor) -> Schema:
    least, most = integer_range(field)
    return {"type": "string", "format": "int64", "pattern": digits_pattern(least, most)}


def digits_pattern(least: int, most: int) -> str:
    """Makes a pattern for whole numbers in digits: exact for bounds of 0, 1 and powers of ten, else by length."""
    sign = "-?" if least < 0 else ""
    zero = "" if least > 0 else "0|"
    longest = len(str(most))
    if str(most) == "1" + "0" * (longest - 1):
        return f"^({zero}{sign}([1-9][0-9]{{0,{longest - 2}}}|{most}))$"
    return f"^({zero}{sign}[1-9][0-9]{{0,{longest - 1}}})$"


def _explained(enum: EnumDescriptor) -> str:
    short = names.enum_names(enum)
    told = [value for value in enum.values if value.number]
    return "\n".join(f"- `{short[each.number]}`: {comments.of(f'{enum.full_name}.{each.name}')}" for each in told)


_SCALARS: dict[int, Callable[[FieldDescriptor], Schema]] = {
    FieldDescriptor.CPPTYPE_INT32: _short,
    FieldDescriptor.CPPTYPE_UINT32: _short,
    FieldDescriptor.CPPTYPE_INT64: _long,
    FieldDescriptor.CPPTYPE_UINT64: _long,
    FieldDescriptor.CPPTYPE_BOOL: lambda _: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: lambda _: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: lambda _: {"type": "number"},
    FieldDescriptor.CPPTYPE_STRING: lambda _: {"type": "string", "contentEncoding": "base64"},
}
