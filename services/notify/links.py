"""Links: tokens that stand in mails. A token names a delivery and nobody, and cannot be made up.

It is the delivery's id and the program's, with a MAC of both: 16 bytes of HMAC-SHA256, which nobody guesses.
"""

import base64
import binascii
import hashlib
import hmac
import uuid
from dataclasses import dataclass

PREFIX = "u_"
MAC_BYTES = 16
ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Link:
    """What a token stands for."""

    program_id: str
    delivery_id: uuid.UUID


def make(key: bytes, link: Link) -> str:
    """Makes the token of a link."""
    body = link.delivery_id.bytes + link.program_id.encode()
    return PREFIX + base64.urlsafe_b64encode(_mac(key, body) + body).rstrip(b"=").decode()


def read(key: bytes, token: str) -> Link | None:
    """Tells what a token stands for; None for one that was not made with the key."""
    if not token.startswith(PREFIX) or not token.isascii():
        return None
    text = token.removeprefix(PREFIX)
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    mac, body = found[:MAC_BYTES], found[MAC_BYTES:]
    if len(body) <= ID_BYTES or not hmac.compare_digest(mac, _mac(key, body)):
        return None
    return Link(body[ID_BYTES:].decode(), uuid.UUID(bytes=body[:ID_BYTES]))


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, b"link" + body, hashlib.sha256).digest()[:MAC_BYTES]
