"""House rules on Python: size, names, exceptions, time, floats and docstrings."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.contracts import rules, sources
from tests.contracts.rules import Rule, assert_none
from tests.contracts.sources import Source

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
PARAMETERS_MAX = 5

BANNED_NAMES = frozenset({"common", "helper", "helpers", "manager", "misc", "util", "utils"})

# Where whatever goes wrong is caught: the edges behind which nobody else would. Nothing else may.
EDGES = {
    ("services/kernel/batcher.py", "Batcher._run_or_split"): "batcher: the neighbours of a poisoned item go on",
    ("services/kernel/due.py", "_work_one"): "job runner: one bad row never stops the others",
    ("services/kernel/jobs.py", "_Runs._run"): "job runner: the rows stay due, the sweep comes back",
    ("services/kernel/feed.py", "Follower.run"): "follower: it never stops following",
    ("services/kernel/feed.py", "Follower._advance"): "follower: one bad event never stops the others",
    ("services/kernel/feed.py", "Follower._advance_one_by_one"): "follower: the bad event is set aside alone",
    ("services/kernel/feed.py", "Follower.replay_dead_letters"): "follower: a letter that fails again stays",
    ("services/gateway/edge.py", "Edge._serve"): "interceptor: a caller gets INVARIANT_BROKEN, the log what happened",
}

# Who may ask this machine for the time. What is posted takes the database's, through a Clock.
CLOCK_READERS = {
    ("services/kernel/ids.py", "new_id"): "the order of ids is a convenience and no promise",
    ("services/kernel/ids.py", "new_numbers"): "the order of numbers is a convenience and no promise",
    ("services/kernel/tokens.py", "Minter.mint"): "tokens end by the clock of whoever verifies them, as RFC 7519 says",
    ("services/kernel/tokens.py", "Verifier.verify"): "likewise",
    ("services/kernel/rpc.py", "ServiceIdentity.metadata"): "renews a token well before its end",
}
WALL_CLOCKS = frozenset(
    {"datetime.now", "datetime.today", "datetime.utcnow", "date.today", "time.time", "time.time_ns"}
)

# Floats in the services that count value, with what they are for. Seconds need no entry: their names end in _s.
FLOATS = {
    ("services/gamification/operations/context.py", ""): "seconds until a job is kicked",
    ("services/program/operations/context.py", ""): "seconds until a job is kicked",
    ("services/program/operations/access.py", "Access.__init__"): "when a remembered caller is looked up again",
    ("services/program/operations/access.py", "Access._look_up"): "a key does not end by itself",
}
COUNTING = ("services/gamification/", "services/ledger/", "services/program/")

# Tests that wait for a time, where nothing else can be waited for.
SLEEPERS = {
    ("tests/support/chaos.py", "kill_everything"): "what dies at random does so at random times",
    ("tests/journeys/test_replay.py", "settled"): "a stack tells nobody outside when its due work is done",
}


def _functions_too_long(source: Source) -> Iterator[str]:
    for name, node in source.functions():
        assert node.end_lineno is not None, "A parsed function ends somewhere."
        lines = node.end_lineno - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{node.lineno}: {name} has {lines} lines"


def _modules_too_long(source: Source) -> Iterator[str]:
    docstrings = {
        line
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    code = [
        number
        for number, line in enumerate(source.lines, start=1)
        if line.strip() and not line.strip().startswith("#") and number not in docstrings
    ]
    if len(code) > MODULE_LINES_MAX:
        yield f"1: has {len(code)} lines of code"


def _positional_too_many(source: Source) -> Iterator[str]:
    for name, node in source.functions():
        positional = [each.arg for each in node.args.posonlyargs + node.args.args if each.arg not in ("self", "cls")]
        if len(positional) > PARAMETERS_MAX:
            yield f"{node.lineno}: {name} takes {len(positional)} parameters by position"


def _names_banned(source: Source) -> Iterator[str]:
    for part in re.split(r"[/._]", source.path):
        if part in BANNED_NAMES:
            yield f"1: the path says {part}"
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", node.name)
            for word in BANNED_NAMES & {word.lower() for word in words}:
                yield f"{node.lineno}: {node.name} says {word}"


def _catches_everything(source: Source) -> Iterator[tuple[str, int]]:
    """Finds handlers that catch whatever comes, by the function that they are in."""
    holders = list(source.functions())
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {each.id for each in caught if isinstance(each, ast.Name)}
        if node.type is None or names & {"Exception", "BaseException"}:
            yield _holder(holders, node.lineno), node.lineno


def _holder(functions: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]], line: int) -> str:
    """Names the innermost function that a line is in; empty for the module itself."""
    within = [name for name, node in functions if node.lineno <= line <= (node.end_lineno or 0)]
    return within[-1] if within else ""


def _edges_unlisted(source: Source) -> Iterator[str]:
    for holder, line in _catches_everything(source):
        if (source.path, holder) not in EDGES:
            yield f"{line}: {holder or 'the module'} catches everything"


def _silence(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and all(_does_nothing(each) for each in node.body):
            first, last = node.lineno, node.body[-1].end_lineno or node.lineno
        elif isinstance(node, (ast.With, ast.AsyncWith)) and any(_suppresses(item) for item in node.items):
            first, last = node.lineno, node.body[0].end_lineno or node.lineno
        else:
            continue
        # The sentence stands within the handler, or on the line above.
        if not any("#" in line for line in source.lines[max(0, first - 2) : last]):
            yield f"{first}: swallows an exception without a sentence"


def _does_nothing(node: ast.stmt) -> bool:
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.Pass, ast.Continue, ast.Break)) or is_constant


def _suppresses(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func).endswith("suppress")


def _clock_reads(source: Source) -> Iterator[tuple[str, int, str]]:
    holders = list(source.functions())
    for node in ast.walk(source.tree):
        call = ".".join(ast.unparse(node.func).split(".")[-2:]) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and call in WALL_CLOCKS:
            yield _holder(holders, node.lineno), node.lineno, call


def _clocks_unlisted(source: Source) -> Iterator[str]:
    for holder, line, call in _clock_reads(source):
        if (source.path, holder) not in CLOCK_READERS:
            yield f"{line}: {holder or 'the module'} calls {call}"


def _sleeps(source: Source) -> Iterator[tuple[str, int, str]]:
    """Finds sleeps by the function that they are in; sleep(0) lets others run and takes no time."""
    holders = list(source.functions())
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("time.sleep", "sleep", "asyncio.sleep"):
            continue
        is_zero = isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if not is_zero:
            yield _holder(holders, node.lineno), node.lineno, ast.unparse(node)


def _blocking_sleeps(source: Source) -> Iterator[str]:
    for _, line, call in _sleeps(source):
        if not call.startswith("asyncio."):
            yield f"{line}: {call}"


def _test_sleeps(source: Source) -> Iterator[str]:
    for holder, line, call in _sleeps(source):
        if (source.path, holder) not in SLEEPERS:
            yield f"{line}: {call}"


def _float_uses(source: Source) -> Iterator[tuple[str, int, str]]:
    holders, seconds = list(source.functions()), _seconds(source)
    for node in ast.walk(source.tree):
        if node in seconds:
            continue
        what = ""
        if isinstance(node, ast.Name) and node.id in ("float", "round"):
            what = node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            what = repr(node.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _is_path(node):
            what = f"{ast.unparse(node)} (// divides whole numbers)"
        if what:
            yield _holder(holders, getattr(node, "lineno", 1)), getattr(node, "lineno", 1), what


def _seconds(source: Source) -> set[ast.AST]:
    """Finds what belongs to names that end in _s: their annotations and their values."""
    found: set[ast.AST] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.arg) and node.arg.endswith("_s") and node.annotation:
            found |= set(ast.walk(node.annotation))
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if all(ast.unparse(target).lower().endswith("_s") for target in targets):
                found |= set(ast.walk(node))
    return found


def _is_path(node: ast.BinOp) -> bool:
    """Tells `folder / "name"` from a division: only one of them has a text in it."""
    return any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in ast.walk(node))


def _floats_unlisted(source: Source) -> Iterator[str]:
    for holder, line, what in _float_uses(source):
        if (source.path, holder) not in FLOATS:
            yield f"{line}: {holder or 'the module'} has {what}"


def _prints(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{node.lineno}: {ast.unparse(node)[:60]}"


def _docstrings_missing(source: Source) -> Iterator[str]:
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield "1: the module says nothing of itself"
    for name, node in source.functions():
        public = not node.name.startswith("_") and name == node.name
        if public and ast.get_docstring(node) is None:
            yield f"{node.lineno}: {name} promises nothing"


def _tests_unnamed(source: Source) -> Iterator[str]:
    for node in _tests(source):
        if not re.fullmatch(r"test(_[a-z0-9]+){2,}", node.name):
            yield f"{node.lineno}: {node.name}"


def _tests(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for name, node in source.functions():
        if node.name.startswith("test_") and name.count(".") <= 1:
            yield node


def _promises_unclear(source: Source) -> Iterator[str]:
    for node in _tests(source):
        promise = " ".join((ast.get_docstring(node) or "").split())
        if not promise.endswith(".") or re.search(r"[.!?] [A-Z]", promise):
            yield f"{node.lineno}: {node.name} says {promise!r}"


def _tests_that_cannot_fail(source: Source) -> Iterator[str]:
    for node in _tests(source):
        checks = [
            each
            for each in ast.walk(node)
            if isinstance(each, ast.Assert)
            or (
                isinstance(each, ast.Call)
                and re.search(r"(^|[._])(assert_\w+|raises|fail|eventually)$", ast.unparse(each.func))
            )
        ]
        if not checks:
            yield f"{node.lineno}: {node.name} asserts nothing"


def _exemptions_unexplained(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if re.search(r"#\s*noqa(?!: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* +- +\S)", line):
            yield f"{number}: {line.strip()}"


RULES = [
    Rule(
        "function_is_short",
        f"No function has more than {FUNCTION_LINES_MAX} lines; aim under 30. Keep the branching in the parent and "
        "move work into pure leaves.",
        _functions_too_long,
        rules.python,
        ("services/x/model.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    ),
    Rule(
        "module_is_short",
        f"No module has more than {MODULE_LINES_MAX} lines of code. Split it by noun, not by layer.",
        _modules_too_long,
        rules.python,
        ("services/x/model.py", "x = 1\n" * (MODULE_LINES_MAX + 1)),
    ),
    Rule(
        "parameters_are_few",
        f"A function takes at most {PARAMETERS_MAX} parameters by position; make the others keyword-only, or a value "
        "of its own.",
        _positional_too_many,
        rules.services_python,
        ("services/x/model.py", "def f(a, b, c, d, e, f):\n    pass\n"),
    ),
    Rule(
        "name_says_something",
        f"No file, class or function is named {', '.join(sorted(BANNED_NAMES))}: such names say nothing. Use the "
        "field's term.",
        _names_banned,
        rules.python,
        ("services/x/model.py", "class LedgerManager:\n    pass\n"),
    ),
    Rule(
        "only_edges_catch_everything",
        "`except Exception` stands only at the edges listed in EDGES (interceptor, job runner, follower, batcher), "
        "each with its reason. Elsewhere catch what you can name, or let it rise to an edge, which logs it.",
        _edges_unlisted,
        rules.python,
        (
            "services/x/operations.py",
            "def f():\n    try:\n        g()\n    except (ValueError, Exception):\n        h()\n",
        ),
    ),
    Rule(
        "nothing_is_swallowed",
        "Nothing is swallowed without a sentence saying why that is safe: write the comment in the handler.",
        _silence,
        rules.python,
        ("services/x/operations.py", "try:\n    g()\nexcept ValueError:\n    pass\n"),
    ),
    Rule(
        "database_tells_the_time",
        "The database's clock is the only clock for what is posted; operations get `now` as an argument, edges take it "
        "from a Clock. Whoever must ask this machine is in CLOCK_READERS with a reason.",
        _clocks_unlisted,
        rules.services_python,
        ("services/x/operations.py", "def f():\n    return datetime.now(UTC)\n"),
    ),
    Rule(
        "nothing_blocks_the_loop",
        "`time.sleep` stops every call of the process: await an event with a deadline instead.",
        _blocking_sleeps,
        rules.services_python,
        ("services/x/operations.py", "time.sleep(1)\n"),
    ),
    Rule(
        "tests_do_not_sleep",
        "Tests turn the clock by hand and wait for what they expect (an event, an answer, a log line), never for time.",
        _test_sleeps,
        rules.tests_python,
        ("tests/x/test_x.py", "async def test_x():\n    await asyncio.sleep(0.1)\n"),
    ),
    Rule(
        "no_float_near_value",
        "Points and money are whole numbers: no float, no true division, no rounding in a service that counts them. "
        "What is no amount is in FLOATS with a reason.",
        _floats_unlisted,
        lambda source: source.is_python and source.path.startswith(COUNTING),
        ("services/ledger/model.py", "def share(points):\n    return points / 2\n"),
    ),
    Rule(
        "services_log",
        "Services write to the log, which is data; only the devstack talks to people with print.",
        _prints,
        rules.services_python,
        ("services/x/operations.py", 'print("hello")\n'),
    ),
    Rule(
        "docstring_promises",
        "Every module and every public function has a docstring whose first line is what it promises.",
        _docstrings_missing,
        rules.python,
        ("tests/x/test_x.py", "def test_earn_pays():\n    assert True\n"),
    ),
    Rule(
        "test_is_named_by_condition",
        "A test is named test_<verb>_<condition>.",
        _tests_unnamed,
        rules.tests_python,
        ("tests/x/test_x.py", "def test_earn():\n    assert True\n"),
    ),
    Rule(
        "test_promises_in_one_sentence",
        "The docstring of a test is the promise that it proves, in one sentence with a full stop.",
        _promises_unclear,
        rules.tests_python,
        ("tests/x/test_x.py", 'def test_earn_pays():\n    """It pays. It also does more."""\n    assert True\n'),
    ),
    Rule(
        "test_can_fail",
        "A test that cannot fail is a defect: assert what is promised (assert, pytest.raises, eventually, or a "
        "function named assert_…).",
        _tests_that_cannot_fail,
        rules.tests_python,
        ("tests/x/test_x.py", 'def test_earn_pays():\n    """It pays."""\n    earn()\n'),
    ),
    Rule(
        "exemption_has_a_reason",
        "A `noqa` names its rule and, behind a dash, why the rule is wrong here.",
        _exemptions_unexplained,
        rules.python,
        ("services/x/model.py", "x = 1  # " + "noqa: S101\n"),
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_tree_keeps_rule(rule: Rule) -> None:
    """Every Python file of the tree keeps the rule."""
    rule.assert_kept(sources.texts())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_sees_its_breach(rule: Rule) -> None:
    """The rule's finder sees a breach of it, so that a clean tree means something."""
    rule.assert_seen()


def test_allowances_are_used() -> None:
    """What is allowed to a function is needed by it, so that the lists of allowances shrink with the code."""
    by_path = {source.path: source for source in sources.texts() if source.is_python}
    used = {(path, holder) for path, source in by_path.items() for holder, _ in _catches_everything(source)}
    used |= {(path, holder) for path, source in by_path.items() for holder, *_ in _clock_reads(source)}
    used |= {(path, holder) for path, source in by_path.items() for holder, *_ in _float_uses(source)}
    used |= {(path, holder) for path, source in by_path.items() for holder, *_ in _sleeps(source)}
    allowed = {**EDGES, **CLOCK_READERS, **FLOATS, **SLEEPERS}
    stale = [f"{path}: {name}" for path, name in allowed if (path, name) not in used]
    assert_none(stale, "Take these out of EDGES, CLOCK_READERS, FLOATS or SLEEPERS: nothing there needs them.")
