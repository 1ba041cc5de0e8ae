"""Tokens: verified offline, and nobody passes for another."""

import base64
import json
import secrets
import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import errors, tokens

KEY, OTHER_KEY = secrets.token_bytes(32), secrets.token_bytes(32)
MINTER, OTHER = tokens.Minter(KEY), tokens.Minter(OTHER_KEY)


@pytest.fixture
def verifier() -> tokens.Verifier:
    """Makes a verifier that knows one key and has seen nothing."""
    return tokens.Verifier([MINTER.public_key()])


def mint(minter: tokens.Minter = MINTER, program_id: str = "demo") -> str:
    """Makes a sound token."""
    return minter.mint(subject="key:1", program_id=program_id, scopes=["b", "a"], lifetime_s=600)


def sign(key: bytes = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Signs claims that are sound but for some."""
    now = int(time.time())
    claims = {"iss": "plaudit", "sub": "s", "prg": "demo", "scp": ["a"], "iat": now, "exp": now + 600, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, Ed25519PrivateKey.from_private_bytes(key), algorithm="EdDSA", headers=header)


def part(content: Any) -> str:
    """Encodes one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def assert_refused(verifier: tokens.Verifier, token: str) -> None:
    """Fails unless the token is refused as a credential."""
    with pytest.raises(errors.DomainError) as caught:
        verifier.verify(token)
    assert (caught.value.code, caught.value.reason) == (errors.Code.UNAUTHENTICATED, "CREDENTIAL_INVALID")


def test_verify_tells_who_calls(verifier: tokens.Verifier) -> None:
    """A sound token tells its subject, program and scopes, the second time too."""
    token = mint()
    first, again = verifier.verify(token), verifier.verify(token)

    assert (first.subject, first.program_id, first.scopes) == ("key:1", "demo", frozenset("ab"))
    assert again == first


def service_token(minter: tokens.Minter = OTHER, **changes: Any) -> str:
    """Makes a token as the service `referral` signs it for itself."""
    sound = {"subject": "service:referral-work", "program_id": tokens.ANY_PROGRAM, "scopes": ["feed.read"]}
    return minter.mint(**{**sound, **changes}, lifetime_s=600)


@pytest.fixture
def with_services() -> tokens.Verifier:
    """Makes a verifier that knows a key for all, and one of the service `referral`."""
    text = json.dumps(
        {
            "referral": {
                "publicKey": base64.b64encode(OTHER.public_key()).decode(),
                "scopes": ["feed.read", "members.read"],
            }
        }
    )
    return tokens.Verifier([MINTER.public_key()], tokens.read_service_keys(text))


def test_service_signs_for_itself(with_services: tokens.Verifier) -> None:
    """A service is known by its own key, for what it was given, and others by the key for all."""
    assert with_services.verify(service_token()).scopes == frozenset({"feed.read"})
    assert with_services.verify(service_token(subject="service:referral")).subject == "service:referral"
    assert with_services.verify(mint()).subject == "key:1"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "service:program"},
        {"subject": "service:referrals"},
        {"subject": "key:1"},
        {"program_id": "demo"},
        {"scopes": ["feed.read", "ledger.write"]},
    ],
    ids=str,
)
def test_service_signs_for_nobody_else(with_services: tokens.Verifier, changes: dict[str, Any]) -> None:
    """The key of a service makes no token of another one, of a program, or with more than it was given."""
    assert_refused(with_services, service_token(**changes))


def test_service_key_is_unknown_elsewhere(verifier: tokens.Verifier) -> None:
    """Where nobody said what a service may sign its key is good for nothing."""
    assert_refused(verifier, service_token())


@pytest.mark.parametrize("text", ["[]", "no", '{"a": 1}', '{"a": {"publicKey": "AAAA", "scopes": []}}', '{"a": {}}'])
def test_malformed_service_keys_are_refused(text: str) -> None:
    """What is no list of services is refused with what is wanted; nothing at all is none."""
    with pytest.raises(ValueError, match="publicKey"):
        tokens.read_service_keys(text)
    assert tokens.read_service_keys("") == ()


def test_scope_that_is_missing_is_named(verifier: tokens.Verifier) -> None:
    """A caller has the scopes of its token, and one that it lacks is named."""
    caller = verifier.verify(mint())
    caller.requires("a")
    with pytest.raises(errors.DomainError) as caught:
        caller.requires("A")

    assert (caught.value.reason, caught.value.metadata) == ("SCOPE_MISSING", {"scope": "A"})


def test_verify_refuses_other_keys(verifier: tokens.Verifier) -> None:
    """A token of another key is refused, and so is one whose claims were changed under the old signature."""
    assert_refused(verifier, mint(OTHER))
    head, _, signature = mint().split(".")
    body = mint(program_id="other").split(".")[1]
    assert_refused(verifier, f"{head}.{body}.{signature}")


