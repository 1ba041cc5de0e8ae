"""The referral service's refusals, one constructor per `ErrorReason`, in order of precedence."""

from collections.abc import Mapping

from services.kernel.errors import Code, DomainError, Violation

DOMAIN = "referral.plaudit"


def referral_program_not_found(referral_program_id: str) -> DomainError:
    """Says that the program has no such referral program, or not in that version."""
    message = f"There is no referral program {referral_program_id}."
    metadata = {"referralProgramId": referral_program_id}
    return _refusal(Code.NOT_FOUND, "REFERRAL_PROGRAM_NOT_FOUND", message, metadata)


def referral_program_exists(referral_program_id: str) -> DomainError:
    """Says that there is a referral program of that id."""
    message = f"There is a referral program {referral_program_id}."
    metadata = {"referralProgramId": referral_program_id}
    return _refusal(Code.ALREADY_EXISTS, "REFERRAL_PROGRAM_EXISTS", message, metadata)


def referral_program_archived(referral_program_id: str) -> DomainError:
    """Says that the referral program is over."""
    message = f"The referral program {referral_program_id} is archived; make a new one."
    metadata = {"referralProgramId": referral_program_id}
    return _refusal(Code.FAILED_PRECONDITION, "REFERRAL_PROGRAM_ARCHIVED", message, metadata)


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


def code_not_found(code: str) -> DomainError:
    """Says that no link leads from that code."""
    return _refusal(Code.NOT_FOUND, "CODE_NOT_FOUND", f"No link leads from {code}.", {"code": code})


def code_taken(code: str) -> DomainError:
    """Says that another member has that code, or one that looks like it."""
    message = f"The code {code}, or one that looks like it, is taken; wish for another one."
    return _refusal(Code.ALREADY_EXISTS, "CODE_TAKEN", message, {"code": code})


def code_limit(limit: int) -> DomainError:
    """Says that the member has as many codes as one may have."""
    message = f"The member has {limit} codes already, which is as many as one may have."
    return _refusal(Code.FAILED_PRECONDITION, "CODE_LIMIT", message, {"limit": str(limit)})


def referral_not_found(referral_id: str) -> DomainError:
    """Says that the program has no such referral."""
    message = f"There is no referral {referral_id}."
    return _refusal(Code.NOT_FOUND, "REFERRAL_NOT_FOUND", message, {"referralId": referral_id})


def referral_state_invalid(referral_id: str, state: str) -> DomainError:
    """Says that the referral does not wait for a reviewer."""
    message = f"The referral {referral_id} is {state} and does not wait for a reviewer."
    metadata = {"referralId": referral_id, "state": state}
    return _refusal(Code.FAILED_PRECONDITION, "REFERRAL_STATE_INVALID", message, metadata)


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
