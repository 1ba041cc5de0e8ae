"""Fields: what the contracts say of them is enforced, each fault is named, and nothing crashes."""

import contextlib
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2
from plaudit.program.v1 import program_pb2, program_service_pb2
from plaudit.type.v1 import options_pb2, refusal_pb2

from services.kernel import fields
from tests.support.ledger import earn

ID, SLUG = options_pb2.TEXT_KIND_ID, options_pb2.TEXT_KIND_SLUG
ZONE, LOCALE = options_pb2.TEXT_KIND_TIME_ZONE, options_pb2.TEXT_KIND_LOCALE
DATE, EMAIL = options_pb2.TEXT_KIND_DATE, options_pb2.TEXT_KIND_EMAIL
ANY = options_pb2.TEXT_KIND_UNSPECIFIED


def named(message: Message) -> list[str]:
    """Names the fields that are at fault."""
    return [violation.field for violation in fields.violations(message)]


def member(**values: Any) -> program_service_pb2.UpdateMemberRequest:
    """Makes a request that is sound but for what is given."""
    return program_service_pb2.UpdateMemberRequest(member=program_pb2.Member(**{"member_id": "m1", **values}))


def attributes(value: Any) -> list[str]:
    """Names the faults of one attribute."""
    return named(member(attributes={"key": value}))


def nested(levels: int) -> Any:
    """Makes properties that are so many levels deep."""
    return {"key": nested(levels - 1)} if levels > 1 else {"key": 1}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ANY, "any text, with\nlines"),
        (ID, "user@example.com"),
        (ID, "a b"),
        (ID, "Zoë-例-1"),
        (ID, "..."),
        (SLUG, "purchase.completed-2_x"),
        (ZONE, "Europe/Paris"),
        (ZONE, "UTC"),
        (LOCALE, "en"),
        (LOCALE, "zh-Hant-TW"),
        (DATE, "2024-02-29"),
        (EMAIL, "a.b+c@example.co.uk"),
    ],
)
def test_text_of_its_kind_is_accepted(kind: int, text: str) -> None:
    """A text of its kind has no fault, up to its very length."""
    assert fields.text_fault(text, len(text), kind) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ANY, "a\0b"),
        (ID, "a/b"),
        (ID, " a"),
        (ID, "a\n"),
        (ID, "a\u00a0"),
        (ID, "a\x7fb"),
        (ID, "a\u200bb"),
        (ID, "é\tb"),
        (ID, "."),
        (ID, ".."),
        (ID, "a\0"),
        (SLUG, "Upper"),
        (SLUG, "1st"),
        (SLUG, "a b"),
        (SLUG, "a\n"),
        (SLUG, "é"),
        (ZONE, "Mars/Olympus"),
        (ZONE, "../../etc/passwd"),
        (ZONE, "localtime"),
        (ZONE, "europe/paris"),
        (LOCALE, "english"),
        (LOCALE, "en_US"),
        (LOCALE, "en-"),
        (LOCALE, "en\n"),
        (DATE, "2023-02-29"),
        (DATE, "20240229"),
        (DATE, "2024-2-9"),
        (DATE, "2024-W01-1"),
        (EMAIL, "nobody"),
        (EMAIL, "a@b"),
        (EMAIL, "a@b.c\n"),
        (EMAIL, "a b@c.de"),
        (EMAIL, "a@b@c.de"),
        (EMAIL, "a\u0080@b.de"),
        (EMAIL, "a@b\u200b.de"),
    ],
)
def test_text_of_another_kind_is_refused(kind: int, text: str) -> None:
    """A text that is not of its kind has a fault that says so."""
    assert fields.text_fault(text, 200, kind)


@given(text=st.text(min_size=1, max_size=40), kind=st.sampled_from([ANY, ID, SLUG, ZONE, LOCALE, DATE, EMAIL]))
def test_text_of_any_kind_has_nothing_that_harms(text: str, kind: int) -> None:
    """Whatever text comes is judged without a crash, and what passes has no NUL and is not too long."""
    if fields.text_fault(text, 30, kind) is None:
        assert "\0" not in text
        assert len(text) <= 30
    if kind == ID and fields.text_fault(text, 30, kind) is None:
        assert "/" not in text
        assert text == text.strip()
        assert not any(ord(character) < 32 for character in text)


def test_required_field_is_missed() -> None:
    """A required field that is empty is named, at every level, and a message is missed as a whole."""
    assert named(program_service_pb2.UpdateMemberRequest()) == ["member"]
    assert named(member(member_id="")) == ["member.memberId"]
    assert named(ledger_service_pb2.PostOperationsRequest()) == ["operations"]


