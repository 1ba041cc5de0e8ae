"""Starts processes of one service in a moment: a process that has imported the service forks one when it is told to.

What it forks runs `python -m <service> <role>` as ever, in a process of its own that can be killed like any; it has
only been spared the imports, which take most of a second. Run by itself as `python -m tests.support.starter <service>`,
it reads one order a line, a JSON object, and answers with the id of the process that it started.
"""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from services.devstack import processes

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Forked:
    """A process that is no child of ours; has those methods of `subprocess.Popen` that tests use."""

    pid: int

    def poll(self) -> int | None:
        """Tells whether the process has ended: None while it runs, else 0, for its exit code is not told."""
        return None if processes.alive(self.pid) else 0

    def send_signal(self, number: int) -> None:
        """Sends a signal to a process that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Waits for the end of the process."""
        if not processes.wait_gone(self.pid, timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return 0


class Starter:
    """Runs the process that forks, until the block ends; what it has forked by then is killed with it."""

    def __init__(self, service: str, environ: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "tests.support.starter", service]
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, env=self._environ, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()

    def start(self, arguments: Sequence[str], variables: dict[str, str], log_path: Path) -> Forked:
        """Starts a process in a role of the service, without waiting for it."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": list(arguments), "variables": variables, "log": str(log_path)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()))


def main(service: str) -> None:
    """Forks a process an order until there are no more, then kills those that are left."""
    importlib.import_module(f"{service}.__main__")
    # What it imported stays; itself it is run anew.
    del sys.modules[f"{service}.__main__"]
    started: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            become(service, order["arguments"], order["variables"], order["log"])
        started = {each for each in started if not os.waitpid(each, os.WNOHANG)[0]} | {pid}
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in started:
        os.kill(pid, signal.SIGKILL)


def become(service: str, arguments: list[str], variables: dict[str, str], log: str) -> None:
    """Runs a role in this process, which was just forked, and ends it."""
    with Path(log).open("ab") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(variables)
    sys.argv = [service, *arguments]
    code = 1
    try:
        runpy.run_module(service, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # The interpreter's own way out is the starter's, with its standard input.
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
