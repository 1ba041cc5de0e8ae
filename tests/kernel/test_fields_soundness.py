"""Soundness: the fast look at a message and the list of its faults agree, whatever the message and the contract."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import plaudit
import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2
from plaudit.type.v1 import options_pb2

from services.kernel import fields
from services.kernel.fields import faults, limits
from tests.support.ledger import earn

SOUND_TEXTS = {
    options_pb2.TEXT_KIND_UNSPECIFIED: ["some text\nin lines", "é"],
    options_pb2.TEXT_KIND_ID: ["m1", "Zoë 1", "..."],
    options_pb2.TEXT_KIND_SLUG: ["points", "a.b-c_9"],
    options_pb2.TEXT_KIND_TIME_ZONE: ["Europe/Paris"],
    options_pb2.TEXT_KIND_LOCALE: ["pt-BR"],
    options_pb2.TEXT_KIND_DATE: ["2024-02-29"],
    options_pb2.TEXT_KIND_EMAIL: ["a@b.co"],
}
ODD_TEXTS = [
    "",
    " ",
    ".",
    "..",
    "a/b",
    " a",
    "a ",
    "a\n",
    "\0",
    "a\0b",
    "é\t",
    "a\u00a0",
    "a\x7f",
    "A",
    "9",
    "..a",
    "?",
]


def contract_types() -> Iterator[Descriptor]:
    """Lists every type of message in the contracts."""
    for module in pkgutil.walk_packages(plaudit.__path__, "plaudit."):
        if module.name.endswith("_pb2"):
            yield from importlib.import_module(module.name).DESCRIPTOR.message_types_by_name.values()


TYPES = sorted(contract_types(), key=lambda each: each.full_name)


def sound_value(field: FieldDescriptor) -> Any:
    """Gives a value that a field may have, where it holds no message."""
    options = field.GetOptions()
    if field.type == FieldDescriptor.TYPE_STRING:
        text = options.Extensions[options_pb2.text]
        return SOUND_TEXTS[text.kind][0][: text.max_length or None]
    if field.enum_type is not None:
        return list(field.enum_type.values_by_number)[-1]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"bytes"
    return options.Extensions[options_pb2.integer].max if options.HasExtension(options_pb2.integer) else 1


def odd_values(field: FieldDescriptor) -> list[Any]:
    """Lists values at the limits of a field that holds no message, and beyond."""
    options = field.GetOptions()
    if field.type == FieldDescriptor.TYPE_STRING:
        text = options.Extensions[options_pb2.text]
        longest = (200 if field.is_repeated else text.max_length) or fields.TEXT_LENGTH_MAX
        every = [each for kind in SOUND_TEXTS.values() for each in kind]
        return [*every, *ODD_TEXTS, "a" * longest, "a" * (longest + 1), "/" * longest]
    if field.enum_type is not None:
        return [*field.enum_type.values_by_number, 99, -1]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return [b""]
    if options.HasExtension(options_pb2.integer):
        least, most = options.Extensions[options_pb2.integer].min, options.Extensions[options_pb2.integer].max
        room = 2**31 if field.type == FieldDescriptor.TYPE_INT32 else 2**63
        return [each for each in (least - 1, least, 0, most, most + 1) if -room <= each < room]
    return [0]


def sound(kind: Descriptor) -> Any:
    """Makes a message without faults, each of whose fields is set, or the last of those that exclude each other."""
    message: Any = message_factory.GetMessageClass(kind)()
    if kind.full_name == "google.protobuf.Struct":
        message.update({"key": "text"})
    elif kind.full_name == "google.protobuf.Timestamp":
        message.seconds = limits.TIMESTAMP_SECONDS_MAX
    for field in kind.fields if kind.full_name.startswith("plaudit.") else ():
        if field.is_repeated:
            items = field.GetOptions().Extensions[options_pb2.items]
            put(message, field, sound_items(field, items.min_items or 1))
        elif field.message_type is not None:
            put(message, field, sound(field.message_type))
        else:
            put(message, field, sound_value(field))
    return message


def sound_items(field: FieldDescriptor, count: int) -> list[Any]:
    """Makes so many items of a list; a map stays empty."""
    if field.message_type is None:
        return [sound_value(field)] * count
    return [] if field.message_type.GetOptions().map_entry else [sound(field.message_type)] * count


def put(message: Any, field: FieldDescriptor, value: Any) -> None:
    """Sets a field to a value, a list or a message, or to nothing."""
    message.ClearField(field.name)
    if not value and (field.is_repeated or value is None):
        return
    if field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def spoilt(kind: Descriptor) -> Iterator[Any]:
    """Makes messages that are sound but for one thing at most, however deep it is."""
    if kind.full_name == "google.protobuf.Timestamp":
        least, most = limits.TIMESTAMP_SECONDS_MIN, limits.TIMESTAMP_SECONDS_MAX
        for seconds, nanos in ((least, 0), (least - 1, 0), (most, 10**9 - 1), (most + 1, 0), (0, -1), (0, 10**9)):
            yield Timestamp(seconds=seconds, nanos=nanos)
    elif kind.full_name == "google.protobuf.Struct":
        for value in (Value(string_value="\0"), Value(number_value=float("nan")), Value(number_value=1.5)):
            yield Struct(fields={"key": value})
    for field in kind.fields if kind.full_name.startswith("plaudit.") else ():
        for value in (None, *odd_contents(field)):
            message = sound(kind)
            put(message, field, value)
            yield message


def odd_contents(field: FieldDescriptor) -> Iterator[Any]:
    """Lists what a field may be set to, and should not."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return
    one_by_one = odd_values(field) if kind is None else spoilt(kind)
    if not field.is_repeated:
        yield from one_by_one
        return
    items = field.GetOptions().Extensions[options_pb2.items]
    for count in {items.min_items - 1, items.min_items, items.max_items, items.max_items + 1} - {-1}:
        yield sound_items(field, count)
    for value in one_by_one:
        yield [*sound_items(field, max(1, items.min_items - 1)), value]


