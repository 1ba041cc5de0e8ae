"""The fraud checks: facts about a referral in, findings with evidence out. Each is a pure function.

Points and thresholds are defaults from what referral programs publish of theirs; only whole numbers. Below 40 a
referral is allowed, from 80 on rejected where a finding tells who somebody is, else held for a person. An address on
the internet says little: households, offices and whole cities share one, so it never holds anybody by itself. What
could not be asked is no answer: it holds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.referral import emails
from services.referral.model import Assessment, Decision, Finding
from services.referral.signals import IDENTITY_KINDS, Kind

HOLD_FROM = 40
REJECT_FROM = 80

SAME_IP_POINTS = 10
SAME_IP_AND_AGENT_POINTS = 30
SAME_SUBNET_POINTS = 5
# An address with so many members in a month is an office's, a carrier's or a relay's.
SHARED_IP_MEMBERS = 20
SHARED_IP_DAYS = 30
IP_FAN_OUT = ((timedelta(hours=24), 3), (timedelta(days=7), 10))
IP_FAN_OUT_POINTS = 30
VELOCITY = ((timedelta(hours=1), 2), (timedelta(days=1), 5), (timedelta(days=7), 15))
VELOCITY_POINTS = 30
VELOCITY_POINTS_MAX = 60
# Faster than anybody reads a page, and than anybody fills in a form.
FAST_SIGNUPS = ((timedelta(seconds=2), 30), (timedelta(seconds=10), 15))
SEQUENCE_MEMBERS = 3
SEQUENCE_DAYS = 7
SEQUENCE_POINTS = 40
SIMILAR_PERCENT = 90
SIMILAR_POINTS = 20
LOOSE_POINTS = 30
DISPOSABLE_POINTS = 40
SAME_DEVICE_POINTS = 60
SHARED_DEVICE_POINTS = 50
SHARED_PAYMENT_POINTS = 60
IDENTITY_POINTS = 100
RING_POINTS = 80
# Rings of people who know each other are short; beyond this a chain is a crowd.
RING_HOPS_MAX = 6
MEMBERS_SHOWN_MAX = 10
SOURCE_UNAVAILABLE = "source_unavailable"


@dataclass(frozen=True, slots=True)
class Companion:
    """Another referee of the same referrer, seen with something that this referee was seen with."""

    member_id: str
    kind: Kind
    signed_up_at: datetime


@dataclass(frozen=True, slots=True)
class Graph:
    """Who referred whom around a referral, and which accounts are taken for one person, by which signals.

    `referrer_of` leads from a referee to the referrer. `same_as` leads from a member to others and to the kind of
    signal that they have in common.
    """

    referrer_of: Mapping[str, str] = field(default_factory=dict)
    same_as: Mapping[str, Mapping[str, Kind]] = field(default_factory=dict)

    def persons(self, members: Iterable[str]) -> dict[str, str]:
        """Gives members with all accounts of the same persons, each with how it is known."""
        found = dict.fromkeys(members, "")
        waiting = list(found)
        while waiting:
            for other, kind in sorted(self.same_as.get(waiting.pop(), {}).items()):
                if other not in found:
                    found[other] = kind.value
                    waiting.append(other)
        return found


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the checks look at. Addresses are None where a member has none, which is no finding."""

    referrer_id: str
    referee_id: str
    signed_up_at: datetime
    clicked_at: datetime | None = None
    referrer_email: emails.Forms | None = None
    referee_email: emails.Forms | None = None
    # What both were seen with, and how many members were seen with the address or network that they share.
    common: frozenset[Kind] = frozenset()
    members_on_ip: int = 0
    companions: tuple[Companion, ...] = ()
    # When the referees of this referrer signed up, this one included.
    sign_ups: tuple[datetime, ...] = ()
    graph: Graph = Graph()
    # The sources that could not be asked.
    unavailable: tuple[str, ...] = ()


Check = Callable[[Facts], list[Finding]]


def same_member(facts: Facts) -> list[Finding]:
    """Finds that somebody used a code of their own."""
    if facts.referrer_id != facts.referee_id:
        return []
    return [Finding("same_member", IDENTITY_POINTS, is_identity=True, evidence={"members": facts.referrer_id})]


