"""Referral programs: data with versions, checked when they are made."""

import asyncio
from typing import Any

from plaudit.referral.v1 import referral_pb2, referral_service_pb2

from tests.support.harness import credential
from tests.support.referral import FRIENDS, LANDING, ReferralHarness
from tests.support.refusals import refusal


def wanted(**values: Any) -> referral_pb2.ReferralProgram:
    """Describes a referral program."""
    return referral_pb2.ReferralProgram(
        **{
            "referral_program_id": FRIENDS,
            "display_name": "Friends",
            "landing_url": LANDING,
            "qualifying_event_type": "payment.succeeded",
            **values,
        }
    )


async def update(referral: ReferralHarness, request_id: str, mask: str = "", **values: Any) -> Any:
    """Changes the referral program."""
    given = referral_pb2.ReferralProgram(**{"referral_program_id": FRIENDS, **values})
    request = referral_service_pb2.UpdateReferralProgramRequest(
        referral_program=given, update_mask=mask, request_id=request_id
    )
    return await referral.stub.UpdateReferralProgram(request, metadata=referral.metadata())


async def get(referral: ReferralHarness, version: int = 0) -> referral_pb2.ReferralProgram:
    """Reads the referral program."""
    request = referral_service_pb2.GetReferralProgramRequest(referral_program_id=FRIENDS, version=version)
    return (await referral.stub.GetReferralProgram(request, metadata=referral.metadata())).referral_program


async def test_program_has_sensible_defaults(referral: ReferralHarness) -> None:
    """What is not said is 90 days of attribution by the last touch, 180 to qualify, and refunds by payment_id."""
    made = await referral.create()

    assert (made.version, made.etag, made.state) == (1, "1", referral_pb2.REFERRAL_PROGRAM_STATE_ACTIVE)
    assert (made.attribution_days, made.qualification_days, made.time_zone) == (90, 180, "UTC")
    assert made.attribution_model == referral_pb2.ATTRIBUTION_MODEL_LAST_TOUCH
    assert (made.signup_event_type, made.payment_property) == ("user.signed_up", "payment_id")
    assert list(made.refund_event_types) == ["payment.refunded", "payment.charged_back"]
    assert await get(referral) == made


async def test_update_makes_the_next_version(referral: ReferralHarness) -> None:
    """A change keeps what it does not name, earlier versions stay, and the same request again is told again."""
    first = await referral.create(retention_days=3)
    second = await update(referral, "u1", hold_seconds=60, etag="1")
    again = await update(referral, "u1", hold_seconds=60, etag="1")
    cleared = await update(referral, "u2", "retentionDays,caps")
    listed = await referral.stub.ListReferralPrograms(
        referral_service_pb2.ListReferralProgramsRequest(page_size=1), metadata=referral.metadata()
    )

    assert (second.referral_program.version, second.referral_program.hold_seconds) == (2, 60)
    assert (second.replayed, again.replayed) == (False, True)
    assert again.referral_program == second.referral_program
    assert (second.referral_program.retention_days, cleared.referral_program.retention_days) == (3, 0)
    assert await get(referral, 1) == first
    assert list(listed.referral_programs) == [cleared.referral_program]


