"""How long what a rule gives lives: every policy of the ledger, in the program's zone, with a real ledger behind it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from plaudit.program.v1 import program_pb2, program_service_pb2

from services.kernel import clock, due, ids, times
from services.program.operations.events import POST_EFFECTS
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import spend
from tests.support.program import ProgramHarness, event, run_program
from tests.support.refusals import refusal

DAY, MONTH, QUARTER, YEAR = (
    program_pb2.EXPIRY_END_DAY,
    program_pb2.EXPIRY_END_MONTH,
    program_pb2.EXPIRY_END_QUARTER,
    program_pb2.EXPIRY_END_YEAR,
)
PARIS = "Europe/Paris"
KIND = "lesson.done"

# What the rule says, the zone of the program, when the event occurred, and when what it gave ends.
GOLDEN: list[tuple[dict[str, Any], str, str, str]] = [
    ({"months": 12}, "UTC", "2026-02-28T10:00Z", "2027-02-28T10:00Z"),
    ({"months": 1, "days": 1}, PARIS, "2026-01-31T09:00Z", "2026-03-01T09:00Z"),
    # Without a span: the current period, by the clocks of the program's zone.
    ({"end": DAY}, "UTC", "2026-02-28T23:30Z", "2026-03-01T00:00Z"),
    ({"end": DAY}, PARIS, "2026-02-28T23:30Z", "2026-03-01T23:00Z"),
    ({"end": MONTH}, "UTC", "2026-02-28T23:30Z", "2026-03-01T00:00Z"),
    ({"end": MONTH}, PARIS, "2026-02-28T23:30Z", "2026-03-31T22:00Z"),
    ({"end": MONTH}, "America/New_York", "2026-03-01T04:59:59Z", "2026-03-01T05:00Z"),
    ({"end": QUARTER}, "UTC", "2026-02-28T10:00Z", "2026-04-01T00:00Z"),
    ({"end": QUARTER}, "Asia/Kolkata", "2025-12-31T18:30Z", "2026-03-31T18:30Z"),
    ({"end": YEAR}, "Pacific/Auckland", "2025-12-31T11:00Z", "2026-12-31T11:00Z"),
    ({"end": YEAR}, "Pacific/Auckland", "2025-12-31T10:59:59Z", "2025-12-31T11:00Z"),
    # A span, and then on to the end of the period that it falls in.
    ({"days": 90, "end": DAY}, PARIS, "2026-02-28T10:00Z", "2026-05-29T22:00Z"),
    ({"months": 12, "end": MONTH}, PARIS, "2026-02-28T10:00Z", "2027-02-28T23:00Z"),
    ({"months": 6, "end": QUARTER}, "UTC", "2026-02-28T10:00Z", "2026-10-01T00:00Z"),
    ({"months": 12, "end": YEAR}, "America/New_York", "2026-02-28T10:00Z", "2028-01-01T05:00Z"),
]


def instant(text: str) -> datetime:
    """Reads an instant."""
    return datetime.fromisoformat(text)


async def lesson_rule(program: ProgramHarness, tenant: str = "demo", **expiry: Any) -> None:
    """Makes the rule that pays 10 points, which live as long as is said."""
    await program.rule("lesson", program=tenant, event_type=KIND, amount="10", expiry=program_pb2.Expiry(**expiry))


async def ends(ledger: LedgerHarness, program: str = "demo") -> list[datetime]:
    """Tells when the lots of the member m1 end, the newest first."""
    return [times.from_proto(lot.expire_time) for lot in await ledger.lots("m1", program=program)]


async def set_zone(program: ProgramHarness, zone: str) -> None:
    """Moves the program to another zone."""
    await program.context.pool.execute("UPDATE programs SET time_zone = $1 WHERE program_id = 'demo'", zone)


async def test_value_lives_as_its_rule_says(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A rule stretches a span to the end of the local period in the program's zone, and the ledger has the same end."""
    told, kept = [], []
    for number, (expiry, zone, start, _) in enumerate(GOLDEN):
        tenant = f"zoned{number}"
        await program.create(tenant, zone)
        await lesson_rule(program, tenant, **expiry)
        [result] = await program.record(event("e1", KIND, at=instant(start)), program=tenant)
        told += [(expiry, zone, start, times.from_proto(effect.expire_time)) for effect in result.effects]
        kept += await ends(ledger, tenant)

    assert told == [(*case[:-1], instant(case[-1])) for case in GOLDEN]
    assert kept == [instant(case[-1]) for case in GOLDEN]


