"""How `./plaudit test` runs its checks."""

import argparse
import io

import pytest
from rich.console import Console

from services.devstack import cli
from services.devstack.commands import verify
from services.devstack.commands.verify import Step


def test_hands_on_arguments_of_pytest() -> None:
    """What follows `test` is pytest's, options included."""
    assert cli.parse(["test"]).pytest_arguments == []
    assert cli.parse(["test", "-k", "hold", "tests/ledger"]).pytest_arguments == ["-k", "hold", "tests/ledger"]


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["no-such-file.py"], 1)])
def test_runs_pytest_alone_with_arguments(arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    """With arguments only pytest runs, and its failure is the command's."""
    assert verify.run(argparse.Namespace(pytest_arguments=arguments)) == code
    assert "Checks" not in capfd.readouterr().out


def test_goes_on_after_failure(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A check that fails does not hide the others: all run, the table tells each, and the exit code is 1."""
    steps = (Step("first", "python", ("-c", "raise SystemExit(3)")), Step("second", "python", ("-c", "print('ran')")))
    monkeypatch.setattr(verify, "STEPS", steps)

    assert verify.run(argparse.Namespace(pytest_arguments=[])) == 1
    output = capfd.readouterr().out
    assert "ran" in output
    assert "failed" in output
    assert "passed" in output
    monkeypatch.setattr(verify, "STEPS", steps[1:] * 2)
    assert verify.run(argparse.Namespace(pytest_arguments=[])) == 0


def test_draws_outcomes() -> None:
    """The table has a row for each check, with its outcome and its seconds."""
    console = Console(file=io.StringIO(), width=80)
    console.print(verify.table([(Step("lint", "ruff"), 0, 1.26), (Step("types", "mypy"), 1, 20.0)]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()

    assert any("lint" in line and "passed" in line and "1.3" in line for line in lines)
    assert any("types" in line and "failed" in line and "20.0" in line for line in lines)
