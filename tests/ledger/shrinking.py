"""Makes what fails short enough to read: the steps of a world of which none can be left out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from tests.ledger.chooser import Step

Fails = Callable[[Sequence[Step]], Awaitable[bool]]

# Replays of a failing world until the shortest found so far has to do; each takes about a tenth of a second.
ATTEMPTS_MAX = 400


async def shrink(steps: Sequence[Step], fails: Fails) -> list[Step]:
    """Leaves out steps, then operations of calls, as long as what is left still fails."""
    budget = [ATTEMPTS_MAX]
    kept = await _without(list(steps), fails, budget)
    for index in reversed(range(len(kept))):

        async def fails_with(asks: Sequence[Any], index: int = index) -> bool:
            return await fails([*kept[:index], replace(kept[index], asks=tuple(asks)), *kept[index + 1 :]])

        if len(kept[index].asks) > 1:
            kept[index] = replace(kept[index], asks=tuple(await _without(list(kept[index].asks), fails_with, budget)))
    return kept


async def _without(kept: list[Any], fails: Callable[[Sequence[Any]], Awaitable[bool]], budget: list[int]) -> list[Any]:
    """Leaves out runs of elements, the long ones first and the last ones first."""
    size = len(kept)
    while size:
        end = len(kept)
        while end > 0 and budget[0] > 0:
            tried = [*kept[: max(0, end - size)], *kept[end:]]
            budget[0] -= 1
            if tried and await fails(tried):
                kept = tried
            end -= size
        size //= 2
    return kept


def told(steps: Sequence[Step]) -> str:
    """Writes steps, a line each and a line an operation, with what they say."""
    lines = []
    for step in steps:
        lines.append(_told(replace(step, asks=())))
        lines += [f"    {_told(ask)}" for ask in step.asks]
    return "\n".join(lines)


def _told(value: Any) -> str:
    said = [(each.name, getattr(value, each.name)) for each in fields(value)]
    first, *others = [
        f"{name}={each}" for (name, each), default in zip(said, fields(value), strict=True) if each != default.default
    ]
    return ", ".join([first, *others])
