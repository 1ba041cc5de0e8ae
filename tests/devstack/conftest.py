"""One running stack for all tests of the devstack."""

import signal
from collections.abc import Iterator

import pytest

from tests.devstack.stacks import UpProcess
from tests.support.waiting import eventually


@pytest.fixture(scope="package")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """Runs a stack for all tests of the devstack."""
    folder = tmp_path_factory.mktemp("stack")
    up = UpProcess(folder / "data", errors_path=folder / "errors.txt")
    try:
        yield up.wait_ready()
    finally:
        up.end(signal.SIGTERM)


@pytest.fixture
async def stack(shared_stack: UpProcess) -> UpProcess:
    """Lends the running stack, ready again after what a test before may have killed. Tests may not end `up` itself."""
    await eventually(shared_stack.ready)
    return shared_stack
