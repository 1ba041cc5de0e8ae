"""The demo program: what a small SaaS company would reward its customers for.

Its rules are data like any program's. They are created once; whoever changes or archives one afterwards has the last
word, since a start of the stack creates what is missing and never changes what is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from plaudit.program.v1 import program_pb2, program_service_pb2
from plaudit.referral.v1 import referral_pb2, referral_service_pb2

PROGRAM_ID = "demo"
REFERRAL_PROGRAM_ID = "friends"
REFERRALS_A_MONTH_MAX = 10
HOLD_DAYS = 30
EXPIRY_MONTHS = 12


@dataclass(frozen=True, slots=True)
class DemoRule:
    """Is one rule of the demo program, in the words of the contract."""

    rule_id: str
    display_name: str
    description: str
    event_type: str
    amount: str
    condition: str = ""
    recipient: str = ""
    once_per: str = ""
    pending: bool = False


RULES = (
    DemoRule(
        rule_id="subscription-started-monthly",
        display_name="Start a monthly plan",
        description="100 points when you start a plan that you pay by the month.",
        event_type="subscription.started",
        condition='event.properties.term == "monthly"',
        amount="100",
    ),
    DemoRule(
        rule_id="subscription-renewed-yearly",
        display_name="Renew for another year",
        description="1,200 points each time you renew a yearly plan.",
        event_type="subscription.renewed",
        condition='event.properties.term == "yearly"',
        amount="1200",
    ),
    DemoRule(
        rule_id="referral-qualified",
        display_name="Bring a friend",
        description="200 points when somebody you recommended us to becomes a customer and stays one.",
        event_type="referral.qualified",
        amount="200",
        recipient="has(event.properties.referrer_id) ? event.properties.referrer_id : event.member_id",
        pending=True,
    ),
    DemoRule(
        rule_id="referral-welcomed",
        display_name="Come by a friend",
        description="100 points when somebody recommended us to you and you become a customer and stay one.",
        event_type="referral.qualified",
        condition="has(event.properties.referee_id)",
        amount="100",
        recipient="event.properties.referee_id",
        pending=True,
    ),
    DemoRule(
        rule_id="survey-completed",
        display_name="Answer a survey",
        description="50 points for each survey that you complete, once for each.",
        event_type="survey.completed",
        amount="50",
        once_per="event.properties.survey_id",
    ),
    DemoRule(
        rule_id="review-submitted",
        display_name="Write a review",
        description="50 points for each review that you submit, once for each.",
        event_type="review.submitted",
        amount="50",
        once_per="event.properties.review_id",
    ),
    DemoRule(
        rule_id="purchase-completed",
        display_name="Buy something",
        description="1 point for each whole unit of currency that you spend.",
        event_type="purchase.completed",
        amount="event.properties.amount_cents / 100",
    ),
)


def program() -> program_pb2.Program:
    """Describes the demo program."""
    return program_pb2.Program(program_id=PROGRAM_ID, display_name="Demo", time_zone="UTC")


def rule_requests() -> Iterator[program_service_pb2.CreateRuleRequest]:
    """Gives the requests that create the rules, each under an id that never changes."""
    for rule in RULES:
        yield program_service_pb2.CreateRuleRequest(
            request_id=f"demo-rule-{rule.rule_id}-v1",
            rule=program_pb2.Rule(
                rule_id=rule.rule_id,
                display_name=rule.display_name,
                description=rule.description,
                event_type=rule.event_type,
                condition=rule.condition,
                asset="points",
                amount=rule.amount,
                recipient=rule.recipient,
                once_per=rule.once_per,
                pending=rule.pending,
                expiry=program_pb2.Expiry(months=EXPIRY_MONTHS),
            ),
        )


def referral_program_requests() -> Iterator[referral_service_pb2.CreateReferralProgramRequest]:
    """Gives the requests that create the referral programs, each under an id that never changes."""
    yield referral_service_pb2.CreateReferralProgramRequest(
        request_id=f"demo-referral-program-{REFERRAL_PROGRAM_ID}-v1",
        referral_program=referral_pb2.ReferralProgram(
            referral_program_id=REFERRAL_PROGRAM_ID,
            display_name="Bring a friend",
            landing_url="https://example.com/welcome",
            qualifying_event_type="payment.succeeded",
            hold_seconds=HOLD_DAYS * 86_400,
            caps=[
                referral_pb2.ReferralCap(period=referral_pb2.REFERRAL_CAP_PERIOD_MONTH, max_count=REFERRALS_A_MONTH_MAX)
            ],
        ),
    )
