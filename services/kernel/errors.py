"""Refusals: what the world may not do, said so that people and programs can act on it.

A `DomainError` is an answer, not an accident. Services build theirs in their own `errors.py`; the constructors here
are those that every service shares, in the order of `plaudit.type.v1.ErrorReason`. Broken invariants are assertions.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

KERNEL_DOMAIN = "plaudit"


class Code(enum.Enum):
    """The canonical status codes, by the names that gRPC gives them."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


TRANSIENT_CODES = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.DEADLINE_EXCEEDED)


@dataclass(frozen=True, slots=True)
class Violation:
    """Names one field that is at fault, in lowerCamelCase with dots and brackets, and says what is wrong with it."""

    field: str
    message: str


# Not frozen: a context manager made by contextlib sets the traceback of whatever passes through it.
@dataclass(eq=False)
class DomainError(Exception):
    """One refusal. `reason` is a constant of an `ErrorReason`; whatever varies in `message` is in `metadata` too."""

    code: Code
    reason: str
    message: str
    domain: str = KERNEL_DOMAIN
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None

    @property
    def is_transient(self) -> bool:
        """Tells whether the same thing may succeed later with nothing changed, so that it is waited for."""
        return self.code in TRANSIENT_CODES

    def __str__(self) -> str:
        """Reads like a log line: the reason, then the sentence."""
        return f"{self.reason}: {self.message}"


def draining() -> DomainError:
    """Says that this server is shutting down."""
    return DomainError(Code.UNAVAILABLE, "DRAINING", "The server is shutting down; try again.", retry_after_s=0.2)


def credential_invalid(message: str) -> DomainError:
    """Says that no valid credential came with the call."""
    return DomainError(Code.UNAUTHENTICATED, "CREDENTIAL_INVALID", message)


def scope_missing(scope: str) -> DomainError:
    """Says which scope the credential lacks."""
    message = f"The credential lacks the scope {scope}."
    return DomainError(Code.PERMISSION_DENIED, "SCOPE_MISSING", message, metadata={"scope": scope})


def rate_limited(limit: int, retry_after_s: float) -> DomainError:
    """Says that the caller sends too fast, and when to come back."""
    message = f"More than {limit} calls a second; try again in {retry_after_s:.1f} s."
    return DomainError(
        Code.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        message,
        metadata={"limit": str(limit)},
        retry_after_s=retry_after_s,
    )


def field_invalid(*violations: Violation) -> DomainError:
    """Says which fields are at fault; the first one is named in the message."""
    assert violations, "A refused field needs a name."
    first = violations[0]
    return DomainError(
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        f"{first.field}: {first.message}",
        metadata={"field": first.field},
        violations=violations,
    )


def request_id_reused(fields: Sequence[str]) -> DomainError:
    """Says that the request id stands for other content, and which fields differ."""
    assert fields, "A reused id needs a differing field."
    return DomainError(
        Code.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        f"The id was used before with other content; these differ: {', '.join(fields)}.",
        metadata={"fields": ",".join(fields)},
        violations=tuple(Violation(name, "differs from the first request of this id") for name in fields),
    )


def queue_full(limit: int) -> DomainError:
    """Says that the write path has no room."""
    message = f"More than {limit} writes are waiting; try again."
    metadata = {"limit": str(limit)}
    return DomainError(Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", message, metadata=metadata, retry_after_s=0.5)


def dependency_unavailable(dependency: str) -> DomainError:
    """Says which part did not answer; the same request id gives the definite answer later."""
    return DomainError(
        Code.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        f"The {dependency} did not answer; try again under the same request id.",
        metadata={"dependency": dependency},
        retry_after_s=1.0,
    )


def concurrent_update(resource: str, resource_id: str) -> DomainError:
    """Says that the etag is an old one."""
    return DomainError(
        Code.ABORTED,
        "CONCURRENT_UPDATE",
        f"The {resource} {resource_id} changed since it was read; read it again.",
        metadata={"resource": resource, "id": resource_id},
        retry_after_s=0.0,
    )


def invariant_broken(correlation_id: str) -> DomainError:
    """Says that the fault is ours, and under which id the log has it."""
    return DomainError(
        Code.INTERNAL,
        "INVARIANT_BROKEN",
        f"An internal error occurred; quote {correlation_id} to support.",
        metadata={"correlationId": correlation_id},
    )


def route_not_found(path: str) -> DomainError:
    """Says that nothing answers there."""
    return DomainError(Code.NOT_FOUND, "ROUTE_NOT_FOUND", f"Nothing answers at {path}.", metadata={"path": path})


def body_too_large(limit_bytes: int) -> DomainError:
    """Says how large a body may be."""
    message = f"The body is larger than {limit_bytes} bytes; send fewer items at a time."
    metadata = {"limitBytes": str(limit_bytes)}
    return DomainError(Code.INVALID_ARGUMENT, "BODY_TOO_LARGE", message, metadata=metadata)


def deadline_exceeded() -> DomainError:
    """Says that time ran out."""
    message = "The deadline passed; ask again under the same request id for the definite answer."
    return DomainError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message)
