"""Estimates of redemption: which is in force, that none begins in the past, and one outcome for a request."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from plaudit.ledger.v1 import ledger_pb2, liability_service_pb2

from services.kernel import clock, errors, times
from tests.conftest import START
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import earn, spend
from tests.support.liability import estimate, report, stub
from tests.support.refusals import refusal

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
CALLERS = 64
CAMPAIGNS = ("", "spring", "autumn")


async def rates(ledger: LedgerHarness, as_of: datetime | None = None) -> list[int]:
    """Tells the rates by which the campaigns are judged: of no campaign, spring and autumn."""
    found = {line.campaign_id: line.redemption_rate_bps for line in (await report(ledger, as_of)).lines}
    return [found[campaign_id] for campaign_id in CAMPAIGNS]


async def listed(ledger: LedgerHarness, program: str = "demo") -> list[liability_service_pb2.RedemptionEstimate]:
    """Lists all estimates."""
    request = liability_service_pb2.ListRedemptionEstimatesRequest(page_size=1000)
    response = await stub(ledger).ListRedemptionEstimates(request, metadata=credential(program, LEDGER_SCOPES))
    return list(response.estimates)


async def test_estimate_in_force_is_the_newest_of_the_campaign(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A campaign's own estimate comes before that of the asset, a newer one before an older, each from its instant."""
    await ledger.post(
        *(earn(f"e-{name}", cause=ledger_pb2.Cause(campaign_id=name)) for name in CAMPAIGNS),
    )
    assert await rates(ledger) == [10_000, 10_000, 10_000]

    await estimate(ledger, 9_000, request_id="1")
    await estimate(ledger, 100, request_id="2", asset="credits")
    await estimate(ledger, 8_000, request_id="3", campaign_id="spring", valid_from=START + DAY)
    await estimate(ledger, 7_000, request_id="4", valid_from=START + 2 * DAY)
    await estimate(ledger, 6_000, request_id="5", campaign_id="spring", valid_from=START + 3 * DAY)
    await estimate(ledger, 6_500, request_id="6", campaign_id="spring", valid_from=START + 3 * DAY)
    time.value += 9 * DAY

    expected = [
        (START, [9_000, 9_000, 9_000]),
        (START + DAY - MICROSECOND, [9_000, 9_000, 9_000]),
        (START + DAY, [9_000, 8_000, 9_000]),
        (START + 2 * DAY, [7_000, 8_000, 7_000]),
        (START + 3 * DAY, [7_000, 6_500, 7_000]),
    ]
    assert [(instant, await rates(ledger, instant)) for instant, _ in expected] == expected


