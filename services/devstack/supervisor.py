"""Keeps child processes alive, and stops them in order."""

import asyncio
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Protocol

from services.devstack.errors import CannotRunError

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 30.0  # who lived so long starts again with the shortest wait
LOOK_AGAIN_S = 1.0  # in case a signal of a child's end is lost


class Child(Protocol):
    """Is a process, or a server that is one, that can be started and stopped any number of times."""

    process: subprocess.Popen[bytes] | None

    @property
    def title(self) -> str:
        """Names it to people."""

    async def start_async(self) -> None:
        """Starts it."""

    def running(self) -> bool:
        """Says whether it lives."""

    def stop(self) -> None:
        """Ends it in good order; blocks."""

    def hurry(self) -> None:
        """Ends it now where that loses nothing and spares a wait."""


class Supervisor:
    """Restarts each child that dies, after a pause that grows with each death, and says so by `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._looks: dict[str, asyncio.Event] = {}

    def adopt(self, child: Child) -> None:
        """Takes a child, started or not, for `stop` to end and for `watch` to keep alive."""
        self._children.append(child)
        self._looks[child.title] = asyncio.Event()

    def watch(self) -> None:
        """Keeps all adopted children alive from now on."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._look)
        self._keepers = [loop.create_task(self._keep(child), name=child.title) for child in self._children]

    async def stop(self, order: Sequence[Sequence[Child]]) -> None:
        """Ends all children, group after group; those that no group names come last."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        named = [child for group in order for child in group]
        rest = [child for child in self._children if child not in named]
        for group in (*order, rest):
            await asyncio.gather(*(asyncio.to_thread(child.stop) for child in group))

    def hurry(self) -> None:
        """Cuts the drain short, as a second Ctrl-C asks; `stop`, under way, then has little to wait for."""
        for child in self._children:
            child.hurry()

    def _look(self) -> None:
        for event in self._looks.values():
            event.set()

    async def _keep(self, child: Child) -> None:
        """Restarts one child for as long as it dies."""
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_MIN_S
        while True:
            started = loop.time()
            await self._end_of(child)
            if loop.time() - started >= HEALTHY_AFTER_S:
                backoff_s = BACKOFF_MIN_S
            code = child.process.returncode if child.process else None
            self._say(f"{child.title} died (exit {code}), restarting in {backoff_s:g} s")
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            try:
                await child.start_async()
            except CannotRunError as error:
                self._say(str(error))

    async def _end_of(self, child: Child) -> None:
        """Waits until a child has ended."""
        event = self._looks[child.title]
        while child.running():
            event.clear()
            try:
                await asyncio.wait_for(event.wait(), LOOK_AGAIN_S)
            except TimeoutError:
                continue  # The condition of the loop looks for itself.
