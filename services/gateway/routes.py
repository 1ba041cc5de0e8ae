"""Routes, built from the `google.api.http` options of the contracts: a new rpc appears here with no edit.

An rpc without the option is internal and has no route. Paths are matched before they are percent-decoded, so that an
encoded slash or colon in an id is data and never structure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

from services.gateway.malformed import MalformedError
from services.kernel import errors

VARIABLE = re.compile(r"\{([a-z][a-z0-9_.]*)(?:=\*)?\}")
LITERAL = re.compile(r"[A-Za-z0-9_-]+")
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Routes have six segments at most today; a path of more answers nowhere, whatever it holds.
SEGMENTS_MAX = 16
# A path is shown in an answer as far as this.
PATH_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Variable:
    """One `{variable}` of a path: the fields that lead to what it sets, and its name over HTTP."""

    fields: tuple[FieldDescriptor, ...]

    @property
    def name(self) -> str:
        """Is the JSON name of the field that it sets."""
        return self.fields[-1].json_name

    @property
    def path(self) -> str:
        """Leads to the field from the request message, in lowerCamelCase."""
        return ".".join(each.json_name for each in self.fields)


@dataclass(frozen=True, slots=True)
class Route:
    """One way to call an rpc over HTTP.

    `template` is the path with its variables named as over HTTP. `body` is empty, `*` for the whole message, or the
    field that the body holds; `response_body` is empty or the one field of the response that is answered.
    """

    backend: str
    verb: str
    template: str
    method: MethodDescriptor
    variables: tuple[Variable, ...]
    body: str
    response_body: str
    segments: tuple[str | None, ...] = field(repr=False)
    action: str = ""

    @property
    def is_stream(self) -> bool:
        """Tells whether its answer is a stream of server-sent events."""
        return self.method.server_streaming

    @property
    def rpc(self) -> str:
        """Is the name of the rpc on the wire."""
        assert self.method.containing_service is not None, "Every method stands in a service."
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


@dataclass
class _Node:
    """One step into the paths: by a literal or by a variable; and the routes that end here, by action and verb."""

    literals: dict[str, "_Node"] = field(default_factory=dict)
    variable: "_Node | None" = None
    ends: dict[str, dict[str, Route]] = field(default_factory=dict)


class MethodNotAllowedError(Exception):
    """Says that the path answers, but to other methods: those in `allowed`."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = allowed


