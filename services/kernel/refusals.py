"""A refusal inside a response, for methods that judge many items in one call."""

from plaudit.type.v1 import refusal_pb2

from services.kernel.errors import DomainError


def to_proto(error: DomainError) -> refusal_pb2.Refusal:
    """Says what a status would say had the item been sent alone."""
    names = [violation.field for violation in error.violations]
    return refusal_pb2.Refusal(
        reason=error.reason,
        message=error.message,
        field=names[0] if names else "",
        fields=names,
        metadata=dict(error.metadata),
    )
