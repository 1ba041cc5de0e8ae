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

# Of a number, so many bits count within a millisecond, and the others milliseconds since 2025: until 2094.
NUMBERS_BITS = 22
NUMBERS_MASK = (1 << NUMBERS_BITS) - 1
NUMBERS_EPOCH_MS = 1_735_689_600_000


def new_id() -> uuid.UUID:
    """Makes a UUID of version 7 (RFC 9562): unique, and later ones sort later to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") & ((1 << RANDOM_BITS) - 1)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


def new_numbers(count: int) -> list[int]:
    """Makes numbers of 63 bits, ascending, later ones behind earlier ones to the millisecond.

    For keys that are half as wide as a UUID. Two calls of a thousand numbers in the same millisecond meet with a chance
    of one in two thousand, so they go into a column that is unique, and who is refused there makes others.
    """
    milliseconds = time.time_ns() // 1_000_000 - NUMBERS_EPOCH_MS
    start = int.from_bytes(os.urandom(3), "big") & NUMBERS_MASK
    return [(milliseconds << NUMBERS_BITS) + start + index for index in range(count)]


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
