"""House rules on the tree itself: what stands where, text, READMEs, dependencies, and nothing that must not leak."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts import rules, sources
from tests.contracts.rules import Rule, assert_none
from tests.contracts.sources import ROOT, Source

LINE_LENGTH_MAX = 120
WRAPPED_SUFFIXES = (".sql", ".proto")

READMES = ("README.md", "protos/README.md", "services/README.md", "k8s/README.md")
TEST_FOLDERS = {"contracts", "journeys", "load", "support"}
FENCE_LANGUAGES = {"bash", "console", "http", "json", "proto", "python", "sql", "text", "yaml"}

# Written apart, so that this file keeps its own rules.
LEFT_BEHIND = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/((work|root|mnt|workspace)\b|(home|Users)/\w+)")
SECRETS = re.compile(
    "|".join(
        (
            r"-----BEGIN [A-Z ]*PRIVATE" + r" KEY-----",
            r"\bAKIA[0-9A-Z]{16}\b",
            r"\bgh[pousr]_[A-Za-z0-9]{30,}",
            r"\bplk_[A-Za-z0-9_-]{20,}",
            r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}",
            r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        )
    )
)


def _lines_too_long(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if len(line) > LINE_LENGTH_MAX:
            yield f"{number}: has {len(line)} columns"


def _untidy_ends(source: Source) -> Iterator[str]:
    if source.text and not source.text.endswith("\n"):
        yield f"{len(source.lines)}: the file does not end with a line end"
    if source.text.endswith("\n\n"):
        yield f"{len(source.lines)}: the file ends with an empty line"
    for number, line in enumerate(source.text.split("\n"), start=1):
        if line != line.rstrip():
            yield f"{number}: white space at the end"
        if "\t" in line:
            yield f"{number}: a tab"


def _left_behind(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if LEFT_BEHIND.search(line):
            yield f"{number}: {line.strip()}"


def _machine_paths(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        found = MACHINE_PATH.search(line)
        if found:
            yield f"{number}: {found.group()}"


def _secrets(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if SECRETS.search(line):
            yield f"{number}: looks like a secret"


def _fences_untagged(source: Source) -> Iterator[str]:
    is_open = False
    for number, line in enumerate(source.lines, start=1):
        found = re.match(r"\s*(```+|~~~+)\s*(\S*)", line)
        if not found:
            continue
        if not is_open and found[2] not in FENCE_LANGUAGES:
            yield f"{number}: a block of {found[2] or 'no language'}"
        is_open = not is_open


RULES = [
    Rule(
        "line_fits",
        f"SQL and contracts are wrapped at {LINE_LENGTH_MAX} columns, like Python (which ruff looks after).",
        _lines_too_long,
        lambda source: source.path.endswith(WRAPPED_SUFFIXES),
        ("services/x/sql/queries.sql", "-- " + "x" * LINE_LENGTH_MAX + "\n"),
    ),
    Rule(
        "text_ends_tidily",
        "A text file ends with one line end; no line ends with white space; no tabs.",
        _untidy_ends,
        rules.every,
        ("README.md", "one \ntwo"),
    ),
    Rule(
        "nothing_is_left_behind",
        "What is left to do stands in an issue, not in the code.",
        _left_behind,
        rules.every,
        ("services/x/model.py", "# " + "TO" + "DO: count twice\n"),
    ),
    Rule(
        "no_machine_is_named",
        "The tree runs anywhere: it names no path of the machine that it was written on.",
        _machine_paths,
        rules.every,
        ("k8s/README.md", "cp x /ho" + "me/someone/plaudit\n"),
    ),
    Rule(
        "no_secret_is_kept",
        "Secrets come from the environment and are named by reference; none is in the tree, not even an old one.",
        _secrets,
        rules.every,
        ("README.md", "authorization: Bearer plk_" + "a1B2" * 8 + "\n"),
    ),
    Rule(
        "block_says_its_language",
        "Each block of a README says what it is: ```console or ```bash for commands, ```python for programs, and so "
        "on; commands are run by a test where `<!-- run -->` stands before the block.",
        _fences_untagged,
        lambda source: source.path.endswith(".md"),
        ("README.md", "```\n./plaudit up\n```\n"),
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_tree_keeps_rule(rule: Rule) -> None:
    """Every text file of the tree keeps the rule."""
    rule.assert_kept(sources.texts())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_sees_its_breach(rule: Rule) -> None:
    """The rule's finder sees a breach of it, so that a clean tree means something."""
    rule.assert_seen()


def test_top_level_is_the_map() -> None:
    """The top level holds what the map of the house names, and nothing else that is visible."""
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - {"__pycache__"}
    assert_none(
        sorted(visible.symmetric_difference(sources.TOP_LEVEL)),
        "The visible top level is the map of the house, no more and no less. Hide what belongs to tools.",
    )


@pytest.mark.parametrize("path", READMES)
def test_readme_exists(path: str) -> None:
    """The folder has its page."""
    assert (ROOT / path).is_file(), f"{path} is missing: each of these folders has its page, and there is no docs/."


def test_tests_mirror_services() -> None:
    """Each folder of tests is named after a service, or is one of the few that span services."""
    folders = {Path(path).parts[1] for path in sources.all_paths() if path.startswith("tests/") and path.count("/") > 1}
    known = {path.name for path in sources.SERVICES.iterdir() if path.is_dir()} | TEST_FOLDERS
    assert_none(sorted(folders - known), "tests/ mirrors services/, with the same file names behind test_.")


def test_ruff_looks_after_the_rest() -> None:
    """What ruff is trusted with is switched on, and off for no service but the devstack."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    # Blind excepts, naive times, commented-out code, docstrings, logging, names, pathlib, security, prints, types.
    trusted = {"ASYNC", "B", "BLE", "D1", "DTZ", "E", "ERA", "F", "G", "I", "LOG", "N", "PTH", "RUF", "S", "T20", "UP"}
    assert_none(sorted(trusted - set(lint["select"])), "The house leaves these to ruff: keep them in `select`.")
    exempt = [path for path in lint["per-file-ignores"] if path.startswith("services/")]
    assert exempt == ["services/devstack/**"], "A service is exempt from nothing; explain a single line by noqa."


def test_dependency_says_what_it_is_for() -> None:
    """Each dependency has a sentence that says what would be lost without it, and a pin."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [*declared["dependencies"], *declared["optional-dependencies"]["dev"]]
    unexplained = [name for name in names if not any(f'"{name}",' in line and "# " in line for line in lines)]
    assert_none(unexplained, "Say beside each dependency in pyproject.toml what would be lost without it.")

    pins = (ROOT / ".ci" / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", pins, re.MULTILINE))
    wanted = {re.split(r"[\[<>=!~ ;]", name)[0].lower().replace("_", "-") for name in names}
    assert_none(sorted(wanted - pinned), "Pin each dependency in .ci/requirements.txt, by the command at its top.")
