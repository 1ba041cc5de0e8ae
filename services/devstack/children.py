"""The processes of services, as `up` runs them."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from services.devstack import processes
from services.devstack.catalogue import Service
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError

ROOT = Path(__file__).resolve().parents[2]
DRAIN_WAIT_S = 10.0  # services drain by themselves within it
MIGRATE_WAIT_S = 300.0


class ServiceProcess:
    """Is one process of a service, in one role."""

    def __init__(self, service: Service, role: str, *, data_dir: DataDir, environment: Mapping[str, str]) -> None:
        self.service = service
        self.role = role
        self.title = f"{service.name} {role}"
        self.log_path = data_dir.logs / f"{service.name}-{role}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._pid_path = data_dir.run / f"{service.name}-{role}.pid"
        self._environment = environment
        self._log_start = 0

    def end_leftover(self) -> None:
        """Ends the process that an earlier run left over, and puts a large log aside."""
        leftover = processes.remembered(self._pid_path)
        if leftover is not None:
            processes.end_leftover(leftover, [(signal.SIGTERM, DRAIN_WAIT_S)])
        processes.rotate(self.log_path)

    async def start_async(self) -> None:
        """Starts the process, without waiting until it serves."""
        await asyncio.to_thread(self.end_leftover)
        self.spawn()

    def spawn(self) -> None:
        """Starts the process at once; from the main thread."""
        self._log_start = processes.log_size(self.log_path)
        command = [sys.executable, "-P", "-m", f"services.{self.service.name}", self.role]
        self.process = processes.spawn(command, log_path=self.log_path, env=self._environment, cwd=ROOT)
        processes.remember(self._pid_path, self.process.pid)

    def running(self) -> bool:
        """Says whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Lets the process drain, then ends it. Idempotent."""
        if self.process is not None:
            processes.end(self.process, [(signal.SIGTERM, DRAIN_WAIT_S)])
            self.process = None
            self._pid_path.unlink(missing_ok=True)

    def hurry(self) -> None:
        """Ends the process now; what it acknowledged is committed."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    async def finish(self) -> None:
        """Waits for a process that ends by itself, such as a migration. Raises CannotRunError where it fails."""
        deadline = asyncio.get_running_loop().time() + MIGRATE_WAIT_S
        while self.running():
            if asyncio.get_running_loop().time() >= deadline:
                raise CannotRunError(f"{self.title} is not done after {MIGRATE_WAIT_S:.0f} s (log: {self.log_path})")
            await asyncio.sleep(processes.POLL_S)
        assert self.process is not None, "spawn comes first"
        if self.process.returncode != 0:
            raise CannotRunError(self.complaint())
        self.stop()

    def complaint(self) -> str:
        """Says in one sentence how the process ended."""
        assert self.process is not None, "spawn comes first"
        words = processes.log_tail(self.log_path, since=self._log_start, levels=("plaudit:",))
        return f"{self.title} ended (exit {self.process.poll()}): {words} (log: {self.log_path})"
