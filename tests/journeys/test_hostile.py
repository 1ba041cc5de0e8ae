"""Whatever is thrown at a whole stack, it answers in good order."""

from pathlib import Path

from tests.gateway.test_schemathesis import assert_withstands
from tests.support.stack import Stack


def test_schemathesis_finds_no_fault(stack: Stack, other_api_key: str, tmp_path: Path) -> None:
    """Requests made from the stack's own documentation, good ones and bad ones, find no 5xx and no surprise."""
    # They go to a program of their own, so that whatever they change there is nobody's.
    assert_withstands(stack.url, other_api_key, tmp_path)
