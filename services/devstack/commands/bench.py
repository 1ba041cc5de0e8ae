"""`./plaudit bench`: measures, beside baselines in the same run."""

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
from dataclasses import asdict

import uvloop
from rich.console import Console
from rich.table import Table

from services.devstack.bench import flow, ledger
from services.devstack.bench.figures import Figure
from services.kernel import process


def run(parsed: argparse.Namespace) -> int:
    """Runs a benchmark and prints its figures: always 0, since a figure is no verdict."""
    size, figures = measure_flow(parsed) if parsed.what == "flow" else measure_ledger(parsed)
    machine = {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    if parsed.json:
        rows = [{**asdict(figure), "is_met": figure.is_met} for figure in figures]
        print(json.dumps({"machine": machine, "size": asdict(size), "figures": rows}))
    else:
        show(figures, f"{machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}")
    return 0


def measure_flow(parsed: argparse.Namespace) -> tuple[flow.Size, list[Figure]]:
    """Measures a whole stack, in the loop that `up` runs it in."""
    size = flow.Size(events=parsed.events, seconds=parsed.seconds, mails=parsed.mails)
    return size, asyncio.run(flow.measure(size, tell))


def measure_ledger(parsed: argparse.Namespace) -> tuple[ledger.Size, list[Figure]]:
    """Measures the ledger, in a loop and with a collector as services have: a slower client would be what is seen."""
    size = ledger.Size(earns=parsed.earns, seconds=parsed.seconds, history=parsed.history, due=parsed.due)
    gc.set_threshold(*process.GC_THRESHOLDS)
    return size, uvloop.run(ledger.measure(size, tell))


def tell(sentence: str) -> None:
    """Tells what is being measured."""
    print(sentence, file=sys.stderr, flush=True)


def show(figures: list[Figure], machine: str) -> None:
    """Prints a table of figures with their aims."""
    console = Console(highlight=False)
    table = Table("measure", caption=machine)
    for column in ("value", "turns", "aim"):
        table.add_column(column, justify="right")
    for figure in figures:
        digits = 2 if figure.unit == "times" else 1 if figure.unit == "ms" else 0
        aim = "" if figure.aim is None else f"{'≤' if figure.at_most else '≥'} {figure.aim:,g}"
        color = {True: "green", False: "yellow", None: "default"}[figure.is_met]
        value = f"[{color}]{figure.value:,.{digits}f}[/{color}] {figure.unit}"
        turns = f"{min(figure.turns):,.{digits}f} to {max(figure.turns):,.{digits}f}" if figure.turns else ""
        table.add_row(figure.measure, value, turns, aim)
    console.print(table)
