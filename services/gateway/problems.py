"""Problem details (RFC 9457): what a refusal looks like over HTTP. Every answer that is not a success is one.

The same facts as a gRPC status (AIP-193): reason, domain, metadata, the fields at fault, when to try again.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import Response

from services.gateway.malformed import MalformedError
from services.kernel import errors
from services.kernel.errors import Code, DomainError, Violation

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:plaudit:problem:"

STATUS_BY_CODE = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.FAILED_PRECONDITION: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.INTERNAL: 500,
}
STATUS_BY_REASON = {"BODY_TOO_LARGE": 413}


@dataclass(eq=False)
class HttpError(Exception):
    """A refusal whose status comes from HTTP itself: a method that is not allowed, a type that is not understood."""

    status: int
    error: DomainError
    headers: dict[str, str] = field(default_factory=dict)


def method_not_allowed(allowed: str) -> HttpError:
    """Says which methods the path answers to."""
    message = f"The path answers to {allowed}."
    error = DomainError(Code.NOT_FOUND, "ROUTE_NOT_FOUND", message, metadata={"allow": allowed})
    return HttpError(405, error, {"allow": allowed})


def media_type_unsupported(header: str, wanted: str) -> HttpError:
    """Says what the body must be."""
    return HttpError(415, errors.field_invalid(Violation(header, f"must be {wanted}")))


def header_invalid(name: str, message: str) -> DomainError:
    """Says which header is missing or malformed."""
    return errors.field_invalid(Violation(name, message))


def from_malformed(malformed: MalformedError) -> DomainError:
    """Turns what a decoder raised into a refusal; a fault without a path is one of the body."""
    return errors.field_invalid(*(Violation(each.field or "body", each.message) for each in malformed.violations))


def status_of(error: DomainError) -> int:
    """Gives the HTTP status of a refusal."""
    return STATUS_BY_REASON.get(error.reason) or STATUS_BY_CODE[error.code]


def response(refusal: DomainError | HttpError, correlation_id: str) -> Response:
    """Makes the answer to a refused request."""
    if isinstance(refusal, HttpError):
        error, status, headers = refusal.error, refusal.status, refusal.headers
    else:
        error, status, headers = refusal, status_of(refusal), {}
    sent = {"cache-control": "no-store", **headers}
    if status == 401:
        sent["www-authenticate"] = 'Bearer realm="plaudit"'
    if error.retry_after_s is not None:
        sent["retry-after"] = str(math.ceil(error.retry_after_s))
    body = orjson.dumps(document(error, correlation_id, status=status))
    return Response(body, status, headers=sent, media_type=MEDIA_TYPE)


def document(error: DomainError, correlation_id: str, *, status: int) -> dict[str, Any]:
    """Makes the problem document itself."""
    return {
        "type": TYPE_PREFIX + error.reason.lower().replace("_", "-"),
        "title": error.reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.message,
        "reason": error.reason,
        "domain": error.domain,
        "metadata": dict(error.metadata),
        "errors": [{"field": each.field, "message": each.message} for each in error.violations],
        "correlationId": correlation_id,
    }
