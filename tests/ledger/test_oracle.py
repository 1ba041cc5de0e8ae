"""Whatever happens in whatever order, the ledger says what its promises say."""

import os
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from services.kernel import clock, ids
from tests.conftest import START
from tests.ledger.world import ASSETS, MEMBERS, World
from tests.support.harness import LedgerHarness
from tests.support.oracle import Ask

# The long search, for whoever changes the ledger: PLAUDIT_TEST_SEARCH=2000.
EXAMPLES = int(os.environ.get("PLAUDIT_TEST_SEARCH", "80"))
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


def hour(number: int) -> datetime:
    """Gives an instant some whole hours after the start, so that ends, beginnings and clocks meet all the time."""
    return START + number * HOUR


def numbered(letter: str, last: int) -> st.SearchStrategy[str]:
    """Names things from a small pool, so that they are met again."""
    return st.integers(0, last).map(lambda number: f"{letter}{number}")


HOURS = st.integers(-6, 14).map(hour)
INSTANTS = st.builds(lambda at, by: at + by * MICROSECOND, HOURS, st.integers(-1, 1))
MEMBER, ASSET = st.sampled_from(MEMBERS), st.sampled_from([*ASSETS[:1] * 4, *ASSETS[1:]])
AMOUNTS = st.integers(1, 12)
EARNS = st.builds(
    Ask,
    request_id=numbered("e", 14),
    kind=st.just("earn"),
    member=MEMBER,
    asset=ASSET,
    amount=AMOUNTS,
    at=st.none() | HOURS,
    effective=st.none() | HOURS,
    expires=st.none() | HOURS,
    priority=st.integers(0, 2),
)
HOLDS = st.builds(
    Ask,
    request_id=numbered("h", 9),
    kind=st.just("hold"),
    member=MEMBER,
    asset=ASSET,
    amount=AMOUNTS,
    timeout_s=st.integers(1, 6).map(lambda hours: hours * 3600),
    at=st.none() | st.none() | HOURS,
)
ENDS = st.builds(
    Ask, request_id=numbered("c", 9), kind=st.sampled_from(["capture", "capture", "release"]), target=numbered("h", 9)
)
REVERSALS = st.builds(Ask, request_id=numbered("r", 5), kind=st.just("reverse"), target=numbered("c", 9))
# Ids and targets that belong to another kind of operation.
STRANGERS = st.builds(
    Ask,
    request_id=st.one_of(numbered("e", 14), numbered("h", 9), numbered("c", 9), numbered("x", 3)),
    kind=st.sampled_from(["capture", "release", "reverse"]),
    target=st.one_of(numbered("e", 14), numbered("h", 9), numbered("c", 9), numbered("r", 5)),
)
ASKS = st.one_of(EARNS, EARNS, HOLDS, HOLDS, ENDS, ENDS, REVERSALS, STRANGERS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.lists(ASKS, min_size=1, max_size=10)),
        st.tuples(st.just("post"), st.lists(ASKS, min_size=1, max_size=3)),
        st.tuples(st.just("turn"), st.sampled_from([MICROSECOND, HOUR - MICROSECOND, HOUR, 3 * HOUR])),
        st.tuples(st.just("again"), st.integers(0, 10)),
        st.tuples(st.just("look"), st.tuples(MEMBER, st.none() | INSTANTS)),
        st.tuples(st.just("sweep"), st.none()),
        st.tuples(st.just("read"), MEMBER),
    ),
    min_size=3,
    max_size=25,
)


async def take(world: World, what: str, how: Any) -> None:
    """Takes one step."""
    match what:
        case "post":
            await world.post(how)
        case "turn":
            world.time.value += how
        case "again" if world.posted:
            await world.post(world.posted[how % len(world.posted)])
        case "look":
            await world.look(*how)
        case "sweep":
            await world.sweep()
        case "read":
            await world.read(how)


# One ledger serves all examples: each has a program of its own, and its own time.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
async def test_ledger_agrees_with_its_oracle(
    ledger: LedgerHarness, time: clock.ManualClock, steps: list[tuple[str, Any]]
) -> None:
    """Every result, balance at any instant, statement and lot is what the oracle computes, and the check is clean."""
    time.value = START
    world = World(ledger, time, f"p{ids.new_id().hex}")
    for what, how in steps:
        note(f"{what} {how}")
        await take(world, what, how)
    await world.finish()
    for member in MEMBERS:
        for number in range(-7, 16, 2):
            await world.look(member, hour(number))
