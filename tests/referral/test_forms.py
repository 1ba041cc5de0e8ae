"""Codes, addresses, signals and states as pure rules: what is equal, what is told apart, what never goes back."""

import ipaddress
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.referral import codes, emails, signals
from services.referral.model import (
    TRANSITIONS,
    Assessment,
    Decision,
    EndReason,
    Event,
    Referral,
    State,
)
from services.referral.signals import Kind

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = bytes(32)
HOUR = timedelta(hours=1)
LOCALS = st.text("abcdefghijklmnop0123456789.", min_size=1, max_size=20).filter(lambda text: text.strip("."))


def canonical(address: str) -> str:
    """Gives the canonical form of an address."""
    forms = emails.forms(address)
    return forms.canonical if forms else ""


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("a.b+x@gmail.com", "AB@googlemail.com", True),
        ("a.b@corp.example", "ab@corp.example", False),
        ("a+x@corp.example", "a@corp.example", False),
        ("a.b@yahoo.com", "ab@yahoo.com", False),
        ("x@me.com", "x+1@icloud.com", True),
        ("x+1@outlook.com", "X@outlook.com", True),
        ("x@bücher.example", "x@xn--bcher-kva.example", True),
        ("x@proton.me", "x+y@protonmail.com", True),
        ("x@gmail.com", "x@gmail.com.", True),
        ("ｘ@gmail.com", "x@gmail.com", True),
        ("x@gmail.com", "y@gmail.com", False),
    ],
)
def test_mailboxes_are_told_apart(one: str, other: str, *, is_same: bool) -> None:
    """Two addresses are one mailbox where their provider says so, and nowhere else."""
    assert (canonical(one) == canonical(other)) == is_same


@given(LOCALS, st.sampled_from(["gmail.com", "googlemail.com"]), st.text("abc.", max_size=5))
def test_gmail_ignores_dots_and_tags(local: str, domain: str, tag: str) -> None:
    """However dots, case and a tag are put into an address of Gmail, it is the same mailbox."""
    dotted = ".".join(local.replace(".", ""))
    assert canonical(f"{local}@{domain}") == canonical(f"{dotted.upper()}+{tag}@gmail.com")


@given(st.text(max_size=60))
def test_any_text_has_forms_or_none(text: str) -> None:
    """Whatever stands where an address should is one or none, and its canonical form is its own."""
    forms = emails.forms(text)
    again = emails.forms(forms.canonical) if forms else None
    assert forms is None or again is None or again.canonical == forms.canonical


@pytest.mark.parametrize(
    ("domain", "is_disposable"),
    [
        *(("mailinator.com", True), ("a.b.mailinator.com", True), ("gmail.com", False), ("com", False)),
        *(("duck.com", False), ("mozmail.com", False), ("privaterelay.appleid.com", False)),
        ("mailinator.com.example", False),
    ],
)
def test_disposable_domains_are_known(domain: str, *, is_disposable: bool) -> None:
    """Domains of addresses to throw away are known with all below them; relays of private people are none."""
    assert emails.is_disposable(domain) == is_disposable


@given(st.integers(0, 2**128 - 1))
def test_random_codes_fold_to_themselves(number: int) -> None:
    """A random code has no character that looks like another one, and is read back from any spelling of its link."""
    code, tag = codes.spell(number, codes.CODE_LENGTH), codes.spell(number, codes.TAG_LENGTH)
    link = codes.link_code(tag, code)

    assert codes.fold(code) == code
    assert codes.split_link(link.lower()) == (tag, code)
    assert codes.read_code(link.lower(), tag) == codes.read_code(code, tag) == code
    assert codes.read_code(link, "OTHER") != code


@given(st.uuids(), st.binary(min_size=32, max_size=32))
def test_click_ids_are_read_by_their_signer_only(click_id: uuid.UUID, other: bytes) -> None:
    """A signed click id is read under the key that signed it, and changed or under another key it is none."""
    token = codes.sign_click(KEY, click_id)

    assert codes.read_click(KEY, token) == click_id
    assert codes.read_click(other, token) is None or other == KEY
    for place in range(0, len(token), 5):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert codes.read_click(KEY, changed) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "https://a.example?ref=x"),
        ("https://a.example/p?q=1&e=#top", "https://a.example/p?q=1&e=&ref=x#top"),
        ("https://a.example/?ref=old", "https://a.example/?ref=x"),
        ("https://a.example/?q=%26%3D", "https://a.example/?q=%26%3D&ref=x"),
    ],
)
def test_landing_page_keeps_what_it_has(url: str, expected: str) -> None:
    """The click is added to what a landing page has already, in place of an older one."""
    assert codes.landing(url, "x") == expected


def test_equal_values_have_equal_hashes_in_one_program_only() -> None:
    """A hash depends on the value, its kind and the program, and says nothing without the key."""
    demo, other = (signals.program_key(KEY, each) for each in ("demo", "other"))
    made = [
        signals.hashed(key, kind, value).value_hash
        for key in (demo, other)
        for kind in (Kind.DEVICE, Kind.PAYMENT)
        for value in ("a", "b")
    ]
    assert len(set(made)) == 8
    assert signals.hashed(demo, Kind.DEVICE, "a") == signals.hashed(demo, Kind.DEVICE, "a")


