"""What `./plaudit` promises before anything is installed."""

import ast
import fcntl
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.devstack import bootstrap
from services.devstack.bootstrap import Environment
from services.devstack.errors import CannotRunError
from tests.devstack.stacks import COMMAND_WAIT_S, ROOT

LAUNCHER = ROOT / "plaudit"
AS_OLD_PYTHON = f"""
import runpy, sys
sys.version_info = (3, 8, 18)
sys.argv = [{str(LAUNCHER)!r}, "--help"]
runpy.run_path({str(LAUNCHER)!r}, run_name="__main__")
"""


def run(*command: str | Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command in an environment of nothing but PATH."""
    return subprocess.run(
        command, env={"PATH": path}, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Environment:
    """Makes a checkout with an environment of this very Python, not stamped yet."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.plaudit]\nrequirements = "pinned.txt"\npaths = [".", "protos/gen"]\n'
    )
    (tmp_path / "pinned.txt").write_text("six==1.17.0\n")
    environment = Environment(tmp_path)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    return environment


def test_is_executable_and_parses_in_old_pythons() -> None:
    """An old Python can read the launcher far enough to say what is wanted."""
    assert os.access(LAUNCHER, os.X_OK)
    ast.parse(LAUNCHER.read_text(), feature_version=(3, 4))


def test_refuses_old_python() -> None:
    """A Python that is too old says so in one sentence, with exit code 2."""
    refused = run(sys.executable, "-c", AS_OLD_PYTHON)

    assert refused.returncode == 2
    assert refused.stderr == "plaudit: Python 3.11 or newer is needed; this is Python 3.8, and PATH has no newer one\n"


def test_finds_newer_python_on_path(tmp_path: Path) -> None:
    """A Python that is too old hands over to a newer one on PATH, passing by those that do not run."""
    (tmp_path / "python3.14").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.14").chmod(0o755)
    (tmp_path / "python3.13").symlink_to(sys.executable)
    helped = run(sys.executable, "-c", AS_OLD_PYTHON, path=str(tmp_path))

    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith("usage: ./plaudit")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["up", "--help"], ["replay", "purchases", "-h"], ["test", "-h"]])
def test_helps_without_installing(tmp_path: Path, arguments: list[str]) -> None:
    """Help needs no environment and makes none."""
    copy_launcher(tmp_path)
    helped = run(sys.executable, tmp_path / "plaudit", *arguments)

    assert helped.returncode == 0, helped.stderr
    assert helped.stdout.startswith("usage: ./plaudit")
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("arguments", [["no-such-command"], ["up", "--port", "65536"], ["replay"], ["up", "--no-such"]])
def test_refuses_slips_without_installing(tmp_path: Path, arguments: list[str]) -> None:
    """What is no command is told at once, with exit code 2."""
    copy_launcher(tmp_path)
    refused = run(sys.executable, tmp_path / "plaudit", *arguments)

    assert refused.returncode == 2
    assert "error: " in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_says_where_venv_is_missing(tmp_path: Path) -> None:
    """A Python without its venv module, as Debian ships it, is told in one sentence what to install."""
    copy_launcher(tmp_path)
    script = f"""
import runpy, sys
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "ensurepip" else real(name)
sys.argv = [{str(tmp_path / "plaudit")!r}, "up"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    refused = run(sys.executable, "-c", script)

    assert refused.returncode == 2
    assert "cannot make virtual environments; install its venv module" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_says_where_index_is_out_of_reach(checkout: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that does not answer is named, without the password that its URL may hold."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:1/simple")
    with pytest.raises(CannotRunError) as refusal:
        bootstrap.run(checkout, [sys.executable, "-c", "raise SystemExit(1)"], "the packages could not be installed")

    text = str(refusal.value)
    assert "the packages could not be installed: the package index http://127.0.0.1:1/simple cannot be reached" in text
    assert "secret" not in text


def test_needs_stamp_that_fits(checkout: Environment) -> None:
    """An environment counts as whole only with a stamp, of these requirements and this place."""
    assert not checkout.whole()
    checkout.stamp.write_text(checkout.wanted_stamp())
    assert checkout.whole()

    (checkout.root / "pinned.txt").write_text("six==1.18.0\n")
    assert not checkout.whole()
    checkout.stamp.write_text(checkout.wanted_stamp())
    assert checkout.whole()
    moved = Environment(checkout.root.rename(checkout.root.with_name("moved")))
    assert not moved.whole()


def test_makes_unfinished_environment_again(checkout: Environment) -> None:
    """An environment whose making was cut off, or whose Python is gone, is not built upon."""
    assert bootstrap.sound(checkout)
    checkout.unfinished.touch()
    assert not bootstrap.sound(checkout)
    checkout.unfinished.unlink()
    checkout.python.unlink()
    checkout.python.symlink_to("/nowhere/python")
    assert not bootstrap.sound(checkout)


def test_waits_for_other_launcher(checkout: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one launcher installs, another says that it waits, and then finds all done."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(bootstrap, "say", said.put)
    entered = threading.Event()

    def second() -> None:
        bootstrap.ensure(checkout)
        entered.set()

    waiting = threading.Thread(target=second)
    with bootstrap.alone(checkout.root):
        waiting.start()
        assert "waiting for it" in said.get(timeout=COMMAND_WAIT_S)
        checkout.stamp.write_text(checkout.wanted_stamp())
        assert not entered.is_set()
    waiting.join(COMMAND_WAIT_S)
    assert entered.is_set()


def test_reads_settings_of_pip() -> None:
    """Of pip's configuration the environment's part wins, and lines of another form are passed over."""
    listing = (
        ":env:.index-url='https://mine/simple'\n"
        "global.index-url='https://theirs/simple'\n"
        "install.find-links='/wheels'\n"
        "a warning\n"
    )

    assert bootstrap.parse_pip_settings(listing) == {"index-url": "https://mine/simple", "find-links": "/wheels"}


def copy_launcher(folder: Path) -> None:
    """Copies what the launcher needs before anything is installed."""
    (folder / "plaudit").write_text(LAUNCHER.read_text())
    devstack = folder / "services" / "devstack"
    devstack.mkdir(parents=True)
    (folder / "services" / "__init__.py").touch()
    for path in (ROOT / "services" / "devstack").glob("*.py"):
        (devstack / path.name).write_text(path.read_text())


def test_holds_lock_by_folder(checkout: Environment) -> None:
    """The lock leaves no file behind and ends with its holder."""
    before = sorted(path.name for path in checkout.root.iterdir())
    with bootstrap.alone(checkout.root):
        handle = os.open(checkout.root, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
    assert sorted(path.name for path in checkout.root.iterdir()) == before
