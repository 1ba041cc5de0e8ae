"""Events: recorded once, decided by rules, posted exactly once."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from plaudit.program.v1 import events_pb2, program_pb2, program_service_pb2

from services.kernel import clock, db, due, feed, fields, times
from services.program import checks
from services.program.operations.events import POST_EFFECTS
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.program import ProgramHarness, event, run_program
from tests.support.refusals import refusal

YEAR = program_pb2.Expiry(months=12)
ACCEPTED, DUPLICATE, REFUSED = (
    program_pb2.EVENT_STATUS_ACCEPTED,
    program_pb2.EVENT_STATUS_DUPLICATE,
    program_pb2.EVENT_STATUS_REFUSED,
)


async def purchase_rule(program: ProgramHarness) -> None:
    """Makes the rule that pays a point per whole unit."""
    await program.rule(
        "purchase", event_type="purchase.completed", amount="event.properties.amount_cents / 100", expiry=YEAR
    )


async def test_record_pays_by_rule(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """An event earns what its rule says, from its own time on, and the balance has it when the call returns."""
    await purchase_rule(program)
    [result] = await program.record(event("e1", at=START - timedelta(days=1), amount_cents=1999))

    [effect] = result.effects
    assert (result.status, effect.rule_id, effect.rule_version, effect.asset) == (ACCEPTED, "purchase", 1, "points")
    assert (effect.amount, effect.state) == (19, program_pb2.EFFECT_STATE_POSTED)
    assert times.from_proto(effect.expire_time) == datetime(2027, 2, 28, 12, tzinfo=UTC)
    assert (await ledger.balance("m1")).available == 19
    [entry] = await ledger.statement("m1")
    assert (entry.cause.event_id, entry.cause.rule_id, entry.cause.rule_version) == ("e1", "purchase", 1)


async def test_record_again_is_duplicate_with_same_effects(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """The same event again pays nothing and tells the same effects, in the same call and in a later one."""
    await purchase_rule(program)
    sent = event("e1", at=START, amount_cents=500)
    first, inside = await program.record(sent, sent)
    [later] = await program.record(sent)

    assert [each.status for each in (first, inside, later)] == [ACCEPTED, DUPLICATE, DUPLICATE]
    assert list(first.effects) == list(inside.effects) == list(later.effects)
    assert (await ledger.balance("m1")).available == 5


async def test_record_reused_id_names_differing_fields(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """The same id with other content is refused with the differing fields named, and changes nothing."""
    await purchase_rule(program)
    await program.record(event("e1", at=START, amount_cents=500))
    [result] = await program.record(event("e1", member_id="m2", at=START, amount_cents=501, extra=True))

    assert (result.status, result.error.reason) == (REFUSED, "REQUEST_ID_REUSED")
    assert list(result.error.fields) == ["memberId", "properties.amount_cents", "properties.extra"]
    assert (await ledger.balance("m1")).available == 5


async def test_record_keeps_the_senders_offset(program: ProgramHarness) -> None:
    """The sender's own offset, zero too, is told back and is published; none stays none."""
    offsets = {"e1": -210, "e2": 0, "e3": None}
    await program.record(*(event(name, at=START, utc_offset_minutes=offset) for name, offset in offsets.items()))

    page = await db.read(program.context.pool, lambda connection: feed.read_events(connection, "demo", 0, 0))
    types = (events_pb2.EventRecorded.FromString(each.payload) for each in page.events if "EventR" in each.type)
    for name, recorded in zip(offsets, types, strict=True):
        request = program_service_pb2.GetEventRequest(event_id=name)
        told = (await program.stub.GetEvent(request, metadata=program.metadata())).event
        for each in (told, recorded.event):
            found = each.utc_offset_minutes if each.HasField("utc_offset_minutes") else None
            assert (each.event_id, found) == (name, offsets[name])


async def test_record_refuses_offsets_that_no_clock_shows(program: ProgramHarness) -> None:
    """An offset beyond 18 hours is refused by field, and another one under the same id as other content."""
    at_the_end, beyond = event("e1", at=START, utc_offset_minutes=1080), event("e2", at=START, utc_offset_minutes=-1081)
    accepted, refused = await program.record(at_the_end, beyond)
    [other] = await program.record(event("e1", at=START, utc_offset_minutes=60))

    assert (accepted.status, refused.error.field) == (ACCEPTED, "utcOffsetMinutes")
    assert (other.error.reason, list(other.error.fields)) == ("REQUEST_ID_REUSED", ["utcOffsetMinutes"])


