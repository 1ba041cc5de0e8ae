"""Etags: the version of something, as callers give it back when they change it."""

DIGITS_MAX = 18
NO_SUCH_VERSION = -1


def read(text: str) -> int | None:
    """Reads an etag: its version, `NO_SUCH_VERSION` where no service gives out such, None where none is given."""
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else NO_SUCH_VERSION
