"""Pages: sizes as AIP-158 wants them, and tokens that hold only with the arguments they were made for."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from services.kernel import errors

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000
DIGEST_BYTES = 8

Cursor = TypeVar("Cursor")


def page_size(requested: int) -> int:
    """Gives the size to use: 0 becomes 50, more than 1,000 becomes 1,000, a negative one is refused."""
    if requested < 0:
        raise errors.field_invalid(errors.Violation("pageSize", "must not be negative"))
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def encode_token(cursor: list[Any], *arguments: str) -> str:
    """Makes an opaque token from where the next page starts and the other arguments of the call.

    A token grants nothing: the call that brings it is authorised anew, and its cursor selects within that program.
    """
    body = _digest(arguments) + orjson.dumps(cursor)
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode_token(token: str, *arguments: str) -> list[Any] | None:
    """Gives the cursor of a token, None for an empty one. Refuses one that is malformed or of other arguments."""
    if not token:
        return None
    try:
        body = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, cursor = body[:DIGEST_BYTES], orjson.loads(body[DIGEST_BYTES:])
    except (binascii.Error, ValueError):
        digest, cursor = b"", None
    if digest != _digest(arguments) or not isinstance(cursor, list):
        raise _refused()
    return cursor


def read_cursor(token: str, *arguments: str, parse: Callable[..., Cursor]) -> Cursor | None:
    """Gives what the cursor of a token means to its listing, None for an empty token.

    Anybody can make a token, so `parse` gets the cursor's elements as they are and raises ValueError, TypeError or
    OverflowError where no page of the listing ends so; that is refused like a malformed token.
    """
    cursor = decode_token(token, *arguments)
    if cursor is None:
        return None
    try:
        return parse(*cursor)
    except (ValueError, TypeError, OverflowError):
        raise _refused() from None


def parse_text(value: Any) -> str:
    """Reads a cursor that is one text, for `read_cursor`."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("A listing by name goes on behind a name.")
    return value


def _refused() -> errors.DomainError:
    return errors.field_invalid(
        errors.Violation("pageToken", "is not a token of this listing; start again without one")
    )


def _digest(arguments: tuple[str, ...]) -> bytes:
    return hashlib.blake2b(orjson.dumps(arguments), digest_size=DIGEST_BYTES).digest()
