"""House rules on the contracts: buf's, ours, and that what is generated is what is written."""

import filecmp
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, MethodOptions
from plaudit.type.v1 import options_pb2

from tests.contracts import descriptors
from tests.contracts.descriptors import Contracts
from tests.contracts.rules import assert_none
from tests.contracts.sources import PROTOS, ROOT

COMMAND_TIMEOUT_S = 60
GENERATED = PROTOS / "gen"
BUF_CONFIG = yaml.safe_load((PROTOS / "buf.yaml").read_text())
INT32_MAX = 2**31 - 1
TIMESTAMP = ".google.protobuf.Timestamp"

INTEGERS = (FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_INT64)
UNSIGNED = (
    FieldDescriptorProto.TYPE_UINT32,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_FIXED32,
    FieldDescriptorProto.TYPE_FIXED64,
)
FLOATING = (FieldDescriptorProto.TYPE_FLOAT, FieldDescriptorProto.TYPE_DOUBLE)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generates everything anew into a folder of its own."""
    folder = tmp_path_factory.mktemp("gen")
    command: list[str | Path] = [sys.executable, PROTOS / "generate.py", "--into", folder]
    subprocess.run(command, check=True, timeout=COMMAND_TIMEOUT_S, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def contracts(generated: Path) -> Contracts:
    """Gives the contracts as they are written now."""
    return Contracts.read(generated / "descriptors.binpb")


def buf(*arguments: str | Path, config: dict[str, Any] | None = None) -> str:
    """Runs buf, which needs no network for this, and gives what it complains of."""
    command: list[str | Path] = [Path(sys.executable).parent / "buf", *arguments]
    if config is not None:
        command += ["--config", json.dumps({"version": "v2", **config})]
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, cwd=PROTOS, check=False)
    assert result.returncode in (0, 100), f"buf itself failed: {result.stderr}"
    return result.stdout


def without_google(section: str) -> dict[str, Any]:
    """Gives a section of buf.yaml for an image, which holds Google's files beside ours."""
    return {section: {**BUF_CONFIG[section], "ignore": ["google"]}}


def lint(image: Path) -> list[str]:
    """Lists what buf's lint says of an image."""
    return buf("lint", image, config=without_google("lint")).splitlines()


def breaking(image: Path, against: Path) -> list[str]:
    """Lists what would break callers of an older image."""
    return buf("breaking", image, "--against", against, config=without_google("breaking")).splitlines()


def test_buf_lint_is_clean(generated: Path) -> None:
    """The contracts pass buf's STANDARD and COMMENTS rules without exceptions."""
    assert BUF_CONFIG["lint"] == {"use": ["STANDARD", "COMMENTS"], "disallow_comment_ignores": True}
    assert_none(lint(generated / "descriptors.binpb"), "The contracts follow buf STANDARD and COMMENTS; no exceptions.")


def test_buf_lint_sees_a_missing_comment(tmp_path: Path) -> None:
    """A message without a comment is complained of."""
    image = compiled(tmp_path, 'syntax = "proto3";\npackage plaudit.breach.v1;\nmessage Silent {}\n')
    assert any("Silent" in line for line in lint(image))


def test_buf_format_is_clean() -> None:
    """The contracts are laid out as buf lays them out."""
    difference = buf("format", ".", "--diff", "--exit-code")
    assert not difference, f"Lay the contracts out with `cd protos && buf format -w`:\n{difference}"


def compiled(folder: Path, text: str) -> Path:
    """Compiles one contract written for a test."""
    path = folder / "plaudit" / "breach" / "v1" / "breach.proto"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    image = folder / "breach.binpb"
    descriptors.compile_protos(folder, image)
    return image


