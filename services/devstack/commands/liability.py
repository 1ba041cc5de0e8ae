"""`./plaudit liability`: what members may still redeem and what of its price is earned, to read and for the books."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.devstack import parquet
from services.devstack.api import Api, find_api, problem_of
from services.devstack.errors import CannotRunError
from services.kernel import calendar, times
from services.ledger import export, revenue
from services.ledger.revenue import Cohort, Figures, Line, Position

PATH = "/v1/liability"
PAGE_SIZE = 1000
# A million lines are no report any more.
PAGES_MAX = 1000
# The gateway gives up before that.
ANSWER_WAIT_S = 60.0
CONNECT_WAIT_S = 5.0
# Where there is no terminal that has a width.
TABLE_WIDTH = 160
MICROSECOND = timedelta(microseconds=1)

# What a field of the request is called here.
OPTIONS = {"asOfTime": "--as-of", "previousAsOfTime": "--previous", "timeZone": "--zone"}
SINCE = "recognised_since_value"
# What people are shown, by what is behind a name in the files.
SHOWN = (
    *("issued", "redeemed", "expired", "clawed_back", "open", "pending", "breakage", "recognised_value"),
    "deferred_value",
)


@dataclass(frozen=True, slots=True)
class Report:
    """All lines of a report; `since` has the revenue since the previous instant, by cohort, where one was named."""

    as_of: datetime
    lines: list[Line]
    since: Mapping[Cohort, int] | None


def run(parsed: argparse.Namespace) -> int:
    """Reads a report over HTTP, prints it and writes the files that are asked for: always 0."""
    query = {"pageSize": str(PAGE_SIZE), "timeZone": parsed.zone}
    if parsed.as_of is not None:
        query["asOfTime"] = times.to_text(instant_of(parsed.as_of, parsed.zone))
    if parsed.previous is not None:
        query["previousAsOfTime"] = times.to_text(instant_of(parsed.previous, parsed.zone))
    report = fetch(find_api(parsed), query)
    if parsed.csv is not None:
        write(parsed.csv, export.encode_csv(report.lines, as_of=report.as_of))
    if parsed.parquet is not None:
        write(parsed.parquet, parquet.encode_parquet(report.lines, as_of=report.as_of))
    if parsed.json:
        print(json.dumps(as_json(report)))
    else:
        show(report)
    return 0


def instant_of(moment: date | datetime, zone: str) -> datetime:
    """Gives the instant that is meant: an instant itself, or the last one of a day in a zone."""
    if isinstance(moment, datetime):
        return moment
    try:
        ZoneInfo(zone)
        return calendar.day_start(moment + timedelta(days=1), zone) - MICROSECOND
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CannotRunError(f"--zone is no IANA time zone such as Europe/Paris: {zone!r}") from None
    except OverflowError:
        raise CannotRunError(f"the calendar ends with {moment}; name an earlier day") from None


def fetch(api: Api, query: dict[str, str]) -> Report:
    """Reads all pages of a report. Raises CannotRunError where they are not to be had."""
    pages: list[dict[str, Any]] = []
    timeout = httpx.Timeout(ANSWER_WAIT_S, connect=CONNECT_WAIT_S)
    with httpx.Client(base_url=api.url, headers=api.headers, timeout=timeout, trust_env=api.trust_env) as client:
        for _ in range(PAGES_MAX):
            pages.append(get(client, api, query))
            token = pages[-1].get("nextPageToken")
            if not token:
                break
            query = {**query, "pageToken": token}
        else:
            raise CannotRunError(f"the report has more than {PAGES_MAX * PAGE_SIZE:,} lines")
    found = [line_of(line) for page in pages for line in page["lines"]]
    since = {line.cohort: value for line, value in found} if "previousAsOfTime" in query else None
    return Report(datetime.fromisoformat(pages[0]["asOfTime"]), [line for line, _ in found], since)


def get(client: httpx.Client, api: Api, query: dict[str, str]) -> dict[str, Any]:
    """Reads one page; says what to do where there is none."""
    try:
        response = client.get(PATH, params=query)
    except httpx.TransportError as error:
        cause = str(error) or type(error).__name__
        raise CannotRunError(
            f"{api.url} does not answer ({cause}); start it with ./plaudit up, or name a --url"
        ) from None
    if response.status_code == httpx.codes.OK:
        page: dict[str, Any] = response.json()
        return page
    problem = problem_of(response)
    for each in problem.get("errors") or []:
        if each.get("field") in OPTIONS:
            words = " ".join(OPTIONS.get(word, word) for word in each["message"].split())
            raise CannotRunError(f"{OPTIONS[each['field']]} {words}")
    words = problem.get("detail") or problem.get("title") or "no reason given"
    advice = "; name a key that may read the ledger with --api-key" if response.status_code in (401, 403) else ""
    raise CannotRunError(f"{api.url} refused the call: {words} (HTTP {response.status_code}){advice}")


def line_of(line: dict[str, Any]) -> tuple[Line, int]:
    """Reads a line, and its revenue since the previous instant."""
    told = {name: int(value) for name, value in line["figures"].items()}
    figures = Figures(
        issued=told["issued"],
        redeemed=told["redeemed"],
        expired=told["expired"],
        clawed_back=told["clawedBack"],
        open=told["open"],
        pending=told["pending"],
        allocated_value=told["allocatedValue"],
        clawed_back_value=told["clawedBackValue"],
    )
    made = Line(
        cohort=Cohort(line["month"], line["campaignId"], line["asset"]),
        redemption_rate_bps=line["redemptionRateBps"],
        figures=figures,
        expected=told["expected"],
        recognised_value=told["recognisedValue"],
    )
    return made, told["recognisedSinceValue"]


def write(path: Path, content: bytes) -> None:
    """Writes a file. Raises CannotRunError where that cannot be."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CannotRunError(f"cannot write {path}: {error.strerror}") from error


