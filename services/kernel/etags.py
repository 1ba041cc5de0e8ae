"""Etags: the version of something, as callers give it back when they change it."""

DIGITS_MAX = 18
# A version that nothing has.
NONE = -1


def read(text: str) -> int | None:
    """Reads an etag: the version that it stands for, `NONE` for one that no version has, None where none is given."""
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else NONE
