"""K3, following: exactly once in effect, in order, whatever breaks, and from wherever a follower stands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from services.kernel import db, errors, feed
from tests.support.databases import Databases
from tests.support.feeds import LocalSource, happened, heads, publish, record, seen, split
from tests.support.waiting import PATIENCE_S, eventually


@dataclass
class Handling:
    """A handler that records what it sees, and then breaks as the test says."""

    before: list[Callable[[Sequence[feed.Incoming]], None]] = field(default_factory=list)
    after: list[Callable[[Sequence[feed.Incoming]], None]] = field(default_factory=list)
    pages: list[list[int]] = field(default_factory=list)

    async def __call__(self, connection: db.Connection, program_id: str, events: list[feed.Incoming]) -> None:
        """Handles one page."""
        assert {event.program_id for event in events} == {program_id}
        self.pages.append([event.position for event in events])
        for step in self.before:
            step(events)
        await record(connection, events)
        for step in self.after:
            step(events)


def breaking_on(payload: bytes, error: Exception | None = None) -> Callable[[Sequence[feed.Incoming]], None]:
    """Makes a step that breaks on one event, every time."""

    def step(events: Sequence[feed.Incoming]) -> None:
        if any(event.payload == payload for event in events):
            raise error or ValueError("poisoned")

    return step


@pytest.fixture
async def own_pool(databases: Databases, feed_database: str) -> AsyncIterator[db.Pool]:
    """Opens the follower's own pool."""
    pool = await db.create_pool(databases.dsn(feed_database, "postgres"), service="test-follower")
    yield pool
    await pool.close()


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a follower try again at once."""
    monkeypatch.setattr(feed, "RETRY_S", 0)


def follower(source: feed.Source, pool: db.Pool, handling: Handling | None = None, name: str = "test") -> feed.Follower:
    """Makes a follower."""
    return feed.Follower(name, source=source, pool=pool, handler=handling or Handling())


async def catch_up(following: feed.Follower, pool: db.Pool) -> None:
    """Follows until nothing is left."""
    async with asyncio.timeout(PATIENCE_S):
        while await following.catch_up(await heads(pool)):
            pass


async def dead_letters(pool: db.Pool) -> list[tuple[int, str]]:
    """Lists what was set aside, with why."""
    rows = await pool.fetch("SELECT position, error FROM feed_dead_letters ORDER BY position")
    return [(row["position"], row["error"]) for row in rows]


async def cursor_of(pool: db.Pool, name: str = "test", partition: int = 0) -> int:
    """Tells where a follower stands."""
    found = await db.read(pool, feed.cursors)
    return found.get(name, {}).get(("demo", partition), 0)


async def test_follow_handles_each_event_once_in_order(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Each event of each partition has its effect once and in order, over any number of pages."""
    await split(feed_pool, 3)
    await publish(feed_pool, *(happened(f"m{number}") for number in range(200)))
    await catch_up(follower(LocalSource(feed_pool, limit=7), own_pool), feed_pool)

    for head in await heads(feed_pool):
        assert await seen(feed_pool, head.partition) == list(range(1, head.position + 1))


