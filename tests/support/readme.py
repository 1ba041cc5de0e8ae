"""READMEs as programs: the blocks that are marked to be run, run in order in one shell, their outputs compared.

`<!-- run -->` before a fence marks its block. A `bash` block is a script, a `python` block a program; in a `console`
block lines behind `$ ` are commands (`> ` continues one) and what follows is what they print, where `…` stands for
anything.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

RUN_TIMEOUT_S = 300
MARK = "<!-- run -->"
END_OF_PROGRAM = "END_OF_PROGRAM"
# Between the outputs of two commands; no command prints it.
SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Command:
    """One thing to run, with what it prints; None where the page does not say."""

    line: int
    script: str
    expected: str | None = None


def commands(page: str) -> list[Command]:
    """Reads what a page wants to be run, in order."""
    found: list[Command] = []
    lines = page.splitlines()
    for start, line in enumerate(lines):
        if line.strip() != MARK:
            continue
        fence = next((n for n in range(start + 1, len(lines)) if lines[n].strip()), len(lines))
        opening = re.fullmatch(r"```(\w+)", lines[fence].strip()) if fence < len(lines) else None
        assert opening, f"line {start + 1}: {MARK} stands before a block."
        end = next(n for n in range(fence + 1, len(lines)) if lines[n].strip() == "```")
        found += _commands_of(opening[1], fence + 1, lines[fence + 1 : end])
    return found


def _commands_of(language: str, line: int, block: list[str]) -> Iterator[Command]:
    text = "\n".join(block)
    if language == "bash":
        yield Command(line, text)
    elif language == "python":
        yield Command(line, f"python - <<'{END_OF_PROGRAM}'\n{text}\n{END_OF_PROGRAM}")
    else:
        assert language == "console", f"line {line}: a block of {language} cannot be run."
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            first, *rest = part.splitlines()
            continued = [each for each in rest if each.startswith("> ")]
            script = "\n".join([first, *(each.removeprefix("> ") for each in continued)])
            printed = "\n".join(rest[len(continued) :]).strip()
            yield Command(line, script, printed or None)


def run(page: str, *, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Runs all commands of a page in one shell, and says what went wrong, each with its line."""
    wanted = commands(page)
    script = "set -euo pipefail\n" + "".join(f"printf '{SEPARATOR}'\n{command.script}\n" for command in wanted)
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    outputs = result.stdout.split(SEPARATOR)[1:]
    faults = []
    for command, output in zip(wanted, outputs, strict=False):
        if command.expected is not None and not matches(command.expected, output):
            faults.append(f"line {command.line}: {command.script}\nprints\n{output}")
    if result.returncode != 0:
        command = wanted[max(0, len(outputs) - 1)]
        faults.append(f"line {command.line}: {command.script}\nfails with {result.returncode}:\n{outputs[-1:]}")
    return faults


def matches(expected: str, output: str) -> bool:
    """Compares what a page promises with what was printed: `…` stands for anything; the ends may be blank."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None
