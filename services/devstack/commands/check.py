"""`./plaudit check`: recomputes what is stored and prints what does not add up."""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.devstack.catalogue import NAMES
from services.devstack.data_dir import DataDir
from services.devstack.inspection import ask, databases, pool_of, read_feeds
from services.kernel import feed
from services.kernel.checks import CheckRow

PROBLEMS_SHOWN_MAX = 20  # of one subject, to people; programs get all

Findings = dict[str, list[CheckRow]]


def run(parsed: argparse.Namespace) -> int:
    """Checks all services: 0 where all adds up, else 1."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with databases(DataDir.open(parsed.data_dir)) as dsns:
        findings = asyncio.run(check_all(dsns))
    problems = sum(len(row.problems) for rows in findings.values() for row in rows)
    if parsed.json:
        services = {name: [asdict(row) for row in rows] for name, rows in findings.items()}
        print(json.dumps({"ok": not problems, "services": services}))
    else:
        show(findings, problems)
    return 1 if problems else 0


async def check_all(dsns: dict[str, str]) -> Findings:
    """Asks every service to check itself, one after the other, and compares followers with what they follow."""
    findings: Findings = {}
    for name in NAMES:
        async with pool_of(name, dsns[name]) as pool:
            findings[name] = await ask(name, "check", pool)
    for name, follower, stands, heads in await read_feeds(dsns):
        findings[name].append(feed.compare(follower, stands, heads))
    return findings


def show(findings: Findings, problems: int) -> None:
    """Prints a table of what was looked at, and below it what does not add up."""
    console = Console(highlight=False)
    table = Table()
    for column in ("service", "what was checked"):
        table.add_column(column)
    for column in ("examined", "problems"):
        table.add_column(column, justify="right")
    for name, rows in findings.items():
        for row in rows:
            wrong = f"[red]{len(row.problems):,}[/red]" if row.problems else "0"
            table.add_row(name, escape(row.subject), f"{row.examined:,}", wrong)
    console.print(table)
    for name, rows in findings.items():
        for row in rows:
            show_problems(console, f"{name}: {row.subject}", row.problems)
    console.print(f"{problems:,} problems" if problems else "everything adds up")


def show_problems(console: Console, heading: str, problems: tuple[str, ...]) -> None:
    """Prints the first problems of one subject."""
    for problem in problems[:PROBLEMS_SHOWN_MAX]:
        console.print(f"{heading}: {problem}", markup=False, soft_wrap=True)
    if len(problems) > PROBLEMS_SHOWN_MAX:
        console.print(f"{heading}: and {len(problems) - PROBLEMS_SHOWN_MAX:,} more", markup=False)
