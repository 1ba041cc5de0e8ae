"""What kills the processes of a stack while it works, and empties its Redis."""

import asyncio
import random
from collections.abc import Collection

import redis.asyncio

from services.devstack.redis import EmbeddedRedis
from tests.support.stack import Stack

SERVERS = ("postgres", "valkey-server")
PAUSE_S = 0.05


async def kill_everything(
    stack: Stack, names: Collection[str], killed: list[str], *, rounds: int, calm_s: tuple[float, float] = (0.2, 1.0)
) -> None:
    """Kills whichever named process lives and has died least, in random order, and empties Redis in between.

    It ends after some rounds: what is killed for ever gets nothing done. Between two it is calm for a time between the
    bounds of `calm_s`.
    """
    while len(killed) < rounds * len(names):
        alive = [name for name in stack.children() if name in names]
        random.shuffle(alive)
        for name in sorted(alive, key=killed.count)[:1]:
            if stack.kill(name):
                killed.append(name)
                await asyncio.sleep(random.uniform(*calm_s))
                await flush(stack)
        await asyncio.sleep(PAUSE_S)


async def flush(stack: Stack) -> None:
    """Empties Redis, where it is up."""
    client = redis.asyncio.Redis(unix_socket_path=str(EmbeddedRedis(stack.data_dir / "redis").socket_path))
    try:
        await client.flushall()
    except (redis.exceptions.RedisError, OSError):
        return  # It was just killed: what it had is gone as well.
    finally:
        await client.aclose()
