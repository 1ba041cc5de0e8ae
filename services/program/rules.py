"""The rules: expressions checked and compiled once, decisions that are pure.

A decision has two halves. `evaluate` looks at one event and one rule: does it match, how much, for whom, under which
key. `settle` then brings in what was paid before (claims) and how much of the caps is used, event by event in the
order of arrival.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import cel

from services.kernel import calendar, expressions
from services.program import errors, model
from services.program.model import Decision, Event, Rule

EXPRESSION_FIELDS = ("condition", "amount", "recipient", "once_per")
JSON_NAMES = {"condition": "condition", "amount": "amount", "recipient": "recipient", "once_per": "oncePer"}
RECIPIENT_LENGTH_MAX = 128
CLAIM_LENGTH_MAX = 256
FIXED = re.compile(r"[0-9]{1,13}\Z")

Claim = tuple[str, str, str]  # rule, member, key
UsageKey = tuple[str, str, str, date]  # rule, member, period, first day


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its expressions ready to run; None for those that it does not have."""

    rule: Rule
    condition: cel.Program | None
    amount: cel.Program | int
    recipient: cel.Program | None
    once_per: cel.Program | None
    sees_member: bool


@dataclass(frozen=True, slots=True)
class Reckoning:
    """When it is decided, and in which zone periods and lives are counted."""

    now: datetime
    zone: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule that matched an event: the decision as far as the event alone tells, and what else it depends on."""

    decision: Decision
    rule: Rule
    claim: Claim | None
    usage: tuple[tuple[model.Cap, UsageKey], ...]


@dataclass(slots=True)
class Usage:
    """How much of one cap is used."""

    amount: int = 0
    count: int = 0


@dataclass
class State:
    """What was paid before, as it is being changed by one batch."""

    claims: set[Claim] = field(default_factory=set)
    usage: dict[UsageKey, Usage] = field(default_factory=dict)
    new_claims: dict[Claim, str] = field(default_factory=dict)
    touched: set[UsageKey] = field(default_factory=set)


def compile_rule(rule: Rule) -> CompiledRule:
    """Checks and compiles the expressions of a rule. Raises EXPRESSION_INVALID with the field and the fault."""
    programs: dict[str, cel.Program | None] = {}
    for name in EXPRESSION_FIELDS:
        text = getattr(rule, name)
        programs[name] = _compile(f"rule.{JSON_NAMES[name]}", text) if text else None
    amount: cel.Program | int | None = int(rule.amount) if FIXED.match(rule.amount) else programs["amount"]
    assert amount is not None, "A rule has an amount."
    return CompiledRule(
        rule=rule,
        condition=programs["condition"],
        amount=amount,
        recipient=programs["recipient"],
        once_per=programs["once_per"],
        sees_member=any(program is not None and "member" in program.variables() for program in programs.values()),
    )


def _compile(name: str, text: str) -> cel.Program:
    try:
        return expressions.compile_expression(text, "event", "member")
    except expressions.ExpressionError as error:
        raise errors.expression_invalid(name, str(error)) from error


def evaluate(
    compiled: Iterable[CompiledRule], event: Event, member: model.Member, reckoning: Reckoning
) -> list[Candidate]:
    """Runs the rules of an event's type on it; gives those that matched, in their order."""
    seen = member.visible()
    context = cel.Context({"event": event.visible(), "member": seen})
    found = []
    for each in compiled:
        if each.rule.holds_at(event.occurred_at):
            candidate = _evaluate_one(each, event, context, reckoning)
            if candidate is not None:
                seen_then = seen if each.sees_member else None
                found.append(replace(candidate, decision=replace(candidate.decision, member_seen=seen_then)))
    return found


def _evaluate_one(compiled: CompiledRule, event: Event, context: cel.Context, reckoning: Reckoning) -> Candidate | None:
    rule = compiled.rule
    decision = Decision(
        event_id=event.event_id,
        place=0,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        recipient_id=event.member_id,
        asset=rule.asset,
        amount=0,
        expires_at=None,
        denial=None,
        member_seen=None,
    )
    try:
        if compiled.condition is not None and compiled.condition.execute(context) is not True:
            return None
        amount = compiled.amount if isinstance(compiled.amount, int) else compiled.amount.execute(context)
        recipient = compiled.recipient.execute(context) if compiled.recipient else event.member_id
        key = compiled.once_per.execute(context) if compiled.once_per else None
    except expressions.FAULTS as error:
        message = f"The event does not have what the rule looks at: {_fault(error)}"
        return Candidate(decision.denied("INPUT_MISSING", message), rule, None, ())
    if not _is_member_id(recipient):
        denied = decision.denied("RECIPIENT_INVALID", "The rule gives no member id for the recipient.")
        return Candidate(denied, rule, None, ())
    decision = replace(decision, recipient_id=recipient)
    fault = _amount_fault(amount)
    if fault:
        return Candidate(decision.denied(*fault), rule, None, ())
    expires_at = _expires_at(rule.expiry, event, reckoning) if rule.expiry else None
    priced = replace(decision, amount=amount, expires_at=expires_at, terms=_terms(rule, reckoning))
    return _keyed(rule, priced, event, key, reckoning.zone)


