"""Generates protos/gen from the contracts: `python protos/generate.py [--into DIR]`. Nothing else changes protos/gen.

Writes Python modules, their type stubs and `descriptors.binpb`, the same contracts with their comments, from which
the gateway makes its documentation.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
TIMEOUT_S = 120


def generate(into: Path) -> None:
    """Replaces `into/plaudit` and `into/descriptors.binpb` by what the contracts say now."""
    shutil.rmtree(into / "plaudit", ignore_errors=True)
    into.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "plaudit").rglob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "--proto_path=.",
            # googleapis-common-protos ships the google/api and google/rpc sources beside its modules.
            f"--proto_path={sysconfig.get_paths()['purelib']}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            f"--mypy_out={into}",
            f"--mypy_grpc_out=async_only:{into}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={into / 'descriptors.binpb'}",
            *sources,
        ],
        cwd=PROTOS,
        # The plug-ins for type stubs are scripts beside the interpreter, wherever that is.
        env={**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])},
        check=True,
        timeout=TIMEOUT_S,
    )
    for folder in [into / "plaudit", *(path for path in (into / "plaudit").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")
        (folder / "py.typed").write_text("")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=PROTOS / "gen")
    generate(parser.parse_args().into.resolve())