def test_verify_takes_no_other_algorithm(verifier: tokens.Verifier) -> None:
    """A token that names no algorithm, or makes our public key a shared secret, is refused."""
    claims = {"iss": "plaudit", "sub": "s", "prg": "demo", "scp": ["a"], "exp": int(time.time()) + 600}
    assert_refused(verifier, f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.")
    assert_refused(verifier, jwt.encode(claims, "", algorithm="none"))
    assert_refused(verifier, jwt.encode(claims, MINTER.public_key(), algorithm="HS256"))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 10**400},
        {"prg": None},
        {"prg": 7},
        {"prg": ""},
        {"scp": None},
        {"scp": "a"},
        {"aud": "somebody"},
    ],
    ids=str,
)
def test_verify_refuses_unsound_claims(verifier: tokens.Verifier, changes: dict[str, Any]) -> None:
    """A token that is signed well but lacks a claim, or is another's, is refused."""
    verifier.verify(sign())
    assert_refused(verifier, sign(**changes))


def test_verify_refuses_what_is_over_or_yet_to_begin(verifier: tokens.Verifier) -> None:
    """A token is refused a minute after its end, and before its beginning."""
    now = int(time.time())
    verifier.verify(sign())
    assert_refused(verifier, sign(exp=now - 60))
    assert_refused(verifier, sign(nbf=now + 10**6))


def test_verify_refuses_infinite_life(verifier: tokens.Verifier) -> None:
    """A token without end is refused."""
    assert_refused(verifier, sign(exp=float("inf")))
    assert_refused(verifier, sign(exp=float("nan")))


@pytest.mark.parametrize(
    "token",
    ["", "a", "..", "a.b.c", "é.é.é", "\0", part({"alg": "EdDSA"}), f"{part([])}.{part([])}.", "." * 5000],
)
def test_verify_refuses_garbage(verifier: tokens.Verifier, token: str) -> None:
    """What is no token is a bad credential and not an accident."""
    assert_refused(verifier, token)


def test_verify_refuses_bottomless_header(verifier: tokens.Verifier) -> None:
    """A header nested beyond reason is a bad credential, and does not exhaust the stack."""
    deep = base64.urlsafe_b64encode(b"[" * 6000).decode()
    assert_refused(verifier, f"{deep}.{part({})}.x")


@given(
    token=st.one_of(
        st.text(),
        st.lists(st.binary(max_size=30), min_size=3, max_size=3).map(
            lambda parts: ".".join(base64.urlsafe_b64encode(each).decode() for each in parts)
        ),
    )
)
def test_verify_refuses_whatever_was_not_minted(token: str) -> None:
    """Nothing that was not signed passes, and nothing crashes."""
    assert_refused(tokens.Verifier([MINTER.public_key()]), token)


def test_cache_does_not_outlive_expiry(verifier: tokens.Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was seen before is refused once it is over, and not before."""
    token = mint()
    expires_at_s = verifier.verify(token).expires_at_s
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: expires_at_s + tokens.CLOCK_SKEW_S - 1))
    verifier.verify(token)
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: expires_at_s + tokens.CLOCK_SKEW_S + 1))

    assert_refused(verifier, token)


def test_cache_is_bounded(verifier: tokens.Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, those remembered are bounded, and one that was forgotten is verified anew."""
    monkeypatch.setattr(tokens, "CACHE_SIZE", 3)
    minted = [mint(program_id=f"p{number}") for number in range(5)]

    assert [verifier.verify(token).program_id for token in minted + minted] == [f"p{number}" for number in range(5)] * 2
    assert len(verifier._seen) == 3


def test_refused_token_is_not_remembered(verifier: tokens.Verifier) -> None:
    """Refused credentials leave nothing behind that could fill the memory."""
    for number in range(10):
        assert_refused(verifier, f"a.b.{number}")

    assert not verifier._seen


def test_keys_can_be_rotated() -> None:
    """With two keys known tokens of both pass, in either order, and with the old one gone only those of the new."""
    for keys in ([MINTER, OTHER], [OTHER, MINTER]):
        both = tokens.Verifier([each.public_key() for each in keys])
        assert both.verify(mint(MINTER)).program_id == both.verify(mint(OTHER)).program_id == "demo"
        assert_refused(both, sign(exp=int(time.time()) - 60))
        assert_refused(both, sign(OTHER_KEY, exp=int(time.time()) - 60))
    rotated = tokens.Verifier([OTHER.public_key()])
    assert_refused(rotated, mint(MINTER))
    rotated.verify(mint(OTHER))


@pytest.mark.parametrize("lifetime_s", [0, -1, tokens.LIFETIME_MAX_S + 1])
def test_mint_makes_short_lived_tokens_only(lifetime_s: int) -> None:
    """Nobody can be given a token that is over or lives longer than an hour."""
    with pytest.raises(AssertionError):
        MINTER.mint(subject="s", program_id="demo", scopes=[], lifetime_s=lifetime_s)
