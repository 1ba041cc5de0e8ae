"""The benchmark measures what it says, on real servers; how fast is nobody's business here."""

import json
import subprocess
import sys
from typing import Any

import pytest

from services.devstack.bench.figures import Figure, Turns, of_turns, percentile
from tests.support.stack import ROOT

SHORT = ("--earns", "2000", "--seconds", "1", "--history", "20000", "--due", "20000")
SHORT_FLOW = ("--events", "1000", "--seconds", "1", "--mails", "100")


def bench(what: str, *options: str) -> dict[str, Any]:
    """Runs a benchmark to its end and gives what it tells."""
    done = subprocess.run(
        [sys.executable, "-m", "services.devstack", "bench", what, "--json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_bench_flow_measures_everything() -> None:
    """A short run through all services ends well and tells a positive figure for each measure."""
    told = bench("flow", *SHORT_FLOW)

    assert told["size"] == {"events": 1000, "seconds": 1, "mails": 100}
    assert {figure["unit"] for figure in told["figures"]} == {"events/s", "mails/s", "ms"}
    assert all(figure["value"] > 0 for figure in told["figures"])


def test_bench_ledger_measures_everything() -> None:
    """A short run ends well and tells a positive figure for each measure, with its aim, and the machine."""
    told = bench("ledger", *SHORT)
    units = {figure["unit"] for figure in told["figures"]}

    assert told["size"] == {"earns": 2000, "seconds": 1, "history": 20000, "due": 20000}
    assert told["machine"]["cpus"] > 0
    assert units == {"earns/s", "spends/s", "rows/s", "times", "s", "ms", "tps", "bytes"}
    assert all(figure["value"] > 0 for figure in told["figures"])


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.99, 1.0), (list(range(1, 101)), 0.99, 99)]
)
def test_percentile_is_nearest_rank(values: list[float], share: float, expected: float) -> None:
    """A percentile is a value that was measured, by nearest rank."""
    assert percentile(values, share) == expected


def test_aim_is_met_from_its_side() -> None:
    """An aim is met from above or from below, as it says, and where there is none nothing is said."""
    assert Figure("a", 5, "x", 5).is_met
    assert not Figure("a", 4, "x", 5).is_met
    assert Figure("a", 4, "x", 5, at_most=True).is_met
    assert Figure("a", 4, "x").is_met is None


def test_turns_count_by_the_time_they_took() -> None:
    """A rate of several turns is that of all that was done in all the time, and a ratio is one of two such rates."""
    alone = of_turns("a", Turns([100, 300]), "x/s", 150)
    ratio = of_turns("b", Turns([100, 300]), "times", 2, against=Turns([50, 75], timed=True))

    # Of 300 each, the first takes 3 s and the second 1 s: 600 in 4 s.
    assert (alone.value, alone.turns, alone.is_met) == (150, (100, 300), True)
    # Of 2 s each, the other does 100 and 150: 250 in 4 s.
    assert (ratio.value, ratio.turns, ratio.is_met) == (2.4, (2, 4), True)