def as_json(report: Report) -> dict[str, Any]:
    """Gives the report for programs: the columns of the files, and the revenue of the period where there is one."""
    lines = [
        {name: attrgetter(path)(line) for name, path in {**export.TEXTS, **export.AMOUNTS}.items()}
        | ({SINCE: report.since[line.cohort]} if report.since is not None else {})
        for line in report.lines
    ]
    amounts = {name: path for name, path in export.AMOUNTS.items() if name != "redemption_rate_bps"}
    totals = [
        {"asset": asset}
        | {name: attrgetter(path)(total) for name, path in amounts.items()}
        | ({SINCE: total_since(report, asset)} if report.since is not None else {})
        for asset, total in revenue.total(report.lines).items()
    ]
    return {"as_of": times.to_text(report.as_of), "lines": lines, "totals": totals}


def total_since(report: Report, asset: str) -> int:
    """Adds up the revenue of the period in one asset."""
    assert report.since is not None, "A period has a beginning."
    return sum(value for cohort, value in report.since.items() if cohort.asset == asset)


def show(report: Report) -> None:
    """Prints a table of the lines, and below them their sums by asset."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    if not report.lines:
        console.print(f"nothing was issued until {times.to_text(report.as_of)}")
        return
    table = Table("month", "campaign", "asset")
    for heading in ("rate", *(name.removesuffix("_value").replace("_", " ") for name in SHOWN)):
        table.add_column(heading, justify="right")
    if report.since is not None:
        table.add_column("since", justify="right")
    for line in report.lines:
        rate = f"{line.redemption_rate_bps // 100}.{line.redemption_rate_bps % 100:02} %"
        since = None if report.since is None else report.since[line.cohort]
        names = (line.cohort.month, escape(line.cohort.campaign_id), line.cohort.asset)
        table.add_row(*names, rate, *amounts_of(line, since))
    table.add_section()
    for asset, total in revenue.total(report.lines).items():
        since = None if report.since is None else total_since(report, asset)
        table.add_row("total", "", asset, "", *amounts_of(total, since), style="bold")
    console.print(table)
    console.print(
        f"until {times.to_text(report.as_of)}, in smallest units of each asset; "
        "recognised and deferred (and since) in minor units of money"
    )


def amounts_of(position: Position, since: int | None) -> list[str]:
    """Writes the amounts of a row."""
    amounts = [attrgetter(export.AMOUNTS[name])(position) for name in SHOWN]
    return [f"{amount:,}" for amount in (amounts if since is None else [*amounts, since])]
