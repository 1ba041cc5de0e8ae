"""What the contracts look at: the files of the tree, its services, and single breaches of rules."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
PROTOS = ROOT / "protos"
GENERATED = "protos/gen/"
# What stands visibly at the top, as ARCHITECTURE section 2 has it. Hidden folders are tools' own, but for the kept.
TOP_LEVEL = ("LICENSE", "README.md", "k8s", "plaudit", "protos", "pyproject.toml", "services", "tests")
HIDDEN_KEPT = (".ci", ".gitattributes", ".github", ".gitignore")
TEXT_SUFFIXES = frozenset(
    {
        *("", ".css", ".dockerignore", ".html", ".in", ".js", ".json", ".lua", ".md", ".proto"),
        *(".py", ".sh", ".sql", ".svg", ".toml", ".txt", ".yaml"),
    }
)


@dataclass(frozen=True)
class Source:
    """One text file, by its path from the root of the tree."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Gives the lines without their ends."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """Gives the syntax tree of a Python file."""
        return ast.parse(self.text, self.path)

    @property
    def is_python(self) -> bool:
        """Tells whether it is Python; the launcher is, without a suffix."""
        return self.path.endswith(".py") or self.path == "plaudit"

    @property
    def is_test(self) -> bool:
        """Tells whether pytest collects it."""
        return self.path.startswith("tests/") and self.path.rpartition("/")[2].startswith("test_")

    def functions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """Walks all functions with their qualified names, nested ones after the ones that hold them."""
        yield from _functions(self.tree, "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{child.name}", child
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


@cache
def all_paths() -> tuple[str, ...]:
    """Lists every file of the tree that people keep: nothing cached or generated, no stranger's. Needs no git."""
    found: list[str] = []
    for top in (ROOT / name for name in (*TOP_LEVEL, *HIDDEN_KEPT)):
        paths = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        found += [path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts]
    return tuple(path for path in found if not path.startswith(GENERATED))


@cache
def texts() -> tuple[Source, ...]:
    """Reads every text file of the tree."""
    paths = [path for path in all_paths() if Path(path).suffix in TEXT_SUFFIXES]
    return tuple(Source(path, (ROOT / path).read_text(encoding="utf-8")) for path in paths)


@cache
def services() -> tuple[str, ...]:
    """Names the services: what has an entry point, but for the devstack, which starts them all."""
    return tuple(sorted({path.parent.name for path in SERVICES.glob("*/__main__.py")} - {"devstack"}))


@cache
def services_with_sql() -> tuple[str, ...]:
    """Names the services that have a database."""
    return tuple(sorted(path.parents[1].name for path in SERVICES.glob("*/sql/schema.sql")))