async def test_follow_goes_on_where_it_stood(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """A follower that is started again goes on behind its cursor, and one of another name begins at the beginning."""
    source = LocalSource(feed_pool)
    await publish(feed_pool, *(happened("m1") for _ in range(5)))
    await catch_up(follower(source, own_pool), feed_pool)
    await publish(feed_pool, *(happened("m1") for _ in range(5)))
    await catch_up(follower(source, own_pool), feed_pool)
    reads = len(source.reads)
    await catch_up(follower(source, own_pool), feed_pool)
    assert len(source.reads) == reads, "Nothing is read where nothing is new."
    late = Handling()
    await catch_up(follower(source, own_pool, late, name="late"), feed_pool)

    assert (await seen(feed_pool))[:10] == list(range(1, 11))
    assert late.pages == [list(range(1, 11))]
    assert [await cursor_of(feed_pool, name) for name in ("test", "late")] == [10, 10]


async def test_crash_between_effect_and_commit_has_no_effect(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Where a follower is cancelled after its effects and before their commit, they happen once, later."""
    await publish(feed_pool, *(happened("m1") for _ in range(5)))
    reached, never = asyncio.Event(), asyncio.Event()

    async def crashing(connection: db.Connection, _: str, events: list[feed.Incoming]) -> None:
        await record(connection, events)
        reached.set()
        await never.wait()

    dying = feed.Follower("test", source=LocalSource(feed_pool), pool=own_pool, handler=crashing)
    task = asyncio.create_task(dying.catch_up(await heads(feed_pool)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await seen(feed_pool), await cursor_of(feed_pool)) == ([], 0)

    await catch_up(follower(LocalSource(feed_pool), own_pool), feed_pool)
    assert await seen(feed_pool) == [1, 2, 3, 4, 5]


async def test_killed_connection_has_no_effect(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Where the follower's database goes away in the middle, the effects happen once, when it is back."""
    await publish(feed_pool, *(happened("m1") for _ in range(5)))
    kills = ["SELECT pg_terminate_backend(pg_backend_pid())"]

    async def dying(connection: db.Connection, _: str, events: list[feed.Incoming]) -> None:
        await record(connection, events)
        if kills:
            await connection.execute(kills.pop())

    following = feed.Follower("test", source=LocalSource(feed_pool), pool=own_pool, handler=dying)
    with pytest.raises(errors.DomainError):
        await catch_up(following, feed_pool)
    await catch_up(following, feed_pool)

    assert await seen(feed_pool) == [1, 2, 3, 4, 5]


async def test_failure_that_passes_is_tried_again(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """An event that breaks its handler less often than the limit has its effect once and is no dead letter."""
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(5)))
    failures = [ValueError("for once"), ValueError("twice")]

    def step(events: Sequence[feed.Incoming]) -> None:
        if failures and any(event.payload == b"2" for event in events):
            raise failures.pop()

    await catch_up(follower(LocalSource(feed_pool), own_pool, Handling(after=[step])), feed_pool)

    assert await seen(feed_pool) == [1, 2, 3, 4, 5]
    assert await dead_letters(feed_pool) == []


REFUSALS = [None, errors.field_invalid(errors.Violation("amount", "is bad")), errors.scope_missing("a")]


@pytest.mark.parametrize("error", REFUSALS, ids=["exception", "field", "scope"])
async def test_poisoned_event_is_set_aside_alone(
    feed_pool: db.Pool, own_pool: db.Pool, error: Exception | None
) -> None:
    """An event that breaks its handler every time, also by a refusal, is set aside; its neighbours go on in order."""
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(1, 8)))
    handling = Handling(after=[breaking_on(b"3", error), breaking_on(b"7", error)])
    await catch_up(follower(LocalSource(feed_pool), own_pool, handling), feed_pool)

    assert await seen(feed_pool) == [1, 2, 4, 5, 6]
    assert [(position, text[:40]) for position, text in await dead_letters(feed_pool)] == [
        (3, repr(error or ValueError("poisoned"))[:40]),
        (7, repr(error or ValueError("poisoned"))[:40]),
    ]
    assert await cursor_of(feed_pool) == 7


async def test_poisoned_partition_does_not_stop_others(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """While one partition is stuck at an unavailable dependency, the others are followed to their ends."""
    await split(feed_pool, 4)
    await publish(
        feed_pool, *(happened(f"m{number}", f"p{feed.partition_of(f'm{number}', 4)}") for number in range(80))
    )
    handling = Handling(before=[breaking_on(b"p2", errors.dependency_unavailable("ledger"))])
    following = follower(LocalSource(feed_pool, limit=5), own_pool, handling)

    async def done() -> bool:
        with pytest.raises(errors.DomainError):
            await following.catch_up(await heads(feed_pool))
        return all(
            [
                await cursor_of(feed_pool, "test", head.partition) == head.position or head.partition == 2
                for head in await heads(feed_pool)
            ]
        )

    await eventually(done)
    assert await seen(feed_pool, 2) == []
    assert await dead_letters(feed_pool) == []
    handling.before.clear()
    await catch_up(following, feed_pool)
    for head in await heads(feed_pool):
        assert await seen(feed_pool, head.partition) == list(range(1, head.position + 1))


async def test_unavailable_dependency_is_waited_for(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """However often a dependency is away, nothing is set aside for it, and all happens once when it is back."""
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(5)))
    handling = Handling(after=[breaking_on(b"2", errors.dependency_unavailable("ledger"))])
    following = follower(LocalSource(feed_pool), own_pool, handling)
    for _ in range(3 * feed.EVENT_ATTEMPTS_MAX):
        with pytest.raises(errors.DomainError):
            await following.catch_up(await heads(feed_pool))
    handling.after.clear()
    await catch_up(following, feed_pool)

    assert await dead_letters(feed_pool) == []
    assert await seen(feed_pool) == [1, 2, 3, 4, 5]


