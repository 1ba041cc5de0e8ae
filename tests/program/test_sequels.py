"""Sequels: what members reach and whom they bring are events that rules pay for; referrals settle what they gave."""

import uuid

import pytest
from google.protobuf.message import Message
from plaudit.gamification.v1 import events_pb2 as gamification_pb2
from plaudit.gamification.v1 import gamification_pb2 as gamification
from plaudit.program.v1 import program_pb2, program_service_pb2
from plaudit.referral.v1 import events_pb2 as referral_events_pb2
from plaudit.referral.v1 import referral_pb2

from services.kernel import due, feed, times
from services.program import feeds, model, worker
from services.program.operations import settlements
from services.program.operations.events import POST_EFFECTS
from services.program.operations.settlements import SETTLE_EVENT
from tests.conftest import START
from tests.support.harness import LedgerHarness
from tests.support.program import ProgramHarness

HELD, POSTED = program_pb2.EFFECT_STATE_HELD, program_pb2.EFFECT_STATE_POSTED
TAKEN_BACK = program_pb2.EFFECT_STATE_TAKEN_BACK


class Published:
    """A feed that another service published: what it says, in order, of one partition of the demo program."""

    def __init__(self, *messages: Message) -> None:
        self.events = [
            feed.Incoming(
                "demo", 0, position, uuid.uuid4(), "m1", each.DESCRIPTOR.full_name, each.SerializeToString(), START
            )
            for position, each in enumerate(messages, start=1)
        ]

    async def list_heads(self, wait_s: float) -> list[feed.Head]:
        """Tells how far it reaches."""
        del wait_s
        return [feed.Head("demo", 0, len(self.events))]

    async def read(self, program_id: str, partition: int, after_position: int) -> feed.Page:
        """Reads what stands behind a position."""
        del program_id, partition
        return feed.Page(self.events[after_position:], len(self.events))


def level(depth: int = 0) -> gamification_pb2.LevelReached:
    """Says that m1 reached silver."""
    return gamification_pb2.LevelReached(
        member_id="m1",
        org_id="acme",
        occur_time=times.to_proto(START),
        causation_depth=depth,
        ladder_id="usage",
        level_id="silver",
        value=100,
        next_threshold=500,
    )


def referred(state: str, *, qualified: bool = True, end: str = "UNSPECIFIED") -> referral_events_pb2.ReferralChanged:
    """Says where the referral of m2 by m1 stands."""
    return referral_events_pb2.ReferralChanged(
        member_id="m1",
        causation_depth=0,
        referral=referral_pb2.Referral(
            referral_id="r1",
            referral_program_id="friends",
            referrer_id="m1",
            referee_id="m2",
            code="ABCD",
            state=referral_pb2.ReferralState.Value(f"REFERRAL_STATE_{state}"),
            end_reason=referral_pb2.ReferralEndReason.Value(f"REFERRAL_END_REASON_{end}"),
            qualify_time=times.to_proto(START) if qualified else None,
            update_time=times.to_proto(START),
        ),
    )


async def follow(program: ProgramHarness, source: Published, *, referrals: bool = False) -> None:
    """Follows all that is published, and works what is due."""
    build = worker.build_referral_follower if referrals else worker.build_gamification_follower
    follower = build(program.context, program.events, source)
    while await follower.catch_up(await source.list_heads(0)):
        pass
    context = program.context
    for kind, handler in (
        (POST_EFFECTS, program.events.post_due),
        (SETTLE_EVENT, lambda item: settlements.settle_due(context, item)),
    ):
        await due.drain(context.pool, kind, handler, context.time)


async def stand(ledger: LedgerHarness) -> dict[str, tuple[int, int]]:
    """Tells what m1 and m2 can spend, and what waits for them."""
    balances = {member_id: await ledger.balance(member_id) for member_id in ("m1", "m2")}
    return {member_id: (each.available, each.pending) for member_id, each in balances.items()}


async def told(program: ProgramHarness, event_id: str) -> program_service_pb2.GetEventResponse:
    """Tells all of an event."""
    request = program_service_pb2.GetEventRequest(event_id=event_id)
    return await program.stub.GetEvent(request, metadata=program.metadata())