@example(ipaddress.IPv4Address("203.0.113.5"), ipaddress.IPv6Address("::ffff:203.0.113.5"))
@given(st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_networks_hold_their_addresses(four: ipaddress.IPv4Address, six: ipaddress.IPv6Address) -> None:
    """Neighbours share the signal of their network; one household of IPv6 shares its address, too."""
    for address in (four, six):
        neighbour = address + (1 if int(address) % 2 == 0 else -1)
        ours, theirs = ({each.kind: each for each in signals.of_address(KEY, str(one))} for one in (address, neighbour))
        if not ours or not theirs:
            continue
        is_household = address is six and six.ipv4_mapped is None
        assert ours[Kind.SUBNET] == theirs[Kind.SUBNET]
        assert (ours[Kind.IP] == theirs[Kind.IP]) == is_household


@pytest.mark.parametrize(
    "text",
    ["", "x", "127.0.0.1", "10.1.2.3", "192.168.0.1", "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"],
)
def test_addresses_of_nobody_say_nothing(text: str) -> None:
    """Addresses that many machines have, or a proxy of ours, are no signals."""
    assert signals.of_address(KEY, text) == []


def test_mapped_address_is_the_same() -> None:
    """An address of IPv4 that is written as one of IPv6 is the same address."""
    assert signals.of_address(KEY, "::ffff:203.0.113.5") == signals.of_address(KEY, "203.0.113.5") != []


def signed_up() -> Referral:
    """Makes a referral."""
    return Referral(uuid.UUID(int=1), "friends", 1, "ann", "bob", "ANNA", None, NOW, NOW + HOUR, NOW, NOW)


STEPS: dict[str, Any] = {
    "qualify": lambda one, at: one.qualified(Event("e", "paid", "bob", "", NOW, {}), "e", 1800, at),
    "cap": lambda one, at: one.capped(Event("e", "paid", "bob", "", NOW, {}), at),
    "expire": lambda one, at: one.moved(State.EXPIRED, at, end_reason=EndReason.NOT_QUALIFIED),
    "allow": lambda one, at: one.assessed(Assessment(Decision.ALLOW, 0, ()), at),
    "hold": lambda one, at: one.assessed(Assessment(Decision.HOLD, 50, ()), at),
    "reject": lambda one, at: one.assessed(Assessment(Decision.REJECT, 100, ()), at),
    "approve": lambda one, at: one.reviewed(is_approved=True, now=at),
    "refuse": lambda one, at: one.reviewed(is_approved=False, now=at),
    "refund": lambda one, at: one.moved(State.REVERSED, at, end_reason=EndReason.REFUND),
}
ORDER = list(State)
ENDS = {state for state, following in TRANSITIONS.items() if not following}


def is_allowed(referral: Referral, step: str) -> bool:
    """Tells whether operations take a step from there."""
    match step:
        case "qualify" | "cap" | "expire":
            return referral.state is State.SIGNED_UP
        case "refund":
            return State.REVERSED in TRANSITIONS[referral.state]
        case "approve" | "refuse":
            return referral.awaits_review
        case _:
            return referral.state in (State.QUALIFIED, State.HELD)


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_states_only_go_forward(steps: list[str]) -> None:
    """Whatever is done to a referral in whatever order, its state goes forward, and only what is allowed is paid."""
    referral, at = signed_up(), NOW
    for step in steps:
        at += HOUR / 4
        before = referral
        if is_allowed(referral, step):
            referral = STEPS[step](referral, at)
        assert ORDER.index(referral.state) >= ORDER.index(before.state)
        assert referral.state is before.state or referral.state in TRANSITIONS[before.state]
        assert referral.version == before.version + (referral is not before)
        assert (referral.end_reason is EndReason.NONE) == (referral.state not in ENDS)
        assert (referral.qualified_at is None) == (referral.state in (State.SIGNED_UP, State.EXPIRED))
        if referral.state is State.REWARDED:
            assert referral.decision is Decision.ALLOW
            assert referral.hold_ends_at is not None
            assert referral.hold_ends_at <= at


def test_table_of_states_is_whole() -> None:
    """Each state has its ways, all of which lead forward, and only ends have none."""
    assert set(TRANSITIONS) == set(State)
    assert all(ORDER.index(to) > ORDER.index(state) for state, ways in TRANSITIONS.items() for to in ways)
    assert {State.REJECTED, State.EXPIRED, State.REVERSED} == ENDS


@pytest.mark.parametrize("state", [State.REWARDED, State.HELD, State.SIGNED_UP])
def test_way_that_is_none_is_a_fault(state: State) -> None:
    """A step that the table does not have is a fault of ours, and told as one."""
    with pytest.raises(AssertionError, match="does not go"):
        signed_up().moved(state, NOW)
