"""Etags, as callers give them back."""

import pytest

from services.kernel import etags


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("", None),
        ("0", 0),
        ("7", 7),
        ("9" * etags.DIGITS_MAX, 10**etags.DIGITS_MAX - 1),
        ("9" * (etags.DIGITS_MAX + 1), etags.NO_SUCH_VERSION),
        ("-1", etags.NO_SUCH_VERSION),
        ("1.0", etags.NO_SUCH_VERSION),
        ("٣", etags.NO_SUCH_VERSION),
        ("²", etags.NO_SUCH_VERSION),
        ("W/1", etags.NO_SUCH_VERSION),
    ],
)
def test_etag_is_a_version_or_none_that_exists(text: str, version: int | None) -> None:
    """Nothing given asks for no version; what no service ever gave out asks for one that nothing has."""
    assert etags.read(text) == version
