"""The demo program: what a small SaaS company would reward its customers for.

Its rules and definitions are data like any program's. They are created once; whoever changes or archives one afterwards
has the last word, since a start of the stack creates what is missing and never changes what is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message
from plaudit.gamification.v1 import definition_service_pb2, gamification_pb2
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


# What is counted: an id, a name, the type of event, and how.
METRICS = (
    ("setup-steps", "Steps of the set-up", "onboarding.step_completed", "COUNT"),
    ("reports", "Reports", "report.generated", "COUNT"),
    ("workflows", "Workflows", "workflow.finished", "COUNT"),
    ("contributions", "Contributions", "activity.contributed", "COUNT"),
    ("active-days", "Days with a contribution", "activity.contributed", "DISTINCT_DAYS"),
)
# Ladders by their metric: of each level the id, the name, the threshold and what it unlocks.
LADDERS = {
    ("onboarding", "Getting started", "setup-steps"): (
        ("explorer", "Explorer", 1, "The tour of your first report"),
        ("builder", "Builder", 3, "Reports that run by themselves"),
        ("integrator", "Integrator", 5, "The API and its webhooks"),
    ),
    ("usage", "Usage", "reports"): (
        ("bronze", "Bronze", 10, "Templates of your own"),
        ("silver", "Silver", 50, "Scheduled reports"),
        ("gold", "Gold", 200, "Comparison with your peers"),
        ("platinum", "Platinum", 1000, "A session with our engineers"),
    ),
    ("mastery", "Mastery", "workflows"): (
        ("pro", "Pro", 100, "Bulk processing"),
        ("expert", "Expert", 250, "Advanced analysis templates"),
        ("champion", "Champion", 1000, "A place on our advisory board"),
    ),
}
STREAKS = (("daily", "Days in a row", "DAY"), ("weekly", "Weeks in a row", "WEEK"))
BADGES = (10, 100, 1000)


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


def definition_requests() -> Iterator[Message]:
    """Gives the requests that create what is counted and reached, each under an id that never changes."""
    for made in definitions():
        kind = made.DESCRIPTOR.name
        request = getattr(definition_service_pb2, f"Create{kind}Request")
        definition_id = getattr(made, f"{kind.lower()}_id")
        yield request(**{kind.lower(): made, "request_id": f"demo-{kind.lower()}-{definition_id}-v1"})


def definitions() -> Iterator[Message]:
    """Describes what is counted and reached; what is named by others comes first."""
    for metric_id, name, event_type, aggregation in METRICS:
        yield gamification_pb2.Metric(
            metric_id=metric_id,
            display_name=name,
            event_type=event_type,
            aggregation=gamification_pb2.Aggregation.Value(f"AGGREGATION_{aggregation}"),
            backfill=True,
        )
    for (ladder_id, name, metric_id), levels in LADDERS.items():
        yield gamification_pb2.Ladder(
            ladder_id=ladder_id,
            display_name=name,
            metric_id=metric_id,
            levels=[
                gamification_pb2.Level(level_id=level_id, display_name=title, threshold=threshold, unlocks=unlocks)
                for level_id, title, threshold, unlocks in levels
            ],
        )
    for streak_id, name, period in STREAKS:
        yield gamification_pb2.Streak(
            streak_id=streak_id,
            display_name=name,
            metric_id="contributions",
            period=gamification_pb2.Period.Value(f"PERIOD_{period}"),
        )
    for threshold in BADGES:
        goal = gamification_pb2.TotalGoal(metric_id="contributions", threshold=threshold)
        name = f"{threshold:,} contributions"
        yield gamification_pb2.Badge(badge_id=f"contributions-{threshold}", display_name=name, total=goal)
    yield gamification_pb2.Leaderboard(
        leaderboard_id="contributors",
        display_name="Most contributions",
        metric_id="contributions",
        periods=[
            gamification_pb2.PERIOD_ALL_TIME,
            gamification_pb2.PERIOD_MONTH,
            gamification_pb2.PERIOD_WEEK,
            gamification_pb2.PERIOD_DAY,
        ],
    )
