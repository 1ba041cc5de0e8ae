"""JSON and messages: the same as protobuf's own json_format, but for the house's choices, and stricter."""

import json
from typing import Any

import orjson
import pytest
from google.api import field_behavior_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.gateway import names, routes, transcode, well_known
from services.gateway.backends import CONTRACTS
from services.gateway.transcode import MalformedError
from services.kernel import fields
from tests.gateway.contracts import EVERYTHING, Everything
from tests.gateway.messages import free_values, messages, with_long_names

TYPES = [
    EVERYTHING,
    *{
        message.full_name: message
        for route in routes.build(CONTRACTS).routes
        for message in (route.method.input_type, route.method.output_type)
    }.values(),
]

INSTANT = "2026-01-31T12:00:00Z"


def any_message() -> st.SearchStrategy[Any]:
    """Gives messages of every type that is on HTTP, and of one with a field of every kind."""
    return st.sampled_from(TYPES).flatmap(messages)


def decode(value: Any, descriptor: Descriptor) -> Any:
    """Reads a JSON value into a new message."""
    message = GetMessageClass(descriptor)()
    transcode.from_json(value, message)
    return message


def faults(value: Any, descriptor: Descriptor) -> list[str]:
    """Lists the paths at fault."""
    with pytest.raises(MalformedError) as raised:
        decode(value, descriptor)
    return [each.field for each in raised.value.violations]


def decoded_or_faults(value: Any, descriptor: Descriptor) -> Any:
    """Reads a JSON value, or lists what is wrong with it."""
    try:
        return decode(value, descriptor)
    except MalformedError as malformed:
        return malformed.violations


def parsed_or_faults(body: bytes) -> Any:
    """Parses a body, or lists what is wrong with it."""
    try:
        return transcode.parse(body), []
    except MalformedError as malformed:
        return None, malformed.violations


def integer_of_64_bits(digits: str) -> float:
    """Reads digits as the parser does: what 64 bits cannot hold becomes a double, which the decoders do not trust."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def without_input_only(value: Any, descriptor: Descriptor) -> Any:
    """Leaves out what is never written, as the encoder does."""
    if not isinstance(value, dict) or descriptor.file.package == "google.protobuf":
        return value
    kept = {}
    for field in descriptor.fields:
        if field.json_name not in value or names.has_behaviour(field, field_behavior_pb2.INPUT_ONLY):
            continue
        item = value[field.json_name]
        if field.message_type is not None and not names.is_map(field):
            nested = field.message_type
            item = (
                [without_input_only(each, nested) for each in item]
                if field.is_repeated
                else without_input_only(item, nested)
            )
        kept[field.json_name] = item
    return kept


@settings(deadline=None)
@given(any_message())
def test_encode_agrees_with_json_format(message: Any) -> None:
    """What is written is what json_format writes with all fields, but for the names of enums and what is INPUT_ONLY."""
    expected = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    written = orjson.loads(transcode.render(transcode.to_json(message)))
    for name in ("shortRatio", "manyShortRatio"):
        # Floats of 32 bits are written with other digits that mean the same; the next test reads them back.
        expected.pop(name, None), written.pop(name, None)
    assert with_long_names(written, message.DESCRIPTOR) == without_input_only(expected, message.DESCRIPTOR)


@settings(deadline=None)
@given(any_message().filter(lambda message: "codes" not in json_format.MessageToJson(message)))
def test_decode_reads_what_encode_wrote(message: Any) -> None:
    """What is written is read back as the same message."""
    written = orjson.loads(transcode.render(transcode.to_json(message)))
    assert decode(written, message.DESCRIPTOR) == message


@settings(deadline=None)
@given(any_message(), st.booleans(), st.booleans())
def test_decode_reads_what_json_format_writes(message: Any, keeps_names: bool, numbers: bool) -> None:
    """All forms that json_format writes are read: names of the contract or of JSON, enums by name or by number."""
    written = json_format.MessageToJson(
        message, preserving_proto_field_name=keeps_names, use_integers_for_enums=numbers
    )
    assert decode(transcode.parse(written.encode()), message.DESCRIPTOR) == message


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_decode_takes_no_more_than_json_format(data: st.DataObject) -> None:
    """A value with something wrong in it is refused, or means exactly what json_format says that it means."""
    message: Any = data.draw(any_message())
    value = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    replacement = data.draw(free_values | st.sampled_from(["1", "1e3", 1.0, -1, 2**70, INSTANT, "RED", "1.5", "-0"]))
    value = _replaced(value, replacement, data)
    read = decoded_or_faults(value, message.DESCRIPTOR)
    if isinstance(read, list):
        assert read
        assert all(each.message for each in read)
        return
    expected = GetMessageClass(message.DESCRIPTOR)()
    json_format.ParseDict(with_long_names(value, message.DESCRIPTOR), expected)
    assert read == expected


def _replaced(value: Any, replacement: Any, data: st.DataObject) -> Any:
    """Puts another value somewhere into a JSON value."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _replaced(value[key], replacement, data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], _replaced(value[place], replacement, data), *value[place + 1 :]]
    return replacement


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_parse_gives_value_or_refuses(body: bytes) -> None:
    """Whatever bytes come, they are JSON for Python's own parser too, or are refused as not JSON."""
    value, found = parsed_or_faults(body)
    if found:
        assert found[0].message.startswith("is not JSON: ")
    else:
        assert value == json.loads(body, parse_int=integer_of_64_bits)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[1,]",
        b'{"a": 01}',
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"1e999",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_parse_refuses_what_is_not_json(body: bytes) -> None:
    """Broken JSON, other encodings, lone surrogates and bottomless nesting are refused, never an accident."""
    with pytest.raises(MalformedError) as raised:
        transcode.parse(body)
    assert raised.value.violations[0].field == ""


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ([], [""]),
        (None, [""]),
        ({"events": {}}, ["events"]),
        ({"events": [1]}, ["events[0]"]),
        ({"events": [None]}, ["events[0]"]),
        ({"events": [{}, {"memberId": 5}]}, ["events[1].memberId"]),
        ({"events": [{"nope": None}]}, ["events[0].nope"]),
        ({"nope": 1, "events": [{"occurTime": 1}]}, ["nope", "events[0].occurTime"]),
        (
            {"events": [{"eventId": [], "type": {}, "memberId": True}]},
            [f"events[0].{name}" for name in ("eventId", "type", "memberId")],
        ),
        ({"events": [{"properties": [1]}]}, ["events[0].properties"]),
        ({"events": [{"properties": {"a": [{"b": 2**53 + 1}]}}]}, ["events[0].properties.a[0].b"]),
        ({"events": [{"memberId": "a", "member_id": "a"}]}, ["events[0].member_id"]),
    ],
)
def test_decode_names_each_fault(value: Any, paths: list[str]) -> None:
    """A value that cannot be read is refused with the path of every fault, in lowerCamelCase."""
    assert faults(value, program_service_pb2.RecordEventsRequest.DESCRIPTOR) == paths


