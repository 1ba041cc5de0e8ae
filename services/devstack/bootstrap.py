"""Makes the virtual environment beside the launcher and runs the command line in it.

Runs before anything is installed, so it knows the standard library only. What it promises: an environment is used only
when it is whole (a stamp is written last); two launchers at once do not meet (one waits for the other); a run with
nothing to do costs a few milliseconds; whatever is missing is said in one sentence, with exit code 2.
"""

import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from services.devstack import cli
from services.devstack.errors import CannotRunError

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ".ci/installer.txt"  # pins uv, which installs ten times faster than pip
DEFAULT_INDEX = "https://pypi.org/simple"
INDEX_WAIT_S = 10.0
STILL_EVERY_S = 10.0
DISK_BYTES_MIN = 1_000_000  # with less left, whatever failed failed for that
VERSION_TEST = "import sys; sys.exit(sys.version_info < (3, 11))"

# What a person configured for pip holds for uv too, which does not read pip's files.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
# These would have pip install elsewhere than into the environment.
PIP_DETOURS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON")


class IndexAwayError(CannotRunError):
    """Says that no installer can reach the package index."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Is the virtual environment of a checkout at `root`."""

    root: Path

    @property
    def folder(self) -> Path:
        """Is where it lives."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Is its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Is the file that says that the environment is whole, and of what it was made."""
        return self.folder / "plaudit-stamp.json"

    @property
    def unfinished(self) -> Path:
        """Is the file that says that the environment is being changed."""
        return self.folder / "plaudit-unfinished"

    @property
    def log(self) -> Path:
        """Is where the installers write."""
        return self.folder / "plaudit-install.log"

    def settings(self) -> tuple[Path, list[Path]]:
        """Reads from pyproject.toml what to install, and which folders to make importable."""
        settings = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["plaudit"]
        return self.root / settings["requirements"], [self.root / path for path in settings["paths"]]

    def wanted_stamp(self) -> str:
        """Gives the stamp of an environment that fits the checkout as it is now."""
        requirements, paths = self.settings()
        made_of = {
            "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest(),
            "python": os.path.realpath(self.python),
            "paths": [str(path) for path in paths],
        }
        return json.dumps(made_of, indent=2) + "\n"

    def whole(self) -> bool:
        """Says whether the environment fits the checkout."""
        try:
            return self.python.exists() and self.stamp.read_text(encoding="utf-8") == self.wanted_stamp()
        except FileNotFoundError:
            return False


def main(arguments: Sequence[str]) -> int:
    """Runs the command line in the environment, made first where it is missing; returns only where it cannot."""
    cli.parse(arguments)  # help, and a slip of the pen, need nothing installed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    environment = Environment(ROOT)
    try:
        ensure(environment)
    except CannotRunError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"cannot make {environment.folder}: {error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return become(environment, arguments)


def become(environment: Environment, arguments: Sequence[str]) -> NoReturn:
    """Turns this process into the command line, in the environment."""
    # -P: a folder named `services` where the person stands is not ours.
    command = [str(environment.python), "-P", "-m", "services.devstack", *arguments]
    os.execv(environment.python, command)  # noqa: S606 - becoming the program is the point


def say(sentence: str) -> None:
    """Tells the person at the terminal."""
    print(f"plaudit: {sentence}", file=sys.stderr, flush=True)


def ensure(environment: Environment) -> None:
    """Makes the environment whole where it is not."""
    if environment.whole():
        return
    with alone(environment.root):
        if environment.whole():  # another launcher made it meanwhile
            return
        started = time.monotonic()
        if not sound(environment):
            make(environment)
        environment.stamp.unlink(missing_ok=True)
        environment.unfinished.touch()
        install(environment)
        point(environment)
        draft = environment.stamp.with_suffix(".new")
        draft.write_text(environment.wanted_stamp(), encoding="utf-8")
        draft.replace(environment.stamp)
        environment.unfinished.unlink()
        say(f"installed in {time.monotonic() - started:.1f} s")


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Holds off other launchers of the same checkout."""
    handle = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another launcher is installing here; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sound(environment: Environment) -> bool:
    """Says whether there is an environment that can be changed in place: not torn, and of a Python that runs."""
    if environment.unfinished.exists() or not environment.python.exists():
        return False
    tested = subprocess.run([environment.python, "-c", VERSION_TEST], capture_output=True, check=False)
    return tested.returncode == 0


def make(environment: Environment) -> None:
    """Makes an empty environment with pip in it."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise CannotRunError(
            f"this Python ({sys.executable}, {version}) cannot make virtual environments; install its venv module "
            f"(on Debian and Ubuntu the package python{sys.version_info[0]}.{sys.version_info[1]}-venv)"
        )
    say(f"making .venv with Python {version}")
    if environment.folder.is_symlink() or environment.folder.is_file():
        environment.folder.unlink()
    elif environment.folder.exists():
        shutil.rmtree(environment.folder)
    environment.folder.mkdir()
    environment.unfinished.touch()
    run(environment, [sys.executable, "-m", "venv", environment.folder], "the environment could not be made")


