"""Expressions: checked when they are written, bounded in what they cost, whatever variables they look at."""

import cel
import pytest

from services.kernel import expressions


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("order.total >", "does not compile"),
        ("event.total", "knows order only, not event"),
        ("launch(order.total)", "has no function launch"),
        ("order.a.exists(x, order.b.exists(y, x == y))", "within another one"),
    ],
)
def test_compile_refuses_what_is_unbounded_or_looks_elsewhere(text: str, fault: str) -> None:
    """What does not compile, knows other variables or functions, or nests list macros is refused with the fault."""
    with pytest.raises(expressions.ExpressionError, match=fault):
        expressions.compile_expression(text, "order")


def test_compile_gives_what_runs() -> None:
    """A good expression runs over its variables; texts that look like macros do not count as such."""
    program = expressions.compile_expression('order.words.filter(x, x != ").map(y, y)").size() > 1', "order")

    assert program.execute(cel.Context({"order": {"words": ["a", "b"]}})) is True
    with pytest.raises(expressions.FAULTS):
        program.execute(cel.Context({"order": {}}))
