"""The OpenAPI 3.1 document, made from the descriptors: the same contracts that the routes and the checks come from."""

from typing import Any

import orjson
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from plaudit.type.v1 import options_pb2

from services.gateway import comments, examples, items, names
from services.gateway.binding import KEY_HEADER, KEY_LENGTH_MAX, REQUEST_ID, Parameter, key_is_required, parameters
from services.gateway.limits import Policy
from services.gateway.problems import MEDIA_TYPE
from services.gateway.routes import Route, Table, Variable
from services.gateway.schemas import BODY_SUFFIX, ID_TEXT, Components, Schema
from services.kernel import VERSION

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"

DESCRIPTION = """\
Send what your customers do as events. Plaudit answers with what it caused: points, and why a rule did not pay.

**Authentication.** Every call carries `Authorization: Bearer <API key>`. The key names the program; nothing else in a
request does.

**Writes can be repeated.** A write takes an `Idempotency-Key`. The same key with the same content gives the first
answer again, with the header `Idempotency-Replayed: true`; the same key with other content is refused. Events are
idempotent by their `eventId`.

**Numbers.** Amounts are whole smallest units, written as strings of digits, so that no reader rounds them. They are
understood as numbers too.

**Names.** Fields are lowerCamelCase; the contract's own snake_case is understood as well. Unknown fields are refused.

**Lists** come in pages: pass `nextPageToken` as `pageToken`, with everything else unchanged, until it is empty.

**Refusals** are problem details (RFC 9457). Programs look at `reason`; `errors` names each field at fault, starting at
the request message of the rpc, as in `rule.amount`. Quote the `correlationId` to support.
"""

REFUSALS = {
    "400": ("FieldInvalid", "A field, a parameter or a header is missing, malformed or unknown; `errors` names each."),
    "401": ("CredentialInvalid", "No valid API key or token came with the call."),
    "403": ("ScopeMissing", "The credential may not do this."),
    "404": ("NotFound", "Nothing has that name in this program."),
    # What an empty name in a path leads to, too: that path is another one.
    "405": ("MethodNotAllowed", "The path answers to the methods that `Allow` names."),
    "408": ("BodyTooSlow", "The body did not arrive in time."),
    "409": ("Conflict", "The state of things, or an earlier request, does not allow this."),
    "413": ("BodyTooLarge", "The body is larger than 4 MiB."),
    "414": ("UrlTooLong", "The path and the query are longer than 16 KiB."),
    "415": ("MediaTypeUnsupported", "The body is not plain `application/json`."),
    "429": ("RateLimited", "Too many calls; try again after `Retry-After` seconds."),
    "431": ("HeadersTooLarge", "The headers are larger than 32 KiB."),
    "500": ("Internal", "The fault is ours. Quote the `correlationId`."),
    "503": ("Unavailable", "A part of Plaudit is away. Try again after `Retry-After` seconds, with the same key."),
    "504": ("TimedOut", "Time ran out. Ask again with the same key for the definite answer."),
}
BODY_REFUSALS = frozenset({"408", "413", "415"})
READ_REFUSALS = frozenset(REFUSALS) - BODY_REFUSALS
RETRIED = frozenset({"429", "503"})


def document(table: Table, policy: Policy) -> dict[str, Any]:
    """Makes the document."""
    components = Components()
    paths: dict[str, dict[str, Any]] = {}
    for route in table.routes:
        paths.setdefault(route.template, {})[route.verb.lower()] = _operation(route, components)
    components.close()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Plaudit", "version": VERSION, "description": DESCRIPTION, "license": LICENSE},
        "servers": [{"url": "/", "description": "This gateway."}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(_tag(route) for route in table.routes)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**components.schemas, "Problem": PROBLEM}.items())),
            "responses": {name: _refusal(status, text) for status, (name, text) in REFUSALS.items()},
            "parameters": {"IdempotencyKey": _key(required=True), "OptionalIdempotencyKey": _key(required=False)},
            "headers": _headers(policy),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `plk_…`, or a token."}
            },
        },
    }


