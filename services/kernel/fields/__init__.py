"""Fields: what the contracts say of them, enforced. Limits and behaviours are read from the descriptors once.

`violations` checks a message against `google.api.field_behavior` (REQUIRED) and the options of `plaudit.type.v1`;
`clear_output_only` takes away what callers cannot set. Repeated fields marked `itemized` are left to their method.
"""

from functools import cache

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from services.kernel.errors import Violation
from services.kernel.fields import faults, soundness
from services.kernel.fields.limits import (
    EXACT_INTEGER_MAX,
    STRUCT_BYTES_MAX,
    STRUCT_DEPTH_MAX,
    STRUCT_KEYS_MAX,
    TEXT_LENGTH_MAX,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    VIOLATIONS_MAX,
)
from services.kernel.fields.properties import dict_to_struct, struct_to_dict
from services.kernel.fields.texts import text_fault

__all__ = [
    "EXACT_INTEGER_MAX",
    "STRUCT_BYTES_MAX",
    "STRUCT_DEPTH_MAX",
    "STRUCT_KEYS_MAX",
    "TEXT_LENGTH_MAX",
    "TIMESTAMP_SECONDS_MAX",
    "TIMESTAMP_SECONDS_MIN",
    "VIOLATIONS_MAX",
    "clear_output_only",
    "dict_to_struct",
    "struct_to_dict",
    "text_fault",
    "violations",
]


def violations(message: Message) -> list[Violation]:
    """Lists what is wrong with a message, by field in lowerCamelCase; none where all is well."""
    if soundness.check_of(message.DESCRIPTOR)(message):
        return []
    return faults.find(message)[:VIOLATIONS_MAX]


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
        elif faults.is_own_message(field) and field.message_type is not None and _output_only(field.message_type):
            found.append((field.name, "repeated" if field.is_repeated else "nested"))
    return found
