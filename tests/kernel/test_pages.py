"""Pages: sizes as AIP-158 wants them, tokens that hold only with their own arguments."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import errors, pages

CURSORS = st.lists(st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=20), st.none()), max_size=4)
ARGUMENTS = st.lists(st.text(max_size=10), min_size=1, max_size=3)


def refused_field(token: str, *arguments: str) -> str:
    """Gives the field that a refused token is blamed on."""
    with pytest.raises(errors.DomainError) as caught:
        pages.decode_token(token, *arguments)
    return caught.value.violations[0].field


@pytest.mark.parametrize(("requested", "used"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_size_is_bounded(requested: int, used: int) -> None:
    """No size means 50, and a size above 1,000 means 1,000."""
    assert pages.page_size(requested) == used


def test_page_size_below_zero_is_refused() -> None:
    """A negative size is refused by the name of its field."""
    with pytest.raises(errors.DomainError) as caught:
        pages.page_size(-1)
    assert (caught.value.reason, caught.value.violations[0].field) == ("FIELD_INVALID", "pageSize")


@given(cursor=CURSORS, arguments=ARGUMENTS)
def test_token_brings_cursor_back(cursor: list[Any], arguments: list[str]) -> None:
    """A token gives its cursor back to a call with the same arguments, and fits its field in a request."""
    token = pages.encode_token(cursor, *arguments)

    assert pages.decode_token(token, *arguments) == cursor
    assert token.isascii()


@given(cursor=CURSORS, arguments=ARGUMENTS, others=ARGUMENTS)
def test_token_of_other_arguments_is_refused(cursor: list[Any], arguments: list[str], others: list[str]) -> None:
    """A token is refused by a call with any other arguments, however they are cut."""
    token = pages.encode_token(cursor, *arguments)

    if arguments != others:
        assert refused_field(token, *others) == "pageToken"
    else:
        assert pages.decode_token(token, *others) == cursor


@given(
    token=st.one_of(st.text(min_size=1), st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
)
def test_garbage_token_is_refused(token: str) -> None:
    """Whatever is no token is refused as such, and breaks nothing."""
    assert refused_field(token, "entries", "demo") == "pageToken"


@given(content=st.one_of(st.text(), st.integers(-(2**53), 2**53), st.none(), st.dictionaries(st.text(), st.text())))
def test_token_without_a_list_is_refused(content: Any) -> None:
    """A token that was made by somebody who knows the form, but holds no cursor, is refused too."""
    made = base64.urlsafe_b64decode(pages.encode_token([], "entries") + "==")
    forged = base64.urlsafe_b64encode(made.removesuffix(b"[]") + orjson.dumps(content)).decode()

    assert refused_field(forged, "entries") == "pageToken"


def test_token_of_deep_cursor_is_refused() -> None:
    """A cursor nested beyond reason is refused and does not exhaust the stack."""
    made = base64.urlsafe_b64decode(pages.encode_token([], "entries") + "==")
    forged = base64.urlsafe_b64encode(made.removesuffix(b"[]") + b"[" * 100_000).decode()

    assert refused_field(forged, "entries") == "pageToken"


def test_empty_token_starts_from_the_beginning() -> None:
    """No token means the first page."""
    assert pages.decode_token("", "entries") is None
