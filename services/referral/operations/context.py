"""What every verb of the referral service works with, and what processes remember between calls."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import cel

from services.kernel import clock, db, due, feed
from services.referral import model, rules, signals
from services.referral.store import codes, programs

Encode = Callable[[model.ReferralChanged], feed.Outgoing]

# What is due: the fraud checks of a referral, the end of its hold, the end of its time to qualify, and old clicks.
CHECK = "check_referral"
SETTLE = "settle_referral"
EXPIRE = "expire_referral"
FORGET = "forget_clicks"

REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a referral program with its condition ready to run."""

    program: model.ReferralProgram
    condition: cel.Program | None


@dataclass
class Context:
    """One database, one clock, and one key for hashes and click ids."""

    pool: db.Pool
    time: clock.Clock
    encode: Encode
    key: bytes
    _versions: dict[tuple[str, str, int], Version] = field(default_factory=dict)

    def program_key(self, program_id: str) -> bytes:
        """Gives the key under which the signals and clicks of a program are hashed and signed."""
        return signals.program_key(self.key, program_id)

    async def versions(
        self, connection: db.Connection, program_id: str, wanted: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], Version]:
        """Gives versions of referral programs, read and compiled once: they never change."""
        missing = [each for each in set(wanted) if (program_id, *each) not in self._versions]
        if missing:
            if len(self._versions) > REMEMBERED_MAX:
                self._versions.clear()
            for key, program in (await programs.read_versions(connection, program_id, sorted(missing))).items():
                condition = rules.compile_condition("referralProgram.condition", program.condition)
                self._versions[program_id, *key] = Version(program, condition)
        return {each: self._versions[program_id, *each] for each in wanted}

    async def tag(self, connection: db.Connection, program_id: str) -> str:
        """Gives the tag of a program; empty where it has given no code yet."""
        return await codes.get_tag(connection, program_id) or ""

    async def publish(self, connection: db.Connection, program_id: str, *events: model.ReferralChanged) -> None:
        """Appends to the feed, as the last thing of a transaction."""
        now = await self.time.now(connection)
        await feed.append(connection, program_id, now, [self.encode(event) for event in events])


def work(program_id: str, kind: str, referral_id: uuid.UUID, due_at: datetime) -> due.DueItem:
    """Makes the row of something that is due for a referral."""
    return due.DueItem(program_id, kind, referral_id, {"referral_id": str(referral_id)}, due_at)