async def test_two_replicas_share_without_overlap(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Replicas of one follower have each effect once between them, in order, while events keep coming."""
    await split(feed_pool, 4)
    replicas = [follower(LocalSource(feed_pool, limit=3), own_pool) for _ in range(4)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    for start in range(0, 120, 6):
        await publish(feed_pool, *(happened(f"m{number}") for number in range(start, start + 6)))
    await eventually(lambda: _all_seen(feed_pool, 120))
    await _stop(running)

    for head in await heads(feed_pool):
        assert await seen(feed_pool, head.partition) == list(range(1, head.position + 1))


async def test_two_replicas_lose_nothing_around_poison(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Replicas that both meet a poisoned event set it aside once and skip nothing of what stands behind it."""
    poisoned = [3, 11, 12, 30, 39]
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(1, 41)))
    handling = Handling(after=[breaking_on(str(number).encode()) for number in poisoned])
    replicas = [follower(LocalSource(feed_pool, limit=8), own_pool, handling) for _ in range(4)]
    running = [asyncio.create_task(replica.run()) for replica in replicas]
    await eventually(lambda: _all_seen(feed_pool, 40))
    await _stop(running)

    assert await seen(feed_pool) == [number for number in range(1, 41) if number not in poisoned]
    assert [position for position, _ in await dead_letters(feed_pool)] == poisoned


async def _all_seen(pool: db.Pool, count: int) -> bool:
    """Tells whether a follower is through with so many events."""
    positions = (await db.read(pool, feed.cursors)).get("test", {})
    return sum(positions.values()) == count


async def _stop(running: "list[asyncio.Task[None]]") -> None:
    """Cancels followers and waits for their ends."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_replay_works_dead_letters_once(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Replaying works what was set aside, once, and tells how many; what breaks again stays."""
    await publish(feed_pool, *(happened("m1", str(number)) for number in range(1, 6)))
    handling = Handling(after=[breaking_on(b"2"), breaking_on(b"4")])
    following = follower(LocalSource(feed_pool), own_pool, handling)
    await catch_up(following, feed_pool)
    handling.after = [breaking_on(b"4")]
    first = await following.replay_dead_letters("demo")
    left = await dead_letters(feed_pool)
    handling.after = []
    others = [await following.replay_dead_letters("demo"), await following.replay_dead_letters("demo")]

    assert (first, others, [position for position, _ in left]) == (1, [1, 0], [4])
    assert sorted(await seen(feed_pool)) == [1, 2, 3, 4, 5]
    assert await following.replay_dead_letters("other") == 0


