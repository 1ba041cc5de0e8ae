"""Tokens: who calls, for which program, with which scopes; verified offline by public key.

A token is a JWT signed with Ed25519. Only the program service (and the launcher, as operator) mints for others, and
everybody verifies. A token of program `*` belongs to a service and names the program it acts for in the call's
metadata. Other services sign with keys of their own, good for nothing but their own name and scopes.
"""

import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.kernel import errors

ISSUER = "plaudit"
ALGORITHM = "EdDSA"
ANY_PROGRAM = "*"
LIFETIME_MAX_S = 3600
# A verified token is remembered, so that a client that sends a thousand calls pays for one signature check.
CACHE_SIZE = 10_000
CLOCK_SKEW_S = 5
# The end of the year 9999: whatever says it lives longer has no end.
END_MAX_S = 253402300799


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the subject (a key or a service), the program it may act in, and what it may do."""

    subject: str
    program_id: str
    scopes: frozenset[str]
    expires_at_s: float

    def requires(self, scope: str) -> None:
        """Raises SCOPE_MISSING where the caller lacks the scope."""
        if scope not in self.scopes:
            raise errors.scope_missing(scope)


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What a service may sign for itself: the key that it signs with, and the scopes that it may claim."""

    service: str
    public_key: bytes
    scopes: frozenset[str]

    def allows(self, caller: Caller) -> bool:
        """Tells whether a caller is this service, or a role of it, and claims no more than it may."""
        name = f"service:{self.service}"
        is_own = caller.subject == name or caller.subject.startswith(f"{name}-")
        return is_own and caller.program_id == ANY_PROGRAM and caller.scopes <= self.scopes


def read_service_keys(text: str) -> tuple[ServiceKey, ...]:
    """Reads what services may sign: `{"referral": {"publicKey": "<base64>", "scopes": ["feed.read"]}}`; none if empty.

    Raises ValueError that says what is wanted.
    """
    try:
        return tuple(
            ServiceKey(name, _public_key(what["publicKey"]), frozenset(map(str, what["scopes"])))
            for name, what in (orjson.loads(text) if text else {}).items()
        )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        wanted = 'a JSON object such as {"referral": {"publicKey": "<32 bytes in base64>", "scopes": ["feed.read"]}}'
        raise ValueError(wanted) from error


def _public_key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    Ed25519PublicKey.from_public_bytes(key)
    return key


class Minter:
    """Signs tokens with the private key."""

    def __init__(self, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)

    def public_key(self) -> bytes:
        """Gives the raw public key that belongs to it."""
        return self._key.public_key().public_bytes_raw()

    def mint(self, *, subject: str, program_id: str, scopes: Sequence[str], lifetime_s: int) -> str:
        """Makes a token that ends after `lifetime_s`, an hour at most."""
        assert 0 < lifetime_s <= LIFETIME_MAX_S, "Tokens are short-lived."
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "prg": program_id,
            "scp": sorted(scopes),
            "iat": now,
            "exp": now + lifetime_s,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)


class Verifier:
    """Checks tokens against one or more public keys; several make it possible to replace a key without a stop."""

    def __init__(self, public_keys: Sequence[bytes], service_keys: Sequence[ServiceKey] = ()) -> None:
        self._keys: list[tuple[Ed25519PublicKey, ServiceKey | None]] = [
            *((Ed25519PublicKey.from_public_bytes(key), None) for key in public_keys),
            *((Ed25519PublicKey.from_public_bytes(each.public_key), each) for each in service_keys),
        ]
        self._seen: OrderedDict[bytes, Caller] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """Tells who a token speaks for. Raises CREDENTIAL_INVALID for one that is forged, malformed or over."""
        digest = hashlib.blake2b(token.encode(), digest_size=16).digest()
        caller = self._seen.get(digest)
        if caller is None:
            caller = self._decode(token)
            self._seen[digest] = caller
            if len(self._seen) > CACHE_SIZE:
                self._seen.popitem(last=False)
        elif caller.expires_at_s + CLOCK_SKEW_S < time.time():
            raise errors.credential_invalid("The token has ended; get a new one.")
        return caller

    def _decode(self, token: str) -> Caller:
        for key, owner in self._keys:
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    issuer=ISSUER,
                    leeway=CLOCK_SKEW_S,
                    options={"require": ["exp", "sub"]},
                )
            except jwt.ExpiredSignatureError:
                raise errors.credential_invalid("The token has ended; get a new one.") from None
            except jwt.InvalidTokenError:
                continue  # Another key may have signed it; if none did, the end of the loop refuses it.
            caller = _caller(claims)
            if owner is not None and not owner.allows(caller):
                raise errors.credential_invalid(f"The key of the service {owner.service} may not sign that.")
            return caller
        raise errors.credential_invalid("The token is not valid here.")


def _caller(claims: dict[str, object]) -> Caller:
    subject, program_id, scopes, expires = (claims.get(name) for name in ("sub", "prg", "scp", "exp"))
    if not isinstance(subject, str) or not isinstance(program_id, str) or not isinstance(scopes, list):
        raise errors.credential_invalid("The token lacks a claim.")
    # An empty program would stand above all programs, which only a service may, as ANY_PROGRAM.
    if not program_id or not isinstance(expires, (int, float)) or expires > END_MAX_S:
        raise errors.credential_invalid("The token lacks a program or an end.")
    return Caller(subject, program_id, frozenset(str(scope) for scope in scopes), float(expires))
