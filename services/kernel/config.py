"""Settings from the environment: validated all at once, every bad variable named.

A service declares a frozen dataclass whose fields are made by `setting`; `load` reads it.
"""

import base64
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

Loaded = TypeVar("Loaded")

ED25519_KEY_BYTES = 32
SECRET_KEY_BYTES = 32


class SettingsError(Exception):
    """Lists every variable that is missing or malformed, one sentence each, in `problems`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def setting(variable: str, parse: Callable[[str], Any], default: str | None = None, *, secret: bool = False) -> Any:
    """Declares a field that is read from `variable` by `parse`; without a default it must be set.

    `parse` raises ValueError with what it wants. Values of secret settings never appear in messages or reprs.
    """
    metadata = {"variable": variable, "parse": parse, "default": default, "secret": secret}
    return dataclasses.field(metadata=metadata, repr=not secret)


def load(settings: type[Loaded], environ: Mapping[str, str]) -> Loaded:
    """Builds the settings from the environment. Raises SettingsError with every problem, not only the first."""
    assert dataclasses.is_dataclass(settings), "Settings are a dataclass."
    values: dict[str, Any] = {}
    problems: list[str] = []
    for each in dataclasses.fields(settings):
        variable, secret = each.metadata["variable"], each.metadata["secret"]
        text = environ.get(variable, each.metadata["default"])
        if text is None:
            problems.append(f"{variable} is not set")
            continue
        try:
            values[each.name] = each.metadata["parse"](text)
        except ValueError as error:
            shown = "its value" if secret else repr(text)
            problems.append(f"{variable}: {shown} is not {error}")
    if problems:
        raise SettingsError(problems)
    return settings(**values)


def text(value: str) -> str:
    """Takes any text but none."""
    if not value:
        raise ValueError("a non-empty text")
    return value


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Takes a whole number between two bounds, both inclusive."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise ValueError(f"a whole number from {minimum} to {maximum}")
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Takes one of some words."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return parse


def address(value: str) -> str:
    """Takes `host:port`."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("an address of the form host:port")
    return value


def postgres_dsn(value: str) -> str:
    """Takes a PostgreSQL URL."""
    if _scheme(value) not in ("postgres", "postgresql"):
        raise ValueError("a URL of the form postgresql://user:password@host:port/database")
    return value


def redis_url(value: str) -> str:
    """Takes a Redis URL: redis://, rediss:// or unix://."""
    if _scheme(value) not in ("redis", "rediss", "unix"):
        raise ValueError("a URL of the form redis://host:port/0, rediss://… or unix:///path")
    return value


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""  # What it says would quote the URL, with the password in it.


def web_url(value: str) -> str:
    """Takes the address of a web site, without a slash at its end."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("an address of the form https://host")
    return value.rstrip("/")


def ed25519_key(value: str) -> bytes:
    """Takes 32 raw bytes in base64."""
    try:
        key = base64.b64decode(value, validate=True)
    except ValueError:
        key = b""
    if len(key) != ED25519_KEY_BYTES:
        raise ValueError("a raw Ed25519 key of 32 bytes in base64")
    return key


def secret_key(value: str) -> bytes:
    """Takes 32 random bytes in base64."""
    try:
        key = base64.b64decode(value, validate=True)
    except ValueError:
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError("32 random bytes in base64")
    return key


def ed25519_keys(value: str) -> tuple[bytes, ...]:
    """Takes one or more keys, comma-separated, so that a key can be replaced without a stop."""
    return tuple(ed25519_key(part) for part in value.split(","))
