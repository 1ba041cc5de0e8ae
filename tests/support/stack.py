"""A whole stack as a user has it: `up` in a process of its own, on a data dir and a port of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.devstack import ports

ROOT = Path(__file__).resolve().parents[2]
START_WAIT_S = 60
STOP_WAIT_S = 40


@dataclass
class Stack:
    """A running stack: where it listens, its data dir, and the credentials of its demo program."""

    url: str
    data_dir: Path
    process: "subprocess.Popen[str]"

    @property
    def api_key(self) -> str:
        """Gives the key of the demo program."""
        return str(json.loads((self.data_dir / "credentials.json").read_text())["api_key"])

    def client(self, api_key: str | None = None) -> httpx.AsyncClient:
        """Makes an HTTP client with a key, that of the demo program where none is given."""
        headers = {"authorization": f"Bearer {api_key or self.api_key}"}
        limits = httpx.Limits(max_connections=64)
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, limits=limits)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs a command of the launcher's on this stack's data dir, to its end."""
        return subprocess.run(
            [*COMMAND, *arguments, "--data-dir", str(self.data_dir)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def children(self) -> dict[str, int]:
        """Tells the processes of the stack, by what they run: `ledger serve`, `postgres`, `valkey-server` and so on."""
        found = {}
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in listed:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue  # It ended between the two looks.
            if "-m" in words:
                name, role = words[words.index("-m") + 1 :][:2]
                found[f"{name.rpartition('.')[2]} {role}"] = int(pid)
            elif words[0]:
                # Some servers write more behind their own name.
                found[Path(words[0].split()[0]).name] = int(pid)
        return found

    def kill(self, name: str) -> bool:
        """Kills one process as a crash would; tells whether it was there."""
        pid = self.children().get(name)
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True


COMMAND = [sys.executable, "-m", "services.devstack"]


@contextmanager
def run_stack(data_dir: Path) -> Iterator[Stack]:
    """Runs a stack until the block ends, and sees it stop in good order."""
    port = ports.pick_one(())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")])
    with (data_dir.parent / f"{data_dir.name}.log").open("w+") as log:
        process = subprocess.Popen(
            [*COMMAND, "up", "--data-dir", str(data_dir), "--port", str(port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            log.seek(0)
            assert line == f"ready http://127.0.0.1:{port}", f"up did not become ready: {line} {log.read()}"
            yield Stack(f"http://127.0.0.1:{port}", data_dir, process)
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_WAIT_S) == 0, "up stops with 0 when it is told to"
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_WAIT_S)
            if process.stdout is not None:
                process.stdout.close()