def test_required_text_says_something() -> None:
    """White space alone is no reason; where a text may be left out, it may be blank."""
    adjustment = ledger_pb2.Adjust(member_id="m1", asset="points", change=1, reason=" \n", actor="staff-1")

    assert named(adjustment) == ["reason"]
    assert named(member(display_name=" ")) == []


def test_length_is_counted_in_characters() -> None:
    """A text may have as many characters as its field says, not bytes, and not one more."""
    assert named(member(display_name="é" * 200)) == []
    assert named(member(display_name="é" * 201)) == ["member.displayName"]


def test_every_fault_is_named_at_once() -> None:
    """All fields at fault are named together, in the order of the contract."""
    request = member(email="x", locale="??", time_zone="Nowhere", birthday="1.1.2000", org_id="a/b")

    assert named(request) == [
        "member.email",
        "member.locale",
        "member.timeZone",
        "member.birthday",
        "member.orgId",
    ]


def test_faults_in_repeated_messages_are_named_by_index() -> None:
    """A fault inside a list is named by its index."""
    caps = [program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY), program_pb2.Cap(max_amount=-1)]
    rule = program_pb2.Rule(rule_id="r", display_name="R", event_type="e", amount="1", caps=caps)

    request = program_service_pb2.CreateRuleRequest(rule=rule, request_id="1")
    assert named(request) == ["rule.caps[1].period", "rule.caps[1].maxAmount"]


def test_itemized_list_is_left_to_its_method() -> None:
    """Items that are judged one by one do not fail the call, but their number does."""
    broken = ledger_pb2.Operation()

    assert named(ledger_service_pb2.PostOperationsRequest(operations=[broken])) == []
    assert named(ledger_service_pb2.PostOperationsRequest(operations=[broken] * 1001)) == ["operations"]


@pytest.mark.parametrize(
    ("types", "faults"), [([], []), (["a"] * 64, []), (["a"] * 65, ["types"]), ([""], ["types[0]"])]
)
def test_list_of_texts_is_judged(types: list[str], faults: list[str]) -> None:
    """A list of texts has its number of items and none that is empty."""
    assert named(feed_service_pb2.ReadEventsRequest(types=types)) == faults


def test_text_in_list_may_not_have_nul() -> None:
    """Texts in a list are judged like any other."""
    assert named(feed_service_pb2.ReadEventsRequest(types=["a", "b\0"])) == ["types[1]"]
    assert named(feed_service_pb2.ReadEventsRequest(types=["a" * 201])) == ["types[0]"]


@pytest.mark.parametrize(("amount", "fine"), [(1, True), (10**12, True), (10**12 + 1, False), (-1, False)])
def test_integer_has_its_limits(amount: int, fine: bool) -> None:
    """A whole number may be either of its limits and nothing beyond."""
    assert named(earn("e1", amount=amount)) == ([] if fine else ["earn.amount"])


def test_enum_has_known_values_only() -> None:
    """A number that no enum value has is refused."""
    rule = program_pb2.Rule(rule_id="r", display_name="R", event_type="e", amount="1", state=99)  # type: ignore[arg-type]

    assert named(program_service_pb2.CreateRuleRequest(rule=rule, request_id="1")) == ["rule.state"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "fine"),
    [
        (-62135596800, 0, True),
        (253402300799, 999_999_999, True),
        (-62135596801, 0, False),
        (253402300800, 0, False),
        (0, -1, False),
        (0, 10**9, False),
        (2**63 - 1, 0, False),
    ],
)
def test_instant_has_its_limits(seconds: int, nanos: int, fine: bool) -> None:
    """An instant lies between the years 1 and 9999."""
    operation = earn("e1")
    operation.occur_time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))

    assert named(operation) == ([] if fine else ["occurTime"])


def test_properties_have_their_depth() -> None:
    """Properties may be eight levels deep, in objects or lists, and no deeper."""
    assert named(member(attributes=nested(8))) == []
    assert named(member(attributes=nested(9))) == ["member.attributes" + ".key" * 8]
    assert attributes([[[[[[[1]]]]]]]) == []
    assert attributes([[[[[[[[1]]]]]]]]) == ["member.attributes.key" + "[0]" * 7]


def test_properties_have_their_number_of_keys() -> None:
    """Properties may have a hundred keys in all levels together."""
    assert named(member(attributes={str(number): 1 for number in range(100)})) == []
    assert attributes({str(number): 1 for number in range(99)}) == []
    assert attributes([{str(number): 1} for number in range(100)]) == ["member.attributes"]