async def test_record_same_event_raced_by_64_callers(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """64 callers with one event: one is accepted, the others are duplicates with the same effects."""
    await purchase_rule(program)
    sent = event("e1", at=START, amount_cents=700)
    results = await asyncio.gather(*(program.record(sent) for _ in range(64)))

    statuses = [result.status for [result] in results]
    assert (statuses.count(ACCEPTED), statuses.count(DUPLICATE)) == (1, 63)
    assert {result.effects[0].amount for [result] in results} == {7}
    assert (await ledger.balance("m1")).available == 7


async def test_record_bad_event_never_refuses_others(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A malformed event and one from the future are refused by field; their neighbours are accepted."""
    await purchase_rule(program)
    results = await program.record(
        event("e1", at=START, amount_cents=100),
        event("", at=START, amount_cents=100),
        event("e3", at=START + timedelta(seconds=301), amount_cents=100),
        event("e" * 129, at=START, amount_cents=100),
        event("e5", at=START + timedelta(seconds=300), amount_cents=100),
    )

    assert [result.status for result in results] == [ACCEPTED, REFUSED, REFUSED, REFUSED, ACCEPTED]
    refusals = [(result.error.reason, result.error.field) for result in results if result.status == REFUSED]
    assert refusals == [
        ("FIELD_INVALID", "eventId"),
        ("OCCUR_TIME_AHEAD", "occurTime"),
        ("FIELD_INVALID", "eventId"),
    ]
    assert (await ledger.balance("m1")).pending + (await ledger.balance("m1")).available >= 1


async def test_record_with_no_well_formed_event_fails_as_a_whole(program: ProgramHarness) -> None:
    """A call in which no event is well formed names each field with the place of its event."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await program.record(event("", at=START), event("e2", member_id="a/b", at=START))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "events[0].eventId: is required"


async def test_record_tells_why_a_rule_did_not_pay(program: ProgramHarness) -> None:
    """A rule that matched and did not pay says why: nothing to pay, an input that is missing, a fraction."""
    await purchase_rule(program)
    await program.rule("half", event_type="half.done", amount="event.properties.amount * 0.5")
    results = await program.record(
        event("e1", at=START, amount_cents=99),
        event("e2", at=START),
        event("e3", "half.done", at=START, amount=1.5),
        event("e4", "unknown.type", at=START),
    )

    assert [[denial.reason for denial in result.denials] for result in results] == [
        ["AMOUNT_ZERO"],
        ["INPUT_MISSING"],
        ["AMOUNT_INVALID"],
        [],
    ]


async def test_once_per_pays_once_for_key_and_member(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A survey pays each member once, however many events tell of it, also when raced."""
    await program.rule("survey", event_type="survey.completed", amount="50", once_per="event.properties.survey_id")
    events = [
        event(f"e{member}-{copy}-{survey}", "survey.completed", f"m{member}", at=START, survey_id=f"s{survey}")
        for copy in range(8)
        for member in range(4)
        for survey in range(2)
    ]
    await asyncio.gather(*(program.record(each) for each in events))

    assert [(await ledger.balance(f"m{member}")).available for member in range(4)] == [100] * 4
    [result] = await program.record(event("again", "survey.completed", "m1", at=START, survey_id="s1"))
    assert [denial.reason for denial in result.denials] == ["ALREADY_PAID"]


async def test_cap_is_never_passed(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """64 racing events under a cap of 100 a day pay exactly 100, the last one what is left; a new day starts anew."""
    cap = program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY, max_amount=100)
    await program.rule("login", event_type="user.logged_in", amount="7", caps=[cap])
    await asyncio.gather(*(program.record(event(f"e{n}", "user.logged_in", at=START)) for n in range(64)))

    assert (await ledger.balance("m1")).available == 100
    [denied] = await program.record(event("more", "user.logged_in", at=START))
    [next_day] = await program.record(event("next", "user.logged_in", at=START - timedelta(days=1)))
    assert [denial.reason for denial in denied.denials] == ["CAP_REACHED"]
    assert next_day.effects[0].amount == 7


async def test_recipient_of_a_rule_is_paid_and_created(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A rule may pay another member than that of the event, who is created where never seen."""
    await program.rule(
        "referral", event_type="referral.qualified", amount="200", recipient="event.properties.referrer_id"
    )
    await program.record(event("e1", "referral.qualified", "friend", at=START, referrer_id="advocate"))

    assert (await ledger.balance("advocate")).available == 200
    assert (await ledger.balance("friend")).available == 0
    request = program_service_pb2.GetMemberRequest(member_id="advocate")
    response = await program.stub.GetMember(request, metadata=program.metadata())
    assert response.member.member_id == "advocate"


async def test_get_event_explains_every_decision(program: ProgramHarness) -> None:
    """An event tells, also after its rule changed, which version decided on what inputs."""
    await program.rule(
        "vip", event_type="purchase.completed", amount="10", condition='member.attributes.tier == "gold"'
    )
    member = program_pb2.Member(member_id="m1")
    member.attributes.update({"tier": "gold"})
    await program.stub.UpdateMember(program_service_pb2.UpdateMemberRequest(member=member), metadata=program.metadata())
    await program.record(event("e1", at=START, amount_cents=5))
    rule = program_pb2.Rule(rule_id="vip", amount="20")
    await program.stub.UpdateRule(
        program_service_pb2.UpdateRuleRequest(rule=rule, request_id="u1"), metadata=program.metadata()
    )
    await program.record(event("e2", at=START, amount_cents=5))

    explained = [
        await program.stub.GetEvent(program_service_pb2.GetEventRequest(event_id=event_id), metadata=program.metadata())
        for event_id in ("e1", "e2")
    ]
    assert [(e.decisions[0].rule.version, e.decisions[0].effect.amount) for e in explained] == [(1, 10), (2, 20)]
    assert fields.struct_to_dict(explained[0].decisions[0].member)["attributes"] == {"tier": "gold"}


async def test_get_unknown_event_is_not_found(program: ProgramHarness) -> None:
    """An event that was never recorded is told as such."""
    request = program_service_pb2.GetEventRequest(event_id="nope")
    error = await refusal(program.stub.GetEvent(request, metadata=program.metadata()))
    assert (error.reason, error.metadata) == ("EVENT_NOT_FOUND", {"eventId": "nope"})


async def test_effects_follow_when_the_ledger_was_away(
    databases: Databases, program_database: str, ledger: LedgerHarness, time: clock.ManualClock
) -> None:
    """While the ledger is away events are accepted with pending effects; due work posts them once it is back."""
    dsn = databases.dsn(program_database, "program")
    async with run_program(dsn, time, "127.0.0.1:1") as alone:
        await alone.create()
        await purchase_rule(alone)
        [result] = await alone.record(event("e1", at=START, amount_cents=300))
        assert (result.status, result.effects[0].state) == (ACCEPTED, program_pb2.EFFECT_STATE_PENDING)
        assert alone.kicks == [POST_EFFECTS]

    time.value += timedelta(seconds=60)
    async with run_program(dsn, time, ledger.address) as back:
        drained = await due.drain(back.context.pool, POST_EFFECTS, back.events.post_due, time)
        [again] = await back.record(event("e1", at=START, amount_cents=300))
        rows = await checks.check(back.context.pool)

    assert drained == 1
    assert (again.status, again.effects[0].state) == (DUPLICATE, program_pb2.EFFECT_STATE_POSTED)
    assert (await ledger.balance("m1")).available == 3
    assert [problem for row in rows for problem in row.problems] == []


async def test_programs_never_see_each_other(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """The same ids in two programs are different things, and a rule of one never pays in the other."""
    await program.create("other")
    await purchase_rule(program)
    sent = event("e1", at=START, amount_cents=900)
    [mine] = await program.record(sent)
    [theirs] = await program.record(sent, program="other")

    assert (len(mine.effects), len(theirs.effects)) == (1, 0)
    assert theirs.status == ACCEPTED
    assert (await ledger.balance("m1", program="other")).available == 0
    request = program_service_pb2.GetRuleRequest(rule_id="purchase")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await program.stub.GetRule(request, metadata=program.metadata("other"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_event_of_the_first_day_of_the_calendar_is_decided(
    program: ProgramHarness, ledger: LedgerHarness
) -> None:
    """An event may be as old as the calendar, whose first day is in no year at all west of Greenwich."""
    await program.create("west", "America/New_York")
    cap = program_pb2.Cap(period=program_pb2.CAP_PERIOD_YEAR, max_count=1)
    await program.rule("old", program="west", event_type="a.b", amount="1", caps=[cap], expiry=YEAR)
    [result] = await program.record(event("e1", "a.b", at=times.EARLIEST), program="west")

    assert [effect.amount for effect in result.effects] == [1]
    assert times.from_proto(result.effects[0].expire_time).year == 2
    assert (await ledger.balance("m1", program="west")).available == 0
