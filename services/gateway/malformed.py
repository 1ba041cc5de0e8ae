"""What the decoders raise: every fault of a JSON value, each under the path that leads to it."""

from services.gateway import names
from services.kernel.errors import Violation

# Past this many faults the caller has seen enough, and an answer stays small whatever the request was.
VIOLATIONS_MAX = 20
# A key is the caller's own text and may be as long as the body.
NAME_LENGTH_MAX = 128


class MalformedError(Exception):
    """Lists what is wrong with a value; the paths start at that value, so an empty one is the value itself."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__()
        self.violations = violations[:VIOLATIONS_MAX]

    @classmethod
    def at(cls, message: str, field: str = "") -> "MalformedError":
        """Makes a single fault."""
        return cls([Violation(field, message)])

    def under(self, parent: str) -> list[Violation]:
        """Gives the faults with their paths starting one level higher."""
        name = parent if len(parent) <= NAME_LENGTH_MAX else parent[:NAME_LENGTH_MAX] + "…"
        return [Violation(names.join(name, each.field), each.message) for each in self.violations]

    def __str__(self) -> str:
        """Reads like a log line."""
        return "; ".join(f"{each.field}: {each.message}" for each in self.violations)
