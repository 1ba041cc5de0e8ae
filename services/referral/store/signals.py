"""Signals: what members were seen with, and what they have in common."""

from collections.abc import Sequence
from datetime import datetime

from services.kernel import db
from services.referral import fraud, model
from services.referral.signals import Kind, Signal
from services.referral.store import QUERIES


async def put_signals(connection: db.Connection, program_id: str, observations: Sequence[model.Observation]) -> None:
    """Records what members were seen with."""
    await connection.execute(
        QUERIES["put_signals"],
        program_id,
        [each.signal.kind for each in observations],
        [each.signal.value_hash for each in observations],
        [each.member_id for each in observations],
        [each.seen_at for each in observations],
    )


async def find_shared(connection: db.Connection, program_id: str, one: str, other: str) -> list[Signal]:
    """Lists what two members were both seen with."""
    rows = await connection.fetch(QUERIES["find_shared_signals"], program_id, one, other)
    return [Signal(Kind(row["kind"]), row["value_hash"]) for row in rows]


async def list_signals(
    connection: db.Connection, program_id: str, member_id: str, kinds: Sequence[Kind], since: datetime
) -> list[Signal]:
    """Lists the signals of some kinds that a member was seen with since an instant."""
    rows = await connection.fetch(QUERIES["list_value_hashes"], program_id, member_id, list(kinds), since)
    return [Signal(Kind(row["kind"]), row["value_hash"]) for row in rows]


async def count_members(connection: db.Connection, program_id: str, signals: Sequence[Signal], since: datetime) -> int:
    """Counts the members that were seen with the most shared one of some signals since an instant."""
    count = await connection.fetchval(
        QUERIES["count_members_seen"],
        program_id,
        sorted({signal.kind for signal in signals}),
        [signal.value_hash for signal in signals],
        since,
    )
    assert isinstance(count, int)
    return count


async def find_companions(
    connection: db.Connection, program_id: str, referrer_id: str, referee_id: str, limit: int
) -> tuple[fraud.Companion, ...]:
    """Lists the other referees of a referrer with whom a referee has something in common."""
    rows = await connection.fetch(
        QUERIES["find_companions"], program_id, referrer_id, referee_id, list(fraud.COMPANION_KINDS), limit
    )
    return tuple(fraud.Companion(row["member_id"], Kind(row["kind"]), row["signed_up_at"]) for row in rows)


async def find_same_persons(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], kinds: Sequence[Kind], limit: int
) -> list[tuple[str, str, Kind]]:
    """Lists pairs of a member and another account, with the kind of signal that they have in common."""
    rows = await connection.fetch(QUERIES["find_same_persons"], program_id, member_ids, list(kinds), limit)
    return [(row["member_id"], row["other_id"], Kind(row["kind"])) for row in rows]
