"""Notify's refusals, one constructor per `ErrorReason`, in order of precedence."""

from collections.abc import Mapping

from services.kernel.errors import Code, DomainError, Violation

DOMAIN = "notify.plaudit"


def trigger_not_found(trigger_id: str) -> DomainError:
    """Says that the program has no such trigger, or not in that version."""
    message = f"There is no trigger {trigger_id}."
    return _refusal(Code.NOT_FOUND, "TRIGGER_NOT_FOUND", message, {"triggerId": trigger_id})


def template_not_found(template_id: str) -> DomainError:
    """Says that the program has no such template, or not in that version."""
    message = f"There is no template {template_id}."
    return _refusal(Code.NOT_FOUND, "TEMPLATE_NOT_FOUND", message, {"templateId": template_id})


def delivery_not_found(delivery_id: str) -> DomainError:
    """Says that the program has no such delivery."""
    message = f"There is no delivery {delivery_id}."
    return _refusal(Code.NOT_FOUND, "DELIVERY_NOT_FOUND", message, {"deliveryId": delivery_id})


def endpoint_not_found(endpoint_id: str) -> DomainError:
    """Says that the program has no such endpoint."""
    message = f"There is no endpoint {endpoint_id}."
    return _refusal(Code.NOT_FOUND, "ENDPOINT_NOT_FOUND", message, {"endpointId": endpoint_id})


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


def template_invalid(locale: str, part: str, fault: str) -> DomainError:
    """Says which text of a template is broken, in which language, and why."""
    return DomainError(
        Code.INVALID_ARGUMENT,
        "TEMPLATE_INVALID",
        f"{part} in {locale or 'every language'}: {fault}",
        domain=DOMAIN,
        metadata={"locale": locale, "part": part},
        violations=(Violation(f"template.{part}", fault),),
    )


def sender_missing() -> DomainError:
    """Says that nobody has said yet how the program writes."""
    message = "Nobody has said how the program writes; put its message settings first."
    return _refusal(Code.FAILED_PRECONDITION, "SENDER_MISSING", message, {})


def address_refused(url: str) -> DomainError:
    """Says that an endpoint must be public."""
    return DomainError(
        Code.INVALID_ARGUMENT,
        "ADDRESS_REFUSED",
        f"endpoint.url: {url} is not a public address; use https and a public host.",
        domain=DOMAIN,
        metadata={"url": url},
        violations=(Violation("endpoint.url", "must be https, and its host must have public addresses only"),),
    )


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
