"""Contracts made up for the tests: a message with a field of every kind, and services with all sorts of routes."""

from google.api import annotations_pb2, http_pb2
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message_factory import GetMessageClass

KNOWN_FILES = (
    timestamp_pb2,
    struct_pb2,
    duration_pb2,
    field_mask_pb2,
    wrappers_pb2,
    descriptor_pb2,
    http_pb2,
    annotations_pb2,
)
FieldProto = descriptor_pb2.FieldDescriptorProto

SCALARS = {
    "text": FieldProto.TYPE_STRING,
    "bytes_field": FieldProto.TYPE_BYTES,
    "flag": FieldProto.TYPE_BOOL,
    "small": FieldProto.TYPE_INT32,
    "large": FieldProto.TYPE_INT64,
    "unsigned_small": FieldProto.TYPE_UINT32,
    "unsigned_large": FieldProto.TYPE_UINT64,
    "fixed_large": FieldProto.TYPE_SFIXED64,
    "ratio": FieldProto.TYPE_DOUBLE,
    "short_ratio": FieldProto.TYPE_FLOAT,
}
MESSAGES = {
    "instant": "google.protobuf.Timestamp",
    "data": "google.protobuf.Struct",
    "anything": "google.protobuf.Value",
    "some_list": "google.protobuf.ListValue",
    "period": "google.protobuf.Duration",
    "mask": "google.protobuf.FieldMask",
    "wrapped": "google.protobuf.Int64Value",
}


def file_descriptor(proto: descriptor_pb2.FileDescriptorProto) -> FileDescriptor:
    """Adds a file to a pool of its own, beside the well-known types."""
    pool = descriptor_pool.DescriptorPool()
    for module in KNOWN_FILES:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool.AddSerializedFile(proto.SerializeToString())


def everything() -> Descriptor:
    """Makes a message type with a field of every kind: alone, repeated, optional, in a oneof and in maps."""
    proto = descriptor_pb2.FileDescriptorProto(name="test/everything.proto", package="test.v1", syntax="proto3")
    proto.dependency.extend(
        f"google/protobuf/{name}.proto" for name in ("timestamp", "struct", "duration", "field_mask", "wrappers")
    )
    colour = proto.enum_type.add(name="ColourName")
    for number, name in enumerate(("COLOUR_NAME_UNSPECIFIED", "COLOUR_NAME_RED", "COLOUR_NAME_DARK_RED", "OTHER")):
        colour.value.add(name=name, number=number)
    inner = proto.message_type.add(name="Inner")
    inner.field.add(name="inner_text", number=1, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL)
    message = proto.message_type.add(name="Everything")
    number = 0
    for label in (FieldProto.LABEL_OPTIONAL, FieldProto.LABEL_REPEATED):
        prefix = "many_" if label == FieldProto.LABEL_REPEATED else ""
        for name, kind in SCALARS.items():
            number += 1
            message.field.add(name=prefix + name, number=number, type=kind, label=label)
        for name, type_name in {**MESSAGES, "inner": "test.v1.Inner"}.items():
            number += 1
            message.field.add(
                name=prefix + name, number=number, type=FieldProto.TYPE_MESSAGE, type_name=f".{type_name}", label=label
            )
        number += 1
        message.field.add(
            name=f"{prefix}colour",
            number=number,
            type=FieldProto.TYPE_ENUM,
            type_name=".test.v1.ColourName",
            label=label,
        )
    _add_oneofs(message, number)
    _add_maps(message, number + 10)
    return file_descriptor(proto).message_types_by_name["Everything"]


def _add_oneofs(message: descriptor_pb2.DescriptorProto, number: int) -> None:
    message.oneof_decl.add(name="choice")
    message.oneof_decl.add(name="_maybe_text")
    optional = FieldProto.LABEL_OPTIONAL
    message.field.add(name="one_text", number=number + 1, type=FieldProto.TYPE_STRING, label=optional, oneof_index=0)
    message.field.add(
        name="one_inner",
        number=number + 2,
        type=FieldProto.TYPE_MESSAGE,
        type_name=".test.v1.Inner",
        label=optional,
        oneof_index=0,
    )
    message.field.add(
        name="maybe_text",
        number=number + 3,
        type=FieldProto.TYPE_STRING,
        label=optional,
        oneof_index=1,
        proto3_optional=True,
    )


def _add_maps(message: descriptor_pb2.DescriptorProto, number: int) -> None:
    kinds = {
        "text_map": (FieldProto.TYPE_STRING, FieldProto.TYPE_STRING, ""),
        "flag_map": (FieldProto.TYPE_BOOL, FieldProto.TYPE_INT64, ""),
        "number_map": (FieldProto.TYPE_INT64, FieldProto.TYPE_MESSAGE, ".test.v1.Inner"),
    }
    for offset, (name, (key, value, type_name)) in enumerate(kinds.items()):
        entry_name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=key, label=FieldProto.LABEL_OPTIONAL)
        entry.field.add(
            name="value", number=2, type=value, type_name=type_name or None, label=FieldProto.LABEL_OPTIONAL
        )
        message.field.add(
            name=name,
            number=number + offset,
            type=FieldProto.TYPE_MESSAGE,
            type_name=f".test.v1.Everything.{entry_name}",
            label=FieldProto.LABEL_REPEATED,
        )


EVERYTHING = everything()
Everything = GetMessageClass(EVERYTHING)


def service(**methods: tuple[str, str]) -> FileDescriptor:
    """Makes a service whose rpcs have these routes: name = (verb, pattern); an empty verb leaves the rpc internal."""
    proto = descriptor_pb2.FileDescriptorProto(name="test/service.proto", package="test.v1", syntax="proto3")
    proto.dependency.append("google/api/annotations.proto")
    for name in ("Request", "Nested", "Response", "Tree"):
        message = proto.message_type.add(name=name)
        for number, field in enumerate(("item_id", "other_id", "request_id"), start=1):
            message.field.add(name=field, number=number, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL)
    optional, kind = FieldProto.LABEL_OPTIONAL, FieldProto.TYPE_MESSAGE
    request, tree = proto.message_type[0], proto.message_type[3]
    request.field.add(name="nested", number=4, type=kind, type_name=".test.v1.Nested", label=optional)
    tree.field.add(name="child", number=4, type=kind, type_name=".test.v1.Tree", label=optional)
    made = proto.service.add(name="TestService")
    for name, (verb, pattern) in methods.items():
        input_type = ".test.v1.Tree" if "Tree" in name else ".test.v1.Request"
        method = made.method.add(name=name, input_type=input_type, output_type=".test.v1.Response")
        method.server_streaming = "Stream" in name
        if verb:
            setattr(method.options.Extensions[annotations_pb2.http], verb, pattern)
    return file_descriptor(proto)
