"""What a benchmark measures, and how it is told."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Turns:
    """A rate as it was measured in several turns: each of as much work, or of as much time where they are `timed`."""

    rates: list[float] = field(default_factory=list)
    timed: bool = False

    @property
    def rate(self) -> float:
        """Tells how much was done in all, in all the time that it took."""
        return statistics.mean(self.rates) if self.timed else statistics.harmonic_mean(self.rates)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure: its value in a unit, and what is aimed for (`at least` or `at most`), where something is.

    `turns` are the values of the turns that it was measured in, where there were several: how much the machine varies.
    """

    measure: str
    value: float
    unit: str
    aim: float | None = None
    at_most: bool = False
    turns: tuple[float, ...] = ()

    @property
    def is_met(self) -> bool | None:
        """Tells whether the aim is met; None where there is none."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim


def of_turns(
    measure: str, turns: Turns, unit: str, aim: float | None = None, *, against: Turns | None = None
) -> Figure:
    """Makes the figure of a rate that was measured in turns.

    Where it is measured `against` another rate, whose turns came beside its own, it is so many times the other.
    """
    if against is None:
        return Figure(measure, turns.rate, unit, aim, turns=tuple(turns.rates))
    ratios = tuple(rate / other for rate, other in zip(turns.rates, against.rates, strict=True))
    return Figure(measure, turns.rate / against.rate, unit, aim, turns=ratios)


def percentile(values: Sequence[float], share: float) -> float:
    """Gives the value that a share of all (0 to 1) do not pass, by nearest rank. `values` is not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