def _expires_at(expiry: model.Expiry, event: Event, reckoning: Reckoning) -> datetime:
    """Tells when value ends; where that rolls, as of now, as the ledger will: to be given value is an activity."""
    start = max(event.occurred_at, reckoning.now) if expiry.is_rolling else event.occurred_at
    return calendar.span_end(start, months=expiry.months, days=expiry.days, end=expiry.end, zone=reckoning.zone)


def _terms(rule: Rule, reckoning: Reckoning) -> model.Terms:
    rolling = rule.expiry if rule.expiry is not None and rule.expiry.is_rolling else None
    return model.Terms(
        is_promotional=rule.is_promotional,
        campaign_id=rule.campaign_id,
        budget_id=rule.budget_id,
        rolling=rolling,
        time_zone=reckoning.zone if rolling else "",
        is_pending=rule.is_pending,
    )


def _keyed(rule: Rule, decision: Decision, event: Event, key: Any, zone: str) -> Candidate:
    claim = None
    if rule.once_per:
        text = str(key)
        if key is None or not text or len(text) > CLAIM_LENGTH_MAX or "\0" in text:
            message = f"The key of payments that happen once must have 1 to {CLAIM_LENGTH_MAX} characters."
            return Candidate(decision.denied("INPUT_MISSING", message), rule, None, ())
        claim = (rule.rule_id, decision.recipient_id, text)
    usage = tuple(
        (cap, (rule.rule_id, decision.recipient_id, cap.period.value, _start(event, cap, zone))) for cap in rule.caps
    )
    return Candidate(decision, rule, claim, usage)


def _start(event: Event, cap: model.Cap, zone: str) -> date:
    return calendar.period_start(event.occurred_at, cap.period, zone)


def _fault(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"no {text}" if isinstance(error, KeyError) else text[:200]


def _is_member_id(value: Any) -> bool:
    return (
        isinstance(value, str) and 0 < len(value) <= RECIPIENT_LENGTH_MAX and value.isprintable() and "/" not in value
    )


def _amount_fault(amount: Any) -> tuple[str, str] | None:
    if isinstance(amount, bool) or not isinstance(amount, int):
        return "AMOUNT_INVALID", f"The amount is {type(amount).__name__}, not a whole number; use int(…)."
    if amount > model.AMOUNT_MAX:
        return "AMOUNT_INVALID", f"The amount is more than {model.AMOUNT_MAX}."
    if amount < 1:
        return "AMOUNT_ZERO", f"The amount is {amount}: nothing to pay."
    return None


def settle(candidate: Candidate, state: State) -> Decision:
    """Applies what was paid before to a candidate, and counts what it pays now."""
    decision = candidate.decision
    if decision.denial is not None:
        return decision
    if candidate.claim is not None and candidate.claim in state.claims:
        return decision.denied("ALREADY_PAID", f"The rule paid for {candidate.claim[2]} before.")
    amount = decision.amount
    for cap, key in candidate.usage:
        used = state.usage.setdefault(key, Usage())
        left = cap.max_amount - used.amount if cap.max_amount else amount
        if left <= 0 or (cap.max_count and used.count >= cap.max_count):
            period = cap.period.value.lower()
            return decision.denied("CAP_REACHED", f"The member has all that the rule gives in a {period}.")
        amount = min(amount, left)
    decision = replace(
        decision, amount=amount, counted=tuple(dict.fromkeys((key[2], key[3]) for _, key in candidate.usage))
    )
    for key in counted_keys(decision):
        state.usage[key].amount += amount
        state.usage[key].count += 1
        state.touched.add(key)
    if candidate.claim is not None:
        state.claims.add(candidate.claim)
        state.new_claims[candidate.claim] = decision.event_id
    return decision


def counted_keys(decision: Decision) -> list[UsageKey]:
    """Lists the usages that a decision counts in."""
    return [(decision.rule_id, decision.recipient_id, period, start) for period, start in decision.counted]


def returned_usage(refused: Iterable[Decision]) -> dict[UsageKey, Usage]:
    """Adds up what decisions that came to nothing counted in each usage."""
    returned: dict[UsageKey, Usage] = {}
    for decision in refused:
        for key in counted_keys(decision):
            usage = returned.setdefault(key, Usage())
            usage.amount += decision.amount
            usage.count += 1
    return returned
