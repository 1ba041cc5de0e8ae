"""The ledger's refusals, one constructor per `ErrorReason`, in order of precedence.

What an operation is refused with is an outcome: it is stored under its request id and given again for ever.
"""

from collections.abc import Mapping
from datetime import datetime

from services.kernel import times
from services.kernel.errors import Code, DomainError

DOMAIN = "ledger.plaudit"
# What is posted is sealed within this time.
SEAL_WAIT_S = 60.0


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


def earn_not_found(earn_request_id: str) -> DomainError:
    """Says that the program has no such earn."""
    message = f"There is no earn {earn_request_id}."
    return _refusal(Code.NOT_FOUND, "EARN_NOT_FOUND", message, {"earnRequestId": earn_request_id})


def earn_pending(earn_request_id: str) -> DomainError:
    """Says that the earn has yet to take effect, so that it is cancelled and not taken back."""
    message = f"The earn {earn_request_id} is pending; cancel it instead."
    return _refusal(Code.FAILED_PRECONDITION, "EARN_PENDING", message, {"earnRequestId": earn_request_id})


def earn_not_pending(earn_request_id: str) -> DomainError:
    """Says that the earn has taken effect or was cancelled."""
    message = f"The earn {earn_request_id} is not pending: it has taken effect or was cancelled."
    return _refusal(Code.FAILED_PRECONDITION, "EARN_NOT_PENDING", message, {"earnRequestId": earn_request_id})


def earn_taken_back(earn_request_id: str) -> DomainError:
    """Says that nothing is left of the earn to take back."""
    message = f"The earn {earn_request_id} was taken back in full before."
    return _refusal(Code.FAILED_PRECONDITION, "EARN_TAKEN_BACK", message, {"earnRequestId": earn_request_id})


def target_not_found(target_request_id: str) -> DomainError:
    """Says that the program has no such spend or capture."""
    message = f"There is no spend or capture {target_request_id}."
    return _refusal(Code.NOT_FOUND, "TARGET_NOT_FOUND", message, {"targetRequestId": target_request_id})


def target_reversed(target_request_id: str) -> DomainError:
    """Says that the spend or capture was reversed in full before."""
    message = f"{target_request_id} was reversed in full before."
    return _refusal(Code.FAILED_PRECONDITION, "TARGET_REVERSED", message, {"targetRequestId": target_request_id})


def part_too_large(left: int, requested: int) -> DomainError:
    """Says how much is left of the target and how much was asked for."""
    message = f"{requested} were asked for and {left} are left."
    metadata = {"left": str(left), "requested": str(requested)}
    return _refusal(Code.FAILED_PRECONDITION, "PART_TOO_LARGE", message, metadata)


def budget_exists(budget_id: str) -> DomainError:
    """Says that another request made a budget under the id."""
    message = f"There is a budget {budget_id} already, which another request made."
    return _refusal(Code.ALREADY_EXISTS, "BUDGET_EXISTS", message, {"budgetId": budget_id})


def budget_not_found(budget_id: str) -> DomainError:
    """Says that the program has no such budget of the asset."""
    message = f"There is no budget {budget_id} of this asset."
    return _refusal(Code.NOT_FOUND, "BUDGET_NOT_FOUND", message, {"budgetId": budget_id})


def budget_closed(budget_id: str) -> DomainError:
    """Says that the budget was closed."""
    return _refusal(
        Code.FAILED_PRECONDITION, "BUDGET_CLOSED", f"The budget {budget_id} is closed.", {"budgetId": budget_id}
    )


def rate_not_found(from_asset: str, to_asset: str) -> DomainError:
    """Says that no rate is stored between two assets."""
    message = f"There is no rate from {from_asset} to {to_asset}; set one first."
    metadata = {"fromAsset": from_asset, "toAsset": to_asset}
    return _refusal(Code.NOT_FOUND, "RATE_NOT_FOUND", message, metadata)


