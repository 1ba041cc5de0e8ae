"""Rewards and their pools of codes."""

from collections.abc import Sequence
from dataclasses import replace

from services.kernel import db, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.program import errors, model
from services.program.operations.context import Context
from services.program.store import rewards


async def create_reward(
    context: Context, program_id: str, reward: model.Reward, codes: Sequence[str], request_id: str
) -> tuple[model.Reward, bool]:
    """Makes a reward with its first codes; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED and REWARD_EXISTS.
    """
    content = {
        "rewardId": reward.reward_id,
        "displayName": reward.display_name,
        "description": reward.description,
        "asset": reward.asset,
        "cost": reward.cost,
        "fulfilment": reward.fulfilment.value,
        "codes": list(codes),
    }
    key = ids.request_key(request_id)
    # Derived from the request, so that a retry of a request without an id makes the same reward.
    reward_id = reward.reward_id or f"reward-{ids.derived_id('reward', program_id, request_id).hex[:12]}"

    async def work(connection: db.Connection) -> tuple[model.Reward, bool]:
        made = await rewards.insert_reward(
            connection,
            program_id,
            replace(reward, reward_id=reward_id),
            now=await context.time.now(connection),
            request_id=key,
            fingerprint=requests.fingerprint(content),
        )
        if made and codes:
            await rewards.insert_codes(connection, program_id, reward_id, list(codes))
        if not made:
            # Only now is it sure that a request of this id, raced or earlier, is to be seen.
            prior = await rewards.find_reward_request(connection, program_id, key)
            if prior is None:
                raise errors.reward_exists(reward_id)
            differing = requests.differing_fields(prior[1], content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            return await _get(connection, program_id, prior[0]), True
        return await _get(connection, program_id, reward_id), False

    return await db.transaction(context.pool, work)


async def get_reward(context: Context, program_id: str, reward_id: str) -> model.Reward:
    """Tells a reward. Raises REWARD_NOT_FOUND."""
    return await db.read(context.pool, lambda connection: _get(connection, program_id, reward_id))


async def list_rewards(
    context: Context, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Reward], str]:
    """Lists a page of rewards, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "rewards", program_id, parse=pages.parse_text) or ""
    found = await db.read(context.pool, lambda c: rewards.list_rewards(c, program_id, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].reward_id], "rewards", program_id)


async def upload_codes(context: Context, program_id: str, reward_id: str, codes: Sequence[str]) -> tuple[int, int]:
    """Adds codes to a pool; tells how many were new and how many it had. Raises REWARD_NOT_FOUND."""
    unique = sorted(set(codes))

    async def work(connection: db.Connection) -> int:
        await _get(connection, program_id, reward_id)
        return await rewards.insert_codes(connection, program_id, reward_id, unique)

    added = await db.transaction(context.pool, work)
    return added, len(codes) - added


async def _get(connection: db.Connection, program_id: str, reward_id: str) -> model.Reward:
    reward = await rewards.get_reward(connection, program_id, reward_id)
    if reward is None:
        raise errors.reward_not_found(reward_id)
    return reward
