"""K2: one outcome per request; fingerprints tell which fields differ, derived ids what follows from a cause."""

import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.kernel import ids, requests

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.text(max_size=20), st.integers(-(2**53), 2**53), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ASCII = st.text(st.characters(max_codepoint=127), min_size=4, max_size=64)
CONTENTS = st.dictionaries(st.sampled_from("abcdefgh"), VALUES, min_size=1)


@given(content=CONTENTS)
def test_fingerprint_of_same_content_differs_nowhere(content: dict[str, Any]) -> None:
    """The same content has the same fingerprint, of four bytes a field."""
    stored = requests.fingerprint(content)

    assert requests.differing_fields(stored, dict(content)) == []
    assert len(stored) == 4 * len(content)


@given(content=CONTENTS, data=st.data())
def test_differing_fields_are_named_exactly(content: dict[str, Any], data: st.DataObject) -> None:
    """Exactly the fields whose values changed are named, in the order of the content."""
    changed = data.draw(st.lists(st.sampled_from(sorted(content)), unique=True))
    other = {name: [value, "other"] if name in changed else value for name, value in content.items()}

    named = requests.differing_fields(requests.fingerprint(content), other)
    assert named == [name for name in content if name in changed]


@given(text=ASCII, place=st.integers(0, 60), data=st.data())
def test_burst_of_four_bytes_is_never_missed(text: str, place: int, data: st.DataObject) -> None:
    """Two texts of one length that differ within four bytes in a row, or have them in another order, are told apart."""
    place = min(place, len(text) - 4)
    burst = data.draw(
        st.permutations(text[place : place + 4]) | st.lists(st.sampled_from("abc"), min_size=4, max_size=4)
    )
    other = text[:place] + "".join(burst) + text[place + 4 :]

    named = requests.differing_fields(requests.fingerprint({"name": text}), {"name": other})
    assert named == ([] if text == other else ["name"])


def test_fingerprint_of_other_kind_differs_everywhere() -> None:
    """A fingerprint with another number of fields belongs to another kind of request: every field differs."""
    stored = requests.fingerprint({"kind": "HOLD", "memberId": "m"})

    assert requests.differing_fields(stored, {"kind": "HOLD"}) == ["kind"]
    assert requests.differing_fields(b"", {"kind": "HOLD", "memberId": "m"}) == ["kind", "memberId"]


def test_fingerprint_tells_types_apart() -> None:
    """A number and the text of it are other content, and so are nothing, an empty text and an empty list."""
    values: list[Any] = [1, "1", "i1", [1], "j[1]", "", None, "jnull", [], {}]
    prints = {requests.fingerprint({"value": value}) for value in values}

    assert len(prints) == len(values)


def test_fingerprint_ignores_order_of_keys() -> None:
    """Properties are the same content in whatever order their keys were sent."""
    assert requests.fingerprint({"p": {"a": 1, "b": {"c": 2, "d": 3}}}) == requests.fingerprint(
        {"p": {"b": {"d": 3, "c": 2}, "a": 1}}
    )


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


def test_new_ids_sort_by_time() -> None:
    """New ids are unique UUIDs of version 7, and their first 48 bits never go back."""
    made = [ids.new_id() for _ in range(5000)]

    assert len(set(made)) == len(made)
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    milliseconds = [each.int >> 80 for each in made]
    assert milliseconds == sorted(milliseconds)
