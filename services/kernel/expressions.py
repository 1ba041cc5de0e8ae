"""CEL expressions of definitions: checked and compiled once, bounded in what they can cost.

An expression knows the variables that it is given and the functions below, and has no macro over a list within another
one; so its cost is bounded by the size of its text and of its inputs.
"""

import re

import cel

FUNCTIONS = frozenset(
    (
        *("size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn", "min", "max"),
        *("int", "uint", "double", "string", "bool", "bytes", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    )
)
# What the compiler calls operators and macros by itself.
OPERATOR = re.compile(r"[_@!\-]")
MACRO = re.compile(r"\.(all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)")
# Texts of an expression, raw ones first: what stands in them is no code.
LITERAL = re.compile(
    r"""(?sx)
    [bB]?[rR][bB]?(?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"]*" | '[^']*' )
    | \"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    """
)
# What evaluation raises where the inputs do not fit the expression; anything else is a fault of ours.
FAULTS = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)


class ExpressionError(Exception):
    """Says what is wrong with an expression, as the rest of a sentence that begins with its field."""


def compile_expression(text: str, *variables: str) -> cel.Program:
    """Checks and compiles an expression over some variables. Raises ExpressionError with the fault."""
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise ExpressionError(f"does not compile: {str(error).splitlines()[0]}") from error
    bound = {match[2] for match in MACRO.finditer(LITERAL.sub("''", text))}
    unknown = sorted(set(program.variables()) - set(variables) - bound)
    if unknown:
        raise ExpressionError(f"knows {' and '.join(variables)} only, not {', '.join(unknown)}")
    strange = sorted(each for each in program.functions() if not OPERATOR.match(each) and each not in FUNCTIONS)
    if strange:
        raise ExpressionError(f"has no function {', '.join(strange)}")
    if _has_nested_macro(text):
        raise ExpressionError("has a list macro within another one, which could run for ever")
    return program


def _has_nested_macro(text: str) -> bool:
    """Tells whether a macro over a list stands within another one: what would make the cost of a rule square."""
    code = LITERAL.sub("''", text)
    end = 0
    for match in MACRO.finditer(code):
        if match.start() < end:
            return True
        end = _closing(code, code.index("(", match.start()))
    return False


def _closing(code: str, start: int) -> int:
    """Finds the end of a call, in code without literals."""
    depth = 0
    for index in range(start, len(code)):
        depth += (code[index] == "(") - (code[index] == ")")
        if not depth:
            return index
    return len(code)
