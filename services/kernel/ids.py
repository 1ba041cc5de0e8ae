"""Ids: time-ordered ones for new things, derived ones for what follows from a cause."""

import os
import time
import uuid
from hashlib import blake2b, sha1

from services.kernel.db import Uuid

# Namespace of every derived id: uuid5 of the DNS name `plaudit`; fixed for ever, since replays depend on it.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "plaudit")
NAMESPACE_BYTES = NAMESPACE.bytes

RANDOM_BITS = 74


def new_id() -> uuid.UUID:
    """Makes a UUID of version 7 (RFC 9562): unique, and later ones sort later to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") & ((1 << RANDOM_BITS) - 1)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


def derived_id(*causes: str) -> uuid.UUID:
    """Derives the id of an effect from its causes: the same causes give the same id on every machine."""
    assert causes, "A derived id needs a cause."
    # The length before each part keeps ("a", "bc") apart from ("ab", "c").
    name = "".join([f"{len(cause)}:{cause}" for cause in causes])
    # A UUID of version 5 (RFC 9562), as uuid.uuid5 makes it, in a quarter of its time.
    digest = bytearray(sha1(NAMESPACE_BYTES + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    derived: uuid.UUID = Uuid(bytes(digest))
    return derived


def request_key(request_id: str) -> uuid.UUID:
    """Maps a caller's request id to the 16 bytes it is stored under.

    BLAKE2b over 128 bits: two ids of one program meet with a probability of 2^-64 after four billion requests. UUIDs
    are hashed like any text, so that no caller can take an id that Plaudit derives for itself.
    """
    key: uuid.UUID = Uuid(blake2b(request_id.encode(), digest_size=16).digest())
    return key
