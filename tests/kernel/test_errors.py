"""Refusals: whatever carries them, they arrive whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from services.kernel import errors


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """Lets everything through."""
    yield


@contextlib.asynccontextmanager
async def passing_async() -> AsyncIterator[None]:
    """Lets everything through, asynchronously."""
    yield


async def test_refusal_passes_through_context_managers() -> None:
    """A refusal raised within context managers, stacks of them or a task group arrives as what it is."""
    refusal = errors.scope_missing("a")
    with pytest.raises(errors.DomainError) as caught:
        await raising_through(refusal)
    assert caught.value is refusal

    with pytest.raises(ExceptionGroup) as group:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raising(refusal))
    assert group.value.exceptions == (refusal,)


async def raising_through(refusal: errors.DomainError) -> None:
    """Raises a refusal through all of them."""
    async with contextlib.AsyncExitStack() as stack, passing_async():
        stack.enter_context(passing())
        await stack.enter_async_context(passing_async())
        with passing():
            raise refusal


async def raising(refusal: errors.DomainError) -> None:
    """Raises a refusal."""
    raise refusal


def test_refusal_takes_notes_and_a_cause() -> None:
    """A refusal can be raised from its cause, be noted on and be kept in a set."""
    refusal = errors.draining()
    refusal.add_note("seen")
    with pytest.raises(errors.DomainError) as caught:
        raise refusal from ValueError("cause")

    assert isinstance(caught.value.__cause__, ValueError)
    assert {refusal} == {caught.value}


def test_refusal_reads_like_a_log_line() -> None:
    """The text of a refusal is its reason and its sentence."""
    assert str(errors.queue_full(3)) == "QUEUE_FULL: More than 3 writes are waiting; try again."


def test_refused_fields_are_all_named() -> None:
    """The first field at fault is in message and metadata, and each is a violation."""
    refusal = errors.field_invalid(errors.Violation("a", "is bad"), errors.Violation("b", "is worse"))

    assert (refusal.message, refusal.metadata) == ("a: is bad", {"field": "a"})
    assert [each.field for each in refusal.violations] == ["a", "b"]
