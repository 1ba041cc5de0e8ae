"""`./plaudit status`: services, versions, lags and the ages of the oldest due work."""

import argparse
import asyncio
import json
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.devstack.catalogue import GATEWAY, LOOPBACK, SERVICES
from services.devstack.data_dir import DataDir, Stack
from services.devstack.inspection import ask, databases, pool_of, read_feeds
from services.devstack.readiness import grpc_state, http_state
from services.kernel import feed
from services.kernel.checks import StatusRow

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"


def run(parsed: argparse.Namespace) -> int:
    """Shows how a stack is: 0 where all of it serves, 1 where it does not run or some of it does not serve."""
    data_dir = DataDir.open(parsed.data_dir)
    if not data_dir.in_use():
        if parsed.json:
            print(json.dumps({"running": False}))
        else:
            print(f"nothing runs on {parsed.data_dir}; start it with ./plaudit up", file=sys.stderr)
        return 1
    with databases(data_dir) as dsns:
        states, rows = asyncio.run(look(data_dir.load_stack(), dsns))
    if parsed.json:
        print(
            json.dumps(
                {
                    "running": True,
                    "pid": data_dir.holder(),
                    "version": version(),
                    "services": states,
                    "rows": {name: [asdict(row) for row in each] for name, each in rows.items()},
                }
            )
        )
    else:
        show(states, rows)
    return 0 if all(state == "SERVING" for state in states.values()) else 1


def version() -> str:
    """Tells the version of this checkout, which is that of all its services."""
    text: str = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
    return text


async def look(stack: Stack, dsns: dict[str, str]) -> tuple[dict[str, str], dict[str, list[StatusRow]]]:
    """Asks all services for their state, and their databases for the figures."""
    states: dict[str, str] = {}
    rows: dict[str, list[StatusRow]] = {}
    for service in SERVICES:
        states[service.name] = await grpc_state(f"{LOOPBACK}:{stack.ports.get(service.name, 0)}")
        async with pool_of(service.name, dsns[service.name]) as pool:
            rows[service.name] = await ask(service.name, "status", pool)
    for name, follower, stands, heads in await read_feeds(dsns):
        rows[name] += feed.lag(follower, stands, heads)
    states[GATEWAY.name] = await http_state(LOOPBACK, urlsplit(stack.url).port or 0)
    return states, rows


def show(states: dict[str, str], rows: dict[str, list[StatusRow]]) -> None:
    """Prints a table of services and one of figures."""
    console = Console(highlight=False)
    services = Table("service", "state", "version")
    for name, state in states.items():
        services.add_row(name, state if state == "SERVING" else f"[red]{state}[/red]", version())
    console.print(services)
    figures = Table("service", "figure", "value", "meaning")
    for name, each in rows.items():
        for row in each:
            figures.add_row(name, *(escape(text) for text in (row.subject, row.value, row.detail)))
    console.print(figures)