async def test_replay_raced_works_each_letter_once(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """Replays at the same time have each effect once between them."""
    await publish(feed_pool, *(happened("m1", "bad") for _ in range(6)))
    handling = Handling(after=[breaking_on(b"bad")])
    following = follower(LocalSource(feed_pool), own_pool, handling)
    await catch_up(following, feed_pool)
    handling.after = []
    done = await asyncio.gather(*(following.replay_dead_letters("demo") for _ in range(8)))

    assert sum(done) == 6
    assert sorted(await seen(feed_pool)) == [1, 2, 3, 4, 5, 6]
    assert await dead_letters(feed_pool) == []


async def test_filter_moves_past_other_types(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """A follower of some types sees these alone, and its cursor moves past the others without a handler."""
    await publish(feed_pool, *(happened("m1", kind="wanted" if number % 10 == 3 else "other") for number in range(100)))
    handling = Handling()
    await catch_up(follower(LocalSource(feed_pool, types=["wanted"], limit=5), own_pool, handling), feed_pool)

    assert await seen(feed_pool) == [number + 1 for number in range(100) if number % 10 == 3]
    assert await cursor_of(feed_pool) == 100
    assert all(len(page) == 1 for page in handling.pages)


async def test_run_survives_a_source_that_is_away(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """A follower goes on by itself after its source, or anything else, failed."""
    await publish(feed_pool, *(happened("m1") for _ in range(5)))
    failures: list[Exception] = [errors.dependency_unavailable("ledger"), ValueError("for once"), OSError("away")]

    class Source(LocalSource):
        async def list_heads(self, wait_s: float) -> list[feed.Head]:
            """Fails some times, then tells the heads."""
            if failures:
                raise failures.pop()
            return await super().list_heads(wait_s)

    running = [asyncio.create_task(follower(Source(feed_pool), own_pool).run())]
    await eventually(lambda: _all_seen(feed_pool, 5))
    await _stop(running)

    assert await seen(feed_pool) == [1, 2, 3, 4, 5]


async def test_check_tells_dead_letters(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """What was set aside is a problem until it was replayed."""
    await publish(feed_pool, happened("m1", "bad"))
    following = follower(LocalSource(feed_pool), own_pool, Handling(after=[breaking_on(b"bad")]))
    await catch_up(following, feed_pool)
    told = await db.read(feed_pool, feed.check)

    assert [problem for row in told for problem in row.problems] == ["test: 1 dead letters of demo"]


def test_cursor_beyond_its_feed_is_told() -> None:
    """A cursor that stands beyond the end of its feed is a problem, and one that is behind is a lag."""
    heads = [feed.Head("one", 0, 10), feed.Head("two", 1, 5)]
    sound = feed.compare("a-b", {("one", 0): 10, ("two", 1): 3}, heads)
    broken = feed.compare("a-b", {("one", 0): 11, ("gone", 0): 1}, heads)

    assert (sound.examined, sound.problems) == (2, ())
    assert [problem.partition(":")[0] for problem in broken.problems] == ["one/0", "gone/0"]
    assert [row.value for row in feed.lag("a-b", {("one", 0): 7}, heads)] == ["3", "5"]


async def test_effects_wait_for_what_led_to_them(feed_pool: db.Pool, own_pool: db.Pool) -> None:
    """What a feed tells is handled only once the other feed was followed as far as it reached by then."""
    source, causes, effects = LocalSource(feed_pool), Handling(), Handling()
    first = follower(source, own_pool, causes, "first")
    second = follower(feed.After(source, first=source, follower=first), own_pool, effects, "second")
    await publish(feed_pool, happened("m1"), happened("m2"))
    waiting = asyncio.create_task(catch_up(second, feed_pool))
    await eventually(lambda: source.reads == [0])
    before = list(effects.pages)
    await catch_up(first, feed_pool)
    await waiting

    assert (before, causes.pages, effects.pages) == ([], [[1, 2]], [[1, 2]])


async def test_effects_come_again_where_their_causes_do_not_come_on(
    feed_pool: db.Pool, own_pool: db.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other feed is not followed nothing is handled, nothing is set aside, and all comes again later."""
    monkeypatch.setattr(feed, "CAUSES_WAIT_S", 0)
    source, effects = LocalSource(feed_pool), Handling()
    first = follower(source, own_pool, name="first")
    second = follower(feed.After(source, first=source, follower=first), own_pool, effects, "second")
    await publish(feed_pool, happened("m1"))
    with pytest.raises(errors.DomainError, match="DEPENDENCY_UNAVAILABLE"):
        await second.catch_up(await heads(feed_pool))
    before = list(effects.pages)
    await catch_up(first, feed_pool)
    await catch_up(second, feed_pool)

    assert (before, effects.pages, await dead_letters(own_pool)) == ([], [[1]], [])
