"""Logs that are data, without secrets."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import environment

PROGRAM = """
from services.kernel import logs

logs.configure(service="test", role="serve", log_format={format!r}, level={level!r})
password, token = "hunter2", "hunter2"
logs.get_logger().debug("too_quiet")
logs.get_logger().info("seen", token=token, password=password, email="a@hunter2.de", dsn="x://hunter2", count=3)
try:
    raise ValueError("for once")
except ValueError:
    logs.get_logger().exception("failed", authorization="Bearer hunter2")
"""


def lines_of(log_format: str, level: str = "info") -> list[str]:
    """Runs a process that logs, and gives the lines that it wrote."""
    program = PROGRAM.format(format=log_format, level=level)
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == ""
    return result.stderr.splitlines()


def test_json_log_is_one_object_a_line() -> None:
    """Each event is one line of JSON with its name, level, time, service and role, tracebacks included."""
    seen, failed = (json.loads(line) for line in lines_of("json"))

    assert (seen["event"], seen["level"], seen["service"], seen["role"], seen["count"]) == (
        "seen",
        "info",
        "test",
        "serve",
        3,
    )
    assert seen["timestamp"].endswith("Z")
    assert "ValueError: for once" in failed["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_not_logged(log_format: str) -> None:
    """Nothing under the name of a secret is written, nor what a traceback's variables hold, in any format."""
    text = "\n".join(lines_of(log_format))

    assert "for once" in text
    assert "hunter2" not in text


def test_level_is_obeyed() -> None:
    """What is below the level is not written."""
    assert "too_quiet" in lines_of("json", "debug")[0]
    assert lines_of("json", "error")[0].count("failed") == 1