async def test_raced_create_makes_one(referral: ReferralHarness) -> None:
    """64 callers with one request make one referral program, and all of them are told of it."""
    request = referral_service_pb2.CreateReferralProgramRequest(referral_program=wanted(), request_id="r1")
    calls = (referral.stub.CreateReferralProgram(request, metadata=referral.metadata()) for _ in range(64))
    responses = await asyncio.gather(*calls)

    assert sorted(response.replayed for response in responses) == [False] + [True] * 63
    assert len({response.referral_program.create_time.ToNanoseconds() for response in responses}) == 1


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"landing_url": "http://acme.example/"}, "FIELD_INVALID", "referralProgram.landingUrl"),
    ({"landing_url": "https://user@acme.example/"}, "FIELD_INVALID", "referralProgram.landingUrl"),
    ({"landing_url": "javascript:alert(1)"}, "FIELD_INVALID", "referralProgram.landingUrl"),
    ({"landing_url": "https://acme.example/\r\nx"}, "FIELD_INVALID", "referralProgram.landingUrl"),
    ({"landing_url": "https://[acme/"}, "FIELD_INVALID", "referralProgram.landingUrl"),
    ({"qualifying_event_type": ""}, "FIELD_INVALID", "referralProgram.qualifyingEventType"),
    ({"retention_days": 30, "qualification_days": 30}, "FIELD_INVALID", "referralProgram.qualificationDays"),
    ({"caps": [referral_pb2.ReferralCap(max_count=1)]}, "FIELD_INVALID", "referralProgram.caps[0].period"),
    ({"condition": "event.properties."}, "EXPRESSION_INVALID", "referralProgram.condition"),
    ({"condition": "member.email == ''"}, "EXPRESSION_INVALID", "referralProgram.condition"),
    ({"condition": "event.items.all(x, x.all(y, y > 1))"}, "EXPRESSION_INVALID", "referralProgram.condition"),
    ({"condition": "event.type.reverse() == ''"}, "EXPRESSION_INVALID", "referralProgram.condition"),
]


async def test_bad_program_is_refused(referral: ReferralHarness) -> None:
    """A referral program that cannot work is refused by the field that is at fault, when made and when changed."""
    await referral.create()
    for values, reason, field in BAD:
        request = referral_service_pb2.CreateReferralProgramRequest(
            referral_program=wanted(referral_program_id="bad", **values), request_id="r1"
        )
        made = await refusal(referral.stub.CreateReferralProgram(request, metadata=referral.metadata()))
        changed = await refusal(update(referral, "u1", ",".join(values), **values))
        assert (made.reason, made.violations[0].field) == (reason, field)
        assert (changed.reason, changed.violations[0].field) == (reason, field)


async def test_conflicts_are_told(referral: ReferralHarness) -> None:
    """Another one of the same id, another content of the same request, a lost etag and an end are all told."""
    await referral.create()
    other = referral_service_pb2.CreateReferralProgramRequest(referral_program=wanted(), request_id="other")
    same = referral_service_pb2.CreateReferralProgramRequest(
        referral_program=wanted(display_name="Foes"), request_id="create"
    )
    metadata = referral.metadata()

    assert (await refusal(referral.stub.CreateReferralProgram(other, metadata=metadata))).reason == (
        "REFERRAL_PROGRAM_EXISTS"
    )
    reused = await refusal(referral.stub.CreateReferralProgram(same, metadata=metadata))
    assert (reused.reason, reused.metadata["fields"]) == ("REQUEST_ID_REUSED", "referralProgram")
    assert (await refusal(update(referral, "u1", hold_seconds=1, etag="7"))).reason == "CONCURRENT_UPDATE"
    assert (await refusal(update(referral, "u1", "version"))).violations[0].field == "updateMask"
    await update(referral, "u2", state=referral_pb2.REFERRAL_PROGRAM_STATE_ARCHIVED)
    assert (await refusal(update(referral, "u3", hold_seconds=1))).reason == "REFERRAL_PROGRAM_ARCHIVED"
    assert (await refusal(referral.code("ann"))).reason == "REFERRAL_PROGRAM_ARCHIVED"


async def test_other_program_sees_nothing(referral: ReferralHarness) -> None:
    """What belongs to one program is not there for another one, and without the scope for nobody."""
    await referral.create()
    request = referral_service_pb2.GetReferralProgramRequest(referral_program_id=FRIENDS)
    other = await refusal(referral.stub.GetReferralProgram(request, metadata=referral.metadata("other")))
    unscoped = await refusal(referral.stub.GetReferralProgram(request, metadata=credential("demo", ["rules.read"])))

    assert other.reason == "REFERRAL_PROGRAM_NOT_FOUND"
    assert (unscoped.reason, unscoped.metadata["scope"]) == ("SCOPE_MISSING", "referrals.read")