async def test_value_without_expiry_lives_for_ever(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A rule that says nothing of expiry gives value without an end."""
    await program.rule("lesson", event_type=KIND, amount="10")
    [result] = await program.record(event("e1", KIND, at=START))
    [lot] = await ledger.lots("m1")

    assert not result.effects[0].HasField("expire_time")
    assert not lot.HasField("expire_time")


async def test_end_beyond_the_calendar_is_its_last_instant(
    program: ProgramHarness, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """What would end after the year 9999 ends with it, whether the program or the ledger counts."""
    time.value = instant("9999-06-01T00:00Z")
    await program.rule("fixed", event_type=KIND, amount="1", expiry=program_pb2.Expiry(end=YEAR))
    await program.rule("rolling", event_type=KIND, amount="1", expiry=program_pb2.Expiry(end=YEAR, rolling=True))
    [result] = await program.record(event("e1", KIND, at=time.value))

    assert [times.from_proto(effect.expire_time) for effect in result.effects] == [times.LATEST] * 2
    assert await ends(ledger) == [times.LATEST] * 2


@pytest.mark.parametrize("expiry", [{}, {"rolling": True}])
async def test_expiry_that_says_nothing_is_refused(program: ProgramHarness, expiry: dict[str, Any]) -> None:
    """A rule whose expiry has neither a span nor an end is refused by field, when it is made and when it is changed."""
    made = await refusal(lesson_rule(program, **expiry))
    await lesson_rule(program, months=12)
    rule = program_pb2.Rule(rule_id="lesson", expiry=program_pb2.Expiry(**expiry))
    request = program_service_pb2.UpdateRuleRequest(rule=rule, request_id="u1")
    changed = await refusal(program.stub.UpdateRule(request, metadata=program.metadata()))

    for error in (made, changed):
        assert (error.reason, error.violations[0].field) == ("FIELD_INVALID", "rule.expiry")


async def test_rule_keeps_its_expiry(program: ProgramHarness) -> None:
    """A rule, its next version and the earning table tell the policy as it was given."""
    expiry = program_pb2.Expiry(months=12, end=QUARTER, rolling=True)
    made = await program.rule("lesson", event_type=KIND, amount="10", expiry=expiry)
    rule = program_pb2.Rule(rule_id="lesson", amount="20")
    request = program_service_pb2.UpdateRuleRequest(rule=rule, request_id="u1")
    changed = await program.stub.UpdateRule(request, metadata=program.metadata())
    table = await program.stub.GetEarningTable(
        program_service_pb2.GetEarningTableRequest(), metadata=program.metadata()
    )

    assert made.expiry == changed.rule.expiry == table.rows[0].expiry == expiry


async def test_cleared_expiry_is_for_ever(program: ProgramHarness) -> None:
    """A mask that names the expiry and a rule that has none leave value without an end."""
    await lesson_rule(program, months=12, end=MONTH)
    request = program_service_pb2.UpdateRuleRequest(
        rule=program_pb2.Rule(rule_id="lesson"), update_mask="expiry", request_id="u1"
    )
    changed = await program.stub.UpdateRule(request, metadata=program.metadata())

    assert not changed.rule.HasField("expiry")


async def test_rolling_end_moves_with_a_later_earn(
    program: ProgramHarness, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """Each earn moves the end of all that lives as long as the member is active, to what its own effect tells."""
    await lesson_rule(program, months=3, end=MONTH, rolling=True)
    [first] = await program.record(event("e1", KIND, at=START))
    time.value = instant("2026-05-10T12:00Z")
    [second] = await program.record(event("e2", KIND, at=time.value))

    told = [times.from_proto(result.effects[0].expire_time) for result in (first, second)]
    assert told == [instant("2026-07-01T00:00Z"), instant("2026-09-01T00:00Z")]
    assert await ends(ledger) == [told[1]] * 2


async def test_rolling_end_moves_with_a_spend(
    program: ProgramHarness, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """A redemption and a spend move the end of what is left, and the event still tells where it was."""
    await lesson_rule(program, days=30, rolling=True)
    await program.reward(cost=3)
    [result] = await program.record(event("e1", KIND, at=START))
    time.value = START + timedelta(days=10)
    await program.redeem("r1")
    redeemed = await ends(ledger)
    time.value = START + timedelta(days=20)
    await ledger.post(spend("s1", amount=1))
    spent = await ends(ledger)
    [again] = await program.record(event("e1", KIND, at=START))

    assert redeemed == [START + timedelta(days=40)]
    assert spent == [START + timedelta(days=50)]
    assert again.effects == result.effects
    assert times.from_proto(again.effects[0].expire_time) == START + timedelta(days=30)


async def test_rolling_end_of_an_old_event_counts_from_its_recording(
    program: ProgramHarness, ledger: LedgerHarness
) -> None:
    """An event from long ago gives rolling value that begins to age now, and other value that has aged since then."""
    await program.rule("fixed", event_type=KIND, amount="1", expiry=program_pb2.Expiry(days=30))
    await program.rule("rolling", event_type=KIND, amount="2", expiry=program_pb2.Expiry(days=30, rolling=True))
    [result] = await program.record(event("e1", KIND, at=START - timedelta(days=100)))

    told = {effect.rule_id: times.from_proto(effect.expire_time) for effect in result.effects}
    assert told == {"fixed": START - timedelta(days=70), "rolling": START + timedelta(days=30)}
    assert sorted(await ends(ledger)) == sorted(told.values())
    assert (await ledger.balance("m1")).available == 2


@pytest.mark.parametrize("rolling", [False, True])
async def test_post_again_after_the_zone_changed_says_the_same(
    program: ProgramHarness, ledger: LedgerHarness, *, rolling: bool
) -> None:
    """A posting that is repeated after the program moved to another zone is the same one to the ledger."""
    await set_zone(program, PARIS)
    await lesson_rule(program, end=MONTH, rolling=rolling)
    sent = event("e1", KIND, at=START)
    [first] = await program.record(sent)
    await set_zone(program, "Asia/Tokyo")
    posting = due.DueItem("demo", POST_EFFECTS, ids.new_id(), {"event_ids": ["e1"]}, START)
    await program.events.post_due(posting)
    [again] = await program.record(sent)

    assert times.from_proto(first.effects[0].expire_time) == instant("2026-03-31T22:00Z")
    assert again.effects == first.effects
    assert again.effects[0].state == program_pb2.EFFECT_STATE_POSTED
    assert await ends(ledger) == [instant("2026-03-31T22:00Z")]


async def test_pending_effect_keeps_the_zone_of_its_decision(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """What waits for the ledger while the program moves to another zone is counted in the zone of its decision."""
    dsn = databases.dsn(program_database, "program")
    async with run_program(dsn, time, "127.0.0.1:1") as alone:
        await alone.create(time_zone=PARIS)
        await lesson_rule(alone, end=MONTH, rolling=True)
        await alone.record(event("e1", KIND, at=START))
        await set_zone(alone, "Asia/Tokyo")

    time.value += timedelta(seconds=60)
    async with run_program(dsn, time, ledger.address) as back:
        await due.drain(back.context.pool, POST_EFFECTS, back.events.post_due, time)

    assert await ends(ledger) == [instant("2026-03-31T22:00Z")]
