"""The contracts as descriptors: what the rules on protos look at."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.api import annotations_pb2, field_behavior_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)
from plaudit.type.v1 import options_pb2

from tests.contracts.sources import PROTOS

PROTOC_TIMEOUT_S = 60


@dataclass(frozen=True)
class Method:
    """One rpc with its place."""

    place: str
    method: MethodDescriptorProto
    request: DescriptorProto
    response: DescriptorProto

    @property
    def scope(self) -> str:
        """Gives its required scope; empty where it names none."""
        scope: str = self.method.options.Extensions[options_pb2.required_scope]
        return scope

    @property
    def reads(self) -> bool:
        """Tells whether it declares that it changes nothing."""
        return self.method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    @property
    def http(self) -> http_pb2.HttpRule | None:
        """Gives its route over HTTP; None for an internal rpc."""
        if not self.method.options.HasExtension(annotations_pb2.http):
            return None
        rule: http_pb2.HttpRule = self.method.options.Extensions[annotations_pb2.http]
        return rule

    @property
    def verb(self) -> str:
        """Names the HTTP method: get, put, post, patch, delete; empty for an internal rpc."""
        return (self.http.WhichOneof("pattern") or "") if self.http else ""

    @property
    def route(self) -> str:
        """Gives the path template."""
        return str(getattr(self.http, self.verb)) if self.http and self.verb else ""


@dataclass(frozen=True)
class Field:
    """One field with its place."""

    place: str
    field: FieldDescriptorProto

    @property
    def is_repeated(self) -> bool:
        """Tells whether it holds many."""
        return self.field.label == FieldDescriptorProto.LABEL_REPEATED

    @property
    def behaviours(self) -> list[int]:
        """Lists its `google.api.field_behavior`."""
        return list(self.field.options.Extensions[field_behavior_pb2.field_behavior])

    @property
    def is_set_by_callers(self) -> bool:
        """Tells whether what a caller sends in it counts."""
        return field_behavior_pb2.OUTPUT_ONLY not in self.behaviours

    @property
    def is_choice(self) -> bool:
        """Tells whether it is one arm of a oneof."""
        return self.field.HasField("oneof_index") and not self.field.proto3_optional


class Contracts:
    """The files of an image whose packages begin with `prefix`; whatever they refer to is known too."""

    def __init__(self, files: Sequence[FileDescriptorProto], prefix: str = "plaudit.") -> None:
        self._known = files
        self._prefix = f".{prefix}"
        self.files = [file for file in files if file.package.startswith(prefix)]
        self._messages: dict[str, DescriptorProto] = {}
        for file in files:
            self._index(f".{file.package}", file.message_type)

    @classmethod
    def read(cls, image: Path) -> "Contracts":
        """Reads an image."""
        return cls(descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file)

    def only(self, prefix: str) -> "Contracts":
        """Narrows the contracts to some packages."""
        return Contracts(self._known, prefix)

    def _index(self, scope: str, messages: Iterable[DescriptorProto]) -> None:
        for message in messages:
            self._messages[f"{scope}.{message.name}"] = message
            self._index(f"{scope}.{message.name}", message.nested_type)

    def message(self, name: str) -> DescriptorProto:
        """Finds a message by its full name with a dot before it."""
        return self._messages[name]

    @cached_property
    def methods(self) -> list[Method]:
        """Lists every rpc."""
        return [
            Method(
                f"{file.name}: {service.name}.{method.name}",
                method,
                self.message(method.input_type),
                self.message(method.output_type),
            )
            for file in self.files
            for service in file.service
            for method in service.method
        ]

    @cached_property
    def fields(self) -> list[Field]:
        """Lists every field of every message of ours."""
        return [
            Field(f"{name[1:]}.{field.name}", field)
            for name, message in self._messages.items()
            if name.startswith(self._prefix)
            for field in message.field
        ]

    @cached_property
    def request_fields(self) -> list[Field]:
        """Lists every field that a caller can set: those of requests, and of the messages that requests hold."""
        seen: set[str] = set()
        waiting = [method.method.input_type for method in self.methods]
        found: list[Field] = []
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._messages or not name.startswith(self._prefix):
                continue
            seen.add(name)
            fields = [Field(f"{name[1:]}.{field.name}", field) for field in self.message(name).field]
            found += [field for field in fields if field.is_set_by_callers]
            waiting += [field.field.type_name for field in fields if field.is_set_by_callers]
        return found


def compile_protos(folder: Path, into: Path) -> None:
    """Compiles every contract below a folder, which may import ours and Google's, into one image."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.proto"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={folder}",
        f"--proto_path={PROTOS}",
        f"--proto_path={sysconfig.get_paths()['purelib']}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={into}",
        *files,
    ]
    subprocess.run(command, check=True, timeout=PROTOC_TIMEOUT_S)
