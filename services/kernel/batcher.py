"""K1: concurrent writes share one transaction; each item is judged alone.

Callers submit items under a key (the program). While a batch of that key is under way, others gather; when it has ended
the next one takes what has gathered, up to `items_max`, and where much has gathered it begins beside it. A batch
begins once the event loop brings no more. So a lone caller waits for nobody, callers who come through the same crowded
door share a commit, and nothing is there to tune. Who brings many items at once stands in another line than who brings
few: a checkout does not wait behind an import.

Promises: an item that was accepted into the queue is answered (no lost wake-up); a full queue refuses at once with
QUEUE_FULL; a caller that goes away before its batch starts is dropped from it, later its answer is; a batch that
breaks is halved and run again until the one item at fault stands alone and fails alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from services.kernel import errors, ids, logs, metrics

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# A transaction of this size pays the commit well and still answers within a tenth of a second.
ITEMS_MAX = 1000
# What may wait in one process, in lines of few and in lines of many: some seconds of work, so that callers are refused
# before they time out.
QUEUED_MAX = 20_000
# Two batches of one line overlap the thinking of one with the writing of the other; more fight for the same rows.
LANES_PER_LINE = 2
# Another batch is begun beside one that is under way where so much waits: less shares the next commit sooner than it
# would pay for one of its own.
ITEMS_FOR_NEXT_LANE = 100
# A batch begins when so many turns of the event loop have brought nothing more, or after so long. In a loop at rest
# that is a tenth of a millisecond. In a busy one callers wait anyway, and at the door, where nobody sees them: of 200
# who asked at once 9 came along with each batch, which costs almost a millisecond whatever is in it. Now 30 do.
IDLE_TURNS_MAX = 8
GATHER_S = 0.01
# A submission of more items than that is no longer one of few.
FEW_MAX = 10
# Batches in one process over all keys; below the size of the connection pool.
LANES_MAX = 8


class _Line(NamedTuple):
    """Where submissions of a key wait: those of many items in one, those of few in another."""

    key: str
    is_many: bool


@dataclass(slots=True)
class _Submission(Generic[Item, Outcome]):
    items: Sequence[Item]
    weight: int
    future: "asyncio.Future[list[Outcome | errors.DomainError]]"


class Batcher(Generic[Item, Outcome]):
    """Combines submissions into batches and runs them.

    `run(key, items)` writes the items in one transaction and gives one outcome each, in order. It raises a DomainError
    where the whole batch failed for a reason that all callers share (the database is away); any other exception means
    that an item is poisoned. An item that is work for many says so by `weigh`; limits count by it.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[str, list[Item]], Awaitable[list[Outcome]]],
        *,
        items_max: int = ITEMS_MAX,
        queued_max: int = QUEUED_MAX,
        items_for_next_lane: int = ITEMS_FOR_NEXT_LANE,
        weigh: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._name = name
        self._run = run
        self._items_max = items_max
        self._queued_max = queued_max
        self._items_for_next_lane = items_for_next_lane
        self._weigh = weigh
        self._queues: dict[_Line, deque[_Submission[Item, Outcome]]] = {}
        self._lanes: dict[_Line, int] = {}
        self._waiting: dict[_Line, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(LANES_MAX)
        # By whether it waits in lines of many.
        self._queued = {False: 0, True: 0}
        self._closed = False
        # Asked for when somebody looks: kept up to date at each submission, it cost as much as all the rest of one.
        metrics.BATCH_QUEUE_ITEMS.labels(name).set_function(lambda: sum(self._queued.values()))
        self._batch_items = metrics.BATCH_ITEMS.labels(name)

    async def submit(self, key: str, items: Sequence[Item]) -> list[Outcome | errors.DomainError]:
        """Waits for the outcomes of the items, in order; a poisoned item's outcome is its DomainError.

        Raises QUEUE_FULL, DRAINING, and the DomainError of a batch that failed as a whole.
        """
        weight = sum(map(self._weigh, items))
        assert 0 < weight <= self._items_max, "A submission is one batch at most."
        if self._closed:
            raise errors.draining()
        is_many = weight > FEW_MAX
        if self._queued[is_many] + weight > self._queued_max:
            raise errors.queue_full(self._queued_max)
        submission: _Submission[Item, Outcome] = _Submission(items, weight, asyncio.get_running_loop().create_future())
        line = _Line(key, is_many)
        queue = self._queues.setdefault(line, deque())
        queue.append(submission)
        self._queued[is_many] += weight
        self._waiting[line] = self._waiting.get(line, 0) + weight
        lanes = self._lanes.get(line, 0)
        if not lanes or (lanes < LANES_PER_LINE and self._waiting[line] >= self._items_for_next_lane):
            self._lanes[line] = lanes + 1
            task = asyncio.create_task(self._drain(line, queue), name=f"batch-{self._name}-{key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await submission.future

    async def close(self) -> None:
        """Takes nothing new and waits for all that is under way."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _drain(self, line: _Line, queue: deque[_Submission[Item, Outcome]]) -> None:
        """Runs batches of one line until nobody waits. Between the last look and the end nothing is awaited."""
        while queue:
            async with self._slots:
                await self._gather(line)
                batch = self._take(line, queue)
                if batch:
                    await self._settle(line.key, batch)
        self._lanes[line] -= 1
        if not self._lanes[line]:
            del self._lanes[line], self._waiting[line]
            del self._queues[line]

    async def _gather(self, line: _Line) -> None:
        """Lets the loop turn for as long as that brings more, but not for long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GATHER_S
        waiting, idle_turns = self._waiting[line], 0
        while waiting < self._items_max and idle_turns < IDLE_TURNS_MAX and loop.time() < deadline:
            await asyncio.sleep(0)
            idle_turns = idle_turns + 1 if self._waiting[line] == waiting else 0
            waiting = self._waiting[line]

    def _take(self, line: _Line, queue: deque[_Submission[Item, Outcome]]) -> list[_Submission[Item, Outcome]]:
        batch: list[_Submission[Item, Outcome]] = []
        room = self._items_max
        while queue and queue[0].weight <= room:
            submission = queue.popleft()
            self._queued[line.is_many] -= submission.weight
            self._waiting[line] -= submission.weight
            if not submission.future.cancelled():
                batch.append(submission)
                room -= submission.weight
        return batch

    async def _settle(self, key: str, batch: list[_Submission[Item, Outcome]]) -> None:
        items = [item for submission in batch for item in submission.items]
        self._batch_items.observe(sum(submission.weight for submission in batch))
        try:
            outcomes = await self._run_or_split(key, items)
        except errors.DomainError as error:
            for submission in batch:
                if not submission.future.done():
                    submission.future.set_exception(error)
            return
        start = 0
        for submission in batch:
            end = start + len(submission.items)
            if not submission.future.done():
                submission.future.set_result(outcomes[start:end])
            start = end

    async def _run_or_split(self, key: str, items: list[Item]) -> list[Outcome | errors.DomainError]:
        try:
            outcomes = await self._run(key, items)
            # Here, where it is caught: raised any later it would end the lane, and nobody would answer its callers.
            assert len(outcomes) == len(items), "Each item has one outcome."
        except errors.DomainError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever broke it, the neighbours of the broken item go on
            metrics.BATCH_RETRIES.labels(self._name, type(error).__name__).inc()
            if len(items) == 1:
                correlation_id = str(ids.new_id())
                logs.get_logger().exception("batch_item_poisoned", batcher=self._name, fault_id=correlation_id)
                return [errors.invariant_broken(correlation_id)]
            logs.get_logger().warning("batch_split", batcher=self._name, items=len(items), error=type(error).__name__)
            middle = len(items) // 2
            first = await self._run_or_split(key, items[:middle])
            return first + await self._run_or_split(key, items[middle:])
        return list(outcomes)