@pytest.mark.parametrize("value", ["12", "-0", "1e3", "10.0", 1000, 1.0, 1e3, "9223372036854775807", -(2**63), "1.5e1"])
def test_decode_takes_whole_numbers_in_all_forms(value: Any) -> None:
    """Whole numbers are taken as numbers and as strings, with exponents and empty fractions, exactly."""
    expected = Everything()
    json_format.ParseDict({"large": value}, expected)
    assert decode({"large": value}, EVERYTHING) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("small", 2**31),
        ("small", -(2**31) - 1),
        ("large", 2**63),
        ("large", -(2**63) - 1),
        ("large", "9223372036854775808"),
        ("large", 1.5),
        ("large", "1.5"),
        ("large", ""),
        ("large", " 1"),
        ("large", "1_000"),
        ("large", "0x10"),
        ("large", "٣"),
        ("large", True),
        ("large", []),
        ("large", 1e300),
        ("large", "1e300"),
        ("large", "1e999999999"),
        ("large", float(2**53 + 2)),
        ("unsignedSmall", -1),
        ("unsignedLarge", 2**64),
        ("flag", 1),
        ("flag", "true"),
        ("text", 1),
        ("ratio", "1.5.5"),
        ("ratio", True),
        ("ratio", "1e999"),
        ("ratio", 10**400),
        ("shortRatio", 1e39),
        ("bytesField", "*"),
        ("bytesField", "é"),
        ("bytesField", "A"),
        ("bytesField", 1),
        ("colour", "PURPLE"),
        ("colour", "red"),
        ("colour", 99),
        ("colour", 1.0),
        ("colour", True),
        ("inner", []),
        ("manySmall", 1),
        ("manySmall", [None]),
        ("textMap", []),
        ("textMap", {"a": None}),
        ("flagMap", {"yes": 1}),
        ("numberMap", {"a": {}}),
        ("period", "1"),
        ("wrapped", "a"),
        ("someList", {}),
    ],
)
def test_decode_refuses_wrong_values(name: str, value: Any) -> None:
    """A value of another type, out of range or not exact is refused under the name of its field."""
    (path,) = faults({name: value}, EVERYTHING)
    assert path.startswith(name)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.5Z",
        "2026-01-31T12:00:00.123456789Z",
        "2026-01-31T12:00:00+05:30",
        "2026-01-31T12:00:00.000001-08:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2024-02-29T23:59:59-23:59",
    ],
)
def test_decode_takes_instants_of_rfc_3339(text: str) -> None:
    """Instants are taken with any offset and to the nanosecond, and mean what json_format says."""
    expected = program_pb2.Event()
    json_format.ParseDict({"occurTime": text}, expected)
    assert decode({"occurTime": text}, program_pb2.Event.DESCRIPTOR) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-1-31T12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:60Z",
        "2026-02-30T12:00:00Z",
        "2025-02-29T12:00:00Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00+0530",
        "2026-01-31T12:00:00+24:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "２026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z\n",
        "2026-01-31T12:00:00Z" + "0" * 100_000,
        1_769_860_800,
        {"seconds": 1},
    ],
    ids=lambda value: str(value)[:32],
)
def test_decode_refuses_what_is_no_instant(value: Any) -> None:
    """What RFC 3339 does not write, dates that do not exist and instants out of range are refused."""
    assert faults({"occurTime": value}, program_pb2.Event.DESCRIPTOR) == ["occurTime"]