def install(environment: Environment) -> None:
    """Installs exactly the pinned packages."""
    requirements, _ = environment.settings()
    say(f"installing the packages of {requirements.relative_to(environment.root)}")
    python = str(environment.python)
    if not has_pip(environment):
        run(environment, [python, "-m", "ensurepip"], "pip could not be installed")
    pip = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r"]
    try:
        run(environment, [*pip, str(environment.root / INSTALLER)], "uv could not be installed")
        uv = [str(environment.folder / "bin" / "uv"), "pip", "sync", "--python", python, "--require-hashes"]
        run(environment, [*uv, str(requirements)], "uv could not install the packages", uv_variables(environment))
    except IndexAwayError:
        raise
    except CannotRunError:
        # The plain way is slower, works with whatever pip works with, and says better what is wrong.
        run(environment, [*pip, str(requirements)], "the packages could not be installed")


def has_pip(environment: Environment) -> bool:
    """Says whether pip works in the environment."""
    return subprocess.run([environment.python, "-m", "pip", "-V"], capture_output=True, check=False).returncode == 0


def point(environment: Environment) -> None:
    """Makes the folders of the checkout importable."""
    _, paths = environment.settings()
    asked = [str(environment.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    (site / "plaudit.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def run(
    environment: Environment,
    command: Sequence[str | Path],
    failure: str,
    variables: dict[str, str] | None = None,
) -> None:
    """Runs an installer, its output in the log, with a sign of life now and then; raises `failure` where it fails."""
    inherited = {name: value for name, value in os.environ.items() if name not in PIP_DETOURS}
    inherited |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(variables or {})}
    started = time.monotonic()
    with environment.log.open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=inherited)
    try:
        while process.returncode is None:
            try:
                process.wait(STILL_EVERY_S)
            except subprocess.TimeoutExpired:
                say(f"still at it after {time.monotonic() - started:.0f} s")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise explain(environment, failure)


def explain(environment: Environment, failure: str) -> CannotRunError:
    """Says in one sentence why an installer failed: a full disk, an index out of reach, or its own last words."""
    if shutil.disk_usage(environment.folder).free < DISK_BYTES_MIN:
        return CannotRunError(f"{failure}: the disk is full")
    index = pip_settings(environment).get("index-url", DEFAULT_INDEX)
    try:
        urllib.request.urlopen(index, timeout=INDEX_WAIT_S).close()  # noqa: S310 - the person's own setting
    except urllib.error.HTTPError:
        pass  # it answers, which is all that is asked here
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return IndexAwayError(f"{failure}: the package index {without_password(index)} cannot be reached ({reason})")
    lines = environment.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return CannotRunError(f"{failure}: {lines[-1].strip()} (log: {environment.log})")


def without_password(url: str) -> str:
    """Gives a URL that can be shown."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def uv_variables(environment: Environment) -> dict[str, str]:
    """Tells uv what pip was configured with; what is set for uv itself stays."""
    settings = pip_settings(environment)
    variables = {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1", "VIRTUAL_ENV": str(environment.folder)}
    for name, variable in UV_VARIABLES.items():
        if name in settings and variable not in os.environ:
            variables[variable] = settings[name]
    if "UV_INDEX" in variables:
        # As pip does it: the best version of all indexes, where uv would stop at the first index that has the name.
        variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return variables


def pip_settings(environment: Environment) -> dict[str, str]:
    """Reads pip's configuration: from its files, and over them from the environment."""
    listed = subprocess.run(
        [environment.python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return parse_pip_settings(listed.stdout)


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Reads the output of `pip config list`: `section.name='value'`, the environment's section being `:env:`."""
    found: dict[str, str] = {}
    rows = [line.partition("=") for line in listing.splitlines()]
    for key, _, value in sorted(rows, key=lambda row: row[0].startswith(":env:")):
        with contextlib.suppress(ValueError, SyntaxError):  # a line of another form is not a setting
            found[key.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found