def git(*arguments: str) -> bytes | None:
    """Runs git on the tree; None where there is no git, no repository or no such thing in it."""
    binary = shutil.which("git")
    if binary is None:
        return None
    # A clone may belong to another user than who runs the tests.
    command = [binary, "-c", "safe.directory=*", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    return result.stdout if result.returncode == 0 else None


def promised() -> tuple[str, bytes] | None:
    """Finds the contracts that callers rely on: the last release, else where this branch began, else the last commit.

    A shallow clone may have only the last of these. Outside of a repository there is nothing to compare with.
    """
    if (git("rev-parse", "--show-toplevel") or b"").decode().strip() != str(ROOT):
        return None
    release = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    began = git("merge-base", "HEAD", "origin/HEAD") or git("merge-base", "HEAD", "origin/main")
    for commit in (release, began, b"HEAD"):
        name = (commit or b"").decode().strip()
        image = git("show", f"{name}:protos/gen/descriptors.binpb") if name else None
        if image is not None:
            return name, image
    return None


def test_buf_breaking_is_clean(generated: Path, tmp_path: Path) -> None:
    """Nothing that callers of the last promised contracts rely on is gone or changed."""
    found = promised()
    if found is None:
        pytest.skip("outside of a git repository there is no older contract to compare with")
    commit, image = found
    against = tmp_path / "promised.binpb"
    against.write_bytes(image)
    problems = breaking(generated / "descriptors.binpb", against)
    assert_none(problems, f"v1 is never broken (compared with {commit}): add beside the old, and deprecate.")


def test_buf_breaking_sees_a_removed_field(tmp_path: Path) -> None:
    """A field that is taken away is complained of."""
    head = 'syntax = "proto3";\npackage plaudit.breach.v1;\n// Is a lot.\nmessage Lot {\n'
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = compiled(tmp_path / "old", f"{head}// Is it.\nint64 amount = 1;\n}}\n")
    new = compiled(tmp_path / "new", f"{head}}}\n")
    assert any("amount" in line for line in breaking(new, old))


def tree_of(folder: Path) -> dict[str, Path]:
    """Lists the generated files of a folder by their relative paths."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path for path in paths}


def stale(fresh: Path, kept: Path) -> list[str]:
    """Lists the files in which two folders differ."""
    wanted, found = tree_of(fresh), tree_of(kept)
    differing = [name for name in wanted.keys() & found.keys() if not filecmp.cmp(wanted[name], found[name], False)]
    return sorted([*(wanted.keys() ^ found.keys()), *differing])


def test_generated_code_is_fresh(generated: Path) -> None:
    """What is committed under protos/gen is exactly what the contracts generate."""
    assert_none(stale(generated, GENERATED), "Run `python protos/generate.py` and commit what it changes.")


def test_generated_code_is_compared_by_content(generated: Path, tmp_path: Path) -> None:
    """A file that is changed, missing or too many is seen."""
    copy = tmp_path / "gen"
    shutil.copytree(generated, copy)
    (copy / "descriptors.binpb").write_bytes(b"")
    (copy / "plaudit" / "__init__.py").unlink()
    (copy / "plaudit" / "stranger.py").touch()
    assert stale(generated, copy) == ["descriptors.binpb", "plaudit/__init__.py", "plaudit/stranger.py"]


@dataclass(frozen=True)
class ContractRule:
    """One rule on descriptors. `breach` is the body of a contract that breaks it."""

    name: str
    lesson: str
    find: Callable[[Contracts], Iterable[str]]
    breach: str


def _scopes(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        if not re.fullmatch(r"[a-z]+(\.[a-z]+)?", method.scope):
            yield f"{method.place}: {method.scope or 'no scope'}"
        elif method.http and not method.scope.endswith(".read" if method.reads else ".write"):
            yield f"{method.place}: {method.verb} with {method.scope}"


def _repeats(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        level = method.method.options.idempotency_level
        if method.verb == "get" and not method.reads:
            yield f"{method.place}: GET has NO_SIDE_EFFECTS"
        if method.scope.endswith(".write") and level != MethodOptions.IDEMPOTENT:
            yield f"{method.place}: is repeated under its request id, so it is IDEMPOTENT"


def _behaviours(contracts: Contracts) -> Iterator[str]:
    for field in contracts.request_fields:
        if not field.behaviours and not field.is_choice:
            yield field.place


def _limits(contracts: Contracts) -> Iterator[str]:
    for field in contracts.request_fields:
        options = field.field.options
        if field.is_repeated:
            if not options.HasExtension(options_pb2.items):
                yield f"{field.place}: (plaudit.type.v1.items)"
        elif field.field.type == FieldDescriptorProto.TYPE_STRING:
            if not options.HasExtension(options_pb2.text):
                yield f"{field.place}: (plaudit.type.v1.text)"
        elif field.field.type in INTEGERS and not options.HasExtension(options_pb2.integer):
            yield f"{field.place}: (plaudit.type.v1.integer)"


def _numbers(contracts: Contracts) -> Iterator[str]:
    for field in contracts.fields:
        if field.field.type in UNSIGNED:
            yield f"{field.place} is unsigned"
        elif field.field.type in FLOATING:
            yield f"{field.place} is a float"


def _times(contracts: Contracts) -> Iterator[str]:
    for field in contracts.fields:
        name = field.field.name
        if field.field.type_name == TIMESTAMP and not name.endswith(("_time", "_times")):
            yield f"{field.place} is an instant"
        if name.endswith(("_at", "_timestamp", "_time")) and field.field.type_name != TIMESTAMP:
            yield f"{field.place} is no instant"


def _routes(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        if method.http and not re.fullmatch(r"/v1/[a-zA-Z0-9{}_.:/-]+", method.route):
            yield f"{method.place}: {method.verb} {method.route}"


def _routes_taken(contracts: Contracts) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for method in contracts.methods:
        if method.http is None:
            continue
        shape = re.sub(r"\{[^}]*\}", "{}", method.route)
        first = seen.setdefault((method.verb, shape), method.place)
        if first != method.place:
            yield f"{method.place}: {method.verb} {method.route} is taken by {first}"


def _route_fields(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        if method.http is None:
            continue
        paths = re.findall(r"\{([^}=]*)", method.route)
        body = method.http.body
        for path in [*paths, *([body] if body not in ("", "*") else [])]:
            message = method.request
            for part in path.split("."):
                fields = {field.name: field for field in message.field}
                if part not in fields:
                    yield f"{method.place}: the request has no {path}"
                    break
                if fields[part].type_name:
                    message = contracts.message(fields[part].type_name)


def _pages(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        asked = {field.name: field for field in method.request.field}
        given = {field.name: field for field in method.response.field}
        if "page_size" not in asked:
            if method.http and method.method.name.startswith("List"):
                yield f"{method.place}: lists without pages"
            continue
        limits = asked["page_size"].options.Extensions[options_pb2.integer]
        if asked["page_size"].type != FieldDescriptorProto.TYPE_INT32 or (limits.min, limits.max) != (0, INT32_MAX):
            yield f"{method.place}: page_size is no int32 from 0 to {INT32_MAX}"
        if "page_token" not in asked or "next_page_token" not in given:
            yield f"{method.place}: page_token or next_page_token is missing"
        if method.response.field[0].label != FieldDescriptorProto.LABEL_REPEATED:
            yield f"{method.place}: the first field of the response is not the page"


def _writes(contracts: Contracts) -> Iterator[str]:
    for method in contracts.methods:
        if not method.scope.endswith(".write"):
            continue
        names = {field.name for field in method.request.field}
        for field in method.request.field:
            if field.options.Extensions[options_pb2.itemized]:
                names |= {each.name for each in contracts.message(field.type_name).field}
        if not names & {"request_id", "event_id"}:
            yield method.place


SCOPE = 'option (plaudit.type.v1.required_scope) = "lots.{}";'
GET = 'option (google.api.http) = {{get: "{}"}};'


def _service(rpc: str, options: str, request: str = "", response: str = "") -> str:
    """Writes a contract of one rpc."""
    return (
        f"service BreachService {{ rpc {rpc}({rpc}Request) returns ({rpc}Response) {{ {options} }} }}\n"
        f"message {rpc}Request {{ {request} }} message {rpc}Response {{ {response} }}"
    )


RULES = [
    ContractRule(
        "method_names_its_scope",
        "Every rpc names its required_scope; over HTTP what has NO_SIDE_EFFECTS needs a .read, all else a .write.",
        _scopes,
        _service("GetLot", GET.format("/v1/lots") + SCOPE.format("read")),
    ),
    ContractRule(
        "method_says_whether_it_repeats",
        "An rpc says by idempotency_level what a second call does: NO_SIDE_EFFECTS for every GET, IDEMPOTENT for every "
        "write, which carries a request id. Channels retry only what is declared.",
        _repeats,
        _service("CloseLot", SCOPE.format("write"), "string request_id = 1;"),
    ),
    ContractRule(
        "request_field_says_its_behaviour",
        "Every field that a caller can set has google.api.field_behavior (REQUIRED or OPTIONAL), which is enforced.",
        _behaviours,
        _service("GetLot", SCOPE.format("read"), "string lot_id = 1;"),
    ),
    ContractRule(
        "request_field_has_limits",
        "Every text, integer and repeated field that a caller can set has its limits, which the kernel enforces: add",
        _limits,
        _service("GetLot", SCOPE.format("read"), "repeated string lot_ids = 1;"),
    ),
    ContractRule(
        "number_is_signed_and_whole",
        "Numbers are int32 or int64 (AIP-141): unsigned ones differ between languages, floats lose points.",
        _numbers,
        "message Lot { uint64 amount = 1; }",
    ),
    ContractRule(
        "instant_is_named_time",
        "An instant is a google.protobuf.Timestamp whose name ends in _time (AIP-142), and nothing else is named so.",
        _times,
        'import "google/protobuf/timestamp.proto"; message Lot { google.protobuf.Timestamp expires_at = 1; }',
    ),
    ContractRule(
        "route_begins_with_v1",
        "Routes begin with /v1/.",
        _routes,
        _service("GetLot", GET.format("/lots/{lot_id}") + SCOPE.format("read"), "string lot_id = 1;"),
    ),
    ContractRule(
        "route_is_unique",
        "Each public rpc has a route of its own; the names of the fields in it do not tell two apart.",
        _routes_taken,
        'service BreachService { rpc GetLot(Lot) returns (Lot) { option (google.api.http) = {get: "/v1/{lot_id}"}; }'
        'rpc GetHold(Lot) returns (Lot) { option (google.api.http) = {get: "/v1/{hold_id}"}; } } message Lot {}',
    ),
    ContractRule(
        "route_names_fields",
        "What stands in the braces of a route, and its body, are fields of the request.",
        _route_fields,
        _service("GetLot", GET.format("/v1/lots/{lot}") + SCOPE.format("read"), "string lot_id = 1;"),
    ),
    ContractRule(
        "page_follows_aip_158",
        "A listing over HTTP has page_size (int32; 0 means 50, more than 1,000 means 1,000, negative is refused), "
        "page_token, and answers with the page first and next_page_token.",
        _pages,
        _service("ListLots", GET.format("/v1/lots") + SCOPE.format("read"), "int32 page_size = 1;", "string lot = 1;"),
    ),
    ContractRule(
        "write_has_a_request_id",
        "Every write carries a request_id (or each item an event_id), so that it can be repeated without harm.",
        _writes,
        _service("CloseLot", SCOPE.format("write"), "string lot_id = 1;"),
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_contracts_keep_rule(rule: ContractRule, contracts: Contracts) -> None:
    """Every contract keeps the rule."""
    assert_none(rule.find(contracts), rule.lesson)


@pytest.fixture(scope="session")
def breaches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Contracts]:
    """Compiles the breach of each rule, all at once."""
    folder = tmp_path_factory.mktemp("breaches")
    for rule in RULES:
        path = folder / "plaudit" / rule.name / "breach.proto"
        path.parent.mkdir(parents=True)
        head = f'syntax = "proto3"; package plaudit.{rule.name}; import "plaudit/type/v1/options.proto";'
        path.write_text(f'{head} import "google/api/annotations.proto";\n{rule.breach}\n')
    descriptors.compile_protos(folder, folder / "breaches.binpb")
    found = Contracts.read(folder / "breaches.binpb")
    return {rule.name: found.only(f"plaudit.{rule.name}") for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_sees_its_breach(rule: ContractRule, breaches: dict[str, Contracts]) -> None:
    """The rule's finder sees a breach of it, so that clean contracts mean something."""
    assert list(rule.find(breaches[rule.name])), f"{rule.name} does not see {rule.breach}"
