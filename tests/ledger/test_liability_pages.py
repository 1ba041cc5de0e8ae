"""The report of liability and the list of estimates, page by page."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2, liability_service_pb2

from services.kernel import clock, pages
from tests.conftest import START
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import earn, spend
from tests.support.liability import estimate, report, stub
from tests.support.refusals import refusal

HOUR = timedelta(hours=1)
COUNT = 25


async def report_page(ledger: LedgerHarness, token: str = "", size: int = 0, **other: Any) -> Any:
    """Reads one page of the report."""
    return await report(ledger, page_token=token, page_size=size, **other)


async def estimates_page(ledger: LedgerHarness, token: str = "", size: int = 0, **other: Any) -> Any:
    """Reads one page of estimates."""
    request = liability_service_pb2.ListRedemptionEstimatesRequest(page_token=token, page_size=size)
    metadata = credential(other.get("program", "demo"), LEDGER_SCOPES)
    return await stub(ledger).ListRedemptionEstimates(request, metadata=metadata)


Page = Callable[..., Awaitable[Any]]
LISTINGS = pytest.mark.parametrize("page", [report_page, estimates_page], ids=["report", "estimates"])


def items(response: Any) -> list[Any]:
    """Gives what a page lists."""
    is_report = isinstance(response, liability_service_pb2.GetLiabilityResponse)
    return list(response.lines if is_report else response.estimates)


async def filled(ledger: LedgerHarness, count: int = COUNT, program: str = "demo") -> None:
    """Earns for so many campaigns, and estimates each; some begin together."""
    for start in range(0, count, 500):
        campaigns = [f"c{number:04}" for number in range(start, min(count, start + 500))]
        await ledger.post(
            *(earn(f"e-{each}", cause=ledger_pb2.Cause(campaign_id=each)) for each in campaigns), program=program
        )
    for number in range(min(count, COUNT)):
        await estimate(ledger, 100 + number, request_id=f"r{number}", campaign_id=f"c{number // 3:04}", program=program)


@LISTINGS
async def test_pages_are_the_whole(ledger: LedgerHarness, page: Page) -> None:
    """Pages of any size put together are the whole listing, each once and in order, and the last one has no token."""
    await filled(ledger)
    whole = items(await page(ledger, size=1000))
    for size in (1, 7, COUNT - 1, COUNT, COUNT + 1):
        found, token = [], ""
        for _ in range(COUNT + 1):
            response = await page(ledger, token, size)
            found += items(response)
            token = response.next_page_token
            if not token:
                break
            assert len(items(response)) == size
        assert found == whole
    assert len(whole) == COUNT


async def test_page_size_is_bounded(ledger: LedgerHarness) -> None:
    """No size means 50, a size above 1,000 means 1,000, and a negative one is refused."""
    await filled(ledger, 1_020)

    assert [len((await report_page(ledger, size=size)).lines) for size in (0, 1001, 2**31 - 1)] == [50, 1000, 1000]
    assert (await refusal(estimates_page(ledger, size=-1))).violations[0].field == "pageSize"


@LISTINGS
async def test_page_token_belongs_to_its_listing(ledger: LedgerHarness, page: Page) -> None:
    """A token is refused with any other argument or program, by another listing, and where no page ends so."""
    for program in ("demo", "other"):
        await filled(ledger, 3, program)
    token = (await page(ledger, size=1)).next_page_token
    strange = estimates_page if page is report_page else report_page
    name = "liability" if page is report_page else "estimates"
    arguments = ("demo", "", "", "UTC", "", "") if page is report_page else ("demo",)
    calls = [
        page(ledger, token, 1, program="other"),
        strange(ledger, token, 1),
        *(
            page(ledger, pages.encode_token(cursor, name, *arguments), 1)
            for cursor in ([], ["x"], [START.isoformat(), 1, 2, 3], ["2026-03-01T12:00:00", "", "", ""], [1] * 4)
        ),
    ]
    if page is report_page:
        others: list[dict[str, Any]] = [
            {"as_of": START},
            {"previous": START - HOUR},
            {"time_zone": "Europe/Paris"},
            {"asset": "points"},
        ]
        calls += [page(ledger, token, 1, **other) for other in [*others, {"campaign_id": "c0001"}]]

    for call in calls:
        assert [each.field for each in (await refusal(call)).violations] == ["pageToken"]
    assert len(items(await page(ledger, token, 2))) == 2


async def test_pages_keep_the_instant_of_the_first(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What happens between two pages is on neither of them: all are of one instant, which each tells."""
    await filled(ledger)
    whole = await report(ledger)
    first = await report_page(ledger, size=COUNT - 1)
    time.value += HOUR
    await ledger.post(spend("s", amount=100 * COUNT))
    second = await report_page(ledger, first.next_page_token, COUNT)

    assert [*first.lines, *second.lines] == list(whole.lines)
    assert first.totals == second.totals == whole.totals
    assert first.as_of_time == second.as_of_time == whole.as_of_time
    assert (await report(ledger)).totals[0].figures.redeemed == 100 * COUNT
