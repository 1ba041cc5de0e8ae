"""K1: concurrent writes share one transaction; each item is judged alone."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.kernel import batcher, errors
from tests.support.batches import Bench, outcomes
from tests.support.waiting import PATIENCE_S, eventually, settle


def submit(writes: batcher.Batcher[int, str], key: str, *items: int) -> "asyncio.Task[Any]":
    """Submits items in a task of their own."""
    return asyncio.create_task(writes.submit(key, items))


async def occupy(writes: batcher.Batcher[int, str], key: str) -> "list[asyncio.Task[Any]]":
    """Puts a batch of one item into every lane of a key, so that what comes next has to wait."""
    callers = []
    for number in range(batcher.LANES_PER_LINE):
        callers.append(submit(writes, key, number))
        await settle()
    return callers


async def answers_of(*tasks: "asyncio.Task[Any]") -> list[Any]:
    """Waits for the answers of submissions."""
    async with asyncio.timeout(PATIENCE_S):
        return list(await asyncio.gather(*tasks))


async def reason_of(task: "asyncio.Task[Any]") -> str:
    """Gives the reason with which a submission was refused."""
    with pytest.raises(errors.DomainError) as caught:
        await answers_of(task)
    return caught.value.reason


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("ab"), st.integers(1, 4)),
        st.tuples(st.just("finish"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("break"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("turn"), st.integers(1, 4), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
async def test_submit_is_answered_under_every_schedule(steps: list[tuple[str, Any, int]]) -> None:
    """Whatever the order of submissions, ends, breaks and cancellations, whoever stays gets its own outcomes."""
    bench, callers, number = Bench(), [], 0
    writes = bench.batcher(items_max=4)
    for what, which, count in steps:
        match what:
            case "submit":
                items = list(range(number, number + count))
                number += count
                callers.append((submit(writes, which, *items), outcomes(which, items)))
            case "finish" if bench.open:
                bench.open[which % len(bench.open)].finish()
            case "break" if bench.open:
                bench.open[which % len(bench.open)].fail(ValueError("for once"))
            case "fail" if bench.open:
                bench.open[which % len(bench.open)].fail(errors.dependency_unavailable("database"))
            case "cancel" if callers:
                callers[which % len(callers)][0].cancel()
            case "turn":
                for _ in range(which):
                    await asyncio.sleep(0)
    bench.gated = False
    for run in bench.open:
        run.finish()
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(task for task, _ in callers), return_exceptions=True)
        await writes.close()
    for (task, expected), answer in zip(callers, answers, strict=True):
        assert task.cancelled() or answer == expected or _was_broken(answer, expected)
    assert all(len(run.items) <= 4 for run in bench.runs)


def _was_broken(answer: Any, expected: list[str]) -> bool:
    """Tells whether an answer is that of a failed batch, or right but for items whose own batch was broken."""
    if isinstance(answer, errors.DomainError):
        return answer.reason == "DEPENDENCY_UNAVAILABLE"
    return len(answer) == len(expected) and all(
        given == wanted or (isinstance(given, errors.DomainError) and given.reason == "INVARIANT_BROKEN")
        for given, wanted in zip(answer, expected, strict=True)
    )


async def test_submit_many_tiny_ones_shares_few_batches() -> None:
    """5,000 callers with an item each are all answered in order, in far fewer batches, none above the limit."""
    bench = Bench(gated=False)
    writes = bench.batcher(items_max=100)
    async with asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(writes.submit("a", [number]) for number in range(5000)))

    assert answers == [[f"a:{number}"] for number in range(5000)]
    assert max(len(run.items) for run in bench.runs) <= 100
    assert len(bench.runs) <= 2 * 5000 // 100


async def test_submit_waits_for_those_who_follow_at_once() -> None:
    """Callers who come one by one, as fast as the loop lets them, share a batch."""
    bench = Bench()
    writes = bench.batcher()
    callers = []
    for number in range(50):
        callers.append(submit(writes, "a", number))
        await asyncio.sleep(0)
    await settle()

    assert [len(run.items) for run in bench.open] == [50]
    bench.open[0].finish()
    assert await answers_of(*callers) == [[f"a:{number}"] for number in range(50)]


async def test_submit_does_not_wait_for_ever_for_those_who_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch begins in time, however many more keep coming."""
    monkeypatch.setattr(batcher, "GATHER_S", 0.001)
    bench = Bench()
    writes = bench.batcher()
    callers: list[asyncio.Task[Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not bench.open:
            callers.append(submit(writes, "a", len(callers)))
            await asyncio.sleep(0)
    bench.gated = False
    bench.open[0].finish()

    assert await answers_of(*callers) == [[f"a:{number}"] for number in range(len(callers))]


async def test_submit_of_few_does_not_wait_behind_many() -> None:
    """A caller with one item is served while callers with many are waiting, and is let in where they are not."""
    bench = Bench()
    writes = bench.batcher(items_max=100, queued_max=250)
    many = []
    for _ in range(batcher.LANES_PER_LINE + 2):
        many.append(submit(writes, "a", *range(100)))
        await settle()
    few = submit(writes, "a", 7)
    await settle()

    assert [len(run.items) for run in bench.open] == [100] * batcher.LANES_PER_LINE + [1]
    assert await reason_of(submit(writes, "a", *range(100))) == "QUEUE_FULL"
    bench.open[-1].finish()
    assert await answers_of(few) == [["a:7"]]
    bench.gated = False
    for run in bench.open:
        run.finish()
    assert await answers_of(*many) == [outcomes("a", list(range(100)))] * len(many)


async def test_submit_alone_waits_for_nobody() -> None:
    """A lone caller's batch starts at once and holds its items alone."""
    bench = Bench()
    caller = submit(bench.batcher(), "a", 1, 2)
    await settle()

    assert [run.items for run in bench.open] == [[1, 2]]
    bench.open[0].finish()
    assert await answers_of(caller) == [["a:1", "a:2"]]


async def test_next_lane_begins_where_much_waits() -> None:
    """Little that waits shares the next batch; as much as is worth one begins beside the batch that is under way."""
    bench = Bench()
    writes = bench.batcher(items_for_next_lane=3)
    callers = [submit(writes, "a", 1)]
    await settle()
    callers += [submit(writes, "a", 2), submit(writes, "a", 3)]
    await settle()
    alone = [run.items for run in bench.open]
    callers.append(submit(writes, "a", 4))
    await settle()
    beside = [run.items for run in bench.open]
    for run in bench.open:
        run.finish()

    assert (alone, beside) == ([[1]], [[1], [2, 3, 4]])
    assert await answers_of(*callers) == [outcomes("a", [number]) for number in (1, 2, 3, 4)]


async def test_submit_to_full_queue_is_refused_at_once() -> None:
    """A full queue refuses with QUEUE_FULL without waiting, and takes and answers again once there is room."""
    bench = Bench()
    writes = bench.batcher(items_max=1, queued_max=3)
    busy = await occupy(writes, "a")
    waiting = [submit(writes, "a", number) for number in (10, 11, 12)]
    await settle()
    refused = submit(writes, "a", 13)
    await settle()

    assert refused.done()
    assert await reason_of(refused) == "QUEUE_FULL"
    bench.gated = False
    for run in bench.open:
        run.finish()
    assert await answers_of(*busy, *waiting) == [["a:0"], ["a:1"], ["a:10"], ["a:11"], ["a:12"]]
    assert await writes.submit("a", [14]) == ["a:14"]


async def test_submit_refused_by_size_keeps_room_for_smaller() -> None:
    """The queue counts items, not callers: what does not fit is refused, what fits is taken."""
    bench = Bench()
    writes = bench.batcher(items_max=4, queued_max=5)
    busy = await occupy(writes, "a")
    taken = submit(writes, "a", 1, 2, 3)
    await settle()
    refused = submit(writes, "a", 4, 5, 6)
    fits = submit(writes, "a", 7, 8)
    await settle()

    assert await reason_of(refused) == "QUEUE_FULL"
    bench.gated = False
    for run in bench.open:
        run.finish()
    assert await answers_of(taken, fits) == [["a:1", "a:2", "a:3"], ["a:7", "a:8"]]
    await answers_of(*busy)


async def test_heavy_items_fill_batches_and_queue() -> None:
    """An item that is work for many counts as many: in a batch, and in the queue."""
    bench = Bench()
    writes: batcher.Batcher[int, str] = batcher.Batcher(
        "test", bench.run, items_max=10, queued_max=20, items_for_next_lane=1, weigh=lambda item: max(1, item)
    )
    busy = await occupy(writes, "a")
    taken = [submit(writes, "a", weight) for weight in (6, 4, 5, 3)]
    await settle()
    refused = submit(writes, "a", 3)
    await settle()

    assert await reason_of(refused) == "QUEUE_FULL"
    bench.gated = False
    for run in bench.open:
        run.finish()
    assert await answers_of(*taken) == [["a:6"], ["a:4"], ["a:5"], ["a:3"]]
    await answers_of(*busy)
    assert sorted(run.items for run in bench.runs if sum(run.items) > 1) == [[5, 3], [6, 4]]
    assert await writes.submit("a", [9]) == ["a:9"]


def measured(name: str) -> float:
    """Reads a metric of the batcher under test."""
    return REGISTRY.get_sample_value(name, {"batcher": "test"}) or 0.0


async def test_metrics_tell_what_waits_and_what_a_batch_held() -> None:
    """Metrics tell how much waits by weight, down to nothing at the end, and how much the batches held."""
    bench = Bench()
    writes: batcher.Batcher[int, str] = batcher.Batcher(
        "test", bench.run, items_for_next_lane=1, weigh=lambda item: max(1, item)
    )
    held = measured("plaudit_batch_items_sum")
    busy = await occupy(writes, "a")
    waiting = [submit(writes, "a", weight) for weight in (6, 4)]
    await settle()

    assert measured("plaudit_batch_queue_items") == 10
    bench.gated = False
    for run in bench.open:
        run.finish()
    await answers_of(*busy, *waiting)
    assert measured("plaudit_batch_queue_items") == 0
    assert measured("plaudit_batch_items_sum") - held == 12


async def test_cancel_before_batch_drops_items() -> None:
    """A caller that goes away before its batch starts is left out of it, gives its room back, and harms nobody."""
    bench = Bench()
    writes = bench.batcher(queued_max=3)
    busy = await occupy(writes, "a")
    gone, stays = submit(writes, "a", 10, 11), submit(writes, "a", 12)
    await settle()
    gone.cancel()
    for run in bench.open:
        run.finish()
    await eventually(lambda: bench.open)

    assert [run.items for run in bench.open] == [[12]]
    late = submit(writes, "a", 13, 14, 15)
    bench.gated = False
    bench.open[0].finish()
    assert await answers_of(stays, late) == [["a:12"], ["a:13", "a:14", "a:15"]]
    await answers_of(*busy)
    assert gone.cancelled()


@pytest.mark.parametrize("error", [None, errors.dependency_unavailable("database")], ids=["done", "failed"])
async def test_cancel_during_batch_leaves_neighbours(error: errors.DomainError | None) -> None:
    """A caller that goes away while its batch runs breaks neither the batch, nor what the others are told of it."""
    bench = Bench()
    writes = bench.batcher()
    busy = await occupy(writes, "a")
    callers = [submit(writes, "a", number) for number in (10, 11, 12)]
    for run in bench.open:
        run.finish()
    [shared] = await eventually(lambda: bench.open)
    callers[1].cancel()
    await settle()
    shared.ended.set_result(error)

    assert shared.items == [10, 11, 12]
    if error:
        assert [await reason_of(callers[number]) for number in (0, 2)] == [error.reason] * 2
    else:
        assert await answers_of(callers[0], callers[2]) == [["a:10"], ["a:12"]]
    late = submit(writes, "a", 20)
    bench.gated = False
    for run in bench.open:
        run.finish()
    assert await answers_of(late) == [["a:20"]]
    await answers_of(*busy)


@pytest.mark.parametrize("poison", [{3}, {0}, {7}, {0, 7}, {2, 3}, {1, 4, 6}, set(range(8))], ids=str)
async def test_poisoned_items_fail_alone(poison: set[int]) -> None:
    """Items that break their batch fail alone as INVARIANT_BROKEN, and every neighbour succeeds in its place."""
    bench = Bench(poison=poison, gated=False)
    answer = await bench.batcher().submit("a", range(8))

    shown = [each.reason if isinstance(each, errors.DomainError) else each for each in answer]
    assert shown == ["INVARIANT_BROKEN" if item in poison else f"a:{item}" for item in range(8)]


async def test_poisoned_item_fails_its_own_caller_only() -> None:
    """Where callers share a batch, the poison of one is an outcome of that caller alone."""
    bench = Bench(poison={11})
    writes = bench.batcher()
    busy = await occupy(writes, "a")
    callers = [submit(writes, "a", number, number + 100) for number in (10, 11, 12)]
    await settle()
    bench.gated = False
    for run in bench.open:
        run.finish()

    first, second, third = await answers_of(*callers)
    assert (first, third) == (["a:10", "a:110"], ["a:12", "a:112"])
    assert second[0].reason == "INVARIANT_BROKEN"
    assert second[1] == "a:111"
    await answers_of(*busy)


async def test_wrong_number_of_outcomes_is_answered() -> None:
    """A batch that gives too few outcomes is broken, and its callers are told so instead of waiting for ever."""

    async def run(_: str, items: list[int]) -> list[str]:
        return [str(item) for item in items if item != 2]

    writes: batcher.Batcher[int, str] = batcher.Batcher("test", run)
    async with asyncio.timeout(PATIENCE_S):
        answer = await writes.submit("a", [1, 2, 3])
        again = await writes.submit("a", [4])

    assert [each.reason if isinstance(each, errors.DomainError) else each for each in answer] == [
        "1",
        "INVARIANT_BROKEN",
        "3",
    ]
    assert again == ["4"]


async def test_domain_error_fails_all_of_its_batch_only() -> None:
    """A DomainError is every caller's answer in that batch, and no caller's of the batch beside or behind it."""
    bench = Bench()
    writes = bench.batcher()
    lone = await occupy(writes, "a")
    shared = [submit(writes, "a", number) for number in (10, 11)]
    await settle()
    bench.open[0].fail(errors.dependency_unavailable("database"))
    await eventually(lambda: len(bench.runs) == 3)
    behind = submit(writes, "a", 20)
    bench.runs[1].finish()
    bench.runs[2].fail(errors.dependency_unavailable("database"))
    bench.gated = False

    assert await reason_of(lone[0]) == "DEPENDENCY_UNAVAILABLE"
    assert await answers_of(lone[1]) == [["a:1"]]
    assert [await reason_of(task) for task in shared] == ["DEPENDENCY_UNAVAILABLE"] * 2
    assert await eventually(lambda: bench.open or behind.done())
    for run in bench.open:
        run.finish()
    assert await answers_of(behind) == [["a:20"]]


async def test_two_keys_do_not_wait_for_each_other() -> None:
    """While the batches of one key stand still, another key is answered."""
    bench = Bench()
    writes = bench.batcher()
    stuck = await occupy(writes, "a")
    stuck += [submit(writes, "a", number) for number in range(10)]
    free = submit(writes, "b", 1)
    await settle()

    assert [run.key for run in bench.open] == ["a"] * batcher.LANES_PER_LINE + ["b"]
    bench.open[-1].finish()
    assert await answers_of(free) == [["b:1"]]
    bench.gated = False
    for run in bench.open:
        run.finish()
    await answers_of(*stuck)


async def test_many_keys_share_lanes_in_turn() -> None:
    """With more keys than lanes no more batches run than there are lanes, and each key gets its turn."""
    bench = Bench()
    writes = bench.batcher(items_max=1)
    callers = [submit(writes, f"k{number % 12}", number) for number in range(48)]
    await settle()
    most = len(bench.open)
    while bench.open:
        bench.open[0].finish()
        await settle()
        most = max(most, len(bench.open))

    assert most == batcher.LANES_MAX
    assert all(task.done() for task in callers)
    assert {run.key for run in bench.runs[:24]} == {f"k{number}" for number in range(12)}


async def test_big_submission_is_not_starved() -> None:
    """A submission with no room left in a batch is the first of the next one; later small ones do not pass it."""
    bench = Bench()
    writes = bench.batcher(items_max=4)
    busy = await occupy(writes, "a")
    small, big, late = submit(writes, "a", 10), submit(writes, "a", 20, 21, 22, 23), submit(writes, "a", 30)
    await settle()
    for _ in range(3):
        bench.open[0].finish()
        await settle()
    for run in bench.open:
        run.finish()

    assert [run.items for run in bench.runs[2:]] == [[10], [20, 21, 22, 23], [30]]
    assert await answers_of(small, big, late) == [["a:10"], outcomes("a", [20, 21, 22, 23]), ["a:30"]]
    await answers_of(*busy)


async def test_close_drains_then_refuses() -> None:
    """Closing answers all that was accepted, in the queue too, and refuses what comes after it with DRAINING."""
    bench = Bench()
    writes = bench.batcher(items_max=1)
    callers = [submit(writes, "a", number) for number in range(5)]
    await settle()
    closing = asyncio.create_task(writes.close())
    await settle()
    refused = submit(writes, "a", 9)
    await settle()

    assert await reason_of(refused) == "DRAINING"
    assert not closing.done()
    bench.gated = False
    for run in bench.open:
        run.finish()
    async with asyncio.timeout(PATIENCE_S):
        await closing
    assert await answers_of(*callers) == [[f"a:{number}"] for number in range(5)]


async def test_close_twice_is_harmless() -> None:
    """Closing an idle batcher, and closing it again, ends at once."""
    writes = Bench().batcher()
    await writes.close()
    await writes.close()

    assert await reason_of(submit(writes, "a", 1)) == "DRAINING"
