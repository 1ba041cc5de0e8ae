"""`./plaudit test`: every check there is, to the end, with a table of how each went."""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[3]
PYTHON_FILES = (".", "plaudit")  # the launcher's name does not show that it is Python


@dataclass(frozen=True, slots=True)
class Step:
    """Is one check: a tool of the environment and its arguments."""

    title: str
    tool: str
    arguments: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Gives the command line."""
        return [str(Path(sys.executable).with_name(self.tool)), *self.arguments]


STEPS = (
    Step("format", "ruff", ("format", "--check", *PYTHON_FILES)),
    Step("lint", "ruff", ("check", *PYTHON_FILES)),
    Step("types", "mypy"),
    Step("walls", "lint-imports"),
    # On every core; the tests of a file stay together, since they share what is costly to start.
    Step("contracts and tests", "pytest", ("--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder")),
)


def run(parsed: argparse.Namespace) -> int:
    """Runs all checks, or pytest alone with the arguments given: 0 where all passed, else 1."""
    arguments = tuple(argument for argument in parsed.pytest_arguments if argument != "--")
    steps = [Step("tests", "pytest", arguments)] if arguments else STEPS
    console = Console(highlight=False)
    outcomes = [(step, *run_step(step, console)) for step in steps]
    if len(outcomes) > 1:
        console.print(table(outcomes))
    return 1 if any(code for _, code, _ in outcomes) else 0


def run_step(step: Step, console: Console) -> tuple[int, float]:
    """Runs one check under a heading; gives its exit code and the seconds it took."""
    console.rule(f"{step.title}: {step.tool} {' '.join(step.arguments)}".strip(), align="left")
    started = time.monotonic()
    code = subprocess.run(step.command(), cwd=ROOT, check=False).returncode
    return code, time.monotonic() - started


def table(outcomes: list[tuple[Step, int, float]]) -> Table:
    """Draws how each check went."""
    drawn = Table(title="Checks", title_justify="left")
    drawn.add_column("check")
    drawn.add_column("outcome")
    drawn.add_column("seconds", justify="right")
    for step, code, seconds in outcomes:
        drawn.add_row(step.title, "[red]failed[/red]" if code else "[green]passed[/green]", f"{seconds:.1f}")
    return drawn
