"""A process of a service: settings, logs, an event loop, and a stop that drains.

`serve`, `work` and `migrate` of every service go through `main`. Bad settings end with exit code 2 and one line each.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop

from services.kernel import checks, config, errors, logs, metrics

USAGE_EXIT = 2
# The collector of cycles looks at all that was made since it last ran. A batch makes some ten thousand objects that
# counting references frees by itself: at Python's own thresholds looking at them took 40 % of the time of an earn.
GC_THRESHOLDS = (50_000, 20, 100)


@dataclass(frozen=True)
class Settings:
    """What every process can be told: where Prometheus finds its metrics; nowhere where it is empty."""

    metrics_listen: str = config.setting("PLAUDIT_METRICS_LISTEN", lambda text: text and config.address(text), "")


Role = tuple[type[Any], Callable[[Any], Coroutine[Any, Any, int | None]]]


async def until_stopped(*running: Awaitable[Any]) -> None:
    """Waits for SIGTERM or SIGINT, or for one of the awaitables to end, which none should do by itself.

    Raises what that one raised.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    waiter = asyncio.ensure_future(stopped.wait())
    tasks = [asyncio.ensure_future(each) for each in running]
    await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in [waiter, *tasks]:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


def main(service: str, roles: Mapping[str, Role], arguments: list[str] | None = None) -> None:
    """Runs one role of a service to its end: `python -m services.<service> <role>`.

    A role is a settings class and a coroutine function that takes an instance of it and may give an exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0] not in roles:
        sys.exit(_complain(f"usage: python -m services.{service} {{{','.join(roles)}}}"))
    settings, run = roles[arguments[0]]
    try:
        loaded = config.load(settings, os.environ)
        logging = config.load(logs.Settings, os.environ)
        common = config.load(Settings, os.environ)
    except config.SettingsError as error:
        sys.exit(_complain(*error.problems))
    # What is imported stays, and need not be looked at again.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    logs.configure(service=service, role=arguments[0], log_format=logging.log_format, level=logging.log_level)
    try:
        if common.metrics_listen:
            metrics.serve(common.metrics_listen)
        sys.exit(uvloop.run(run(loaded)))
    except (errors.DomainError, OSError) as error:
        sys.exit(_complain(str(error)))


def report(rows: Iterable[checks.CheckRow]) -> int:
    """Writes what a check found to standard output, a JSON object a line; gives 1 where something does not add up."""
    found = 0
    for row in rows:
        sys.stdout.write(orjson.dumps(row).decode() + "\n")
        found |= bool(row.problems)
    return found


def _complain(*lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"plaudit: {line}\n")
    return USAGE_EXIT
