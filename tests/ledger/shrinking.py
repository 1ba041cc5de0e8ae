"""Makes what fails short enough to read: the steps of a world of which none can be left out."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.ledger.chooser import Step

Fails = Callable[[Sequence[Any]], Awaitable[bool]]

# Replays of a failing world until the shortest found so far has to do; each takes about a tenth of a second.
ATTEMPTS_MAX = 400


async def shrink(steps: Sequence[Step], fails: Fails) -> list[Step]:
    """Leaves out steps, then calls of steps, then operations of calls, as long as what is left still fails."""
    shrinking = _Shrinking(list(steps), fails)
    await shrinking.leave_out_steps()
    for index in reversed(range(len(shrinking.steps))):
        await shrinking.leave_out_calls(index)
        for place in reversed(range(len(shrinking.steps[index].calls))):
            await shrinking.leave_out_asks(index, place)
    await shrinking.leave_out_steps()
    return shrinking.steps


@dataclass
class _Shrinking:
    """The steps that are left, and how often more can still be left out."""

    steps: list[Step]
    fails: Fails
    attempts: int = ATTEMPTS_MAX

    async def leave_out_steps(self) -> None:
        self.steps = await self._without(self.steps, self.fails)

    async def leave_out_calls(self, index: int) -> None:
        async def fails(calls: Sequence[Any]) -> bool:
            return await self.fails(self._changed(index, calls))

        self.steps = self._changed(index, await self._without(list(self.steps[index].calls), fails))

    async def leave_out_asks(self, index: int, place: int) -> None:
        calls = self.steps[index].calls

        def changed(asks: Sequence[Any]) -> list[Any]:
            return [*calls[:place], replace(calls[place], asks=tuple(asks)), *calls[place + 1 :]]

        async def fails(asks: Sequence[Any]) -> bool:
            return await self.fails(self._changed(index, changed(asks)))

        self.steps = self._changed(index, changed(await self._without(list(calls[place].asks), fails)))

    def _changed(self, index: int, calls: Sequence[Any]) -> list[Step]:
        return [*self.steps[:index], replace(self.steps[index], calls=tuple(calls)), *self.steps[index + 1 :]]

    async def _without(self, kept: list[Any], fails: Fails) -> list[Any]:
        """Leaves out runs of elements, the long ones first and the last ones first; one at least is left."""
        size = len(kept) // 2
        while size:
            end = len(kept)
            while end > 0 and self.attempts:
                tried = [*kept[: max(0, end - size)], *kept[end:]]
                if tried:
                    self.attempts -= 1
                    kept = tried if await fails(tried) else kept
                end -= size
            size //= 2
        return kept


def told(steps: Sequence[Step]) -> str:
    """Writes steps, a line each and a line an operation, with what they say."""
    lines = []
    for step in steps:
        lines.append(_told(replace(step, calls=())))
        for call in step.calls:
            lines.append(f"  {_told(replace(call, asks=())) or 'call'}")
            lines += [f"    {_told(ask)}" for ask in call.asks]
    return "\n".join(lines)


def _told(value: Any) -> str:
    said = {each.name: getattr(value, each.name) for each in fields(value) if getattr(value, each.name) != each.default}
    return ", ".join(f"{name}={said[name]}" for name in said)
