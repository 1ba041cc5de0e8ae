"""`./plaudit up`: everything on this machine, until Ctrl-C."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

# Children are started by vfork and become another program at once, which gRPC need not prepare for.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from services.devstack.catalogue import SERVICES
from services.devstack.data_dir import DataDir
from services.devstack.local_stack import LocalStack
from services.devstack.settings import read_external

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


def run(parsed: argparse.Namespace) -> int:
    """Runs the stack until it is told to stop: 0 then, 130 where it was stopped before it was ready."""
    external = read_external(os.environ)
    data_dir = DataDir.create(parsed.data_dir)
    with data_dir.locked():
        stack = LocalStack(data_dir, http_port=parsed.port, external=external, say=Progress())
        return asyncio.run(serve(stack))


class Progress:
    """Tells on standard error what happens, each with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, sentence: str) -> None:
        """Tells one thing."""
        tell(f"[{time.monotonic() - self._started:5.1f} s] {sentence}", sys.stderr)


def tell(text: str, stream: TextIO) -> None:
    """Prints; a stack goes on when nobody reads any more."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        return  # the terminal or the pipe is gone


async def serve(stack: LocalStack) -> int:
    """Starts the stack, keeps it alive, and stops it when a signal asks for it."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, stopping, stack)
    stop_asked = loop.create_task(stopping.wait())
    starting = loop.create_task(stack.start())
    try:
        await asyncio.wait([starting, stop_asked], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return INTERRUPTED
        starting.result()
        stack.watch()
        tell(summary(stack), sys.stdout)
        await stop_asked
        return 0
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await stop(stack)


def on_signal(stopping: asyncio.Event, stack: LocalStack) -> None:
    """Asks for a stop; asked again, cuts the drain short."""
    if stopping.is_set():
        stack.supervisor.hurry()
    stopping.set()


async def stop(stack: LocalStack) -> None:
    """Stops the stack, telling so."""
    stack.say("draining and stopping")
    await stack.stop()
    stack.say("stopped")


def summary(stack: LocalStack) -> str:
    """Writes the line that says that all is ready, and a table of addresses."""
    rows = [
        ("HTTP API", stack.url),
        ("its documentation", f"{stack.url}/docs"),
        ("mails", f"{stack.url}/dev/mail"),
        *((f"gRPC {service.name}", stack.wiring.address(service)) for service in SERVICES),
        ("API key of demo", shown(stack.data_dir.credentials_path)),
        ("logs", shown(stack.data_dir.logs)),
    ]
    lines = [f"  {name:<18} {value}" for name, value in rows]
    return "\n".join([f"ready {stack.url}", "", *lines, "", "  Ctrl-C drains and stops."])


def shown(path: Path) -> str:
    """Writes a path as short as it can be from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
