"""Counts what became of the events."""

import time
from dataclasses import dataclass, field
from typing import Any

REASONS_SHOWN_MAX = 10


@dataclass(slots=True)
class Tally:
    """Counts events by what became of them, and the points that were new."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    malformed: int = 0
    points: int = 0
    reasons: list[str] = field(default_factory=list)  # of the first refusals
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def events(self) -> int:
        """Counts the events that were answered."""
        return self.accepted + self.duplicates + self.refused

    @property
    def seconds(self) -> float:
        """Tells how long it took, or takes so far."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def events_per_second(self) -> float:
        """Tells the rate."""
        return self.events / max(self.seconds, 1e-9)

    def add(self, results: list[dict[str, Any]]) -> None:
        """Counts the results of one call."""
        for result in results:
            match result["status"]:
                case "ACCEPTED":
                    self.accepted += 1
                    self.points += sum(int(effect["amount"]) for effect in result.get("effects", ()))
                case "DUPLICATE":
                    self.duplicates += 1
                case _:
                    self.refuse(result.get("eventId", "?"), result.get("error", {}))

    def refuse(self, event_id: str, error: dict[str, Any]) -> None:
        """Counts one refused event and keeps the reason of the first ones."""
        self.refused += 1
        if len(self.reasons) < REASONS_SHOWN_MAX:
            where = f" ({error['field']})" if error.get("field") else ""
            self.reasons.append(
                f"{event_id}: {error.get('reason', 'no reason')}{where} {error.get('message', '')}".strip()
            )

    def figures(self) -> dict[str, int | float]:
        """Gives the closing figures."""
        return {
            "events": self.events,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "malformed": self.malformed,
            "points": self.points,
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.events_per_second, 1),
        }