def test_decode_refuses_two_members_of_a_oneof() -> None:
    """Two members of a oneof are refused, one beside a null is taken."""
    assert faults({"oneText": "a", "oneInner": {}}, EVERYTHING) == ["oneInner"]
    assert decode({"oneText": None, "oneInner": {}}, EVERYTHING).WhichOneof("choice") == "one_inner"


def test_decode_takes_null_as_absent() -> None:
    """A null is as if the field were not there, but in free-form data, where it is a value."""
    assert decode({"text": None, "inner": None, "manySmall": None, "instant": None}, EVERYTHING) == Everything()
    assert transcode.to_json(decode({"anything": None, "data": {"a": None}}, EVERYTHING))["data"] == {"a": None}
    assert decode({"anything": None}, EVERYTHING).HasField("anything")


def test_decode_takes_both_names_of_an_enum() -> None:
    """A value of an enum is understood with and without its prefix, and written without."""
    for value in ("DARK_RED", "COLOUR_NAME_DARK_RED", 2):
        assert transcode.to_json(decode({"colour": value}, EVERYTHING))["colour"] == "DARK_RED"


def test_encode_writes_unknown_enum_as_number() -> None:
    """A value that this contract does not know yet is written as its number."""
    result: Any = program_pb2.EventResult()
    result.status = 77
    assert transcode.to_json(result)["status"] == 77


def test_encode_writes_all_but_absent_messages() -> None:
    """Fields without presence are always there, absent messages and members of a oneof are not."""
    assert transcode.to_json(program_pb2.EventResult()) == {
        "eventId": "",
        "status": "UNSPECIFIED",
        "effects": [],
        "denials": [],
    }
    assert transcode.to_json(ledger_pb2.OperationResult()) == {"requestId": "", "replayed": False}
    assert transcode.to_json(ledger_pb2.NextExpiry()) == {"amount": "0"}


def test_encode_never_writes_what_is_input_only() -> None:
    """The codes of a reward are written into it and never read back."""
    assert "codes" not in transcode.to_json(program_pb2.Reward(codes=["secret"]))


def nested(depth: int, wrap: Any) -> Any:
    """Nests a value."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]], ids=["objects", "lists"])
def test_decode_bounds_nesting(wrap: Any) -> None:
    """Data nests as deep as a message can carry and no deeper, however deep it is sent."""
    deepest = well_known.NESTING_MAX - 1
    request = program_service_pb2.RecordEventsRequest()
    transcode.from_json({"events": [{"properties": {"a": nested(deepest, wrap)}}]}, request)
    assert program_service_pb2.RecordEventsRequest.FromString(request.SerializeToString()) == request
    for depth in (deepest + 1, 900):
        (path,) = faults({"properties": {"a": nested(depth, wrap)}}, program_pb2.Event.DESCRIPTOR)
        assert path.startswith("properties.a")


def test_decode_bounds_number_of_values() -> None:
    """Data of more values than could ever be taken is refused before it costs much."""
    for value in ([0] * 9000, {str(number): 0 for number in range(9000)}, [[0] * 900] * 10):
        (path,) = faults({"properties": {"a": value}}, program_pb2.Event.DESCRIPTOR)
        assert path.startswith("properties.a")


def test_decode_bounds_lists_of_the_contract() -> None:
    """A list longer than the contract allows is refused before its items are looked at."""
    assert faults({"caps": [1] * 11}, program_pb2.Rule.DESCRIPTOR) == ["caps"]


def test_decode_bounds_what_it_says() -> None:
    """An answer about faults stays small, however many and however long their names are."""
    with pytest.raises(MalformedError) as raised:
        decode({f"{number}" * 10_000: 1 for number in range(100)}, program_pb2.Event.DESCRIPTOR)
    assert len(raised.value.violations) == 20
    assert sum(len(each.field) for each in raised.value.violations) < 20 * 200


@settings(deadline=None)
@given(st.floats() | st.integers())
def test_decode_keeps_numbers_of_free_data_exact(number: float) -> None:
    """A number in free-form data arrives as it was sent or is refused, never as another number."""
    try:
        read = decode({"data": {"a": number}}, EVERYTHING)
    except MalformedError:
        assert not -fields.EXACT_INTEGER_MAX <= number <= fields.EXACT_INTEGER_MAX
        return
    assert read.data["a"] == number


@settings(deadline=None)
@given(messages(ledger_service_pb2.ListEntriesResponse.DESCRIPTOR))
def test_encode_writes_amounts_as_strings(message: Any) -> None:
    """Amounts of 64 bits are strings of digits, so that no reader rounds them."""
    for entry, written in zip(message.entries, transcode.to_json(message)["entries"], strict=True):
        assert written["amount"] == str(entry.amount)
        assert int(written["balance"]) == entry.balance
