"""What a benchmark measures, and how it is told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure: its value in a unit, and what is aimed for (`at least` or `at most`), where something is."""

    measure: str
    value: float
    unit: str
    aim: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Tells whether the aim is met; None where there is none."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim


def percentile(values: Sequence[float], share: float) -> float:
    """Gives the value that a share of all (0 to 1) do not pass, by nearest rank. `values` is not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
