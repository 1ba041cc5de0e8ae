"""Waiting for what is expected: a condition and a deadline, never a time that ought to be enough."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

# Far above what anything here takes, so that only what never comes true fails.
PATIENCE_S = 30.0
POLL_S = 0.01
# Enough turns of the loop for anything that waits for nothing outside of it.
TURNS = 20


async def eventually(condition: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """Gives the first true value of the condition, which may be awaitable; fails where there is none in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        value = condition()
        found = await value if inspect.isawaitable(value) else value
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"It did not come true: {inspect.getsource(condition)}"
        await asyncio.sleep(POLL_S)


async def settle() -> None:
    """Lets everything run that waits for nothing but its turn."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
