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


ODD_PROGRAM = """
import uuid
from dataclasses import dataclass, field
from services.kernel import logs

@dataclass
class Settings:
    name: str = "Zoë"
    password: str = field(default="hunter2", repr=False)

logs.configure(service="test", role="serve", log_format={format!r}, level={level!r})
logs.get_logger().info("settings", settings=Settings(), known=uuid.UUID(int=7))
logs.get_logger().info("odd", text="\\ud800", big=2**80, wire=b"\\xff", keys={{1: Settings()}})
logs.configure(service="other", role="work", log_format={format!r}, level={level!r})
logs.get_logger().info("after", service="mine")
"""


def lines_of(log_format: str, level: str = "info", program: str = PROGRAM) -> list[str]:
    """Runs a process that logs, and gives the lines that it wrote."""
    program = program.format(format=log_format, level=level)
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


def test_json_log_takes_whatever_comes() -> None:
    """Whatever is logged is a line of JSON, and an object shows no more than it shows by itself."""
    settings, odd, _ = (json.loads(line) for line in lines_of("json", program=ODD_PROGRAM))

    assert settings["settings"] == "Settings(name='Zoë')"
    assert settings["known"] == "00000000-0000-0000-0000-000000000007"
    assert (odd["text"], odd["big"], odd["wire"]) == ("\ud800", 2**80, r"b'\xff'")
    assert odd["keys"] == {"1": "Settings(name='Zoë')"}


def test_log_is_as_last_configured() -> None:
    """A logger that was used before is set up anew, and a line always says which process wrote it."""
    lines = [json.loads(line) for line in lines_of("json", program=ODD_PROGRAM)]

    assert [(line["event"], line["service"], line["role"]) for line in lines] == [
        ("settings", "test", "serve"),
        ("odd", "test", "serve"),
        ("after", "other", "work"),
    ]


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
