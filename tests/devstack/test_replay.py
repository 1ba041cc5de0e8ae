"""What `./plaudit replay purchases` promises, against a running stack."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.devstack.stacks import UpProcess, balance, command, environment, plaudit, write_purchases
from tests.support.waiting import eventually


def rows(prefix: str, count: int) -> list[dict[str, str]]:
    """Makes purchases of 2.50 each by one customer."""
    return [{"purchase_id": f"{prefix}-{number}", "customer_id": prefix} for number in range(count)]


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Starts a command and does not wait for it."""
    return subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def test_replays_once(stack: UpProcess, tmp_path: Path) -> None:
    """A recording is accepted and counted; sent again all of it is a duplicate and nothing changes."""
    file = write_purchases(tmp_path / "rows.csv", rows("once", 120))
    first = plaudit("replay", "purchases", file, "--data-dir", stack.data_dir, "--batch-size", "50", "--json")
    again = plaudit("replay", "purchases", file, "--data-dir", stack.data_dir, "--batch-size", "7", "--json")

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    counted = {"events": 120, "refused": 0, "malformed": 0}
    assert json.loads(first.stdout).items() >= (counted | {"accepted": 120, "duplicates": 0, "points": 240}).items()
    assert json.loads(again.stdout).items() >= (counted | {"accepted": 0, "duplicates": 120, "points": 0}).items()
    with stack.client() as client:
        history = client.get("/v1/members/once/statement", params={"pageSize": 1000}).json()["entries"]
    assert len(history) >= 120


async def test_tells_figures_to_people(stack: UpProcess, tmp_path: Path) -> None:
    """The closing summary names each figure; `--limit` sends the first rows only."""
    file = write_purchases(tmp_path / "rows.csv", rows("people", 1_200))
    done = plaudit("replay", "purchases", file, "--data-dir", stack.data_dir, "--limit", "1100")

    assert done.returncode == 0, done.stderr
    figures = dict(line.split() for line in done.stdout.splitlines())
    assert list(figures) == [
        *("events", "accepted", "duplicates", "refused", "malformed", "points", "seconds", "events/s")
    ]
    assert (figures["events"], figures["points"]) == ("1,100", "2,200")


async def test_tells_malformed_rows_and_refusals(stack: UpProcess, tmp_path: Path) -> None:
    """Malformed rows come with their line, refused events with their reason; the rest goes in; the exit code is 1."""
    good = {"purchase_id": "mixed-1", "customer_id": "mixed"}
    file = write_purchases(
        tmp_path / "rows.csv",
        [good, good | {"amount_cents": "abc"}, good | {"purchase_id": "x" * 129}, good | {"purchase_id": "mixed-2"}],
    )
    done = plaudit("replay", "purchases", file, "--data-dir", stack.data_dir, "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout).items() >= {"accepted": 2, "refused": 1, "malformed": 1, "points": 4}.items()
    assert 'line 3: amount_cents is not a whole number: "abc"\n' in done.stderr
    assert f"refused {'x' * 129}: FIELD_INVALID" in done.stderr


async def test_counts_call_without_good_event(stack: UpProcess, tmp_path: Path) -> None:
    """A batch in which no event is well-formed is counted as refused, event by event."""
    file = write_purchases(
        tmp_path / "rows.csv", [{"customer_id": "y" * 129, "purchase_id": f"bad-{n}"} for n in range(3)]
    )
    done = plaudit("replay", "purchases", file, "--data-dir", stack.data_dir, "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout).items() >= {"events": 3, "accepted": 0, "refused": 3}.items()
    assert "refused bad-2: FIELD_INVALID" in done.stderr


async def test_survives_killed_gateway(stack: UpProcess, tmp_path: Path) -> None:
    """A gateway that is killed in the middle costs time, and nothing else: each purchase counts once."""
    file = write_purchases(tmp_path / "rows.csv", rows("killed", 4_000))
    arguments = ("replay", "purchases", file, "--data-dir", stack.data_dir, "--batch-size", "20", "--json")
    replaying = start(*arguments)
    with stack.client() as client:
        await eventually(lambda: client.get("/v1/members/killed").status_code == 200)
    os.kill(stack.child("services.gateway serve"), signal.SIGKILL)
    output, errors = replaying.communicate(timeout=120)

    assert replaying.returncode == 0, errors
    assert f"{stack.url} is away" in errors
    figures = json.loads(output)
    assert figures["events"] == figures["accepted"] + figures["duplicates"] == 4_000
    await eventually(stack.ready)
    with stack.client() as client:
        lots = client.get("/v1/members/killed/balances", params={"asOfTime": "1997-06-01T00:00:00Z"}).json()["balances"]
        assert [int(lot["available"]) for lot in lots] == [8_000]
        assert balance(client, "killed") == 0, "points of 1997 have long expired"


async def test_names_refused_key(stack: UpProcess, tmp_path: Path) -> None:
    """A key that is not known here is told as such, with exit code 2."""
    file = write_purchases(tmp_path / "rows.csv", rows("key", 1))
    done = plaudit("replay", "purchases", file, "--url", stack.url, "--api-key", "plk_no_key")

    assert done.returncode == 2
    assert "(HTTP 401)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "127.0.0.1:80", "--api-key", "plk_a_b"], "--url is not a URL of the form http://host:port"),
        (["--url", "http://127.0.0.1:80", "--api-key", "plk a\n"], "--api-key is not a key of Plaudit"),
        (["--data-dir", "/nowhere/at/all"], "/nowhere/at/all is not a data dir of Plaudit"),
    ],
)
def test_names_bad_target(arguments: list[str], complaint: str) -> None:
    """What is wrong with the target is told before anything is sent, with exit code 2."""
    done = plaudit("replay", "purchases", *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(f"plaudit: {complaint}")
