"""Definitions: frozen values as JSON and back, by their annotations."""

import dataclasses
import types
import typing
from datetime import date, datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

Value = TypeVar("Value")

# What a row has in columns of its own.
OUTSIDE = frozenset({"version", "created_at", "updated_at"})


def write(value: Any) -> Any:
    """Gives a value as JSON; what a row has in columns of its own is left out of the outermost."""
    written: dict[str, Any] = _write(value)
    return {name: each for name, each in written.items() if name not in OUTSIDE}


def _write(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {each.name: _write(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_write(each) for each in value]
    if isinstance(value, dict):
        return {name: _write(each) for name, each in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value


def read(kind: type[Value], values: dict[str, Any], **columns: Any) -> Value:
    """Reads what `write` gave, with what the row has in columns; what was not known then is as its default says."""
    hints = _hints(typing.cast(Any, kind))
    known = {name: _read(hint, values[name]) for name, hint in hints.items() if name in values}
    return kind(**known | columns)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None or hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _read(next(each for each in arguments if each is not type(None)), value)
    if origin is tuple:
        return tuple(_read(arguments[0], each) for each in value)
    if origin is dict or hint is dict:
        return dict(value)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type), "A hint names a class."
        return read(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value
