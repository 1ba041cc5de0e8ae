"""Comparison: ahead of whom, and by how much, told only where it says nothing of a single one."""

from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st
from plaudit.gamification.v1 import gamification_pb2, gamification_service_pb2

from services.gamification import cohorts
from services.kernel import clock
from tests.support.gamification import SCOPES, GamificationHarness, did, metric
from tests.support.harness import credential
from tests.support.refusals import refusal

WEEK = date(2026, 2, 23)
WEDNESDAY = datetime(2026, 2, 25, 12, tzinfo=UTC)
OVER = datetime(2026, 3, 2, 12, 10, tzinfo=UTC)


async def comparisons(gamification: GamificationHarness, member_id: str) -> list[gamification_pb2.Comparison]:
    """Compares a member."""
    request = gamification_service_pb2.GetComparisonRequest(member_id=member_id)
    response = await gamification.stub.GetComparison(request, metadata=credential("demo", SCOPES))
    return list(response.comparisons)


async def work(gamification: GamificationHarness, member_id: str, count: int) -> None:
    """Gives a member so many events in the week."""
    await gamification.record(*(did(f"{member_id}-{number}", member_id, at=WEDNESDAY) for number in range(count)))


async def test_member_is_compared_with_peers(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """Ahead of counts who has strictly less, the average is that of the others, and ties are not ahead."""
    time.value = WEDNESDAY
    await gamification.define(metric())
    for number, count in enumerate((1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6)):
        await gamification.know(f"m{number}", plan="team", org_id="acme")
        await work(gamification, f"m{number}", count)
    await gamification.know("idle", plan="team", org_id="acme")
    assert await comparisons(gamification, "m0") == []
    time.value = OVER
    await gamification.drain()

    [best] = await comparisons(gamification, "m10")
    assert (best.metric, best.week_start_date, best.plan, best.org_size) == ("reports", "2026-02-23", "team", "10-49")
    assert (best.member_count, best.value, best.ahead_of_percent, best.average_hundredths) == (11, 6, 100, 320)
    [middle] = await comparisons(gamification, "m3")
    assert (middle.value, middle.ahead_of_percent, middle.average_hundredths) == (3, 30, 350)
    [least], [idle] = await comparisons(gamification, "m0"), await comparisons(gamification, "idle")
    assert (least.ahead_of_percent, idle.value, idle.ahead_of_percent) == (0, 0, 0)
    assert (await refusal(comparisons(gamification, "nobody"))).reason == "MEMBER_NOT_FOUND"


async def test_small_cohorts_are_rolled_up(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """Where too few have the plan, all are peers; where they are too few still, nothing is told."""
    time.value = WEDNESDAY
    await gamification.define(metric())
    for number in range(10):
        await gamification.know(f"m{number}", plan="team" if number < 9 else "solo")
        await work(gamification, f"m{number}", 2)
    await gamification.define(metric("rare", filter="event.member_id != 'm0'"))
    time.value = OVER
    await gamification.drain()

    [found] = await comparisons(gamification, "m9")
    assert (found.plan, found.org_size, found.member_count, found.ahead_of_percent) == ("", "", 10, 0)


async def test_snapshot_of_a_week_never_changes(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """A snapshot is taken once; what comes late changes the member's own value and no one else's."""
    time.value = WEDNESDAY
    await gamification.define(metric())
    for number in range(10):
        await work(gamification, f"m{number}", 2)
    time.value = OVER
    await gamification.drain()
    await gamification.record(*(did(f"late-{number}", "m1", at=WEDNESDAY) for number in range(3)))
    await gamification.drain()

    [late], [other] = await comparisons(gamification, "m1"), await comparisons(gamification, "m2")
    assert (late.value, late.ahead_of_percent) == (5, 100)
    assert (other.value, other.ahead_of_percent, other.average_hundredths) == (2, 0, 200)


def peers(*amounts: int) -> list[cohorts.Peer]:
    """Makes peers of one plan and size of company."""
    return [cohorts.Peer(amount, "team", 20) for amount in amounts]


def test_dominated_cohort_is_not_told() -> None:
    """A cohort of nine, or one in which somebody has more than a quarter of the whole, has no snapshot."""
    assert cohorts.snapshots("m", WEEK, peers(*[1] * 9)) == []
    assert cohorts.snapshots("m", WEEK, peers(*[3] * 9, 9)) != []
    assert cohorts.snapshots("m", WEEK, peers(*[3] * 9, 10)) == []


@given(st.lists(st.integers(1, 9), min_size=10, max_size=40), st.data())
def test_percentile_equals_brute_force(amounts: list[int], data: st.DataObject) -> None:
    """Ahead of is the share of the others that have strictly less, whatever the ties."""
    place = data.draw(st.integers(0, len(amounts) - 1))
    others = amounts[:place] + amounts[place + 1 :]
    for cohort in cohorts.snapshots("m", WEEK, peers(*amounts)):
        found = cohorts.compare(cohort, amounts[place])
        assert found.ahead_of_percent == sum(each < amounts[place] for each in others) * 100 // len(others)
        assert found.average_hundredths == sum(others) * 100 // len(others)