def render(value: dict[str, Any]) -> bytes:
    """Writes the document, for people too."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}

PROBLEM: Schema = {
    "type": "object",
    "description": "Says why a call was refused (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "Is a URN made from the reason."},
        "title": {"type": "string", "description": "Is the reason in words."},
        "status": {"type": "integer", "description": "Repeats the HTTP status."},
        "detail": {"type": "string", "description": "Explains it to a person, in English."},
        "reason": {"type": "string", "description": "Names the reason as a constant, for programs."},
        "domain": {"type": "string", "description": "Names the part of Plaudit whose reason it is."},
        "metadata": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Holds the variable parts of the detail.",
        },
        "errors": {
            "type": "array",
            "description": "Names each field at fault; empty where none is.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
            },
        },
        "correlationId": {"type": "string", "description": "Finds the call in the logs."},
    },
    "required": ["type", "title", "status", "detail", "reason", "domain", "metadata", "errors", "correlationId"],
}


def _headers(policy: Policy) -> dict[str, Any]:
    texts = {
        "X-Correlation-Id": "Finds the call in the logs. Yours, where you sent one.",
        "RateLimit-Policy": "Says how many calls may be made at once (q); an empty quota fills within w seconds.",
        "RateLimit": "Says how many calls remain (r) and in how many seconds the quota is full again (t).",
        "RateLimit-Limit": f"Is the quota, {policy.burst} as this gateway is set up.",
        "RateLimit-Remaining": "Is what remains of it.",
        "RateLimit-Reset": "Is the number of seconds until it is full again.",
        "Retry-After": "Says after how many seconds to try again.",
        "Idempotency-Replayed": "Is `true` where the answer stood before this call.",
    }
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}


def _refer(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _refusal(status: str, text: str) -> dict[str, Any]:
    headers = ["X-Correlation-Id", *(["Retry-After"] if status in RETRIED else [])]
    return {
        "description": text,
        "headers": {name: _refer("headers", name) for name in headers},
        "content": {MEDIA_TYPE: {"schema": _refer("schemas", "Problem")}},
    }


def _key(*, required: bool) -> dict[str, Any]:
    text = "Identifies the request; chosen by you. The same key with the same content gives the first answer again."
    return {
        "name": KEY_HEADER,
        "in": "header",
        "required": required,
        "description": text,
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": ID_TEXT},
        "example": "3f1c6f0e-order-1001",
    }


def _operation(route: Route, components: Components) -> dict[str, Any]:
    name = route.method.full_name
    scope = route.method.GetOptions().Extensions[options_pb2.required_scope]
    operation: dict[str, Any] = {
        "operationId": route.method.name[:1].lower() + route.method.name[1:],
        "summary": comments.summary(name),
        "description": f"{comments.rest(name)}\n\nNeeds the scope `{scope}`.".strip(),
        "tags": [_tag(route)],
        "parameters": [
            *(_path_parameter(each, components) for each in route.variables),
            *(_query_parameter(each, components) for each in parameters(route) if each.fields[0].name != REQUEST_ID),
        ],
        "responses": _responses(route, components),
        "x-required-scope": scope,
    }
    if REQUEST_ID in route.method.input_type.fields_by_name:
        which = "IdempotencyKey" if key_is_required(route) else "OptionalIdempotencyKey"
        operation["parameters"].append(_refer("parameters", which))
    if route.body:
        operation["requestBody"] = _body(route, components)
    return operation


def _tag(route: Route) -> str:
    """Groups by the first noun of the path, behind the version."""
    noun = route.segments[1]
    assert noun is not None, f"{route.template}: a noun follows the version."
    return noun.replace("-", " ").capitalize()


def _path_parameter(variable: Variable, components: Components) -> dict[str, Any]:
    schema = components.field(variable.fields[-1])
    schema |= {"minLength": 1}
    return {
        "name": variable.name,
        "in": "path",
        "required": True,
        "description": schema.pop("description"),
        "schema": schema,
        "example": examples.parameter(variable.fields[-1]) or "id-1",
    }


def _query_parameter(parameter: Parameter, components: Components) -> dict[str, Any]:
    field = parameter.fields[-1]
    schema = components.field(field)
    written: dict[str, Any] = {
        "name": parameter.name,
        "in": "query",
        "required": names.has_behaviour(field, field_behavior_pb2.REQUIRED),
        "description": schema.pop("description"),
        "schema": schema,
    }
    example = examples.parameter(field)
    return {**written, "example": example} if example is not None else written


def _body(route: Route, components: Components) -> dict[str, Any]:
    """Describes the body: without what the path and the Idempotency-Key say."""
    method = route.method
    message = method.input_type if route.body == "*" else method.input_type.fields_by_name[route.body].message_type
    assert message is not None, "A body is a message."
    left_out = {each.fields[-1].name for each in route.variables if each.fields[-1].containing_type is message}
    left_out |= {REQUEST_ID} if route.body == "*" else set()
    is_partial = route.body != "*" and _is_partial(method.input_type.fields_by_name[route.body])
    schema = components.body(method.name + BODY_SUFFIX, message, left_out=frozenset(left_out), partial=is_partial)
    example = examples.sent(message, left_out=frozenset(left_out))
    if is_partial:
        example = dict(list(example.items())[-1:])
    required = is_partial or "required" in components.schemas[method.name + BODY_SUFFIX] or route.body != "*"
    return {"required": required, "content": {JSON_TYPE: {"schema": schema, "example": example}}}


def _is_partial(field: FieldDescriptor) -> bool:
    return field.GetOptions().Extensions[options_pb2.partial]


def _responses(route: Route, components: Components) -> dict[str, Any]:
    output = route.method.output_type
    message = output.fields_by_name[route.response_body].message_type if route.response_body else output
    assert message is not None, "A response body is a message."
    if route.is_stream:
        content: dict[str, Any] = {STREAM_TYPE: {"schema": {"type": "string"}}}
    else:
        content = {JSON_TYPE: {"schema": components.reference(message), "example": examples.received(message)}}
    headers = ["X-Correlation-Id", "RateLimit-Policy", "RateLimit", "RateLimit-Limit", "RateLimit-Remaining"]
    headers += ["RateLimit-Reset", *(["Idempotency-Replayed"] if "replayed" in output.fields_by_name else [])]
    judged = " Each item has its own result." if items.itemized_field(route.method) else ""
    refusals = REFUSALS if route.body else READ_REFUSALS
    return {
        "200": {
            "description": (comments.of(message.full_name) or "It was done.") + judged,
            "headers": {name: _refer("headers", name) for name in headers},
            "content": content,
        },
        **{status: _refer("responses", name) for status, (name, _) in REFUSALS.items() if status in refusals},
    }