def same_email(facts: Facts) -> list[Finding]:
    """Finds that both have the same mailbox, now or before, whatever dots, tags and domains of it they wrote."""
    one, other = facts.referrer_email, facts.referee_email
    is_same = one is not None and other is not None and one.canonical == other.canonical
    if not is_same and Kind.EMAIL not in facts.common:
        return []
    return [Finding("same_email", IDENTITY_POINTS, is_identity=True, evidence={"compared": "canonical address"})]


def similar_email(facts: Facts) -> list[Finding]:
    """Finds that the addresses look alike: but for dots and tags, or nearly."""
    one, other = facts.referrer_email, facts.referee_email
    if one is None or other is None or one.canonical == other.canonical:
        return []
    if one.loose == other.loose:
        return [Finding("similar_email", LOOSE_POINTS, evidence={"compared": "without dots and tags"})]
    percent = emails.similarity_percent(one, other)
    if percent < SIMILAR_PERCENT:
        return []
    return [Finding("similar_email", SIMILAR_POINTS, evidence={"similarityPercent": str(percent)})]


def email_sequence(facts: Facts) -> list[Finding]:
    """Finds that several referees of one referrer have addresses that differ in digits only, within a week."""
    members = _companions(facts, Kind.EMAIL_STEM, timedelta(days=SEQUENCE_DAYS))
    if len(members) + 1 < SEQUENCE_MEMBERS:
        return []
    return [Finding("email_sequence", SEQUENCE_POINTS, evidence=_told(members))]


def disposable_email(facts: Facts) -> list[Finding]:
    """Finds that the referee's address is one to throw away."""
    if facts.referee_email is None or not emails.is_disposable(facts.referee_email.domain):
        return []
    return [Finding("disposable_email", DISPOSABLE_POINTS, evidence={"domain": facts.referee_email.domain})]


def same_network(facts: Facts) -> list[Finding]:
    """Finds that both came from one address or network, which says nothing where many others do."""
    if Kind.IP not in facts.common and Kind.SUBNET not in facts.common:
        return []
    check = "same_ip" if Kind.IP in facts.common else "same_subnet"
    evidence = {"membersSeen": str(facts.members_on_ip), "days": str(SHARED_IP_DAYS)}
    if facts.members_on_ip >= SHARED_IP_MEMBERS:
        return [Finding(check, 0, evidence={**evidence, "exempt": "shared"})]
    if Kind.IP not in facts.common:
        return [Finding(check, SAME_SUBNET_POINTS, evidence=evidence)]
    if Kind.AGENT in facts.common:
        return [Finding(check, SAME_IP_AND_AGENT_POINTS, evidence={**evidence, "userAgent": "same"})]
    return [Finding(check, SAME_IP_POINTS, evidence=evidence)]


