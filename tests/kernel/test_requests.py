"""K2: one outcome per request; fingerprints tell which fields differ, derived ids what follows from a cause."""

import string
import time
import uuid
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import ids, requests
from tests.conftest import START

INSTANTS = st.datetimes(timezones=st.just(UTC) | st.timezones())
PLAIN = st.one_of(
    st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(), st.binary(max_size=9), INSTANTS
)
NESTED: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALUES = PLAIN | NESTED
CONTENTS = st.dictionaries(st.sampled_from("abcdefgh"), VALUES, min_size=1)


def is_same(value: Any, other: Any) -> bool:
    """Tells whether two values are the same content: of one type and equal, down to the last."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(is_same(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(is_same, value, other))
    return type(value) is type(other) and bool(value == other)


@given(content=CONTENTS)
def test_fingerprint_of_same_content_differs_nowhere(content: dict[str, Any]) -> None:
    """The same content has the same fingerprint, of eight bytes and one more a field."""
    stored = requests.fingerprint(content)

    assert requests.differing_fields(stored, dict(content)) == []
    assert len(stored) == 8 + len(content)


@given(content=CONTENTS, data=st.data())
def test_differing_fields_are_seen_and_named(content: dict[str, Any], data: st.DataObject) -> None:
    """Any difference is seen; those named have changed, in the order of the content, or all are named."""
    names = data.draw(st.lists(st.sampled_from(sorted(content)), unique=True))
    other = {name: data.draw(VALUES) if name in names else value for name, value in content.items()}
    changed = [name for name in content if not is_same(content[name], other[name])]

    named = requests.differing_fields(requests.fingerprint(content), other)
    assert bool(named) is bool(changed)
    assert named in ([name for name in changed if name in named], list(content))


@given(text=st.text(max_size=30), last=st.permutations(string.printable))
def test_other_last_character_is_named_alone(text: str, last: list[str]) -> None:
    """A field whose last character alone is another is named, and it alone."""
    stored = requests.fingerprint({"kind": "EARN", "name": text + last[0], "amount": 5})

    assert requests.differing_fields(stored, {"kind": "EARN", "name": text + last[1], "amount": 5}) == ["name"]


def test_difference_that_no_byte_tells_names_every_field() -> None:
    """Where the byte of a changed field is the same by accident, the change is seen and every field is named."""
    stored = requests.fingerprint({"kind": "EARN", "name": "0"})
    others = [{"kind": "EARN", "name": str(number)} for number in range(1, 2000)]
    missed = [other for other in others if requests.fingerprint(other)[8:] == stored[8:]]

    assert missed
    assert all(requests.differing_fields(stored, other) == ["kind", "name"] for other in missed)


def test_fingerprint_of_other_kind_differs_everywhere() -> None:
    """A fingerprint with another number of fields belongs to another kind of request: every field differs."""
    stored = requests.fingerprint({"kind": "HOLD", "memberId": "m"})

    assert requests.differing_fields(stored, {"kind": "HOLD"}) == ["kind"]
    assert requests.differing_fields(b"", {"kind": "HOLD", "memberId": "m"}) == ["kind", "memberId"]


def test_fingerprint_tells_types_apart() -> None:
    """A number and the text of it are other content, and so are nothing, an empty text and an empty list."""
    values: list[Any] = [1, True, "1", b"1", [1], "[1]", "", b"", None, "null", [], {}, 0, False, START, str(START)]
    prints = {requests.fingerprint({"value": value}) for value in values}

    assert len(prints) == len(values)


@given(text=st.text(min_size=1, max_size=20), cut=st.integers(0, 20), other_cut=st.integers(0, 20))
def test_fingerprint_tells_where_fields_end(text: str, cut: int, other_cut: int) -> None:
    """The same texts cut at other places are other content, which the digest alone tells."""
    one, other = ({"a": text[:place], "b": text[place:]} for place in (cut, other_cut))

    assert (requests.fingerprint(one)[:8] == requests.fingerprint(other)[:8]) is (one == other)


@given(instant=INSTANTS, zone=st.timezones(), later=st.integers(-1000, 1000))
def test_fingerprint_knows_instants(instant: datetime, zone: tzinfo, later: int) -> None:
    """A time is the same content in whatever zone it is told, and another by one microsecond."""
    shown = instant.astimezone(zone) if 2 < instant.year < 9998 else instant
    moved = shown.astimezone(UTC) + timedelta(microseconds=later) if 2 < instant.year < 9998 else shown

    assert requests.fingerprint({"at": instant}) == requests.fingerprint({"at": shown})
    assert (requests.fingerprint({"at": moved}) == requests.fingerprint({"at": instant})) is (moved == shown)


def test_fingerprint_refuses_a_time_without_zone() -> None:
    """Nobody knows which instant a time without a zone is, and so it is no content."""
    with pytest.raises(ValueError, match="tzinfo"):
        requests.fingerprint({"at": START.replace(tzinfo=None)})


def test_fingerprint_ignores_order_of_keys() -> None:
    """Properties are the same content in whatever order their keys were sent."""
    assert requests.fingerprint({"p": {"a": 1, "b": {"c": 2, "d": 3}}}) == requests.fingerprint(
        {"p": {"b": {"d": 3, "c": 2}, "a": 1}}
    )


def test_fingerprint_stays_for_ever() -> None:
    """A fingerprint is the same on every machine and in every version, since rows keep it."""
    at = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
    content = {"a": "Zoë", "b": -70_000, "c": None, "d": True, "e": b"\xff", "f": at, "g": [1, {"z": 0.5, "y": "x"}]}

    assert requests.fingerprint(content).hex() == "4bf9a5830c3bcd527d293d87429e95"


@given(causes=st.lists(st.text(), min_size=1, max_size=4), others=st.lists(st.text(), min_size=1, max_size=4))
def test_derived_id_belongs_to_its_causes(causes: list[str], others: list[str]) -> None:
    """The same causes give the same id, and others, however they are cut, another."""
    assert (ids.derived_id(*causes) == ids.derived_id(*others)) is (causes == others)


def test_derived_id_stays_for_ever() -> None:
    """A derived id is the same on every machine and in every version, since replays depend on it."""
    assert ids.derived_id("event", "rule") == uuid.UUID("d3cd5cc1-01e3-5fc4-80ca-7cb9435ca364")
    assert ids.request_key("e1") == uuid.UUID("afdd4403-c410-69df-839d-be2249f98aee")


@given(text=st.text(max_size=200), other=st.text(max_size=200))
def test_request_key_belongs_to_its_id(text: str, other: str) -> None:
    """One request id has one key and two have two, and no caller can name a key that Plaudit derives for itself."""
    assert (ids.request_key(text) == ids.request_key(other)) is (text == other)
    assert ids.request_key(str(ids.derived_id(text))) != ids.derived_id(text)


def test_new_numbers_ascend() -> None:
    """Numbers of one call ascend and differ, fit a bigint, and lie behind those of a millisecond before."""
    first = ids.new_numbers(1000)
    later = time.time_ns() // 1_000_000 + 2
    while time.time_ns() // 1_000_000 < later:
        pass
    second = ids.new_numbers(3)

    assert len(set(first)) == 1000
    assert first == sorted(first)
    assert first[0] < second[0] < 2**63
    assert ids.new_numbers(0) == []


def test_new_ids_sort_by_time() -> None:
    """New ids are unique UUIDs of version 7, and their first 48 bits never go back."""
    made = [ids.new_id() for _ in range(5000)]

    assert len(set(made)) == len(made)
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    milliseconds = [each.int >> 80 for each in made]
    assert milliseconds == sorted(milliseconds)
