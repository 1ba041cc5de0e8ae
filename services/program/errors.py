"""The program's refusals, one constructor per `ErrorReason`, in order of precedence."""

from collections.abc import Mapping

from services.kernel.errors import Code, DomainError, Violation

DOMAIN = "program.plaudit"


def program_not_found(program_id: str) -> DomainError:
    """Says that there is no such program."""
    return _refusal(
        Code.NOT_FOUND, "PROGRAM_NOT_FOUND", f"There is no program {program_id}.", {"programId": program_id}
    )


def program_exists(program_id: str) -> DomainError:
    """Says that there is a program of that id, and a different one."""
    message = f"There is a program {program_id} with other content."
    return _refusal(Code.ALREADY_EXISTS, "PROGRAM_EXISTS", message, {"programId": program_id})


def api_key_not_found(key_id: str) -> DomainError:
    """Says that there is no such key."""
    return _refusal(Code.NOT_FOUND, "API_KEY_NOT_FOUND", f"There is no key {key_id}.", {"keyId": key_id})


def event_not_found(event_id: str) -> DomainError:
    """Says that the program has no such event."""
    return _refusal(Code.NOT_FOUND, "EVENT_NOT_FOUND", f"There is no event {event_id}.", {"eventId": event_id})


def occur_time_ahead(occur_time: str, limit_s: int) -> DomainError:
    """Says that the event lies in the future."""
    return DomainError(
        Code.INVALID_ARGUMENT,
        "OCCUR_TIME_AHEAD",
        f"occurTime: {occur_time} is more than {limit_s} s ahead of the clock.",
        domain=DOMAIN,
        metadata={"occurTime": occur_time, "limitSeconds": str(limit_s)},
        violations=(Violation("occurTime", f"must be at most {limit_s} s ahead of the clock"),),
    )


def event_taken_back(event_id: str) -> DomainError:
    """Says that the event was taken back, and so cannot be confirmed."""
    message = f"The event {event_id} was taken back."
    return _refusal(Code.FAILED_PRECONDITION, "EVENT_TAKEN_BACK", message, {"eventId": event_id})


def member_not_found(member_id: str) -> DomainError:
    """Says that the program has no such member."""
    return _refusal(Code.NOT_FOUND, "MEMBER_NOT_FOUND", f"There is no member {member_id}.", {"memberId": member_id})


def rule_not_found(rule_id: str) -> DomainError:
    """Says that the program has no such rule, or not in that version."""
    return _refusal(Code.NOT_FOUND, "RULE_NOT_FOUND", f"There is no rule {rule_id}.", {"ruleId": rule_id})


def rule_exists(rule_id: str) -> DomainError:
    """Says that there is a rule of that id."""
    return _refusal(Code.ALREADY_EXISTS, "RULE_EXISTS", f"There is a rule {rule_id}.", {"ruleId": rule_id})


def rule_archived(rule_id: str) -> DomainError:
    """Says that the rule cannot change any more."""
    message = f"The rule {rule_id} is archived; make a new one."
    return _refusal(Code.FAILED_PRECONDITION, "RULE_ARCHIVED", message, {"ruleId": rule_id})


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


def reward_not_found(reward_id: str) -> DomainError:
    """Says that the program has no such reward."""
    return _refusal(Code.NOT_FOUND, "REWARD_NOT_FOUND", f"There is no reward {reward_id}.", {"rewardId": reward_id})


def reward_exists(reward_id: str) -> DomainError:
    """Says that there is a reward of that id."""
    return _refusal(Code.ALREADY_EXISTS, "REWARD_EXISTS", f"There is a reward {reward_id}.", {"rewardId": reward_id})


def redemption_not_found(redemption_id: str) -> DomainError:
    """Says that the member has no such redemption."""
    message = f"There is no redemption {redemption_id}."
    return _refusal(Code.NOT_FOUND, "REDEMPTION_NOT_FOUND", message, {"redemptionId": redemption_id})


def redemption_state_invalid(redemption_id: str, state: str) -> DomainError:
    """Says that the state of the redemption does not allow the change."""
    message = f"The redemption {redemption_id} is {state}."
    metadata = {"redemptionId": redemption_id, "state": state}
    return _refusal(Code.FAILED_PRECONDITION, "REDEMPTION_STATE_INVALID", message, metadata)


def insufficient_balance(available: str, requested: str) -> DomainError:
    """Says how much the member has and how much the reward costs."""
    message = f"The reward costs {requested} and the member has {available}."
    metadata = {"available": available, "requested": requested}
    return _refusal(Code.FAILED_PRECONDITION, "INSUFFICIENT_BALANCE", message, metadata)


def out_of_stock(reward_id: str) -> DomainError:
    """Says that no code is left; nothing was spent."""
    message = f"The reward {reward_id} has no code left; nothing was spent."
    return _refusal(Code.FAILED_PRECONDITION, "OUT_OF_STOCK", message, {"rewardId": reward_id})


def _refusal(code: Code, reason: str, message: str, metadata: Mapping[str, str]) -> DomainError:
    return DomainError(code, reason, message, domain=DOMAIN, metadata=metadata)
