"""The walls of the house: who may import whom. Each is kept, and each has been seen to fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contracts.sources import ROOT

COMMAND_TIMEOUT_S = 60
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

# One bad import for each way through a wall: the wall, the file, and the line that is planted at its end.
PLANTS = [
    ("services", "services/kernel/ids.py", "from services.ledger import model"),
    ("services", "services/ledger/errors.py", "from services.devstack import errors"),
    ("services", "services/gateway/names.py", "from services.ledger import model"),
    ("services", "services/newcomer/__init__.py", ""),
    ("contracts", "protos/gen/plaudit/type/v1/options_pb2.py", "from services.kernel import ids"),
    ("layers", "services/ledger/model.py", "from services.ledger import store"),
    ("layers", "services/ledger/server.py", "from services.ledger import worker"),
    ("layers", "services/ledger/newcomer.py", ""),
    ("rpc", "services/ledger/operations/posting.py", "import grpc"),
    ("rpc", "services/ledger/store.py", "from plaudit.ledger.v1 import ledger_pb2"),
    ("rpc", "services/kernel/ids.py", "from google.protobuf import any_pb2"),
    ("redis", "services/ledger/operations/posting.py", "import redis.asyncio"),
    ("redis", "services/ledger/server.py", "import arq"),
    ("database", "services/ledger/operations/posting.py", "import asyncpg"),
    ("pure", "services/ledger/model.py", "import time"),
    ("pure", "services/ledger/batch.py", "from services.kernel import db"),
    ("cycles", "services/kernel/errors.py", "from services.kernel import batcher"),
]


def lint_imports(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on a tree; its modules come first, wherever the environment points."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'protos' / 'gen'}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def copied_tree(tmp_path: Path) -> Path:
    """Copies what import-linter looks at."""
    ignore = shutil.ignore_patterns("__pycache__", "data", "*.pyi")
    shutil.copytree(ROOT / "services", tmp_path / "services", ignore=ignore)
    shutil.copytree(ROOT / "protos" / "gen", tmp_path / "protos" / "gen", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def as_is() -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the tree as it is, once."""
    return lint_imports(ROOT)


def test_walls_stand(as_is: subprocess.CompletedProcess[str]) -> None:
    """No module imports what it may not."""
    assert as_is.returncode == 0, f"The walls of ARCHITECTURE section 2 stand in pyproject.toml:\n{as_is.stdout}"


@pytest.mark.parametrize(("contract", "path", "line"), PLANTS, ids=[f"{plant[0]}-{plant[1]}" for plant in PLANTS])
def test_wall_fails_on_bad_import(
    copied_tree: Path, as_is: subprocess.CompletedProcess[str], contract: str, path: str, line: str
) -> None:
    """A bad import planted in a copy of the tree breaks its wall, and the complaint names where it stands."""
    assert f"{CONTRACTS[contract]} KEPT" in as_is.stdout, "The wall stands before the plant."
    target = copied_tree / path
    target.parent.mkdir(exist_ok=True)
    with target.open("a") as file:
        file.write(f"\n{line}  # planted\n" if line else "")

    result = lint_imports(copied_tree, "--contract", contract)

    module = path.removeprefix("protos/gen/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert result.returncode == 1, result.stdout
    assert module in result.stdout or module.rpartition(".")[2] in result.stdout.partition("Broken contracts")[2]


def test_every_wall_has_a_plant() -> None:
    """No wall is trusted that nobody has seen fail."""
    assert {contract for contract, _, _ in PLANTS} == set(CONTRACTS)
