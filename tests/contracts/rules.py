"""A house rule over files: what it wants, how a breach is found, and a breach that proves the finder."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from tests.contracts.sources import Source

Find = Callable[[Source], Iterable[str]]
Applies = Callable[[Source], bool]


@dataclass(frozen=True)
class Rule:
    """One rule. `lesson` teaches it; `breach` is a path and a text that break it, whatever the tree holds."""

    name: str
    lesson: str
    find: Find
    applies: Applies
    breach: tuple[str, str]

    def problems(self, sources: Iterable[Source]) -> list[str]:
        """Lists every breach as `path:line: what`."""
        return [f"{source.path}:{found}" for source in sources if self.applies(source) for found in self.find(source)]

    def assert_kept(self, sources: Iterable[Source]) -> None:
        """Fails with the lesson and every breach."""
        assert_none(self.problems(sources), self.lesson)

    def assert_seen(self) -> None:
        """Fails where the finder does not see its own breach."""
        assert self.problems([Source(*self.breach)]), f"{self.name} does not see {self.breach[1]!r}"


def assert_none(problems: Iterable[str], lesson: str) -> None:
    """Fails where there is a problem: the lesson first, then each problem on a line of its own."""
    found = list(problems)
    if found:
        pytest.fail("\n".join(["", lesson, *(f"  - {problem}" for problem in found)]), pytrace=False)


def python(source: Source) -> bool:
    """Takes every Python file."""
    return source.is_python


def services_python(source: Source) -> bool:
    """Takes the Python of everything that runs in production."""
    return source.is_python and source.path.startswith("services/") and not source.path.startswith("services/devstack/")


def tests_python(source: Source) -> bool:
    """Takes the tests."""
    return source.is_python and source.is_test


def every(source: Source) -> bool:
    """Takes every text file."""
    return bool(source.path)
