"""What a benchmark measures, and how it is told."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


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
    measure: str, rates: Sequence[float], unit: str, aim: float | None = None, *, against: Sequence[float] | None = None
) -> Figure:
    """Makes the figure of a rate that was measured in turns: of all that was done, in all the time that it took.

    Where it is measured `against` another rate, whose turns came beside its own, it is so many times the other.
    """
    value = statistics.harmonic_mean(rates)
    if against is None:
        return Figure(measure, value, unit, aim, turns=tuple(rates))
    turns = tuple(rate / other for rate, other in zip(rates, against, strict=True))
    return Figure(measure, value / statistics.harmonic_mean(against), unit, aim, turns=turns)


def percentile(values: Sequence[float], share: float) -> float:
    """Gives the value that a share of all (0 to 1) do not pass, by nearest rank. `values` is not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
