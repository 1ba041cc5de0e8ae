"""House rules on refusals: each reason has a worked example, one constructor that makes just that, and a test."""

import ast
import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from services.kernel.errors import Code, DomainError, Violation
from tests.contracts import sources
from tests.contracts.rules import assert_none
from tests.contracts.sources import PROTOS, ROOT, Source

# The contract of each catalogue, and the module that has its constructors.
KERNEL = "type"
PREFIX = "ERROR_REASON_"
UNSPECIFIED = "UNSPECIFIED"

# Codes that tell a caller to come back, which is only fair with a time.
RETRIED = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED)

SAMPLES: dict[Any, Any] = {
    str: "sample",
    int: 7,
    float: 0.5,
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    Violation: Violation("memberId", "is required"),
    Sequence[str]: ("amount", "memberId"),
}


@dataclass(frozen=True)
class Reason:
    """One value of an ErrorReason: its name without the prefix, its number, and the comment above it."""

    name: str
    number: int
    comment: str

    @property
    def example(self) -> dict[str, Any] | None:
        """Reads the worked example of the comment; None where there is none that parses."""
        _, _, text = self.comment.partition("Example of an ErrorInfo:")
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def read_reasons(text: str) -> list[Reason]:
    """Reads the reasons of an error_reason.proto, in their order."""
    found, comment = [], []
    for line in text.splitlines():
        stripped = line.strip()
        value = re.fullmatch(rf"{PREFIX}(\w+) = (\d+);", stripped)
        if stripped.startswith("//"):
            comment.append(stripped.removeprefix("//").strip())
            continue
        if value and value[1] != UNSPECIFIED:
            found.append(Reason(value[1], int(value[2]), "\n".join(comment)))
        comment = []
    return found


CATALOGUES = sorted(path.parents[1].name for path in PROTOS.glob("plaudit/*/v1/error_reason.proto"))


@cache
def reasons(name: str) -> tuple[Reason, ...]:
    """Reads the reasons of a package."""
    return tuple(read_reasons((PROTOS / "plaudit" / name / "v1" / "error_reason.proto").read_text()))


def errors_path(name: str) -> Path:
    """Tells where the constructors of a package are."""
    return ROOT / "services" / ("kernel" if name == KERNEL else name) / "errors.py"


def domain(name: str) -> str:
    """Names the domain of a package's reasons."""
    return "plaudit" if name == KERNEL else f"{name}.plaudit"


@cache
def constructors(name: str) -> dict[str, Callable[..., DomainError]]:
    """Finds the public functions of a catalogue that make a refusal, in their order."""
    path = errors_path(name)
    module = importlib.import_module(f"services.{path.parent.name}.errors")
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {node.name: getattr(module, node.name) for node in functions if not node.name.startswith("_")}


def make(constructor: Callable[..., DomainError]) -> DomainError:
    """Calls a constructor with a sample of each of its parameters."""
    hints = typing.get_type_hints(constructor)
    parameters = inspect.signature(constructor).parameters.values()
    by_position = [SAMPLES[hints[each.name]] for each in parameters if each.kind is not each.KEYWORD_ONLY]
    by_name = {each.name: SAMPLES[hints[each.name]] for each in parameters if each.kind is each.KEYWORD_ONLY}
    return constructor(*by_position, **by_name)


def example_faults(name: str, listed: Iterable[Reason]) -> list[str]:
    """Says what is wrong with the examples of a package."""
    faults = []
    for reason in listed:
        example = reason.example
        if not reason.comment or example is None:
            faults.append(f"{reason.name} has no example that is JSON")
        elif example.keys() != {"reason", "domain", "metadata"} or example["reason"] != reason.name:
            faults.append(f"{reason.name} has the example of {example.get('reason')}")
        elif example["domain"] != domain(name):
            faults.append(f"{reason.name} is of the domain {domain(name)}")
        elif not all(isinstance(value, str) for value in example["metadata"].values()):
            faults.append(f"{reason.name} has metadata that are no texts")
    return faults


def constructor_faults(listed: Sequence[Reason], made: dict[str, DomainError]) -> list[str]:
    """Says where constructors, by name and what each makes, do not agree with the reasons."""
    faults = []
    by_reason = {reason.name: reason for reason in listed}
    for function, error in made.items():
        reason = by_reason.get(error.reason)
        if reason is None or reason.example is None:
            faults.append(f"{function}() makes {error.reason}, which is no reason with an example")
            continue
        if function != error.reason.lower():
            faults.append(f"{function}() is named {error.reason.lower()}()")
        if error.domain != reason.example["domain"]:
            faults.append(f"{function}() is of the domain {error.domain}")
        if set(error.metadata) != set(reason.example["metadata"]):
            faults.append(f"{function}() has the metadata {sorted(error.metadata)}, its example others")
        if error.code in RETRIED and error.retry_after_s is None:
            faults.append(f"{function}() says {error.code.value} and not when to come back")
    order = [error.reason for error in made.values()]
    if order != [reason.name for reason in listed]:
        faults.append(f"their order is {order}, that of the contract {[reason.name for reason in listed]}")
    return faults


