"""Leaderboards: ranked by a stated policy, read by pages and around a member, closed when a day is over everywhere."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from plaudit.gamification.v1 import definition_service_pb2, events_pb2, gamification_pb2, gamification_service_pb2
from plaudit.program.v1 import events_pb2 as program_events_pb2

from services.gamification import checks
from services.kernel import clock
from tests.support.gamification import SCOPES, GamificationHarness, did, leaderboard, metric
from tests.support.harness import credential
from tests.support.refusals import refusal

NOON = datetime(2026, 2, 28, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
ME = credential("demo", SCOPES)
DAILY = gamification_pb2.PERIOD_DAY


async def score(gamification: GamificationHarness, at: datetime = NOON, **counts: int) -> None:
    """Gives members so many events each, who is named first reaching it first."""
    events = [
        did(f"{at.isoformat()}-{member_id}-{number}", member_id, at=at + SECOND * (place * 60 + number))
        for place, (member_id, count) in enumerate(counts.items())
        for number in range(count)
    ]
    await gamification.record(*events)


async def rank(gamification: GamificationHarness, member_id: str, *, ranked: bool) -> None:
    """Says whether a member is shown."""
    request = gamification_service_pb2.SetRankedRequest(member_id=member_id, ranked=ranked)
    response = await gamification.stub.SetRanked(request, metadata=ME)
    assert response.ranked == ranked


@pytest.mark.parametrize(
    ("ties", "ranks"), [("COMPETITION", [1, 2, 2, 4]), ("DENSE", [1, 2, 2, 3]), ("ORDINAL", [1, 2, 3, 4])]
)
async def test_ties_follow_the_policy(gamification: GamificationHarness, ties: str, ranks: list[int]) -> None:
    """Equal values are ranked by the board's policy, the first to reach them listed first, on one page or on many."""
    await gamification.define(metric(), leaderboard(ties=ties))
    await score(gamification, d=1, c=3, a=4, b=3)
    expected = list(zip(ranks, "acbd", (4, 3, 3, 1), strict=True))
    assert await gamification.standings() == expected

    seen: list[tuple[int, str, int]] = []
    token = ""
    for _ in range(4):
        page = await gamification.leaderboard(page_size=1, page_token=token)
        seen += [(each.rank, each.member_id, each.value) for each in page.standings]
        token = page.next_page_token
    assert (seen, token) == (expected, "")


async def test_page_around_a_member(gamification: GamificationHarness) -> None:
    """A page around a member has as many places above as below; who is not ranked has none."""
    await gamification.define(metric(), leaderboard())
    counts = {f"m{number}": 10 - number for number in range(10)}
    await score(gamification, NOON, **counts)

    around = await gamification.standings(around_member_id="m5", page_size=5)
    assert around == [(number + 1, f"m{number}", 10 - number) for number in range(3, 8)]
    assert await gamification.standings(around_member_id="m0", page_size=2) == [(1, "m0", 10), (2, "m1", 9)]
    assert await gamification.standings(around_member_id="nobody") == []


async def test_opted_out_members_are_in_no_ranking(gamification: GamificationHarness) -> None:
    """Who does not want to be shown is in no ranking, and nobody is ranked behind; the choice can be taken back."""
    await gamification.define(metric(), leaderboard(), leaderboard("dense", ties="DENSE"))
    await score(gamification, a=3, b=2, c=1)
    await rank(gamification, "b", ranked=False)
    for board in ("top", "dense"):
        assert await gamification.standings(board, around_member_id="c", page_size=1) == [(2, "c", 1)]
    assert await gamification.standings() == [(1, "a", 3), (2, "c", 1)]
    assert await gamification.standings(around_member_id="b") == []
    await gamification.know("b", display_name="B")
    assert len(await gamification.standings()) == 2
    await rank(gamification, "b", ranked=True)
    assert await gamification.standings(around_member_id="b", page_size=1) == [(2, "b", 2)]
    nobody = gamification_service_pb2.SetRankedRequest(member_id="nobody", ranked=True)
    assert (await refusal(gamification.stub.SetRanked(nobody, metadata=ME))).reason == "MEMBER_NOT_FOUND"


async def test_periods_are_ranked_each_for_itself(gamification: GamificationHarness) -> None:
    """A board ranks the day, week or month that a date is in, and refuses a period that it does not have."""
    await gamification.define(metric(), leaderboard(periods=("WEEK", "DAY")))
    await score(gamification, at=NOON, a=2, b=1)
    await score(gamification, at=NOON - DAY, b=3)

    assert await gamification.standings(date="2026-02-25") == [(1, "b", 4), (2, "a", 2)]
    assert await gamification.standings(period=DAILY, date="2026-02-28") == [(1, "a", 2), (2, "b", 1)]
    assert await gamification.standings(period=DAILY) == []
    shown = await gamification.leaderboard(date="2026-02-25")
    assert (shown.start_date, shown.period) == ("2026-02-23", gamification_pb2.PERIOD_WEEK)
    for day in ("0001-01-01", "9999-12-31"):
        assert await gamification.standings(date=day) == []
    error = await refusal(gamification.leaderboard(period=gamification_pb2.PERIOD_MONTH))
    assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "period")
    assert (await refusal(gamification.leaderboard("other"))).reason == "DEFINITION_NOT_FOUND"


