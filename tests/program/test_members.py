"""Members: what is known of them, and rewards that they can have."""

from typing import Any

import pytest
from plaudit.program.v1 import program_pb2, program_service_pb2

from tests.conftest import START
from tests.support.program import ProgramHarness, event
from tests.support.refusals import refusal


def put(program: ProgramHarness, tenant: str = "demo", **values: Any) -> Any:
    """Replaces what is known of the member m1."""
    request = program_service_pb2.UpdateMemberRequest(member=program_pb2.Member(**{"member_id": "m1", **values}))
    return program.stub.UpdateMember(request, metadata=program.metadata(tenant))


def get(program: ProgramHarness, tenant: str = "demo") -> Any:
    """Reads the member m1."""
    return program.stub.GetMember(
        program_service_pb2.GetMemberRequest(member_id="m1"), metadata=program.metadata(tenant)
    )


async def test_put_replaces_all_that_is_known(program: ProgramHarness) -> None:
    """A put replaces; what it leaves out is forgotten; every change changes the etag."""
    first = (await put(program, email="a@b.co", locale="pt-BR", time_zone="Europe/Paris", birthday="1990-02-28")).member
    second = (await put(program, display_name="Ann", org_id="acme")).member

    assert (first.email, first.locale, first.birthday) == ("a@b.co", "pt-BR", "1990-02-28")
    assert (second.email, second.display_name, second.org_id) == ("", "Ann", "acme")
    assert first.etag != second.etag
    assert (await get(program)).member == second


async def test_put_with_an_old_etag_is_told(program: ProgramHarness) -> None:
    """An etag makes the put conditional: an old one, or one of a member who is not there, is refused."""
    absent = await refusal(put(program, etag="1"))
    first = (await put(program)).member
    await put(program, etag=first.etag)
    old = await refusal(put(program, etag=first.etag))

    assert [absent.reason, old.reason] == ["CONCURRENT_UPDATE"] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("locale", "??"),
        ("time_zone", "Mars/Olympus"),
        ("birthday", "1990-02-30"),
        ("display_name", "x" * 201),
        ("org_id", "a\nb"),
        ("member_id", "x" * 129),
    ],
)
async def test_put_refuses_bad_field(program: ProgramHarness, field: str, value: str) -> None:
    """A malformed field is refused by name, and nothing is stored."""
    error = await refusal(put(program, **{field: value}))
    parts = field.split("_")

    assert error.reason == "FIELD_INVALID"
    assert error.violations[0].field == "member." + parts[0] + "".join(part.title() for part in parts[1:])
    assert (await refusal(get(program))).reason == "MEMBER_NOT_FOUND"


async def test_member_seen_in_an_event_exists(program: ProgramHarness) -> None:
    """A member seen first in an event is there, with the org of that event, in that program alone."""
    await program.create("other")
    await program.record(event("e1", member_id="m1", at=START, org_id="acme"))

    assert (await get(program)).member.org_id == "acme"
    assert (await refusal(get(program, "other"))).reason == "MEMBER_NOT_FOUND"


async def test_codes_are_counted_and_never_read_back(program: ProgramHarness) -> None:
    """Codes go in once each, are counted, and no answer has them."""
    await program.reward(codes=3)
    upload = program_service_pb2.UploadCodesRequest(reward_id="mug", codes=["mug-0", "new", "new"])
    response = await program.stub.UploadCodes(upload, metadata=program.metadata())
    listed = await program.stub.ListRewards(program_service_pb2.ListRewardsRequest(), metadata=program.metadata())

    assert (response.added_count, response.known_count) == (1, 2)
    assert [(reward.code_count, list(reward.codes)) for reward in listed.rewards] == [(4, [])]
    unknown = program_service_pb2.UploadCodesRequest(reward_id="nope", codes=["a"])
    assert (await refusal(program.stub.UploadCodes(unknown, metadata=program.metadata()))).reason == "REWARD_NOT_FOUND"


async def test_create_reward_is_idempotent_and_exclusive(program: ProgramHarness) -> None:
    """The same request makes one reward; other content and a second request for its id are refused."""

    def create(request_id: str, cost: int, reward_id: str = "mug") -> Any:
        reward = program_pb2.Reward(reward_id=reward_id, display_name="Mug", cost=cost)
        request = program_service_pb2.CreateRewardRequest(reward=reward, request_id=request_id)
        return program.stub.CreateReward(request, metadata=program.metadata())

    first, again = await create("r1", 5), await create("r1", 5)
    reused, taken = await refusal(create("r1", 6, "cup")), await refusal(create("r2", 5))

    assert (first.replayed, again.replayed, again.reward) == (False, True, first.reward)
    assert [violation.field for violation in reused.violations] == ["rewardId", "cost"]
    assert taken.reason == "REWARD_EXISTS"