async def test_estimate_changes_no_report_of_before(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What was recognised until an instant stays, and a new estimate corrects it in the period in which it begins."""
    await ledger.post(earn("e", amount=1000, allocated_value=1000), spend("s", amount=400))
    await estimate(ledger, 8_000, request_id="1")
    time.value += DAY
    before = await report(ledger)
    time.value += DAY
    await estimate(ledger, 4_000, request_id="2")

    assert await report(ledger, START + DAY) == before
    [line] = (await report(ledger, previous=START + DAY)).lines
    assert (before.lines[0].figures.recognised_value, line.figures.recognised_since_value) == (500, 500)


@pytest.mark.parametrize("campaign_id", ["", "spring"])
async def test_set_estimate_in_the_past_is_refused(
    ledger: LedgerHarness, time: clock.ManualClock, campaign_id: str
) -> None:
    """An estimate that begins before now is refused by its field and leaves its id free; one that begins now is not."""
    wanted: dict[str, Any] = {"campaign_id": campaign_id, "request_id": "r"}
    refused = await refusal(estimate(ledger, valid_from=START - MICROSECOND, **wanted))

    assert (refused.code, refused.reason) == (errors.Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [each.field for each in refused.violations] == ["validFromTime"]
    assert await listed(ledger) == []
    made = await estimate(ledger, valid_from=START, **wanted)
    assert not made.replayed
    assert made.estimate == liability_service_pb2.RedemptionEstimate(
        asset="points",
        campaign_id=campaign_id,
        redemption_rate_bps=9_700,
        valid_from_time=times.to_proto(START),
        set_time=times.to_proto(time.value),
    )


async def test_database_refuses_estimate_in_the_past(
    ledger: LedgerHarness, databases: Databases, ledger_database: str
) -> None:
    """A constraint keeps estimates out of the past too, and the service has no right to change one."""
    await estimate(ledger)
    connection = await databases.admin(ledger_database)
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE redemption_estimates SET valid_from = set_at - interval '1 microsecond'")
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.ledger.pool.execute("UPDATE redemption_estimates SET redemption_rate_bps = 1")


@pytest.mark.parametrize("ahead", [None, timedelta(0), DAY])
async def test_set_estimate_again_gives_first_answer(
    ledger: LedgerHarness, time: clock.ManualClock, ahead: timedelta | None
) -> None:
    """A request that is repeated is told what it did, though the instant that it names is in the past by then."""
    valid_from = None if ahead is None else START + ahead
    first = await estimate(ledger, valid_from=valid_from)
    time.value += 2 * DAY
    again = await estimate(ledger, valid_from=valid_from)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.estimate == first.estimate
    assert await listed(ledger) == [first.estimate]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"asset": "credits"}, "asset"),
        ({"campaign_id": "spring"}, "campaignId"),
        ({"redemption_rate_bps": 9_701}, "redemptionRateBps"),
        ({"valid_from": START + DAY}, "validFromTime"),
        ({"valid_from": START}, "validFromTime"),
    ],
)
async def test_set_estimate_with_other_content_names_fields(
    ledger: LedgerHarness, change: dict[str, Any], field: str
) -> None:
    """A request id stands for what was first asked under it, and what differs is named."""
    await estimate(ledger)
    refused = await refusal(estimate(ledger, **change))

    assert (refused.reason, [each.field for each in refused.violations]) == ("REQUEST_ID_REUSED", [field])
    assert len(await listed(ledger)) == 1


async def test_set_estimate_raced_by_64_callers_happens_once(ledger: LedgerHarness) -> None:
    """64 callers with one request store one estimate and get equal answers."""
    made = await asyncio.gather(*(estimate(ledger) for _ in range(CALLERS)))

    assert sum(not each.replayed for each in made) == 1
    assert len({each.estimate.SerializeToString(deterministic=True) for each in made}) == 1
    assert len(await listed(ledger)) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": ""}, "requestId"),
        ({"asset": ""}, "asset"),
        ({"campaign_id": "c" * 129}, "campaignId"),
        ({"redemption_rate_bps": 0}, "redemptionRateBps"),
        ({"redemption_rate_bps": 10_001}, "redemptionRateBps"),
        ({"redemption_rate_bps": -1}, "redemptionRateBps"),
    ],
)
async def test_set_estimate_malformed_is_refused(ledger: LedgerHarness, change: dict[str, Any], field: str) -> None:
    """What an estimate cannot be is refused by its field: a rate that was left out is no rate of nothing."""
    refused = await refusal(estimate(ledger, **change))

    assert refused.reason == "FIELD_INVALID"
    assert {each.field for each in refused.violations} == {field}
    assert await listed(ledger) == []


async def test_list_estimates_never_sees_other_programs(ledger: LedgerHarness) -> None:
    """The same request in two programs is two estimates, and each program lists its own."""
    for program, rate in (("demo", 9_000), ("other", 8_000)):
        assert not (await estimate(ledger, rate, program=program)).replayed

    assert [each.redemption_rate_bps for each in await listed(ledger)] == [9_000]
    assert [each.redemption_rate_bps for each in await listed(ledger, "other")] == [8_000]
