"""Random histories of a few wallets: what members and staff do to value, with a clock that goes on between."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from tests.conftest import START
from tests.support import ledger as build
from tests.support.harness import LedgerHarness

HOUR = timedelta(hours=1)
MEMBERS = ("m1", "m2")
# Mostly what makes lots and takes from them; the rest follows as far as there is anything to follow.
KINDS = (
    *("earn",) * 5,
    *("spend", "hold") * 3,
    *("capture", "release", "reverse") * 2,
    *("claw_back", "adjust", "take", "expire", "unexpire", "confirm", "cancel"),
)
# What an operation can be about, by the kinds that made it.
TARGETS = {
    "capture": ("hold",),
    "release": ("hold",),
    "reverse": ("spend", "capture"),
    "claw_back": ("earn",),
    "confirm": ("earn",),
    "cancel": ("earn",),
}


@dataclass
class History:
    """One program's history, which may be lived in several programs at once; `dated` has facts of other times too."""

    data: st.DataObject
    ledger: LedgerHarness
    time: clock.ManualClock
    programs: tuple[str, ...]
    dated: bool = False
    made: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0

    async def begin(self) -> None:
        """Sets the clock back and gives each member something."""
        self.time.value = START
        for member in MEMBERS:
            await self.post(build.earn(f"first-{member}", member, 20, expires=START + 4 * HOUR))

    async def step(self) -> None:
        """Does something, and lets up to two hours pass."""
        await self.post(self.operation())
        if self.draw(st.booleans()):
            self.time.value += self.draw(st.sampled_from((HOUR, 2 * HOUR, timedelta(microseconds=1))))

    async def post(self, operation: ledger_pb2.Operation) -> None:
        """Posts one operation, in each program."""
        for program in self.programs:
            await self.ledger.post(operation, program=program)

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        """Draws, so that hypothesis can shrink it."""
        return self.data.draw(strategy)

    def operation(self) -> ledger_pb2.Operation:
        """Makes the next operation; one about nothing that was made is an earn instead."""
        kind = self.draw(st.sampled_from(KINDS))
        targets = [each for made in TARGETS.get(kind, ()) for each in self.made.get(made, [])]
        if kind in TARGETS and not targets:
            kind = "earn"
        request_id = f"{kind}-{self.count}"
        self.count += 1
        self.made.setdefault(kind, []).append(request_id)
        if kind in TARGETS:
            return self._about(kind, request_id, self.draw(st.sampled_from(targets[-4:])))
        return self._of_member(kind, request_id, self.draw(st.sampled_from(MEMBERS)))

    def _about(self, kind: str, request_id: str, target: str) -> ledger_pb2.Operation:
        amount = self.draw(st.sampled_from((0, 0, 1, 5)))
        match kind:
            case "capture":
                return build.capture(request_id, target, amount)
            case "release":
                return build.release(request_id, target)
            case "reverse":
                return build.reverse(request_id, target, amount)
            case "confirm":
                return build.confirm(request_id, target)
            case "cancel":
                return build.cancel(request_id, target)
            case _:
                return build.claw_back(request_id, target, amount, self.draw(st.sampled_from((1, 2, 3, 4))))

    def _of_member(self, kind: str, request_id: str, member: str) -> ledger_pb2.Operation:
        amount = self.draw(st.integers(1, 12))
        match kind:
            case "earn":
                return self._earn(request_id, member, amount)
            case "spend":
                return build.spend(request_id, member, amount)
            case "hold":
                return build.hold(request_id, member, amount, timeout_s=3600 * self.draw(st.integers(1, 5)))
            case "adjust":
                return build.adjust(request_id, member, amount, expires=self._ahead())
            case "take":
                return build.adjust(request_id, member, -amount)
            case "expire":
                return build.expire(request_id, member)
            case _:
                return build.unexpire(request_id, member, since=START, until=self.time.value + 2 * HOUR)

    def _earn(self, request_id: str, member: str, amount: int) -> ledger_pb2.Operation:
        what: dict[str, Any] = {"promotional": self.draw(st.booleans()), "priority": self.draw(st.integers(0, 1))}
        if self.draw(st.integers(0, 3)) == 0:
            what["pending"] = True
        elif self.draw(st.integers(0, 3)) == 0:
            what["effective"] = self.time.value + 2 * HOUR
        if self.dated and self.draw(st.booleans()):
            what["at"] = self.time.value + self.draw(st.integers(-3, 3)) * HOUR
        if self.draw(st.integers(0, 5)) == 0 and "at" not in what:
            what["expiry"] = ledger_pb2.ExpiryPolicy(time_zone="Europe/Paris", days=1, rolling=True)
        else:
            what["expires"] = self._ahead()
        return build.earn(request_id, member, amount, **what)

    def _ahead(self) -> Any:
        hours = self.draw(st.sampled_from((0, 1, 3, 6)))
        return self.time.value + hours * HOUR if hours else None
