"""Rewards, codes and redemptions."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.kernel import db
from services.program import model
from services.program.store import QUERIES


async def insert_reward(
    connection: db.Connection,
    program_id: str,
    reward: model.Reward,
    *,
    now: datetime,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> bool:
    """Makes a reward; tells whether there was none of that id."""
    made = await connection.fetchval(
        QUERIES["insert_reward"],
        program_id,
        reward.reward_id,
        reward.display_name,
        reward.description,
        reward.asset,
        reward.cost,
        reward.fulfilment,
        now,
        request_id,
        fingerprint,
    )
    return made is not None


async def find_reward_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[str, bytes] | None:
    """Finds the reward that a request made, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_reward_request"], program_id, request_id)
    return (row["reward_id"], row["fingerprint"]) if row else None


async def get_reward(connection: db.Connection, program_id: str, reward_id: str) -> model.Reward | None:
    """Reads a reward."""
    row = await connection.fetchrow(QUERIES["get_reward"], program_id, reward_id)
    return _reward(row) if row else None


async def list_rewards(connection: db.Connection, program_id: str, after: str, limit: int) -> list[model.Reward]:
    """Lists rewards behind an id."""
    return [_reward(row) for row in await connection.fetch(QUERIES["list_rewards"], program_id, after, limit)]


def _reward(row: Any) -> model.Reward:
    return model.Reward(**{**dict(row), "fulfilment": model.Fulfilment(row["fulfilment"])})


async def insert_codes(connection: db.Connection, program_id: str, reward_id: str, codes: Sequence[str]) -> int:
    """Adds codes to a pool; tells how many were new."""
    return len(await connection.fetch(QUERIES["insert_codes"], program_id, reward_id, codes))


async def claim_code(
    connection: db.Connection, program_id: str, reward_id: str, redemption_id: uuid.UUID
) -> str | None:
    """Takes a free code for a redemption; None where the pool is empty."""
    code = await connection.fetchval(QUERIES["claim_code"], program_id, reward_id, redemption_id)
    assert code is None or isinstance(code, str)
    return code


async def return_code(connection: db.Connection, program_id: str, redemption_id: uuid.UUID) -> None:
    """Puts a code back that nobody has seen."""
    await connection.execute(QUERIES["return_code"], program_id, redemption_id)


async def insert_redemption(
    connection: db.Connection,
    program_id: str,
    redemption: model.Redemption,
    *,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> None:
    """Writes a redemption that is about to be worked on."""
    await connection.execute(
        QUERIES["insert_redemption"],
        program_id,
        redemption.redemption_id,
        redemption.member_id,
        redemption.reward_id,
        redemption.asset,
        redemption.cost,
        redemption.fulfilment,
        redemption.created_at,
        request_id,
        fingerprint,
    )


async def find_redemption_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[uuid.UUID, bytes] | None:
    """Finds the redemption that a request made, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_redemption_request"], program_id, request_id)
    return (row["redemption_id"], row["fingerprint"]) if row else None


async def get_redemption(
    connection: db.Connection, program_id: str, redemption_id: uuid.UUID
) -> model.Redemption | None:
    """Reads a redemption."""
    row = await connection.fetchrow(QUERIES["get_redemption"], program_id, redemption_id)
    return _redemption(row) if row else None


async def lock_redemption(
    connection: db.Connection, program_id: str, redemption_id: uuid.UUID
) -> model.Redemption | None:
    """Locks and reads a redemption."""
    row = await connection.fetchrow(QUERIES["lock_redemption"], program_id, redemption_id)
    return _redemption(row) if row else None


async def list_redemptions(
    connection: db.Connection, program_id: str, member_id: str, before: uuid.UUID, limit: int
) -> list[model.Redemption]:
    """Lists a member's redemptions before an id, newest first."""
    rows = await connection.fetch(QUERIES["list_redemptions"], program_id, member_id, before, limit)
    return [_redemption(row) for row in rows]


async def update_redemption(connection: db.Connection, program_id: str, redemption: model.Redemption) -> None:
    """Writes how a redemption stands now."""
    await connection.execute(
        QUERIES["update_redemption"],
        program_id,
        redemption.redemption_id,
        redemption.state,
        redemption.code,
        redemption.refusal,
        redemption.updated_at,
    )


def _redemption(row: Any) -> model.Redemption:
    return model.Redemption(
        **{
            **dict(row),
            "fulfilment": model.Fulfilment(row["fulfilment"]),
            "state": model.RedemptionState(row["state"]),
        }
    )
