"""Heads: how far a program was sealed when a day ended, signed, so that others can keep it."""

from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HEAD_TITLE = "plaudit ledger head v1"
KEY_ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest block of a partition, by its number and hash."""

    partition: int
    number: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """How far a program was sealed when a day ended in UTC: one tip for each partition that has a block."""

    program_id: str
    day: date
    tips: tuple[Tip, ...]


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head as it is given away: what was signed, the signature, and the public half of the key."""

    head: Head
    content: bytes
    signature: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """The raw private key that signs heads, and the public keys of all that ever did."""

    private_key: bytes = field(repr=False)
    public_keys: tuple[bytes, ...]

    def sign(self, head: Head) -> SignedHead:
        """Signs a head."""
        public_key = Ed25519PrivateKey.from_private_bytes(self.private_key).public_key().public_bytes_raw()
        return SignedHead(head, head_bytes(head), sign_head(head, self.private_key), public_key)


def key_id(public_key: bytes) -> str:
    """Names a key: the first digits of the SHA-256 of its public half, in hex."""
    return sha256(public_key).hexdigest()[:KEY_ID_DIGITS]


def head_bytes(head: Head) -> bytes:
    r"""Gives what is signed: lines of UTF-8, each ended by a line feed, with nothing else in them.

        plaudit ledger head v1
        <program id>
        <day as YYYY-MM-DD>
        <partition> <number> <block hash>

    The last line is there once for each tip, partitions ascending; integers are decimal, hashes lower-case hex. To
    verify a head an outsider writes these lines and asks any Ed25519 (RFC 8032) for the signature over them.

    Raises ValueError for a program id with a line feed, which no program has.
    """
    if "\n" in head.program_id:
        raise ValueError("A program id has no line feed.")
    tips = sorted(head.tips, key=lambda tip: tip.partition)
    lines = [f"{tip.partition} {tip.number} {tip.block_hash.hex()}" for tip in tips]
    return "".join(f"{line}\n" for line in (HEAD_TITLE, head.program_id, head.day.isoformat(), *lines)).encode()


def read_head(content: bytes) -> Head:
    """Reads what `head_bytes` gave. Raises ValueError for anything else, however near."""
    title, program_id, day, *lines = content.decode().split("\n")
    tips = [line.split(" ") for line in lines[:-1]]
    head = Head(
        program_id,
        date.fromisoformat(day),
        tuple(Tip(int(partition), int(number), bytes.fromhex(digits)) for partition, number, digits in tips),
    )
    if title != HEAD_TITLE or head_bytes(head) != content:
        raise ValueError("The head is not written as heads are.")
    return head


def sign_head(head: Head, private_key: bytes) -> bytes:
    """Signs a head by Ed25519 with a raw private key of 32 bytes; the signature has 64."""
    assert len({tip.partition for tip in head.tips}) == len(head.tips), "A partition has one tip."
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(head_bytes(head))


def verify_head(head: Head, signature: bytes, public_key: bytes) -> bool:
    """Tells whether a head was signed by the key whose raw public half this is. Raises ValueError where it is none."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, head_bytes(head))
    except InvalidSignature:
        return False
    return True
