"""Texts: what each kind of them may be."""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from functools import cache
from importlib import resources

from plaudit.type.v1 import options_pb2

SLUG = re.compile(r"[a-z][a-z0-9_.-]*\Z")
LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")
EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+\Z")


def text_fault(value: str, longest: int, kind: int) -> str | None:
    """Says what is wrong with a text of a kind, None where all is well."""
    if len(value) > longest:
        return f"must have at most {longest} characters"
    if "\0" in value:
        return "must not contain NUL"
    fault = _KIND_FAULTS.get(kind)
    return fault(value) if fault else None


def _id_fault(value: str) -> str | None:
    # The common case first: printable ASCII needs one look.
    if value.isascii() and value.isprintable() and "/" not in value and value[0] != " " and value[-1] != " ":
        return "must not be . or .." if value in (".", "..") else None
    if "/" in value or value != value.strip() or any(unicodedata.category(c).startswith("C") for c in value):
        return "must not contain slashes, control characters or white space at its ends"
    return None


def _slug_fault(value: str) -> str | None:
    return None if SLUG.match(value) else "must be lower-case letters, digits, _, - and ., starting with a letter"


def _zone_fault(value: str) -> str | None:
    return None if value in _zones() else "is not an IANA time zone such as Europe/Paris"


@cache
def _zones() -> frozenset[str]:
    # The package's list and not the machine's, which may differ from the next one's and knows "localtime".
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - {"Factory"}


def _locale_fault(value: str) -> str | None:
    return None if LOCALE.match(value) else "is not a language tag such as en or pt-BR"


def _date_fault(value: str) -> str | None:
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return "is not a date of the form YYYY-MM-DD"
    return None if parsed.isoformat() == value else "is not a date of the form YYYY-MM-DD"


def _email_fault(value: str) -> str | None:
    return None if value.isprintable() and EMAIL.match(value) else "is not an e-mail address"


_KIND_FAULTS: dict[int, Callable[[str], str | None]] = {
    options_pb2.TEXT_KIND_ID: _id_fault,
    options_pb2.TEXT_KIND_SLUG: _slug_fault,
    options_pb2.TEXT_KIND_TIME_ZONE: _zone_fault,
    options_pb2.TEXT_KIND_LOCALE: _locale_fault,
    options_pb2.TEXT_KIND_DATE: _date_fault,
    options_pb2.TEXT_KIND_EMAIL: _email_fault,
}
