"""Codes, links and click ids: how they are written, and how what people write is read. Pure.

A link's code is the tag of its program and the code, `7KRMD-ANNA`: the tag says which program, before anything else is
known. Random codes have 10 characters of 20 that nobody takes for another one: 43 bits, so that of a million codes one
in ten million guesses hits. What people type may have any case, hyphens and look-alikes.
"""

import base64
import hmac
import re
import uuid
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Without 0 O Q, 1 I L, 2 Z, 5 S, 6 G, 8 B, U V: nothing in it looks like something else.
ALPHABET = "3479ACDEFHJKMNPRTWXY"
CODE_LENGTH = 10
TAG_LENGTH = 5
VANITY = re.compile(r"[A-Za-z0-9]{4,24}", re.ASCII)
ALIKE = str.maketrans("OQILZSGBU", "00112568V", "-_ ")
CLICK_BYTES = 16
SIGNATURE_BYTES = 12
CLICK_TOKEN = re.compile(r"[A-Za-z0-9_-]{38}", re.ASCII)
REF = "ref"
LINK_PATH = "/r/"


def spell(number: int, length: int) -> str:
    """Writes a number as a text of the alphabet; of a larger one the low digits."""
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return "".join(letters)


def fold(text: str) -> str:
    """Makes equal what looks alike: case, hyphens and characters that people mistake for one another."""
    return text.upper().translate(ALIKE)


def link_code(tag: str, code: str) -> str:
    """Writes what stands behind `/r/`."""
    return f"{tag}-{code}"


def split_link(text: str) -> tuple[str, str]:
    """Reads what stands behind `/r/`: the tag and the folded code; both empty where it is no such thing."""
    tag, hyphen, code = text.partition("-")
    if not hyphen or len(tag) != TAG_LENGTH or not code:
        return "", ""
    return tag.upper(), fold(code)


def read_code(text: str, tag: str) -> str:
    """Reads what somebody gave as a code, with or without the tag of the program; gives the folded code."""
    found_tag, code = split_link(text)
    return code if tag and found_tag == tag else fold(text)


def sign_click(key: bytes, click_id: uuid.UUID) -> str:
    """Writes the id of a click so that nobody can make one up."""
    return base64.urlsafe_b64encode(click_id.bytes + _signature(key, click_id.bytes)).rstrip(b"=").decode()


def read_click(key: bytes, text: str) -> uuid.UUID | None:
    """Reads a signed click id; None where it is none, or signed by somebody else."""
    if not CLICK_TOKEN.fullmatch(text):
        return None
    given = base64.urlsafe_b64decode(text + "==")
    click, signature = given[:CLICK_BYTES], given[CLICK_BYTES:]
    return uuid.UUID(bytes=click) if hmac.compare_digest(signature, _signature(key, click)) else None


def _signature(key: bytes, click: bytes) -> bytes:
    return hmac.digest(key, b"click:" + click, "sha256")[:SIGNATURE_BYTES]


def landing(url: str, ref: str) -> str:
    """Adds `ref` to the URL of a landing page, in place of one that it has."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != REF]
    return urlunsplit(parts._replace(query=urlencode([*query, (REF, ref)])))


def landing_fault(url: str) -> str | None:
    """Says what is wrong with the URL of a landing page; None where nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' "<>\\^`{|}'):
        return "has characters that a URL has not; write them percent-encoded"
    if not host or port == 0 or parts.username is not None or parts.password is not None:
        return "is not a URL of the form https://host/path"
    if parts.scheme == "https" or (parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")):
        return None
    return "must begin with https:// (http:// on loopback only)"
