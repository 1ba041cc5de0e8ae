"""Gamification's refusals, one constructor per `ErrorReason`, in order of precedence."""

from collections.abc import Mapping

from services.kernel.errors import Code, DomainError, Violation

DOMAIN = "gamification.plaudit"


def definition_not_found(kind: str, definition_id: str) -> DomainError:
    """Says that the program has no such definition."""
    metadata = {"kind": kind, "definitionId": definition_id}
    return _refusal(Code.NOT_FOUND, "DEFINITION_NOT_FOUND", f"There is no {kind} {definition_id}.", metadata)


def member_not_found(member_id: str) -> DomainError:
    """Says that the member is not known here."""
    return _refusal(Code.NOT_FOUND, "MEMBER_NOT_FOUND", f"There is no member {member_id}.", {"memberId": member_id})


def definition_exists(kind: str, definition_id: str) -> DomainError:
    """Says that there is a definition of that kind and id."""
    metadata = {"kind": kind, "definitionId": definition_id}
    return _refusal(Code.ALREADY_EXISTS, "DEFINITION_EXISTS", f"There is a {kind} {definition_id}.", metadata)


def metric_fixed(metric_id: str, field: str) -> DomainError:
    """Says that what a metric counts cannot change."""
    message = f"{field}: what the metric {metric_id} counts cannot change; make another one."
    return _refusal(Code.FAILED_PRECONDITION, "METRIC_FIXED", message, {"metricId": metric_id, "field": field})


def expression_invalid(field: str, fault: str) -> DomainError:
    """Says which expression is wrong, and why."""
    return DomainError(
        Code.INVALID_ARGUMENT,
        "EXPRESSION_INVALID",
        f"{field}: {fault}",
        domain=DOMAIN,
        metadata={"field": field},
        violations=(Violation(field, fault),),
    )


def definition_limit(kind: str, limit: int) -> DomainError:
    """Says that the program has as many definitions of the kind as it can."""
    message = f"A program has at most {limit} definitions of the kind {kind}; update one that is archived."
    return _refusal(Code.FAILED_PRECONDITION, "DEFINITION_LIMIT", message, {"kind": kind, "limit": str(limit)})


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