def ip_fan_out(facts: Facts) -> list[Finding]:
    """Finds that many referees of one referrer came from one address, unless many others do."""
    if facts.members_on_ip >= SHARED_IP_MEMBERS:
        return []
    for period, most in IP_FAN_OUT:
        members = _companions(facts, Kind.IP, period)
        if len(members) + 1 > most:
            evidence = {**_told(members), "hours": str(period // timedelta(hours=1))}
            return [Finding("ip_fan_out", IP_FAN_OUT_POINTS, evidence=evidence)]
    return []


def same_device(facts: Facts) -> list[Finding]:
    """Finds that both, or several referees of one referrer, use one device."""
    if Kind.DEVICE in facts.common:
        evidence = {"members": f"{facts.referrer_id}, {facts.referee_id}"}
        return [Finding("same_device", SAME_DEVICE_POINTS, is_identity=True, evidence=evidence)]
    members = _companions(facts, Kind.DEVICE)
    if not members:
        return []
    return [Finding("shared_device", SHARED_DEVICE_POINTS, is_identity=True, evidence=_told(members))]


def same_payment(facts: Facts) -> list[Finding]:
    """Finds that both, or several referees of one referrer, pay by the same means."""
    if Kind.PAYMENT in facts.common:
        evidence = {"members": f"{facts.referrer_id}, {facts.referee_id}"}
        return [Finding("same_payment", IDENTITY_POINTS, is_identity=True, evidence=evidence)]
    members = _companions(facts, Kind.PAYMENT)
    if not members:
        return []
    return [Finding("shared_payment", SHARED_PAYMENT_POINTS, is_identity=True, evidence=_told(members))]


def velocity(facts: Facts) -> list[Finding]:
    """Finds that a referrer brings more people in a time than people do."""
    points, evidence = 0, {}
    for period, most in VELOCITY:
        count = sum(facts.signed_up_at - period < each <= facts.signed_up_at for each in facts.sign_ups)
        if count > most:
            points += VELOCITY_POINTS
            evidence[f"within{period // timedelta(hours=1)}Hours"] = str(count)
    return [Finding("velocity", min(points, VELOCITY_POINTS_MAX), evidence=evidence)] if points else []


def fast_signup(facts: Facts) -> list[Finding]:
    """Finds that somebody signed up sooner after the click than people can."""
    if facts.clicked_at is None:
        return []
    taken = max(facts.signed_up_at - facts.clicked_at, timedelta(0))
    for limit, points in FAST_SIGNUPS:
        if taken < limit:
            return [Finding("fast_signup", points, evidence={"milliseconds": str(taken // timedelta(milliseconds=1))})]
    return []


def ring(facts: Facts) -> list[Finding]:
    """Finds that those who were referred lead back to the referrer, accounts of one person taken for one."""
    path = _way_up(facts)
    if path is None:
        return []
    return [Finding("ring", RING_POINTS, is_identity=True, evidence={"path": " < ".join(path)})]


def _way_up(facts: Facts) -> list[str] | None:
    """Goes from the referrer up to who referred that one, and on, until the referee or another account of it is met."""
    target = facts.graph.persons([facts.referee_id])
    seen: set[str] = set()
    level = {
        member: [facts.referee_id, _joined(facts.referrer_id, member, how)]
        for member, how in sorted(facts.graph.persons([facts.referrer_id]).items())
    }
    if facts.referrer_id != facts.referee_id and facts.referee_id in level:
        return None  # One person with two accounts: that is told by the signal itself.
    for _ in range(RING_HOPS_MAX):
        above: dict[str, list[str]] = {}
        for member, path in level.items():
            parent = facts.graph.referrer_of.get(member)
            if parent is None:
                continue
            for other, how in sorted(facts.graph.persons([parent]).items()):
                step = [*path, _joined(parent, other, how)]
                if other in target:
                    return step
                if other not in seen:
                    above[other] = step
        seen |= above.keys()
        level = above
    return None


def _joined(member: str, other: str, how: str) -> str:
    return f"{member} = {other} ({how.lower()})" if how else other


def source_unavailable(facts: Facts) -> list[Finding]:
    """Finds that a source could not be asked, so that nobody can say that there is nothing to find."""
    return [Finding(SOURCE_UNAVAILABLE, 0, evidence={"source": each}) for each in facts.unavailable]


CHECKS: tuple[Check, ...] = (
    same_member,
    same_email,
    similar_email,
    email_sequence,
    disposable_email,
    same_network,
    ip_fan_out,
    same_device,
    same_payment,
    velocity,
    fast_signup,
    ring,
    source_unavailable,
)


def assess(facts: Facts) -> Assessment:
    """Runs all checks and decides."""
    findings = tuple(finding for check in CHECKS for finding in check(facts))
    return Assessment(decide(findings), sum(finding.points for finding in findings), findings)


def decide(findings: Iterable[Finding]) -> Decision:
    """Decides by the sum of points; nothing is rejected without an identity, nor allowed while a source is away."""
    listed = list(findings)
    score = sum(finding.points for finding in listed)
    if score >= REJECT_FROM and any(finding.is_identity and finding.points for finding in listed):
        return Decision.REJECT
    is_unknown = any(finding.check == SOURCE_UNAVAILABLE for finding in listed)
    return Decision.HOLD if score >= HOLD_FROM or is_unknown else Decision.ALLOW


def _companions(facts: Facts, kind: Kind, period: timedelta | None = None) -> list[str]:
    """Lists the other referees with a signal in common, who signed up so close to this one."""
    return sorted(
        {
            each.member_id
            for each in facts.companions
            if each.kind is kind and (period is None or abs(each.signed_up_at - facts.signed_up_at) < period)
        }
    )


def _told(members: list[str]) -> dict[str, str]:
    return {"members": ", ".join(members[:MEMBERS_SHOWN_MAX]), "count": str(len(members))}


# By these kinds the referees of one referrer are compared with each other.
COMPANION_KINDS = (Kind.IP, Kind.EMAIL_STEM, *IDENTITY_KINDS)
