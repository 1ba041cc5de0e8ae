"""The ledger's refusals, one constructor per `ErrorReason`, in order of precedence.

Each is an outcome: it is stored under its request id and given again for ever.
"""

from collections.abc import Mapping
from datetime import datetime

from services.kernel import times
from services.kernel.errors import Code, DomainError

DOMAIN = "ledger.plaudit"


def hold_not_found(hold_request_id: str) -> DomainError:
    """Says that the program has no such hold."""
    return _refusal(
        Code.NOT_FOUND, "HOLD_NOT_FOUND", f"There is no hold {hold_request_id}.", {"holdRequestId": hold_request_id}
    )


def hold_ended(hold_request_id: str, state: str) -> DomainError:
    """Says that the hold was captured, released or timed out before."""
    message = f"The hold {hold_request_id} is {state} and cannot change again."
    metadata = {"holdRequestId": hold_request_id, "state": state}
    return _refusal(Code.FAILED_PRECONDITION, "HOLD_ENDED", message, metadata)


def target_not_found(target_request_id: str) -> DomainError:
    """Says that the program has no such capture."""
    message = f"There is no capture {target_request_id}."
    return _refusal(Code.NOT_FOUND, "TARGET_NOT_FOUND", message, {"targetRequestId": target_request_id})


def target_reversed(target_request_id: str) -> DomainError:
    """Says that the capture was reversed before."""
    message = f"The capture {target_request_id} was reversed before."
    return _refusal(Code.FAILED_PRECONDITION, "TARGET_REVERSED", message, {"targetRequestId": target_request_id})


def lot_life_empty(effective_at: datetime, expires_at: datetime) -> DomainError:
    """Says that the lot would end before it begins."""
    begin, end = times.to_text(effective_at), times.to_text(expires_at)
    message = f"A lot that takes effect at {begin} cannot expire at {end}."
    return _refusal(Code.FAILED_PRECONDITION, "LOT_LIFE_EMPTY", message, {"effectiveTime": begin, "expireTime": end})


def insufficient_balance(available: int, requested: int) -> DomainError:
    """Says how much there is and how much was asked for."""
    message = f"{requested} were asked for and {available} are available."
    metadata = {"available": str(available), "requested": str(requested)}
    return _refusal(Code.FAILED_PRECONDITION, "INSUFFICIENT_BALANCE", message, metadata)


def balance_limit(limit: int) -> DomainError:
    """Says that the wallet would grow too large."""
    message = f"The balance would pass {limit}."
    return _refusal(Code.FAILED_PRECONDITION, "BALANCE_LIMIT", message, {"limit": str(limit)})


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
