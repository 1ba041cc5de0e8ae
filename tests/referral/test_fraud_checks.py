"""The fraud checks as pure functions: what each finds, with which evidence, and what it must not find."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.referral import emails, fraud
from services.referral.fraud import Companion, Facts, Graph
from services.referral.model import Decision, Finding
from services.referral.signals import Kind

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLEAN = Facts("ann", "bob", NOW, sign_ups=(NOW,))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def addresses(referrer: str, referee: str) -> Facts:
    """Gives both their addresses."""
    return replace(CLEAN, referrer_email=emails.forms(referrer), referee_email=emails.forms(referee))


def shared(*kinds: Kind, members: int = 2) -> Facts:
    """Lets both be seen with the same."""
    return replace(CLEAN, common=frozenset(kinds), members_on_ip=members)


def companions(kind: Kind, *apart: timedelta) -> Facts:
    """Gives the referrer other referees with something in common with this one, who signed up so long before."""
    return replace(
        CLEAN, companions=tuple(Companion(f"m{number}", kind, NOW - each) for number, each in enumerate(apart))
    )


def sign_ups(*ago: timedelta) -> Facts:
    """Lets referees of the referrer sign up so long ago, and now."""
    return replace(CLEAN, sign_ups=(NOW, *(NOW - each for each in ago)))


RING = Graph({"bob": "ann", "cid": "bob", "ann": "cid"})
# Ann brought Bob, and Bob a second account of Ann's, known by how it pays.
COLLAPSED = Graph({"bob": "ann", "ann-2": "bob"}, {"ann": {"ann-2": Kind.PAYMENT}, "ann-2": {"ann": Kind.PAYMENT}})
LONG = Graph({f"m{number}": f"m{number + 1}" for number in range(9)} | {"m9": "m0"})

CASES = {
    "nothing": (CLEAN, {}, Decision.ALLOW),
    "strangers": (addresses("ann@acme.example", "bob@other.example"), {}, Decision.ALLOW),
    "same member": (replace(CLEAN, referee_id="ann"), {"same_member": 100}, Decision.REJECT),
    "alias of gmail": (addresses("a.b+x@gmail.com", "ab@googlemail.com"), {"same_email": 100}, Decision.REJECT),
    "address of before": (shared(Kind.EMAIL), {"same_email": 100}, Decision.REJECT),
    "dots of a company": (addresses("a.b@corp.example", "ab@corp.example"), {"similar_email": 30}, Decision.ALLOW),
    "nearly the same": (
        addresses("jonathan.smith@corp.example", "jonathan.smyth1@corp.example"),
        {"similar_email": 20},
        Decision.ALLOW,
    ),
    "same name elsewhere": (addresses("jonathan@corp.example", "jonathan@other.example"), {}, Decision.ALLOW),
    "disposable": (addresses("ann@acme.example", "x@mailinator.com"), {"disposable_email": 40}, Decision.HOLD),
    "disposable of the referrer": (addresses("x@mailinator.com", "bob@acme.example"), {}, Decision.ALLOW),
    "relay": (addresses("ann@acme.example", "x@privaterelay.appleid.com"), {}, Decision.ALLOW),
    "same ip": (shared(Kind.IP, Kind.SUBNET), {"same_ip": 10}, Decision.ALLOW),
    "same ip and browser": (shared(Kind.IP, Kind.SUBNET, Kind.AGENT), {"same_ip": 30}, Decision.ALLOW),
    "same subnet": (shared(Kind.SUBNET, Kind.AGENT), {"same_subnet": 5}, Decision.ALLOW),
    "same browser": (shared(Kind.AGENT), {}, Decision.ALLOW),
    "office": (shared(Kind.IP, Kind.SUBNET, Kind.AGENT, members=20), {"same_ip": 0}, Decision.ALLOW),
    "same device": (shared(Kind.DEVICE), {"same_device": 60}, Decision.HOLD),
    "same card": (shared(Kind.PAYMENT), {"same_payment": 100}, Decision.REJECT),
    "device of another referee": (companions(Kind.DEVICE, 30 * DAY), {"shared_device": 50}, Decision.HOLD),
    "card of another referee": (companions(Kind.PAYMENT, 30 * DAY), {"shared_payment": 60}, Decision.HOLD),
    "two of a sequence": (companions(Kind.EMAIL_STEM, DAY), {}, Decision.ALLOW),
    "three of a sequence": (companions(Kind.EMAIL_STEM, DAY, 2 * DAY), {"email_sequence": 40}, Decision.HOLD),
    "a slow sequence": (companions(Kind.EMAIL_STEM, DAY, 7 * DAY), {}, Decision.ALLOW),
    "three on an ip": (companions(Kind.IP, MINUTE, MINUTE), {}, Decision.ALLOW),
    "four on an ip": (companions(Kind.IP, MINUTE, MINUTE, MINUTE), {"ip_fan_out": 30}, Decision.ALLOW),
    "four in an office": (replace(companions(Kind.IP, *[MINUTE] * 3), members_on_ip=20), {}, Decision.ALLOW),
    "two an hour": (sign_ups(59 * MINUTE), {}, Decision.ALLOW),
    "three an hour": (sign_ups(MINUTE, 59 * MINUTE), {"velocity": 30}, Decision.ALLOW),
    "three just over an hour": (sign_ups(MINUTE, 60 * MINUTE), {}, Decision.ALLOW),
    "six a day": (sign_ups(*[2 * MINUTE] * 5), {"velocity": 60}, Decision.HOLD),
    "too fast": (replace(CLEAN, clicked_at=NOW - timedelta(seconds=1)), {"fast_signup": 30}, Decision.ALLOW),
    "fast": (replace(CLEAN, clicked_at=NOW - timedelta(seconds=9)), {"fast_signup": 15}, Decision.ALLOW),
    "human": (replace(CLEAN, clicked_at=NOW - timedelta(seconds=10)), {}, Decision.ALLOW),
    "clocks apart": (replace(CLEAN, clicked_at=NOW + MINUTE), {"fast_signup": 30}, Decision.ALLOW),
    "ring of three": (replace(CLEAN, graph=RING), {"ring": 80}, Decision.REJECT),
    "ring of two persons": (replace(CLEAN, graph=COLLAPSED), {"ring": 80}, Decision.REJECT),
    "chain": (replace(CLEAN, graph=Graph({"bob": "ann", "ann": "cid", "cid": "dan"})), {}, Decision.ALLOW),
    "long way round": (replace(CLEAN, referrer_id="m1", referee_id="m0", graph=LONG), {}, Decision.ALLOW),
    "source away": (replace(CLEAN, unavailable=("members",)), {"source_unavailable": 0}, Decision.HOLD),
    "source away, same card": (
        replace(shared(Kind.PAYMENT), unavailable=("members",)),
        {"same_payment": 100, "source_unavailable": 0},
        Decision.REJECT,
    ),
    "much without an identity": (
        replace(
            addresses("bob1@mailinator.com", "bob.2@mailinator.com"),
            sign_ups=(NOW,) * 6,
            clicked_at=NOW,
        ),
        {"disposable_email": 40, "velocity": 60, "fast_signup": 30},
        Decision.HOLD,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_check_finds_what_it_is_for(name: str) -> None:
    """Each case has the findings, points and decision that it is known by, with evidence for each finding."""
    facts, findings, decision = CASES[name]
    assessment = fraud.assess(facts)

    assert {finding.check: finding.points for finding in assessment.findings} == findings
    assert (assessment.score, assessment.decision) == (sum(findings.values()), decision)
    assert all(finding.evidence for finding in assessment.findings)


def test_path_of_a_ring_is_told() -> None:
    """The evidence of a ring is the way from the referee up to itself, with how accounts are known to be one person."""
    [ring] = fraud.ring(replace(CLEAN, graph=RING))
    [collapsed] = fraud.ring(replace(CLEAN, graph=COLLAPSED, referrer_id="bob", referee_id="ann-2"))

    assert ring.evidence["path"] == "bob < ann < cid < bob"
    assert collapsed.evidence["path"] == "ann-2 < bob < ann"


POINTS = st.lists(st.builds(Finding, st.just("x"), st.integers(0, 100), st.booleans()), max_size=8)


@given(POINTS)
def test_decision_follows_the_sum(findings: list[Finding]) -> None:
    """Below 40 is allowed, 40 and more is held, and 80 and more is rejected only with an identity that has points."""
    score = sum(finding.points for finding in findings)
    is_identified = any(finding.is_identity and finding.points for finding in findings)
    decision = fraud.decide(findings)

    assert (decision is Decision.ALLOW) == (score < 40)
    assert (decision is Decision.REJECT) == (score >= 80 and is_identified)


@given(POINTS)
def test_source_that_is_away_never_clears(findings: list[Finding]) -> None:
    """With a source that could not be asked nothing is allowed, and nothing else is decided otherwise."""
    with_source = fraud.decide([*findings, Finding(fraud.SOURCE_UNAVAILABLE, 0)])
    without = fraud.decide(findings)

    assert with_source == (Decision.HOLD if without is Decision.ALLOW else without)


GRAPHS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"), max_size=8)


@given(GRAPHS, st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"))
def test_ring_is_found_where_there_is_one(referrer_of: dict[str, str], referrer: str, referee: str) -> None:
    """Without accounts to take together a ring is found exactly where going up from the referrer meets the referee."""
    graph = Graph({**referrer_of, referee: referrer})
    above, met = referrer, False
    for _ in range(fraud.RING_HOPS_MAX):
        above = graph.referrer_of.get(above, "")
        met = met or above == referee
    facts = replace(CLEAN, referrer_id=referrer, referee_id=referee, graph=graph)

    assert bool(fraud.ring(facts)) == met
