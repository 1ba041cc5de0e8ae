"""Logs that are data: constant event names in snake_case, fields, one canonical line per rpc and per job.

No personal data and no secrets: whatever is bound under a name of `SECRET_FIELDS` is replaced before it is rendered.
"""

import logging
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

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


def configure(*, service: str, role: str, log_format: str, level: str) -> None:
    """Sets up structlog and the standard library to write one line per event to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    renderer: Any
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # Not the richer tracebacks that it would choose: those print the values of variables, secrets among them.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, role=role)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in SECRET_FIELDS & event.keys():
        event[name] = "[redacted]"
    return event


def get_logger() -> Any:
    """Gives the logger of the process."""
    return structlog.get_logger()
