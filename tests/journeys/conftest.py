"""One running stack for all journeys; each uses members of its own, or a program of its own."""

import json
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, run_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs a stack as a user would."""
    with run_stack(tmp_path_factory.mktemp("stack") / "data") as running:
        yield running


@pytest.fixture(scope="package")
def other_api_key(stack: Stack) -> str:
    """Makes a second program on the stack and gives its key."""
    made = stack.run("program", "create", "other", "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["api_key"])
