"""Runs `./plaudit` commands, and whole stacks, as a person does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from services.devstack import processes

ROOT = Path(__file__).parents[2]
COMMAND_WAIT_S = 120
COLUMNS = {
    "purchase_id": "p1",
    "customer_id": "c1",
    "purchased_on": "1997-01-01",
    "quantity": "1",
    "amount_cents": "250",
}


def command(*arguments: str | Path) -> list[str]:
    """Gives the command line of `./plaudit` with arguments, in the environment that runs the tests."""
    return [sys.executable, "-P", "-m", "services.devstack", *(str(argument) for argument in arguments)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Gives the environment of a person who has set nothing but `extra`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    return own | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'gen'}", "COLUMNS": "200"} | dict(extra or {})


def plaudit(*arguments: str | Path, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(extra),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=COMMAND_WAIT_S,
        check=False,
    )


def write_purchases(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Writes a recording; what a row does not say is as in COLUMNS."""
    lines = [",".join(COLUMNS), *(",".join((COLUMNS | dict(row)).values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


class UpProcess:
    """Is a running `up`, with its output."""

    def __init__(self, data_dir: Path, *, errors_path: Path, extra: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self._errors_path = errors_path
        with errors_path.open("w") as errors:
            self.process = subprocess.Popen(
                command("up", "--data-dir", data_dir, "--port", "0"),
                env=environment(extra),
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def wait_ready(self) -> "UpProcess":
        """Waits for the line that says so; fails with the reason where the process ends before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), self.errors()
        assert line.split()[1] == self.url
        return self

    def errors(self) -> str:
        """Gives what it wrote on standard error so far."""
        return self._errors_path.read_text()

    @property
    def url(self) -> str:
        """Is the address of its HTTP API, as other commands read it."""
        return str(json.loads((self.data_dir / "stack.json").read_text())["url"])

    @property
    def api_key(self) -> str:
        """Is the key of the demo program."""
        return str(json.loads((self.data_dir / "credentials.json").read_text())["api_key"])

    def client(self) -> httpx.Client:
        """Gives an HTTP client of the demo program."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.api_key}"}, trust_env=False, timeout=30
        )

    def ready(self) -> bool:
        """Says whether all of it serves now."""
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False  # The gateway is being restarted.

    def children(self) -> dict[str, int]:
        """Gives the ids of its processes, by command line."""
        return {command_line(pid): pid for pid in child_ids(self.process.pid)}

    def child(self, words: str) -> int:
        """Gives the id of the process whose command line holds `words`; 0 where there is none now."""
        return next((pid for line, pid in self.children().items() if words in line), 0)

    def descendants(self) -> dict[int, str | None]:
        """Gives all processes below it, each with its start, which with its id names it for ever."""
        found: dict[int, str | None] = {}
        waiting = child_ids(self.process.pid)
        while waiting:
            pid = waiting.pop()
            found[pid] = processes.start_time(pid)
            waiting += child_ids(pid)
        return found

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; gives the exit code."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(COMMAND_WAIT_S)


def child_ids(pid: int) -> list[int]:
    """Lists the children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def command_line(pid: int) -> str:
    """Gives the command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        return ""


def still_running(known: Mapping[int, str | None]) -> list[int]:
    """Lists those of some processes that run still."""
    return [pid for pid, started in known.items() if started and processes.start_time(pid) == started]


def balance(client: httpx.Client, member_id: str) -> int:
    """Gives the points that a member has."""
    answer = client.get(f"/v1/members/{member_id}/balances").raise_for_status().json()
    balances: list[dict[str, Any]] = answer.get("balances", [])
    return sum(int(each.get("available", 0)) for each in balances if each["asset"] == "points")