def plainly(message: Message) -> list[Any]:
    """Lists the faults of a message without the fast look."""
    return faults.find(message)[: fields.VIOLATIONS_MAX]


@pytest.mark.parametrize("kind", TYPES, ids=lambda each: each.full_name)
def test_fast_look_changes_no_judgement(kind: Descriptor) -> None:
    """A message of any type has the same faults in the same order, whether it was looked at fast before or not."""
    empty = message_factory.GetMessageClass(kind)()
    assert fields.violations(empty) == plainly(empty)
    assert fields.violations(sound(kind)) == []
    for message in spoilt(kind):
        assert fields.violations(message) == plainly(message), message


@given(text=st.text(max_size=6) | st.sampled_from(ODD_TEXTS), data=st.data())
def test_fast_look_at_a_text_changes_no_judgement(text: str, data: st.DataObject) -> None:
    """Any text in any field has the same fault, also where its kind has a fast way of its own."""
    request = program_service_pb2.UpdateMemberRequest(member=program_pb2.Member(member_id="m1"))
    operation = earn("e1")
    name = data.draw(st.sampled_from(["member_id", "email", "locale", "time_zone", "birthday", "org_id"]))
    setattr(request.member, name, text)
    setattr(operation.earn, data.draw(st.sampled_from(["member_id", "asset", "budget_id"])), text)

    assert fields.violations(request) == plainly(request)
    assert fields.violations(operation) == plainly(operation)


def test_sound_operation_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What most operations are is judged by the fast look alone."""
    operations = [earn("01a2000d-7bb4-7969-8081-39c36bd097be", amount=10**12), earn("e1", "Zoë@b.co")]
    operations[0].occur_time.seconds = 1
    operations[0].cause.rule_id = "rule-1"
    operations[1].earn.budget_id = "budget_1"
    monkeypatch.setattr(faults, "find", None)

    assert [fields.violations(each) for each in operations] == [[], []]


def test_message_is_sound_whatever_is_not_to_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is itemized, partial or for the service alone to set makes no message look less than sound."""
    member = program_pb2.Member(member_id="m1")
    member.create_time.nanos = -1
    sound_ones: list[Message] = [
        program_service_pb2.UpdateMemberRequest(member=member),
        program_service_pb2.UpdateRuleRequest(rule=program_pb2.Rule(display_name="R"), request_id="1"),
        ledger_service_pb2.PostOperationsRequest(operations=[ledger_pb2.Operation()]),
    ]
    monkeypatch.setattr(faults, "find", None)

    assert [fields.violations(each) for each in sound_ones] == [[], [], []]


def tree_type() -> Descriptor:
    """Makes a contract whose message may hold others of its own type."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="tree.proto", package="plaudit.test.v1", syntax="proto3")
    tree = file.message_type.add(name="Tree")
    tree.field.add(name="name", number=1, type=FieldDescriptor.TYPE_STRING, label=FieldDescriptor.LABEL_OPTIONAL)
    tree.field[0].options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)
    for number, (name, label) in enumerate({"left": 1, "branches": 3}.items(), start=2):
        tree.field.add(
            name=name,
            number=number,
            type=FieldDescriptor.TYPE_MESSAGE,
            label=label,
            type_name=".plaudit.test.v1.Tree",
        )
    pool.Add(file)
    return pool.FindMessageTypeByName("plaudit.test.v1.Tree")


def test_message_within_its_own_type_is_judged() -> None:
    """A message that holds others of its own type is judged down to the last of them."""
    make: Any = message_factory.GetMessageClass(tree_type())
    tree = make(name="a", left=make(name="b", left=make(name="c")), branches=[make(name="d")])
    assert fields.violations(tree) == []
    tree.left.left.name = ""
    tree.branches.add(left=make(name="e"))

    assert [each.field for each in fields.violations(tree)] == ["left.left.name", "branches[1].name"]


def test_remembered_slug_is_judged_like_any_other() -> None:
    """A text that was a slug in one field is too long in another, and one that was none stays none."""
    for asset, named in (("a" * 32, []), ("a" * 33, ["earn.asset"]), ("A", ["earn.asset"])) * 2:
        operation = ledger_pb2.Operation(request_id="e1", earn=ledger_pb2.Earn(member_id="m1", asset=asset))
        assert [each.field for each in fields.violations(operation)] == named