async def test_day_is_closed_when_it_is_over_everywhere(
    gamification: GamificationHarness, time: clock.ManualClock
) -> None:
    """A day takes events until it ends in the last zone, is then closed and told once, and never changes again."""
    time.value = datetime(2026, 2, 28, 9, tzinfo=UTC)
    await gamification.define(metric(), leaderboard(periods=("DAY",)))
    samoa = timezone(timedelta(hours=-11))
    await gamification.record(did("e1", "a", at=NOON), did("e2", "b", at=datetime(2026, 2, 28, 23, 59, tzinfo=samoa)))
    time.value = datetime(2026, 3, 1, 12, 9, tzinfo=UTC)
    await gamification.drain()
    shown = await gamification.leaderboard(date="2026-02-28")
    assert (shown.closed, shown.close_time.ToDatetime(UTC)) == (False, datetime(2026, 3, 1, 12, 10, tzinfo=UTC))

    time.value += timedelta(minutes=1)
    await gamification.drain()
    await gamification.drain()
    await gamification.record(*(did(f"late-{number}", "b", at=NOON) for number in range(5)))
    await rank(gamification, "a", ranked=False)
    shown = await gamification.leaderboard(date="2026-02-28")
    assert (shown.closed, [each.member_id for each in shown.standings]) == (True, ["a", "b"])
    # The day before was open still when the board was made.
    before, told = await gamification.published(events_pb2.LeaderboardClosed)
    assert (before.start_date, before.member_count) == ("2026-02-27", 0)
    assert (told.leaderboard_id, told.start_date, told.member_count) == ("top", "2026-02-28", 2)
    assert [(each.rank, each.member_id, each.value) for each in told.standings] == [(1, "a", 1), (1, "b", 1)]
    assert await gamification.values("reports", "DAY", member_id="b") == {"2026-02-28": 6}


async def test_closed_ranking_is_read_by_pages(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """A closed ranking has pages, a page around a member and the policy on ties, as an open one has."""
    time.value = NOON
    await gamification.define(metric(), leaderboard(periods=("DAY",), ties="DENSE"))
    await score(gamification, a=4, b=3, c=3, d=2)
    before = await gamification.standings()
    time.value += 2 * DAY
    await gamification.drain()

    page = await gamification.leaderboard(date="2026-02-28", page_size=3)
    rest = await gamification.leaderboard(date="2026-02-28", page_size=3, page_token=page.next_page_token)
    found = [(each.rank, each.member_id, each.value) for each in (*page.standings, *rest.standings)]
    assert (found, page.closed) == (before, True)
    around = await gamification.standings(date="2026-02-28", around_member_id="c", page_size=3)
    assert around == before[1:4]
    problems = {row.subject: row.problems for row in await checks.check(gamification.context.pool)}
    assert problems["closed rankings in order"] == ()
    # The next day has its turn, and nobody did anything on it.
    time.value += DAY
    await gamification.drain()
    assert [each.member_count for each in await gamification.published(events_pb2.LeaderboardClosed)] == [0, 4, 0]


async def test_closing_waits_for_what_was_recorded_in_time(
    gamification: GamificationHarness, time: clock.ManualClock
) -> None:
    """While the follower has yet to see events of before the end, a ranking is not closed; then it has them."""
    time.value = NOON
    await gamification.define(metric(), leaderboard(periods=("DAY",)))
    # Recorded a day later, which the day before has not to wait for.
    await gamification.publish([program_events_pb2.EventRecorded(event=did("e1", "a", at=NOON))])
    time.value += 2 * DAY
    await gamification.drain()
    [before] = await gamification.published(events_pb2.LeaderboardClosed)
    assert before.start_date == "2026-02-27"

    await gamification.follow()
    time.value += timedelta(minutes=1)
    await gamification.drain()
    _, closed = await gamification.published(events_pb2.LeaderboardClosed)
    assert (closed.start_date, closed.member_count) == ("2026-02-28", 1)


async def test_closing_raced_by_many_is_told_once(gamification: GamificationHarness, time: clock.ManualClock) -> None:
    """Workers that drain together close a ranking once; an archived board is not closed."""
    time.value = NOON
    await gamification.define(metric(), leaderboard(periods=("DAY",)), leaderboard("old", periods=("DAY",)))
    archived = leaderboard("old", periods=("DAY",), state=gamification_pb2.DEFINITION_STATE_ARCHIVED)
    request = definition_service_pb2.UpdateLeaderboardRequest(leaderboard=archived, request_id="archive")
    await gamification.definitions.UpdateLeaderboard(request, metadata=ME)
    await score(gamification, a=1)
    time.value += 2 * DAY
    await asyncio.gather(*(gamification.drain() for _ in range(8)))

    told = await gamification.published(events_pb2.LeaderboardClosed)
    expected = [("top", "2026-02-27"), ("top", "2026-02-28")]
    assert [(each.leaderboard_id, each.start_date) for each in told] == expected