class Table:
    """All routes, found by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        self._actions = frozenset(route.action for route in self.routes if route.action)
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.segments:
            if segment is None:
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        verbs = node.ends.setdefault(route.action, {})
        assert route.verb not in verbs, f"{route.rpc} and {verbs[route.verb].rpc} answer to the same path."
        verbs[route.verb] = route

    def find(self, verb: str, raw_path: bytes) -> tuple[Route, list[str]]:
        """Finds the route and the decoded values of its variables.

        Raises ROUTE_NOT_FOUND, MethodNotAllowedError, and MalformedError where a value cannot be decoded.
        """
        path = raw_path.decode("ascii", "replace")
        verbs, values = self._verbs(path)
        if not verbs:
            raise errors.route_not_found(path[:PATH_SHOWN_MAX])
        route = verbs.get("GET" if verb == "HEAD" else verb)
        if route is None:
            raise MethodNotAllowedError(sorted({*verbs, "HEAD"} if "GET" in verbs else verbs))
        pairs = zip(route.variables, values, strict=True)
        return route, [decode_percent(value.encode(), variable.path) for variable, value in pairs]

    def _verbs(self, path: str) -> tuple[Mapping[str, Route], list[str]]:
        head, colon, action = path.rpartition(":")
        if colon and action in self._actions:
            verbs, values = self._walk(head, action)
            if verbs:
                return verbs, values
        return self._walk(path, "")

    def _walk(self, path: str, action: str) -> tuple[Mapping[str, Route], list[str]]:
        segments = path.split("/")[1:]
        if len(segments) > SEGMENTS_MAX or not path.startswith("/"):
            return {}, []
        for node, values in _ends(self._root, segments, []):
            if action in node.ends:
                return node.ends[action], values
        return {}, []


def _ends(node: _Node, segments: list[str], values: list[str]) -> Iterator[tuple[_Node, list[str]]]:
    if not segments:
        yield node, values
        return
    literal = node.literals.get(segments[0])
    if literal is not None:
        yield from _ends(literal, segments[1:], values)
    if node.variable is not None and segments[0]:
        yield from _ends(node.variable, segments[1:], [*values, segments[0]])


def decode_percent(value: bytes, name: str) -> str:
    """Decodes UTF-8 text with percent escapes. Raises MalformedError under `name`."""
    if BAD_ESCAPE.search(value):
        raise MalformedError.at("has a percent sign that is not followed by two hexadecimal digits", name)
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise MalformedError.at("is not valid UTF-8", name) from None


def build(backends: Mapping[str, Sequence[FileDescriptor]]) -> Table:
    """Builds the routes of all services in some contracts, by the name of the backend that serves them."""
    return Table(
        route
        for backend, files in backends.items()
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        for route in _routes(backend, method)
    )


def _routes(backend: str, method: MethodDescriptor) -> Iterator[Route]:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    assert not method.client_streaming, f"{method.full_name}: streams of requests have no route."
    for message in (method.input_type, method.output_type):
        _refuse_recursion(message, ())
    rule = options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        yield _route(backend, method, each)


def _route(backend: str, method: MethodDescriptor, rule: http_pb2.HttpRule) -> Route:
    kind = rule.WhichOneof("pattern")
    assert kind == "get" or not method.server_streaming, f"{method.full_name}: a stream is read by GET."
    assert kind is not None, f"{method.full_name}: google.api.http names no path."
    assert kind != "custom", f"{method.full_name}: only the usual HTTP methods have routes."
    pattern = getattr(rule, kind)
    path, _, action = pattern.partition(":")
    parts = [_segment(method.input_type, part) for part in path.split("/")[1:]]
    variables = tuple(part for part in parts if isinstance(part, Variable))
    assert len({each.name for each in variables}) == len(variables), f"{pattern}: two variables have one name."
    shown = [f"{{{part.name}}}" if isinstance(part, Variable) else part for part in parts]
    return Route(
        backend=backend,
        verb=kind.upper(),
        template="/" + "/".join(shown) + (f":{action}" if action else ""),
        method=method,
        variables=variables,
        body=rule.body,
        response_body=rule.response_body,
        segments=tuple(None if isinstance(part, Variable) else part for part in parts),
        action=action,
    )


def _segment(message: Descriptor, text: str) -> str | Variable:
    match = VARIABLE.fullmatch(text)
    if match:
        return Variable(_resolve(message, match[1]))
    assert LITERAL.fullmatch(text), f"{message.full_name}: {text} in a path is not understood."
    return text


def _resolve(message: Descriptor, path: str) -> tuple[FieldDescriptor, ...]:
    found: list[FieldDescriptor] = []
    here: Descriptor | None = message
    for name in path.split("."):
        assert here is not None, f"{message.full_name}: {path} leads through a field that holds no message."
        assert name in here.fields_by_name, f"{message.full_name} has no field {path}."
        found.append(here.fields_by_name[name])
        here = found[-1].message_type
    assert found[-1].type == FieldDescriptor.TYPE_STRING, f"{message.full_name}: {path} in a path must be a string."
    return tuple(found)


def _refuse_recursion(message: Descriptor, parents: tuple[Descriptor, ...]) -> None:
    """Stops the gateway from starting with a message type that holds itself: its JSON would have no bound on depth.

    Free-form data is a `google.protobuf.Struct`, which has one.
    """
    assert message not in parents, f"{message.full_name} holds itself; use google.protobuf.Struct for trees."
    for each in message.fields:
        if each.message_type is not None and each.message_type.file.package != "google.protobuf":
            _refuse_recursion(each.message_type, (*parents, message))
