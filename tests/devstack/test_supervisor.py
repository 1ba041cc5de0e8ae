"""How children are kept alive and stopped."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.devstack import processes, supervisor
from services.devstack.errors import CannotRunError
from services.devstack.supervisor import Supervisor
from tests.support.waiting import eventually


class Sleeper:
    """Is a child that does nothing but live."""

    def __init__(self, title: str, folder: Path, ended: list[str]) -> None:
        self.title = title
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self._log_path = folder / f"{title}.log"
        self._ended = ended

    async def start_async(self) -> None:
        """Starts it, unless it is to fail."""
        if self.failures:
            self.failures -= 1
            raise CannotRunError(f"{self.title} did not start")
        self.process = processes.spawn([sys.executable, "-c", "import signal; signal.pause()"], log_path=self._log_path)

    def running(self) -> bool:
        """Says whether it lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ends it and notes that."""
        if self.process is not None:
            processes.end(self.process, [])
            self._ended.append(self.title)

    def hurry(self) -> None:
        """Ends it now."""
        if self.process is not None:
            self.process.kill()

    @property
    def pid(self) -> int:
        """Is the id of its process; 0 where there is none."""
        return self.process.pid if self.process is not None and self.running() else 0


class Nursery:
    """Is a supervisor with what it said and which children it ended."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.ended: list[str] = []
        self.supervisor = Supervisor(self.said.append)
        self._folder = folder

    async def child(self, title: str) -> Sleeper:
        """Starts a child and has it adopted."""
        child = Sleeper(title, self._folder, self.ended)
        self.supervisor.adopt(child)
        await child.start_async()
        return child

    async def has_said(self, count: int) -> None:
        """Waits until that many sentences were said."""
        await eventually(lambda: len(self.said) == count)


@asynccontextmanager
async def nursery(folder: Path) -> AsyncIterator[Nursery]:
    """Runs a supervisor and ends all it has."""
    made = Nursery(folder)
    try:
        yield made
    finally:
        await made.supervisor.stop([])


async def test_restarts_child_and_says_so(tmp_path: Path) -> None:
    """A child that dies is started again after a pause that grows; its siblings live on."""
    async with nursery(tmp_path) as made:
        child, sibling = await made.child("child"), await made.child("sibling")
        made.supervisor.watch()
        first, other = child.pid, sibling.pid
        os.kill(first, signal.SIGKILL)
        second = await eventually(lambda: child.pid if child.pid != first else 0)
        os.kill(second, signal.SIGTERM)
        await eventually(lambda: child.pid not in (0, second))

        assert made.said == [
            "child died (exit -9), restarting in 0.2 s",
            "child died (exit -15), restarting in 0.4 s",
        ]
        assert sibling.pid == other


async def test_forgives_child_that_was_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time of health the pause is short again, and it never grows beyond its bound."""
    monkeypatch.setattr(supervisor, "BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr(supervisor, "BACKOFF_MAX_S", 0.02)
    async with nursery(tmp_path) as made:
        child = await made.child("child")
        made.supervisor.watch()
        for deaths in (1, 2, 3):
            os.kill(await eventually(lambda: child.pid), signal.SIGKILL)
            await made.has_said(deaths)
        monkeypatch.setattr(supervisor, "HEALTHY_AFTER_S", 0.0)
        os.kill(await eventually(lambda: child.pid), signal.SIGKILL)
        await made.has_said(4)

    assert [line.rpartition("restarting in ")[2] for line in made.said] == ["0.01 s", "0.02 s", "0.02 s", "0.01 s"]


async def test_goes_on_where_child_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that cannot be started says why, and is tried again."""
    monkeypatch.setattr(supervisor, "BACKOFF_MIN_S", 0.01)
    async with nursery(tmp_path) as made:
        child = await made.child("child")
        made.supervisor.watch()
        child.failures = 2
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: child.failures == 0)
        await eventually(lambda: child.pid)

    assert made.said.count("child did not start") == 2


async def test_stops_group_after_group(tmp_path: Path) -> None:
    """Children are stopped in the order that is asked for, the others last, and none is started again."""
    async with nursery(tmp_path) as made:
        one, two, three = [await made.child(title) for title in ("one", "two", "three")]
        made.supervisor.watch()
        await made.supervisor.stop([[two], [one]])

        assert made.ended == ["two", "one", "three"]
        assert (one.pid, two.pid, three.pid) == (0, 0, 0)
        assert made.said == []
        made.ended.clear()


async def test_stops_while_child_waits_for_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop during the pause before a restart is a stop."""
    monkeypatch.setattr(supervisor, "BACKOFF_MIN_S", 60.0)
    async with nursery(tmp_path) as made:
        child = await made.child("child")
        made.supervisor.watch()
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: made.said)
        async with asyncio.timeout(30):
            await made.supervisor.stop([])
        assert child.pid == 0


async def test_hurries_all(tmp_path: Path) -> None:
    """Asked to hurry, it ends what need not be waited for."""
    async with nursery(tmp_path) as made:
        child = await made.child("child")
        made.supervisor.hurry()
        await eventually(lambda: child.pid == 0)