@pytest.mark.parametrize("name", CATALOGUES)
def test_reason_has_a_worked_example(name: str) -> None:
    """Each reason has a comment with an ErrorInfo that shows exactly what callers will get."""
    assert reasons(name)
    assert_none(
        example_faults(name, reasons(name)),
        f"protos/plaudit/{name}/v1/error_reason.proto shows each reason by an example, after the words 'Example of an "
        "ErrorInfo:', as JSON with reason, domain and metadata.",
    )
    numbers = sorted(reason.number for reason in reasons(name))
    assert numbers == list(range(1, len(numbers) + 1)), "A reason keeps its number for ever; a new one takes the next."


@pytest.mark.parametrize("name", CATALOGUES)
def test_reason_has_one_constructor(name: str) -> None:
    """Each reason is made by one function, which has its name, its order and the metadata of its example."""
    assert_none(
        constructor_faults(reasons(name), {function: make(each) for function, each in constructors(name).items()}),
        f"{errors_path(name).relative_to(ROOT)} has one constructor for each reason of the contract, in its order.",
    )


def reached(name: str, listed: Iterable[Reason], texts: Iterable[Source]) -> set[str]:
    """Finds the reasons that a test names: any test for the kernel's, else those of the service and those over HTTP."""
    folders = ("tests/",) if name == KERNEL else (f"tests/{name}/", "tests/gateway/", "tests/journeys/")
    found = set()
    for source in texts:
        if source.is_python and source.path.startswith(folders) and not source.path.startswith("tests/contracts/"):
            found |= {reason.name for reason in listed if re.search(rf"\b{reason.name}\b", source.text)}
    return found


@pytest.mark.parametrize("name", CATALOGUES)
def test_reason_is_reached(name: str) -> None:
    """Each reason is reached by a test, which names it."""
    missing = {reason.name for reason in reasons(name)} - reached(name, reasons(name), sources.texts())
    assert_none(sorted(missing), f"No test of {name} sees these reasons: raise each at the rpc or over HTTP.")


GOOD = Reason(
    "LOT_LOST", 1, 'Example of an ErrorInfo:\n{ "reason": "LOT_LOST", "domain": "x.plaudit", "metadata": {} }'
)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "The lot is lost.",
        "Example of an ErrorInfo:\n{ reason }",
        GOOD.comment.replace("LOT_LOST", "LOT_FOUND"),
        GOOD.comment.replace("x.plaudit", "plaudit"),
        GOOD.comment.replace("{} }", '{ "count": 1 } }'),
    ],
)
def test_bad_example_is_seen(comment: str) -> None:
    """An example that is missing, broken, another reason's, another domain's or of other types is complained of."""
    assert example_faults("x", [GOOD]) == []
    assert example_faults("x", [Reason("LOT_LOST", 1, comment)])


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"lot_found": DomainError(Code.NOT_FOUND, "LOT_FOUND", "", domain="x.plaudit")},
        {"lot_gone": DomainError(Code.NOT_FOUND, "LOT_LOST", "", domain="x.plaudit")},
        {"lot_lost": DomainError(Code.NOT_FOUND, "LOT_LOST", "")},
        {"lot_lost": DomainError(Code.NOT_FOUND, "LOT_LOST", "", domain="x.plaudit", metadata={"lotId": "1"})},
        {"lot_lost": DomainError(Code.UNAVAILABLE, "LOT_LOST", "", domain="x.plaudit")},
    ],
)
def test_bad_constructor_is_seen(made: dict[str, DomainError]) -> None:
    """A constructor that is missing or makes something other than its example is complained of."""
    assert (
        constructor_faults([GOOD], {"lot_lost": DomainError(Code.NOT_FOUND, "LOT_LOST", "", domain="x.plaudit")}) == []
    )
    assert constructor_faults([GOOD], made)


def test_unreached_reason_is_seen() -> None:
    """A reason counts as reached where a test of its service names it whole."""
    texts = [
        Source("tests/x/test_server.py", 'assert reason == "LOT_LOST_AGAIN"'),
        Source("tests/y/test_server.py", "LOT_LOST"),
        Source("tests/contracts/test_errors.py", "LOT_LOST"),
    ]
    assert reached("x", [GOOD], texts) == set()
    assert reached("x", [GOOD], [*texts, Source("tests/journeys/test_earn.py", '"LOT_LOST"')]) == {"LOT_LOST"}
