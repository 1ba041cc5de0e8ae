"""How child processes are started and ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.devstack import processes
from services.devstack.errors import CannotRunError
from services.devstack.runtime_dir import SOCKET_PATH_BYTES_MAX, make_private, make_runtime_dir, runtime_dir
from tests.devstack.stacks import ROOT, environment
from tests.support.waiting import eventually

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]
# Ignores SIGTERM, and says when it does.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
PARENT = f"""
import signal, sys
from pathlib import Path
from services.devstack import processes
child = processes.spawn({SLEEPER!r}, log_path=Path(sys.argv[1]))
print(child.pid, flush=True)
signal.pause()
"""


async def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Whoever is killed outright takes its children along."""
    parent = start_parent(tmp_path / "log")
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    started = await eventually(lambda: processes.start_time(child))
    parent.kill()
    parent.communicate()

    await eventually(lambda: processes.start_time(child) != started)


def start_parent(log_path: Path) -> "subprocess.Popen[str]":
    """Starts a process that has a child."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log_path)], env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def test_end_grows_stronger(tmp_path: Path) -> None:
    """A process that ignores the signal it is sent is killed when its time is over."""
    log_path = tmp_path / "log"
    process = processes.spawn([sys.executable, "-c", STUBBORN], log_path=log_path)
    await eventually(lambda: processes.log_tail(log_path) == "deaf")

    assert processes.end(process, [(signal.SIGTERM, 0.05)]) == -signal.SIGKILL


def test_remembers_process_and_not_its_id(tmp_path: Path) -> None:
    """A process is found again by id and start; another one with its id is not taken for it."""
    pid_path = tmp_path / "pid"
    process = processes.spawn(SLEEPER, log_path=tmp_path / "log")
    processes.remember(pid_path, process.pid)
    assert processes.remembered(pid_path) == process.pid

    pid_path.write_text(f"{process.pid} 12345\n")
    assert processes.remembered(pid_path) is None
    processes.remember(pid_path, process.pid)
    processes.end_leftover(process.pid, [(signal.SIGTERM, 10)])
    assert process.wait() == -signal.SIGTERM
    assert processes.remembered(pid_path) is None


@pytest.mark.parametrize("content", ["", "torn", "12", "x y", "1 2 3"])
def test_passes_over_torn_record(tmp_path: Path, content: str) -> None:
    """A record that was half written names nobody."""
    (tmp_path / "pid").write_text(content)

    assert processes.remembered(tmp_path / "pid") is None


async def test_says_what_cannot_be_run(tmp_path: Path) -> None:
    """A program that is not there is named in the log."""
    process = processes.spawn(["/nowhere/program"], log_path=tmp_path / "log")

    assert process.wait(10) == 127
    assert processes.log_tail(tmp_path / "log") == "cannot run /nowhere/program: it is not there"


def test_quotes_last_words_of_log(tmp_path: Path) -> None:
    """Of what was written since the start, the last line counts, before others one of the wanted levels."""
    log_path = tmp_path / "log"
    assert processes.log_tail(log_path) == "no log was written"
    log_path.write_text("FATAL: old\n")
    since = processes.log_size(log_path)
    assert processes.log_tail(log_path, since=since) == "it said nothing"
    with log_path.open("a") as log:
        log.write("FATAL: first\nLOG: later\n\n")
    assert processes.log_tail(log_path, since=since) == "LOG: later"
    assert processes.log_tail(log_path, since=since, levels=("FATAL:",)) == "FATAL: first"


def test_rotates_large_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that has grown large is put aside when its process starts again."""
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 3)
    log_path = tmp_path / "log"
    log_path.write_text("abc")
    processes.rotate(log_path)
    assert log_path.read_text() == "abc"
    log_path.write_text("abcd")
    processes.rotate(log_path)
    assert not log_path.exists()
    assert (tmp_path / "log.1").read_text() == "abcd"


def test_runtime_dir_is_short_and_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep the data and the temporary directory are, a socket fits; each data directory has its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path.joinpath(*["deep"] * 30)))
    first, second = make_runtime_dir(tmp_path / "a"), make_runtime_dir(tmp_path / "b")

    assert first != second
    assert first == runtime_dir(tmp_path / "a")
    assert len(os.fsencode(first / "postgres" / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES_MAX
    first.rmdir()
    second.rmdir()


def test_runtime_dir_is_nobody_elses(tmp_path: Path) -> None:
    """A link, a file or another user's directory in its place is refused; loose permissions are tightened."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(CannotRunError, match="is something else"):
        make_private(tmp_path / "link", owner=os.geteuid())
    (tmp_path / "loose").mkdir(mode=0o777)
    make_private(tmp_path / "loose", owner=os.geteuid())
    assert (tmp_path / "loose").stat().st_mode & 0o777 == 0o700
    with pytest.raises(CannotRunError, match="belongs to another user"):
        make_private(tmp_path / "loose", owner=os.geteuid() + 1)
