"""How a refusal is kept, so that it is given again for ever as it was given first."""

from services.kernel.errors import Code, DomainError
from services.ledger.errors import DOMAIN
from services.ledger.model import Detail


def to_stored(refusal: DomainError) -> Detail:
    """Writes a refusal as it is stored with its request id."""
    return {
        "code": refusal.code.value,
        "reason": refusal.reason,
        "message": refusal.message,
        "metadata": dict(refusal.metadata),
    }


def from_stored(stored: Detail) -> DomainError:
    """Reads what `to_stored` wrote."""
    return DomainError(
        Code(stored["code"]), stored["reason"], stored["message"], domain=DOMAIN, metadata=stored["metadata"]
    )
