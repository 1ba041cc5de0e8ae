"""Chooses what to do next: mostly what can succeed, so that histories grow deep, and sometimes what cannot."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from tests.conftest import START
from tests.ledger.world import ASSETS, MEMBERS, World
from tests.support.oracle import Ask

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
TURNS = (MICROSECOND, HOUR - MICROSECOND, HOUR, HOUR, 3 * HOUR)
KINDS = ("earn",) * 4 + ("hold",) * 5 + ("capture",) * 3 + ("release",) * 2 + ("reverse",) * 3

Choice = TypeVar("Choice")


@dataclass
class Chooser:
    """Draws operations and instants for one world; hypothesis shrinks what it drew."""

    data: st.DataObject
    world: World
    asked: list[Ask] = field(default_factory=list)

    def pick(self, *choices: Choice) -> Choice:
        """Picks one; the first is the simplest."""
        return self.data.draw(st.sampled_from(choices))

    def number(self, least: int, most: int) -> int:
        """Picks a number."""
        return self.data.draw(st.integers(least, most))

    def chance(self, one_in: int) -> bool:
        """Is true once in so many times."""
        return self.number(1, one_in) == one_in

    def instant(self, least: int, most: int) -> datetime:
        """Picks a whole hour around now, so that ends, beginnings and clocks meet all the time."""
        hours = round((self.world.time.value - START) / HOUR)
        return START + (hours + self.number(least, most)) * HOUR

    def look_at(self) -> datetime | None:
        """Picks an instant to ask about: now, or the edge of some hour before or after."""
        return None if self.chance(3) else self.instant(-10, 12) + self.number(-1, 1) * MICROSECOND

    def asks(self, most: int) -> list[Ask]:
        """Picks the operations of one call."""
        chosen = []
        for _ in range(self.number(1, most)):
            again = self.asked and self.chance(10)
            ask = self.pick(*self.asked[-20:]) if again else self.ask()
            chosen.append(ask)
            self.asked.append(ask)
        return chosen

    def ask(self) -> Ask:
        """Picks one operation, now and then under an id that was used."""
        kind = self.pick(*KINDS)
        if kind not in ("earn", "hold") and not self.asked_for(kind) and not self.chance(8):
            kind = "hold" if kind == "reverse" else "earn"
        request_id = f"{kind[:3]}-{len(self.asked)}"
        if self.asked and self.chance(15):
            request_id = self.pick(*self.asked[-20:]).request_id
        if kind == "earn":
            return self.earn(request_id)
        if kind == "hold":
            return self.hold(request_id)
        return Ask(request_id, kind, target=self.pick(*self.targets(kind)))

    def asked_for(self, kind: str) -> bool:
        """Tells whether there is anything that an operation could be about."""
        return any(each.kind == ("capture" if kind == "reverse" else "hold") for each in self.asked)

    def targets(self, kind: str) -> list[str]:
        """Lists what an operation may be about, the newest first: mostly what it can be done to, as far as is known."""
        wanted = "capture" if kind == "reverse" else "hold"
        outcomes = self.world.oracle.outcomes
        known = [each.request_id for each in self.asked if each.kind == wanted]
        possible = [each for each in known if each not in outcomes or not outcomes[each][1].reason]
        open_now = [each for each in possible if not self.has_ended(each)]
        if open_now and not self.chance(5):
            return open_now[:-7:-1]
        if possible and not self.chance(5):
            return possible[:-7:-1]
        return ["unknown", *(each.request_id for each in self.asked[:-10:-1])]

    def has_ended(self, request_id: str) -> bool:
        """Tells whether a hold was captured or released, or a capture reversed; time ends holds without a word."""
        oracle = self.world.oracle
        if request_id in oracle.captures:
            return oracle.captures[request_id].reversed is not None
        hold = oracle.holds.get(request_id)
        return hold is not None and (hold.captured or hold.released) is not None

    def earn(self, request_id: str) -> Ask:
        """Picks an earn: dated now, back or ahead, with or without an end."""
        return Ask(
            request_id,
            "earn",
            member=self.pick(*MEMBERS),
            asset=self.pick(*ASSETS[:1] * 4, *ASSETS[1:]),
            amount=self.number(1, 12),
            at=self.instant(-8, 3) if self.chance(4) else None,
            effective=self.instant(-6, 4) if self.chance(4) else None,
            expires=self.instant(-2, 8) if self.chance(2) else None,
            priority=self.pick(0, 0, 1, 2),
        )

    def hold(self, request_id: str) -> Ask:
        """Picks a hold, mostly of no more than there is."""
        now = self.world.time.value
        owners = [(member, asset) for member in MEMBERS for asset in ASSETS]
        rich = [owner for owner in owners if self.world.oracle.standing(owner, now).available]
        member, asset = self.pick(*(rich or owners)) if not self.chance(8) else self.pick(*owners)
        available = self.world.oracle.standing((member, asset), now).available
        return Ask(
            request_id,
            "hold",
            member=member,
            asset=asset,
            amount=self.number(1, 40) if self.chance(8) else self.number(1, max(1, available // 2)),
            timeout_s=3600 * self.number(1, 6),
            at=self.instant(-2, 2) if self.chance(8) else None,
        )
