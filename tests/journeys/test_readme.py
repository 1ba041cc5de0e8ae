"""What the READMEs tell people to type works, and prints what they say."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import readme
from tests.support.stack import ROOT, Stack

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *ROOT.glob("*/README.md")]
    if path.is_file() and readme.MARK in path.read_text(encoding="utf-8")
)


def on(stack: Stack, page: str, folder: Path) -> str:
    """Rewrites a page for a stack that runs already: its address, its data dir, and the launcher on that data dir."""
    launcher = folder / "plaudit"
    data_dir = shlex.quote(str(stack.data_dir))
    launcher.write_text(f'#!/bin/sh\nexec python -m services.devstack "$@" --data-dir {data_dir}\n')
    launcher.chmod(0o755)
    page = page.replace("http://127.0.0.1:8080", stack.url)
    return page.replace("./plaudit ", f"{shlex.quote(str(launcher))} ").replace(".plaudit/", f"{stack.data_dir}/")


def environment(folder: Path) -> dict[str, str]:
    """Gives the shell the Python of the tests first, the modules of the tree, and a curl that fails on refusals."""
    (folder / ".curlrc").write_text("fail-with-body\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    modules = f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'gen'}"
    return {**os.environ, "PATH": path, "PYTHONPATH": modules, "CURL_HOME": str(folder), "NO_COLOR": "1"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, which the pages are written for")
@pytest.mark.parametrize("path", PAGES)
def test_page_does_what_it_says(path: str, stack: Stack, tmp_path: Path) -> None:
    """Every marked command of the page succeeds, in order, in one shell, and prints what the page says."""
    page = on(stack, (ROOT / path).read_text(encoding="utf-8"), tmp_path)
    assert readme.commands(page)
    assert readme.run(page, folder=ROOT, environment=environment(tmp_path)) == []


def test_front_page_is_run() -> None:
    """The commands of the front page are among those that are run."""
    assert "README.md" in PAGES, (
        f"README.md has no block behind {readme.MARK}: what it tells people to type is untried."
    )


def page_of(language: str, block: str) -> str:
    """Writes a page with one marked block."""
    return f"# Page\n\n{readme.MARK}\n```{language}\n{block}\n```\n\n```bash\nfalse\n```\n"


@pytest.mark.parametrize(
    ("language", "block"),
    [
        ("bash", "name=world\nprintf '%s' \"$name\""),
        ("python", "import sys\nsys.stdout.write('hello')"),
        ("console", "$ echo one two\none two\n$ echo three"),
        ("console", "$ printf 'points  12\\nseconds 0.31\\n'\npoints  12\nseconds …"),
        ("console", "$ printf '%s' \\\n> hello\nhello"),
        ("console", "$ value=7\n$ echo $value\n7"),
    ],
)
def test_good_page_passes(language: str, block: str, tmp_path: Path) -> None:
    """Commands that work and print what is said have no fault; blocks without a mark are not run."""
    assert readme.run(page_of(language, block), folder=tmp_path, environment=environment(tmp_path)) == []


@pytest.mark.parametrize(
    ("language", "block", "fault"),
    [
        ("bash", "echo before; false", "fails with 1"),
        ("bash", "false | true", "fails with 1"),
        ("python", "raise SystemExit(3)", "fails with 3"),
        ("console", "$ echo one\ntwo", "prints\none"),
        ("console", "$ echo one; echo two\none", "prints\none\ntwo"),
        ("console", "$ true\n$ no-such-command", "no-such-command\nfails with 127"),
    ],
)
def test_bad_page_is_seen(language: str, block: str, fault: str, tmp_path: Path) -> None:
    """A command that fails, or that prints something else, is named with what it did."""
    faults = readme.run(page_of(language, block), folder=tmp_path, environment=environment(tmp_path))
    assert any(fault in each for each in faults), faults
