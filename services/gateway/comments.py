"""What the contracts say of themselves: the comments of every element, out of `protos/gen/descriptors.binpb`.

The generated modules carry no comments; the descriptor set beside them does.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import plaudit
from google.protobuf import descriptor_pb2

# The numbers of the fields of FileDescriptorProto and its kin that lead to an element, as source info counts them.
FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES = 4, 5, 6
MESSAGE_FIELDS, MESSAGE_NESTED, MESSAGE_ENUMS = 2, 3, 4
ENUM_VALUES = SERVICE_METHODS = 2

CODE = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")
SENTENCE_END = re.compile(r"(?<=\.)\s")


@cache
def of(full_name: str) -> str:
    """Gives the comment of an element, in paragraphs, with fields named as they are over HTTP; empty without one."""
    text = _all().get(full_name, "")
    # Expressions name their variables as the contract does, so their explanations are left alone.
    return text if "CEL" in text else CODE.sub(_http_name, text)


def summary(full_name: str) -> str:
    """Gives the first sentence of the comment, without its full stop."""
    return SENTENCE_END.split(of(full_name), maxsplit=1)[0].rstrip(".")


def rest(full_name: str) -> str:
    """Gives what follows the first sentence."""
    parts = SENTENCE_END.split(of(full_name), maxsplit=1)
    return parts[1].strip() if len(parts) > 1 else ""


def _http_name(match: re.Match[str]) -> str:
    name = _json_names().get(match[1])
    return f"`{name}`" if name else match[0]


@cache
def _files() -> descriptor_pb2.FileDescriptorSet:
    path = Path(next(iter(plaudit.__path__))).parent / "descriptors.binpb"
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


@cache
def _json_names() -> dict[str, str]:
    names: dict[str, str] = {}
    waiting = [message for file in _files().file for message in file.message_type]
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_type)
        names |= {field.name: field.json_name for field in message.field}
    return names


@cache
def _all() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in _files().file:
        texts = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
        for path, full_name in _elements(file):
            if texts.get(path):
                found[full_name] = _paragraphs(texts[path])
    return found


def _elements(file: descriptor_pb2.FileDescriptorProto) -> list[tuple[tuple[int, ...], str]]:
    found: list[tuple[tuple[int, ...], str]] = []
    for index, message in enumerate(file.message_type):
        found += _of_message(message, (FILE_MESSAGES, index), file.package)
    for index, enum in enumerate(file.enum_type):
        found += _of_members(enum, enum.value, (FILE_ENUMS, index), (file.package, ENUM_VALUES))
    for index, service in enumerate(file.service):
        found += _of_members(service, service.method, (FILE_SERVICES, index), (file.package, SERVICE_METHODS))
    return found


def _of_message(
    message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], scope: str
) -> list[tuple[tuple[int, ...], str]]:
    found = _of_members(message, message.field, path, (scope, MESSAGE_FIELDS))
    inner = f"{scope}.{message.name}"
    for index, nested in enumerate(message.nested_type):
        found += _of_message(nested, (*path, MESSAGE_NESTED, index), inner)
    for index, enum in enumerate(message.enum_type):
        found += _of_members(enum, enum.value, (*path, MESSAGE_ENUMS, index), (inner, ENUM_VALUES))
    return found


def _of_members(
    element: Any, members: Any, path: tuple[int, ...], place: tuple[str, int]
) -> list[tuple[tuple[int, ...], str]]:
    scope, kind = place
    name = f"{scope}.{element.name}"
    return [(path, name), *(((*path, kind, index), f"{name}.{each.name}") for index, each in enumerate(members))]


def _paragraphs(comment: str) -> str:
    lines = [line.strip() for line in comment.strip().splitlines()]
    return "\n\n".join(" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n"))
