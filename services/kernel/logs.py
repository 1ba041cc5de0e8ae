"""Logs that are data: constant event names in snake_case, fields, one canonical line per rpc and per job.

No personal data and no secrets: whatever is bound under a name of `SECRET_FIELDS` is replaced before it is rendered.
"""

import json
import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from services.kernel import config

SECRET_FIELDS = frozenset(
    {"api_key", "authorization", "codes", "dsn", "email", "password", "private_key", "secret", "token"}
)


@dataclass(frozen=True)
class Settings:
    """How a process writes its log."""

    log_format: str = config.setting("PLAUDIT_LOG_FORMAT", config.choice("console", "json"), "json")
    log_level: str = config.setting("PLAUDIT_LOG_LEVEL", config.choice("debug", "info", "warning", "error"), "info")


Event = MutableMapping[str, Any]

# One for all, so that what a logger does is worked out once and not with each line.
_logger: Any = structlog.get_logger()


def configure(*, service: str, role: str, log_format: str, level: str) -> None:
    """Sets up structlog and the standard library to write one line per event to standard error."""
    global _logger
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _name_process(service, role),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    output: Any = structlog.PrintLoggerFactory(sys.stderr)
    # Not the richer tracebacks that it would choose: those print the values of variables, secrets among them.
    renderer: Any = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    if log_format == "json":
        output = structlog.BytesLoggerFactory(sys.stderr.buffer)
        shared.append(structlog.processors.format_exc_info)
        renderer = _render_json
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=output,
        cache_logger_on_first_use=True,
    )
    _logger = structlog.get_logger().bind()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _name_process(service: str, role: str) -> Callable[[Any, str, Event], Event]:
    """Makes the processor that says which process it was."""

    def name(_: Any, __: str, event: Event) -> Event:
        event["service"] = service
        event["role"] = role
        return event

    return name


def _redact(_: Any, __: str, event: Event) -> Event:
    for name in SECRET_FIELDS & event.keys():
        event[name] = "[redacted]"
    return event


def _render_json(_: Any, __: str, event: Event) -> bytes:
    """Writes a line; objects as they show themselves, since only they know which of their parts are secret."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except orjson.JSONEncodeError:  # Texts that are no UTF-8 and numbers above 64 bits are written all the same.
        return json.dumps(event, default=repr).encode()


def get_logger() -> Any:
    """Gives the logger of the process."""
    return _logger