def exchange_too_small(amount_min: int) -> DomainError:
    """Says what an exchange takes at least."""
    message = f"Less than {amount_min} gives nothing at the rate in force."
    return _refusal(Code.FAILED_PRECONDITION, "EXCHANGE_TOO_SMALL", message, {"amountMin": str(amount_min)})


def lot_life_empty(effective_at: datetime, expires_at: datetime) -> DomainError:
    """Says that the lot would end before it begins."""
    begin, end = times.to_text(effective_at), times.to_text(expires_at)
    message = f"A lot that takes effect at {begin} cannot expire at {end}."
    return _refusal(Code.FAILED_PRECONDITION, "LOT_LIFE_EMPTY", message, {"effectiveTime": begin, "expireTime": end})


def budget_exhausted(budget_id: str, left: int, requested: int) -> DomainError:
    """Says how much the budget has left and how much was asked for."""
    message = f"The budget {budget_id} has {left} left and {requested} were asked for."
    metadata = {"budgetId": budget_id, "left": str(left), "requested": str(requested)}
    return _refusal(Code.FAILED_PRECONDITION, "BUDGET_EXHAUSTED", message, metadata)


def insufficient_balance(available: int, requested: int) -> DomainError:
    """Says how much there is and how much was asked for."""
    message = f"{requested} were asked for and {available} are available."
    metadata = {"available": str(available), "requested": str(requested)}
    return _refusal(Code.FAILED_PRECONDITION, "INSUFFICIENT_BALANCE", message, metadata)


def balance_limit(limit: int) -> DomainError:
    """Says that the wallet would grow too large."""
    message = f"The balance would pass {limit}."
    return _refusal(Code.FAILED_PRECONDITION, "BALANCE_LIMIT", message, {"limit": str(limit)})


def linked_refused(request_id: str, reason: str) -> DomainError:
    """Says which operation of the same linked call was refused, and why."""
    message = f"{request_id} of the same linked call was refused with {reason}, so this did not happen."
    return _refusal(Code.FAILED_PRECONDITION, "LINKED_REFUSED", message, {"requestId": request_id, "reason": reason})


def operation_not_found(request_id: str) -> DomainError:
    """Says that the program has no such operation."""
    message = f"There is no operation {request_id}; to be sure that it happens, send it again under the same id."
    return _refusal(Code.NOT_FOUND, "OPERATION_NOT_FOUND", message, {"requestId": request_id})


def entry_not_found(entry_id: str) -> DomainError:
    """Says that the journal has no such row."""
    message = f"There is no entry {entry_id}: no operation of that request id, or none with that leg."
    return _refusal(Code.NOT_FOUND, "ENTRY_NOT_FOUND", message, {"entryId": entry_id})


def entry_not_sealed(entry_id: str) -> DomainError:
    """Says that the row is too new to be proven, and when it will not be any more."""
    message = f"The entry {entry_id} has yet to be sealed, which takes {SEAL_WAIT_S:.0f} s at most; come back then."
    return DomainError(
        Code.FAILED_PRECONDITION,
        "ENTRY_NOT_SEALED",
        message,
        domain=DOMAIN,
        metadata={"entryId": entry_id},
        retry_after_s=SEAL_WAIT_S,
    )


def seal_broken(partition: int, block: int) -> DomainError:
    """Says that the rows of a block are not what was sealed, so that none of them can be proven."""
    message = f"Block {block} of partition {partition} is not what was sealed; verify it to see more."
    metadata = {"partition": str(partition), "block": str(block)}
    return _refusal(Code.FAILED_PRECONDITION, "SEAL_BROKEN", message, metadata)


def head_not_found(day: str) -> DomainError:
    """Says that there is nothing to sign, or that nothing was signed for the day."""
    message = f"There is no head of {day}: nothing was sealed then, or the day has yet to end."
    return _refusal(Code.NOT_FOUND, "HEAD_NOT_FOUND", message, {"day": day})


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
