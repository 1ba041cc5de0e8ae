"""Where the parts of an HTTP request go in the message of an rpc: path, query, headers and body.

What the path names wins its field; the same field with another value in the body is refused rather than overridden.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from plaudit.type.v1 import options_pb2

from services.gateway import names, transcode
from services.gateway.decoder import decoder, scalar_converter, to_bool_from_text
from services.gateway.malformed import MalformedError
from services.gateway.routes import Route, Variable, decode_percent
from services.kernel import fields

KEY_HEADER = "Idempotency-Key"
KEY_LENGTH_MAX = 128
REQUEST_ID = "request_id"
PARAMETERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter: the fields that lead to what it sets."""

    fields: tuple[FieldDescriptor, ...]

    @property
    def name(self) -> str:
        """Is its name over HTTP, with dots where it lies in a nested message."""
        return ".".join(each.json_name for each in self.fields)

    @property
    def contract_name(self) -> str:
        """Is its name in the contract, which is understood as well."""
        return ".".join(each.name for each in self.fields)


def parameters(route: Route) -> list[Parameter]:
    """Lists the query parameters of a route: what neither its path nor its body sets."""
    if route.body == "*":
        return []
    taken = {variable.path for variable in route.variables}
    found = _leaves(route.method.input_type, ())
    return [each for each in found if each.fields[0].name != route.body and each.name not in taken]


def _leaves(message: Descriptor, parents: tuple[FieldDescriptor, ...]) -> list[Parameter]:
    found: list[Parameter] = []
    for field in message.fields:
        path = (*parents, field)
        if names.is_map(field):
            continue
        if field.message_type is None or field.message_type.full_name == "google.protobuf.Timestamp":
            found.append(Parameter(path))
        elif not field.is_repeated and field.message_type.file.package != "google.protobuf":
            found += _leaves(field.message_type, path)
    return found


def key_is_required(route: Route) -> bool:
    """Says whether a call without an Idempotency-Key is refused: a POST whose contract requires a request id."""
    field = route.method.input_type.fields_by_name.get(REQUEST_ID)
    return route.verb == "POST" and field is not None and names.has_behaviour(field, field_behavior_pb2.REQUIRED)


class Binding:
    """Makes the request message of one route; compiled once. All methods raise MalformedError by field."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.make: Callable[[], Any] = GetMessageClass(route.method.input_type)
        found = parameters(route)
        setters = [(each, _parameter_setter(each)) for each in found]
        self._parameters = {each.contract_name: (each, setter) for each, setter in setters}
        self._parameters |= {each.name: (each, setter) for each, setter in setters}
        self._request_id = route.method.input_type.fields_by_name.get(REQUEST_ID)

    def set_body(self, message: Any, value: Any) -> None:
        """Reads the parsed body into the message, or into the one field that the route gives it to."""
        body = self.route.body
        if body == "*":
            transcode.from_json(value, message)
            return
        target = getattr(message, body)
        target.SetInParent()
        try:
            transcode.from_json(value, target)
        except MalformedError as malformed:
            raise MalformedError(malformed.under(target_name(self.route))) from None

    def set_path(self, message: Any, values: list[str]) -> None:
        """Sets what the path names. Raises MalformedError where the body names something else."""
        for variable, value in zip(self.route.variables, values, strict=True):
            _set_variable(message, variable, value)

    def set_query(self, message: Any, query: bytes) -> None:
        """Reads the query string; an unknown parameter, or one that stands twice, is a fault."""
        if not query:
            return
        pairs = query.replace(b"+", b" ").split(b"&")
        if len(pairs) > PARAMETERS_MAX:
            raise MalformedError.at(f"must have at most {PARAMETERS_MAX} parameters", "query")
        seen: set[str] = set()
        for pair in pairs:
            if pair:
                self._set_parameter(message, pair, seen)

    def _set_parameter(self, message: Any, pair: bytes, seen: set[str]) -> None:
        written, _, text = pair.partition(b"=")
        given = decode_percent(written, "query")
        found = self._parameters.get(given)
        if found is None:
            raise MalformedError(MalformedError.at("is not a known parameter").under(given or "query"))
        parameter, setter = found
        if parameter.name in seen and not parameter.fields[-1].is_repeated:
            raise MalformedError.at("stands twice", parameter.name)
        seen.add(parameter.name)
        try:
            setter(decode_percent(text, ""), message)
        except MalformedError as malformed:
            raise MalformedError(malformed.under(parameter.name)) from None

    def set_key(self, message: Any, key: str | None) -> None:
        """Sets the request id to the Idempotency-Key.

        Raises MalformedError where the key is missing and needed, is no id, or differs from a request id that the
        message has already. Calls other than POST lead to the same state when repeated, so they get an id of ours.
        """
        if self._request_id is None:
            return
        if key is not None:
            fault = fields.text_fault(key, KEY_LENGTH_MAX, options_pb2.TEXT_KIND_ID) if key else "must not be empty"
            if fault:
                raise MalformedError.at(fault, KEY_HEADER)
            if message.request_id not in ("", key):
                raise MalformedError.at(f"differs from the header {KEY_HEADER}", self._request_id.json_name)
            message.request_id = key
        elif not message.request_id and names.has_behaviour(self._request_id, field_behavior_pb2.REQUIRED):
            if self.route.verb == "POST":
                raise MalformedError.at("is required: choose one, and send it again when you retry", KEY_HEADER)
            message.request_id = str(uuid.uuid4())


def target_name(route: Route) -> str:
    """Gives the JSON name of the field that the body of a route holds."""
    return route.method.input_type.fields_by_name[route.body].json_name


def _set_variable(message: Any, variable: Variable, value: str) -> None:
    target = message
    for field in variable.fields[:-1]:
        target = getattr(target, field.name)
    name = variable.fields[-1].name
    if getattr(target, name) not in ("", value):
        raise MalformedError.at("differs from the one in the path", variable.path)
    setattr(target, name, value)


def _parameter_setter(parameter: Parameter) -> Callable[[str, Any], None]:
    *parents, field = parameter.fields
    name = field.name
    decode = decoder(field.message_type) if field.message_type is not None else None
    convert = to_bool_from_text if field.type == FieldDescriptor.TYPE_BOOL else scalar_converter(field)

    def set_parameter(text: str, message: Any) -> None:
        for parent in parents:
            message = getattr(message, parent.name)
        if decode is not None:
            target = getattr(message, name)
            decode(text, target.add() if field.is_repeated else target)
        elif field.is_repeated:
            getattr(message, name).append(convert(text))
        else:
            setattr(message, name, convert(text))

    return set_parameter