async def test_level_is_an_event_that_pays(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A level that was reached is an event with all that it says, one further from the first; rules pay for it once."""
    await program.rule(
        "silver",
        event_type="gamification.level_reached",
        condition='event.properties.level_id == "silver" && event.properties.value >= 100',
        amount="50",
    )
    source = Published(level(depth=2))
    await follow(program, source)
    await follow(program, source)
    event_id = f"gamification:{source.events[0].event_id}"
    found = await told(program, event_id)

    assert (found.event.type, found.event.member_id, found.event.org_id) == ("gamification.level_reached", "m1", "acme")
    assert found.event.properties["next_threshold"] == 500
    assert [each.effect.amount for each in found.decisions] == [50]
    assert (await ledger.balance("m1")).available == 50


async def test_rules_cannot_feed_each_other_for_ever(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """What follows from the eighth event in a row is recorded, and pays no more."""
    await program.rule("silver", event_type="gamification.level_reached", amount="50")
    await follow(program, Published(level(depth=model.DEPTH_MAX - 1)))
    await follow(program, Published(level(depth=model.DEPTH_MAX - 2)))

    assert (await ledger.balance("m1")).available == 0


async def test_places_are_events_of_their_members(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """Whoever has a place on a leaderboard that closed has an event with the rank, which rules can pay for."""
    await program.rule(
        "podium",
        event_type="gamification.leaderboard_placed",
        condition="event.properties.rank <= 2",
        amount="int(100 / event.properties.rank)",
    )
    standings = [gamification.Standing(rank=rank, member_id=f"m{rank}", value=100 - rank) for rank in (1, 2, 3)]
    closed = gamification_pb2.LeaderboardClosed(
        leaderboard_id="weekly",
        period=gamification.PERIOD_WEEK,
        start_date="2026-03-02",
        member_count=40,
        standings=standings,
        close_time=times.to_proto(START),
    )
    source = Published(closed)
    await follow(program, source)
    found = await told(program, f"gamification:{source.events[0].event_id}:0")

    assert await stand(ledger) == {"m1": (100, 0), "m2": (50, 0)}
    assert (found.event.properties["period"], found.event.properties["member_count"]) == ("WEEK", 40)


@pytest.fixture
async def both_sides(program: ProgramHarness) -> ProgramHarness:
    """Has rules that give both sides of a referral value that waits."""
    await program.rule("referrer", event_type=feeds.REFERRAL_QUALIFIED, amount="500", pending=True)
    recipient = "event.properties.referee_id"
    await program.rule("referee", event_type=feeds.REFERRAL_QUALIFIED, amount="200", pending=True, recipient=recipient)
    return program


@pytest.mark.parametrize(
    ("states", "expected", "effect"),
    [
        (["SIGNED_UP"], (0, 0), None),
        (["QUALIFIED"], (0, 500), HELD),
        (["QUALIFIED", "HELD"], (0, 500), HELD),
        (["QUALIFIED", "HELD", "REWARDED"], (500, 0), POSTED),
        (["QUALIFIED", "REJECTED"], (0, 0), TAKEN_BACK),
        (["QUALIFIED", "REVERSED"], (0, 0), TAKEN_BACK),
        (["QUALIFIED", "REWARDED", "REVERSED"], (0, 0), TAKEN_BACK),
    ],
)
async def test_referral_settles_what_it_gave(
    both_sides: ProgramHarness, ledger: LedgerHarness, states: list[str], expected: tuple[int, int], effect: int | None
) -> None:
    """Both sides have what waits from when it qualified; its end gives it to them, or takes it back, once."""
    source = Published(*(referred(state, qualified=state != "SIGNED_UP") for state in states))
    for _ in range(2):
        await follow(both_sides, source, referrals=True)

    assert (await stand(ledger))["m1"] == expected
    if effect is not None:
        found = await told(both_sides, "referral:r1:qualified")
        assert {each.effect.state for each in found.decisions} == {effect}


async def test_referral_that_never_qualified_settles_nothing(program: ProgramHarness) -> None:
    """A referral that ends before it qualifies has no event, and leaves no dead letter."""
    await follow(program, Published(referred("EXPIRED", qualified=False)), referrals=True)

    assert await program.context.pool.fetchval("SELECT count(*) FROM events") == 0
    assert await program.context.pool.fetchval("SELECT count(*) FROM feed_dead_letters") == 0


async def test_states_that_come_one_by_one(both_sides: ProgramHarness, ledger: LedgerHarness) -> None:
    """It is all the same whether states come on one page or long after each other."""
    states = [referred(state) for state in ("QUALIFIED", "REWARDED", "REVERSED")]
    found = []
    source = Published(*states)
    for count in range(1, len(states) + 1):
        part = Published()
        part.events = source.events[:count]
        await follow(both_sides, part, referrals=True)
        found.append(await stand(ledger))

    assert found == [
        {"m1": (0, 500), "m2": (0, 200)},
        {"m1": (500, 0), "m2": (200, 0)},
        {"m1": (0, 0), "m2": (0, 0)},
    ]
