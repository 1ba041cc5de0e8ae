"""Whatever happens in whatever order, the ledger says what its promises say."""

import os

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from services.kernel import clock, ids
from tests.conftest import START
from tests.ledger.chooser import HOUR, TURNS, Chooser
from tests.ledger.world import MEMBERS, World
from tests.support.harness import LedgerHarness

# The long search, for whoever changes the ledger: PLAUDIT_TEST_SEARCH=2000.
EXAMPLES = int(os.environ.get("PLAUDIT_TEST_SEARCH", "60"))
STEPS = ("post",) * 5 + ("turn", "turn", "look", "again", "sweep", "read")


async def take(world: World, chooser: Chooser) -> None:
    """Takes one step."""
    what = chooser.pick(*STEPS)
    note(f"{what} at {world.time.value}")
    match what:
        case "post":
            asks = chooser.asks(chooser.pick(1, 4, 12))
            for ask in asks:
                note(f"  {ask}")
            await world.post(asks)
        case "turn":
            world.time.value += chooser.pick(*TURNS)
        case "again" if world.posted:
            await world.post(chooser.pick(*world.posted))
        case "look":
            await world.look(chooser.pick(*MEMBERS), chooser.look_at())
        case "sweep":
            await world.sweep()
        case "read":
            await world.read(chooser.pick(*MEMBERS))


# One ledger serves all examples: each has a program of its own, and its own time.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_ledger_agrees_with_its_oracle(
    ledger: LedgerHarness, time: clock.ManualClock, data: st.DataObject
) -> None:
    """Every result, balance at any instant, statement and lot is what the oracle computes, and the check is clean."""
    time.value = START
    world = World(ledger, time, f"p{ids.new_id().hex}")
    chooser = Chooser(data, world)
    for _ in range(chooser.number(4, 25)):
        await take(world, chooser)
    note("the end")
    await world.assert_sound()
    for member in MEMBERS:
        for hours in range(-9, 31, 3):
            await world.look(member, START + hours * HOUR)
