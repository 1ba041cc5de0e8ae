"""Settings: validated all at once, every bad variable named, secrets never shown."""

import base64
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import config

KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Example:
    """Settings of every kind."""

    dsn: str = config.setting("X_DSN", config.postgres_dsn, secret=True)
    redis_url: str = config.setting("X_REDIS_URL", config.redis_url, secret=True)
    listen: str = config.setting("X_LISTEN", config.address, "127.0.0.1:50051")
    size: int = config.setting("X_SIZE", config.integer(1, 10), "3")
    mode: str = config.setting("X_MODE", config.choice("on", "off"), "on")
    name: str = config.setting("X_NAME", config.text, "name")
    key: bytes = config.setting("X_KEY", config.ed25519_key, KEY, secret=True)
    public_keys: tuple[bytes, ...] = config.setting("X_PUBLIC_KEYS", config.ed25519_keys, KEY)
    secret: bytes = config.setting("X_SECRET", config.secret_key, KEY, secret=True)


GOOD = {"X_DSN": "postgresql://user:hunter2@host/db", "X_REDIS_URL": "redis://:hunter2@host:6379/0"}


def problems(**changes: str | None) -> list[str]:
    """Gives what is wrong with settings that are sound but for some variables."""
    environ = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(config.SettingsError) as caught:
        config.load(Example, environ)
    return caught.value.problems


def test_load_fills_in_defaults() -> None:
    """What is set is read, and what is not has its default, parsed likewise."""
    settings = config.load(Example, {**GOOD, "X_SIZE": "7", "UNRELATED": "x"})

    assert (settings.size, settings.mode, settings.dsn) == (7, "on", GOOD["X_DSN"])
    assert settings.key == bytes(range(32))


def test_load_names_every_bad_variable_at_once() -> None:
    """All that is missing or malformed is told together, one sentence each, in the order of the settings."""
    found = problems(
        X_DSN=None, X_REDIS_URL="http://x", X_LISTEN="here", X_SIZE="11", X_MODE="maybe", X_NAME="", X_PUBLIC_KEYS="?"
    )

    assert [each.split()[0].rstrip(":") for each in found] == [
        "X_DSN",
        "X_REDIS_URL",
        "X_LISTEN",
        "X_SIZE",
        "X_MODE",
        "X_NAME",
        "X_PUBLIC_KEYS",
    ]
    assert found[0] == "X_DSN is not set"
    assert found[3] == "X_SIZE: '11' is not a whole number from 1 to 10"


@pytest.mark.parametrize(
    "value",
    ["", "50051", "host:", ":50051", "host:0", "host:65536", "host:-1", "host:5O051", "host:²", "host:1 "],
)
def test_address_without_host_or_port_is_refused(value: str) -> None:
    """An address is a host and a port from 1 to 65535, and what it should be is told the same way each time."""
    assert problems(X_LISTEN=value) == [f"X_LISTEN: {value!r} is not an address of the form host:port"]


@pytest.mark.parametrize("value", ["host:1", "127.0.0.1:50051", "[::1]:65535"])
def test_address_with_host_and_port_is_taken(value: str) -> None:
    """Names, IPv4 and bracketed IPv6 are hosts."""
    assert config.load(Example, {**GOOD, "X_LISTEN": value}).listen == value


@pytest.mark.parametrize("value", ["", "x", "1.5", "0", "11", "1e1", "9" * 5000])
def test_integer_outside_of_bounds_is_refused(value: str) -> None:
    """A whole number lies within its bounds, and nothing else is one."""
    assert len(problems(X_SIZE=value)) == 1


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "mysql://user:hunter2@host/db",
        "postgresql://user:hunter2@[::1/db",
        "postgresql://user:hunter2℀@host/db",
        "//user:hunter2@host",
    ],
)
def test_secret_is_never_shown(value: str) -> None:
    """Whatever is wrong with a secret, its value is in no message."""
    found = problems(X_DSN=value, X_REDIS_URL=value, X_KEY="hunter2")

    assert len(found) == 3
    assert "hunter2" not in " ".join(found)
    assert found[0] == "X_DSN: its value is not a URL of the form postgresql://user:password@host:port/database"


def test_secret_is_not_in_the_repr() -> None:
    """Settings can be logged: neither their text nor that of their error holds a secret."""
    settings = config.load(Example, GOOD)

    assert "hunter2" not in repr(settings)
    assert repr(bytes(range(32))) not in repr(settings).replace(f"public_keys=({bytes(range(32))!r},)", "")


@pytest.mark.parametrize("value", ["", "?", KEY[:-4], KEY + KEY, "ü" * 44, base64.b64encode(bytes(31)).decode()])
def test_key_of_another_length_is_refused(value: str) -> None:
    """A key is 32 bytes in base64, and each of several is."""
    assert len(problems(X_KEY=value)) == len(problems(X_SECRET=value)) == 1
    assert len(problems(X_PUBLIC_KEYS=f"{KEY},{value}")) == 1


def test_several_keys_are_taken_in_order() -> None:
    """Keys can be replaced without a stop: several are read, in their order."""
    other = base64.b64encode(bytes(32)).decode()

    assert config.load(Example, {**GOOD, "X_PUBLIC_KEYS": f"{KEY},{other}"}).public_keys == (
        bytes(range(32)),
        bytes(32),
    )


@given(
    values=st.dictionaries(
        st.sampled_from(["X_DSN", "X_REDIS_URL", "X_LISTEN", "X_SIZE", "X_KEY", "X_SECRET", "X_MODE"]), st.text()
    )
)
def test_load_never_crashes(values: dict[str, Any]) -> None:
    """Whatever the environment holds, settings come out whole or every problem is told."""
    blamed = set()
    try:
        config.load(Example, {**GOOD, **values})
    except config.SettingsError as error:
        blamed = {each.split()[0].rstrip(":") for each in error.problems}

    assert blamed <= values.keys()
