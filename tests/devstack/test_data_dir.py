"""What a data directory promises."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from services.devstack.data_dir import DataDir, Stack
from services.devstack.errors import CannotRunError
from tests.devstack.stacks import environment

HOLD = """
import sys
from pathlib import Path
from services.devstack.data_dir import DataDir
with DataDir.create(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    """Gives the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_keeps_secrets_private(tmp_path: Path) -> None:
    """Keys and addresses, which may hold passwords, are readable by this user alone."""
    data_dir = DataDir.create(tmp_path / "data")
    with data_dir.locked():
        data_dir.save_stack(Stack(ports={"ledger": 1}))
        data_dir.save_credentials(program="demo", api_key="plk_a_b")
        keys = data_dir.token_key(), data_dir.seal_key(), data_dir.signal_key()

    again = DataDir.open(tmp_path / "data")
    assert (again.token_key(), again.seal_key(), again.signal_key()) == keys
    assert keys[0] != keys[1]
    assert data_dir.api_key() == "plk_a_b"
    assert data_dir.load_stack() == Stack(ports={"ledger": 1})
    private = [path for path in data_dir.path.iterdir() if path.is_file()]
    assert {path.name for path in private} == {
        "credentials.json",
        "lock",
        "seal_key",
        "signal_key",
        "stack.json",
        "token_key",
    }
    assert {mode(path) for path in private} == {0o600}
    assert {mode(path) for path in data_dir.path.iterdir() if path.is_dir()} == {0o700}


def test_lends_directory_to_one_process(tmp_path: Path) -> None:
    """A second process is refused while the first uses the directory, and let in when that is killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        data_dir = DataDir.create(tmp_path / "data")
        assert data_dir.in_use()
        with pytest.raises(CannotRunError, match=f"is in use by pid {holder.pid}$"), data_dir.locked():
            pytest.fail("two processes use one data directory")
        holder.kill()
    assert not data_dir.in_use()
    with data_dir.locked():
        assert data_dir.holder() == str(os.getpid())


def test_takes_what_a_start_left_that_was_cut_off(tmp_path: Path) -> None:
    """A start that ended before it wrote its record does not make the directory somebody else's."""
    (tmp_path / "lock").touch()
    (tmp_path / "stack.json.new").touch()

    assert DataDir.create(tmp_path).load_stack() == Stack()


def test_refuses_place_that_is_no_directory(tmp_path: Path) -> None:
    """A file where the directory should be is told in one sentence."""
    (tmp_path / "data").touch()

    with pytest.raises(CannotRunError, match="cannot make the data dir"):
        DataDir.create(tmp_path / "data")


@pytest.mark.parametrize("content", ["", "{}", '{"api_key": 5}', '{"api_key": "two words"}', "[1]"])
def test_passes_over_broken_credentials(tmp_path: Path, content: str) -> None:
    """Credentials that cannot be read count as missing, so that the next start makes new ones."""
    data_dir = DataDir.create(tmp_path)
    data_dir.credentials_path.write_text(content)

    assert data_dir.api_key() is None
