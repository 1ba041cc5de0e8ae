"""The expressions of triggers and reports: CEL, checked and compiled once, run on what is visible."""

from dataclasses import dataclass
from typing import Any

import cel

from services.kernel import expressions
from services.notify import errors, model

FIELDS = ("condition", "still", "once_per")
JSON_NAMES = {"condition": "condition", "still": "still", "once_per": "oncePer"}
VARIABLES = {"condition": ("event", "member"), "still": ("member",), "once_per": ("event", "member")}
KEY_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class CompiledTrigger:
    """A trigger with its expressions ready to run; None for those that it does not have."""

    trigger: model.Trigger
    condition: cel.Program | None
    still: cel.Program | None
    once_per: cel.Program | None


def compile_trigger(trigger: model.Trigger) -> CompiledTrigger:
    """Checks and compiles the expressions of a trigger. Raises EXPRESSION_INVALID with the field and the fault."""
    programs = {
        name: compile_expression(f"trigger.{JSON_NAMES[name]}", getattr(trigger, name), VARIABLES[name])
        for name in FIELDS
    }
    return CompiledTrigger(trigger, programs["condition"], programs["still"], programs["once_per"])


def compile_expression(name: str, text: str, variables: tuple[str, ...]) -> cel.Program | None:
    """Compiles one expression; None for an empty one. Raises EXPRESSION_INVALID."""
    if not text:
        return None
    try:
        return expressions.compile_expression(text, *variables)
    except expressions.ExpressionError as error:
        raise errors.expression_invalid(name, str(error)) from error


def holds(program: cel.Program | None, **visible: Any) -> bool:
    """Tells whether a condition is true; one whose inputs are missing is not."""
    if program is None:
        return True
    try:
        return program.execute(cel.Context(visible)) is True
    except expressions.FAULTS:
        return False  # What the condition looks at is not there: it is not true of this cause.


def whole(program: cel.Program | None, **visible: Any) -> int:
    """Gives the whole number that an expression comes to; 0 where its inputs are missing or it is no number."""
    if program is None:
        return 0
    try:
        value = program.execute(cel.Context(visible))
    except expressions.FAULTS:
        return 0  # What cannot be said does not matter.
    return int(value) if isinstance(value, (int, float)) else 0


def key(program: cel.Program, **visible: Any) -> str | None:
    """Gives the text that stands for all causes of one message; None where there is none."""
    try:
        value = program.execute(cel.Context(visible))
    except expressions.FAULTS:
        return None  # A cause without the key sets nothing off.
    text = str(value)
    return text if value is not None and 0 < len(text) <= KEY_LENGTH_MAX else None
