"""A batch function whose every run the test ends by hand."""

import asyncio
from dataclasses import dataclass, field

from services.kernel import batcher


@dataclass(eq=False)
class Run:
    """One batch under way."""

    key: str
    items: list[int]
    ended: "asyncio.Future[BaseException | None]"

    def finish(self) -> None:
        """Lets the batch succeed: the outcome of an item names its key and the item."""
        self.ended.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Lets the batch break."""
        self.ended.set_result(error)


@dataclass
class Bench:
    """Collects the runs of a batcher; `open` are those that wait for their end, oldest first."""

    runs: list[Run] = field(default_factory=list)
    poison: set[int] = field(default_factory=set)
    # Without gates a run ends by itself.
    gated: bool = True

    @property
    def open(self) -> list[Run]:
        """Lists the runs that wait for their end."""
        return [run for run in self.runs if not run.ended.done()]

    def batcher(
        self, *, items_max: int = 1000, queued_max: int = 20_000, items_for_next_lane: int = 1
    ) -> batcher.Batcher[int, str]:
        """Makes a batcher over this bench; one that begins in every lane as soon as anything waits."""
        return batcher.Batcher(
            "test", self.run, items_max=items_max, queued_max=queued_max, items_for_next_lane=items_for_next_lane
        )

    async def run(self, key: str, items: list[int]) -> list[str]:
        """Runs one batch: breaks on poison, else ends as the test says."""
        run = Run(key, list(items), asyncio.get_running_loop().create_future())
        self.runs.append(run)
        if not self.gated:
            run.finish()
        error = await run.ended
        if error is not None:
            raise error
        if self.poison.intersection(items):
            raise ValueError("poisoned")
        return outcomes(key, items)


def outcomes(key: str, items: list[int]) -> list[str]:
    """Tells what a batch answers for some items."""
    return [f"{key}:{item}" for item in items]
