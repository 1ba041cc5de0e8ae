"""Who calls: an API key or a token in `Authorization: Bearer …`, turned into the token that services verify.

A key is traded at the program service and its token remembered for a minute at most, so a revoked key ends within a
minute. Tokens are verified offline. Callers are granted nothing here: the gateway's own identity follows links and does
nothing else.
"""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.kernel import errors, logs
from services.kernel.errors import Code, DomainError
from services.kernel.tokens import ANY_PROGRAM, Caller, Verifier

CREDENTIAL_LENGTH_MAX = 4096
API_KEY_PREFIX = "plk_"
API_KEY = re.compile(r"plk_[A-Za-z0-9_-]{1,200}", re.ASCII)

# A revoked key works on for as long as this at most.
KEY_REMEMBERED_S = 60.0
# A new key that a client tried too early works after this.
REFUSAL_REMEMBERED_S = 5.0
KEYS_MAX = 10_000
# Past this many different keys at once somebody is guessing.
EXCHANGES_MAX = 256

BAD_HEADER = "Send the API key as a header: Authorization: Bearer plk_…"
BAD_KEY = "The API key is not valid."

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

# Trades an API key for a token. Raises CREDENTIAL_INVALID for an unknown key, DEPENDENCY_UNAVAILABLE and the like.
Exchange = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Credential:
    """A caller, and the token that proves it to the services."""

    caller: Caller
    token: str


class ExpiringCache(Generic[Key, Value]):
    """Remembers a bounded number of values, each until its own end; the least recently used goes first."""

    def __init__(self, size_max: int, clock: Callable[[], float]) -> None:
        self._size_max = size_max
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Gives the value, None where there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, ends_at_s = entry
        if ends_at_s <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value, ends_at_s: float) -> None:
        """Remembers a value until an instant of the clock."""
        self._entries[key] = (value, ends_at_s)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class Authenticator:
    """Turns the Authorization header into a credential."""

    def __init__(self, verifier: Verifier, exchange: Exchange, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._exchange = exchange
        self._clock = clock
        self._credentials: ExpiringCache[bytes, Credential] = ExpiringCache(KEYS_MAX, clock)
        self._refused: ExpiringCache[bytes, bool] = ExpiringCache(KEYS_MAX, clock)
        self._under_way: dict[bytes, asyncio.Task[Credential]] = {}

    async def authenticate(self, header: str | None) -> Credential:
        """Gives the credential of a call.

        Raises CREDENTIAL_INVALID, or what kept the program service from answering.
        """
        kind, _, secret = (header or "").partition(" ")
        if kind.lower() != "bearer" or not 0 < len(secret) <= CREDENTIAL_LENGTH_MAX:
            raise errors.credential_invalid(BAD_HEADER)
        if not secret.startswith(API_KEY_PREFIX):
            return self._accept(secret)
        if not API_KEY.fullmatch(secret):
            raise errors.credential_invalid(BAD_KEY)
        return await self._of_key(secret)

    def _accept(self, token: str) -> Credential:
        caller = self._verifier.verify(token)
        if caller.program_id == ANY_PROGRAM:
            raise errors.credential_invalid("Tokens of services are not taken here.")
        return Credential(caller, token)

    async def _of_key(self, api_key: str) -> Credential:
        # Kept under its hash, so that a dump of the memory shows tokens that end soon, and no keys.
        digest = hashlib.sha256(api_key.encode()).digest()
        credential = self._credentials.get(digest)
        if credential is not None:
            return credential
        if self._refused.get(digest):
            raise errors.credential_invalid(BAD_KEY)
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= EXCHANGES_MAX:
                raise errors.queue_full(EXCHANGES_MAX)
            task = asyncio.create_task(self._trade(api_key, digest))
            self._under_way[digest] = task
            task.add_done_callback(lambda done: self._ended(digest, done))
        # Shielded, since a caller that goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(task)

    def _ended(self, digest: bytes, task: asyncio.Task[Credential]) -> None:
        self._under_way.pop(digest, None)
        if not task.cancelled():
            task.exception()  # Looked at here, since all who waited for it may have gone away.

    async def _trade(self, api_key: str, digest: bytes) -> Credential:
        try:
            token = await self._exchange(api_key)
        except DomainError as error:
            if error.code is not Code.UNAUTHENTICATED:
                raise
            self._refused.put(digest, True, self._clock() + REFUSAL_REMEMBERED_S)
            raise errors.credential_invalid(BAD_KEY) from None
        try:
            credential = self._accept(token)
        except DomainError as error:
            # The caller's key is good; it is the program service's signing key that this gateway does not know.
            logs.get_logger().error("token_not_verifiable", exc_info=error)
            raise errors.dependency_unavailable("program") from error
        ends_at_s = min(self._clock() + KEY_REMEMBERED_S, credential.caller.expires_at_s)
        self._credentials.put(digest, credential, ends_at_s)
        return credential