def test_properties_have_their_size() -> None:
    """Properties may have 32 KiB."""
    room = (
        fields.STRUCT_BYTES_MAX
        - struct_pb2.Struct(fields={"key": struct_pb2.Value(string_value="x" * 30000)}).ByteSize()
    )

    assert attributes("x" * (30000 + room)) == []
    assert attributes("x" * (30000 + room + 1)) == ["member.attributes"]


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), 0.1, -0.0, 5e-324])
def test_number_that_json_carries_exactly_is_accepted(number: float) -> None:
    """Numbers within 2^53 of zero are accepted."""
    assert attributes(number) == []


@pytest.mark.parametrize("number", [2.0**53 + 2, -(2.0**53) - 2, 1e300, float("inf"), float("-inf"), float("nan")])
def test_number_that_json_cannot_carry_is_refused(number: float) -> None:
    """Numbers further away, infinities and what is no number are refused, in lists too."""
    assert attributes(number) == ["member.attributes.key"]
    assert attributes([1, number]) == ["member.attributes.key[1]"]


def test_properties_have_no_nul_and_no_holes() -> None:
    """NUL in a text or a key, and a value without a kind, are refused."""
    assert attributes("a\0") == ["member.attributes.key"]
    assert named(member(attributes={"a\0": 1})) == ["member.attributes"]
    hollow = struct_pb2.Struct(fields={"key": struct_pb2.Value()})
    assert named(member(attributes=hollow)) == ["member.attributes.key"]


def test_fault_under_a_long_key_is_told_briefly() -> None:
    """However long keys are, what is said of faults fits the metadata of an answer."""
    hostile = {f"{number}" + "k" * 1500: float("nan") for number in range(20)}
    found = fields.violations(member(attributes=hostile))

    assert found
    assert sum(len(each.field) + len(each.message) for each in found) < 5000


def test_faults_are_not_told_without_end() -> None:
    """However many faults there are, the first twenty are told."""
    assert len(attributes([float("nan")] * 500)) == fields.VIOLATIONS_MAX
    assert len(named(feed_service_pb2.ReadEventsRequest(types=[""] * 60))) == fields.VIOLATIONS_MAX


def test_properties_become_plain_values() -> None:
    """Whole numbers become integers, so that arithmetic on them is exact; everything else stays what it was."""
    struct = struct_pb2.Struct()
    struct.update({"n": 3, "f": 1.5, "t": "x", "b": True, "none": None, "list": [1, {"a": 2}], "big": 2**53})

    plain = fields.struct_to_dict(struct)
    assert plain == {"n": 3, "f": 1.5, "t": "x", "b": True, "none": None, "list": [1, {"a": 2}], "big": 2**53}
    assert [type(plain[name]) for name in ("n", "f", "b")] == [int, float, bool]


def test_plain_values_become_properties() -> None:
    """What was read from properties makes the same properties again."""
    struct = struct_pb2.Struct()
    struct.update({"n": 3, "t": "x", "none": None, "list": [1, {"a": 2}]})

    assert fields.dict_to_struct(fields.struct_to_dict(struct)) == struct


def test_output_only_is_cleared() -> None:
    """What only the service sets is emptied at every level, in lists too, before anything looks at it."""
    request = member(display_name="Ada")
    request.member.create_time.seconds = 5
    listed = program_service_pb2.ListRulesResponse(rules=[program_pb2.Rule(rule_id="r", version=7)])
    fields.clear_output_only(request)
    fields.clear_output_only(listed)

    assert request == member(display_name="Ada")
    assert listed == program_service_pb2.ListRulesResponse(rules=[program_pb2.Rule(rule_id="r")])


def test_output_only_is_not_judged() -> None:
    """A fault in what only the service sets is nobody's fault."""
    request = member()
    request.member.create_time.nanos = -1

    assert named(request) == []


def test_maps_are_let_through() -> None:
    """A map in a message is no list of messages."""
    assert named(refusal_pb2.Refusal(metadata={"key": "value"})) == []


@given(wire=st.binary(max_size=120))
def test_any_message_is_judged_without_a_crash(wire: bytes) -> None:
    """Whatever the bytes of a request say, it is judged, and clearing it changes nothing of the judgement."""
    request = program_service_pb2.UpdateMemberRequest()
    # What is no message at all is refused by the parser before anything here sees it.
    with contextlib.suppress(DecodeError):
        request.ParseFromString(b"\x0a" + bytes([len(wire)]) + wire)
    before = named(request)
    fields.clear_output_only(request)

    assert named(request) == before
