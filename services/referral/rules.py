"""The rules of referring: which touch a sign-up counts for, what qualifies, what a refund is of, when a cap is reached.

Pure: events and versions of referral programs in, answers out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import cel

from services.kernel import calendar, expressions
from services.kernel.calendar import Period
from services.referral import errors, model
from services.referral.model import Attribution, Event, Referral, ReferralProgram

# A code or click id longer than any that there is.
TOUCH_LENGTH_MAX = 64
# More touches than a browser keeps.
TOUCHES_MAX = 20
# Senders' clocks are not ours: a sign-up may seem to come before its click.
CLOCKS_APART_MAX_S = 300
CODE_PROPERTIES = ("referralCode", "referral_code")
CLICK_PROPERTIES = ("clickId", "click_id")
CLICKS_PROPERTIES = ("clickIds", "click_ids")


@dataclass(frozen=True, slots=True)
class Touch:
    """One way in which a sign-up may have come: by a link at an instant, or by a code that was typed."""

    code_key: str
    touched_at: datetime
    click: model.Click | None = None


def compile_condition(field: str, text: str) -> cel.Program | None:
    """Checks and compiles a condition; None for an empty one. Raises EXPRESSION_INVALID with field and fault."""
    if not text:
        return None
    try:
        return expressions.compile_expression(text, "event")
    except expressions.ExpressionError as error:
        raise errors.expression_invalid(field, str(error)) from error


def holds(condition: cel.Program | None, event: Event) -> bool:
    """Tells whether a condition is true of an event; one that cannot be told of it is not."""
    if condition is None:
        return True
    try:
        return condition.execute(cel.Context({"event": event.visible()})) is True
    except expressions.FAULTS:
        return False  # The event lacks what the condition asks for.


def references(event: Event) -> list[str]:
    """Lists what a sign-up names as the way it came: codes and click ids, in no order; none for most events."""
    found: list[Any] = [event.properties.get(name) for name in (*CODE_PROPERTIES, *CLICK_PROPERTIES)]
    for name in CLICKS_PROPERTIES:
        listed = event.properties.get(name)
        found += listed[:TOUCHES_MAX] if isinstance(listed, list) else []
    texts = (each.strip() for each in found if isinstance(each, str))
    return list(dict.fromkeys(text for text in texts if 0 < len(text) <= TOUCH_LENGTH_MAX))


def choose(touches: Iterable[Touch], programs: dict[str, ReferralProgram], event: Event) -> Touch | None:
    """Chooses the touch that a sign-up counts for; `programs` has the referral program of each code, by its key.

    Only touches of live referral programs whose sign-up it is count, within the days of attribution: the last one, or
    the first one where the referral program of the last one says so.
    """
    valid = sorted(
        (each for each in touches if each.code_key in programs and _counts(each, programs[each.code_key], event)),
        key=lambda touch: (touch.touched_at, touch.click is None, touch.code_key),
    )
    if not valid:
        return None
    is_first = programs[valid[-1].code_key].attribution is Attribution.FIRST_TOUCH
    return valid[0] if is_first else valid[-1]


def _counts(touch: Touch, program: ReferralProgram, event: Event) -> bool:
    oldest = event.occurred_at - timedelta(days=program.attribution_days)
    return (
        program.state is model.ProgramState.ACTIVE
        and program.signup_event_type == event.type
        # A click is told by our clock and a sign-up by its sender's, which may be behind.
        and oldest < touch.touched_at <= event.occurred_at + timedelta(seconds=CLOCKS_APART_MAX_S)
    )


def qualifies(referral: Referral, program: ReferralProgram, condition: cel.Program | None, event: Event) -> bool:
    """Tells whether an event of the referee qualifies a referral: of the type, late enough, in time, as it must be."""
    wanted = program.qualifying_event_type
    is_wanted = event.type == wanted if wanted else event.depth == 0 and event.type != program.signup_event_type
    return (
        is_wanted
        and not event.is_own
        and referral.signed_up_at + timedelta(days=program.retention_days) <= event.occurred_at < referral.expires_at
        and holds(condition, event)
    )


def payment_of(event: Event, program: ReferralProgram) -> str:
    """Names the payment that an event is: by the property that refunds name it by, else by the event's id."""
    value = event.properties.get(program.payment_property)
    return _payment(value) or event.event_id


def refunds(referral: Referral, program: ReferralProgram, event: Event) -> bool:
    """Tells whether an event takes back the payment that qualified a referral."""
    named = _payment(event.properties.get(program.payment_property))
    return event.type in program.refund_event_types and bool(named) and named == referral.payment


def _payment(value: Any) -> str:
    """Reads the name of a payment: a text, or a whole number as some products have it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def window(cap: model.Cap, at: datetime, zone: str) -> tuple[datetime | None, datetime | None]:
    """Gives the half-open period of a cap that an instant is in; None for an end that a lifetime has not."""
    if cap.period is Period.LIFETIME:
        return None, None
    start = calendar.day_start(calendar.period_start(at, cap.period, zone), zone)
    return start, calendar.period_end(at, cap.period, zone)


def program_faults(program: ReferralProgram) -> Sequence[tuple[str, str]]:
    """Lists what is wrong with a referral program beyond its single fields, by field."""
    found = []
    if not program.qualifying_event_type and not program.retention_days:
        found.append(("qualifyingEventType", "is required where there are no retentionDays"))
    if program.qualification_days <= program.retention_days:
        found.append(("qualificationDays", "must be more than retentionDays"))
    return found
