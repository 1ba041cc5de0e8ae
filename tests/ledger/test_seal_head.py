"""Signed heads: anybody can verify one, and none is good for anything else."""

from dataclasses import replace
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger import seal
from services.ledger.seal import Head, Tip

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
PUBLIC_KEY = Ed25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw()
HEAD = Head("demo", date(2026, 3, 1), (Tip(0, 7, b"\xab" * 32), Tip(3, 12, b"\xcd" * 32)))
OTHERS = {
    "program": replace(HEAD, program_id="demo2"),
    "day": replace(HEAD, day=date(2026, 3, 2)),
    "first alone": replace(HEAD, tips=HEAD.tips[:1]),
    "last alone": replace(HEAD, tips=HEAD.tips[1:]),
    "no tip": replace(HEAD, tips=()),
    "one tip more": replace(HEAD, tips=(*HEAD.tips, Tip(4, 1, b"\xef" * 32))),
    "one tip twice": replace(HEAD, tips=(*HEAD.tips, HEAD.tips[1])),
    "partition": replace(HEAD, tips=(HEAD.tips[0], replace(HEAD.tips[1], partition=4))),
    "number": replace(HEAD, tips=(HEAD.tips[0], replace(HEAD.tips[1], number=11))),
    "hash": replace(HEAD, tips=(HEAD.tips[0], replace(HEAD.tips[1], block_hash=b"\xcd" * 31 + b"\xcc"))),
    "hashes swapped": replace(HEAD, tips=(Tip(0, 7, b"\xcd" * 32), Tip(3, 12, b"\xab" * 32))),
}


def test_head_is_verified_by_an_outsider() -> None:
    """With nothing but the lines that the documentation names and the public key, anybody can verify a head."""
    lines = f"plaudit ledger head v1\ndemo\n2026-03-01\n0 7 {'ab' * 32}\n3 12 {'cd' * 32}\n"
    signature = seal.sign_head(HEAD, KEY)

    Ed25519PublicKey.from_public_bytes(PUBLIC_KEY).verify(signature, lines.encode())
    assert seal.head_bytes(HEAD) == lines.encode()
    assert signature.hex() == (
        "66f8d75780bcc0d1430a4fdb942f00cec2eaf07bda023e40121d60b04af0d484"
        "3ae12b50078dc360058557a75d6597195fa1d44f3687b66c0904198b92f20900"
    )


def test_head_verifies_in_any_order() -> None:
    """A head verifies with its key, whatever the order in which its tips were read."""
    signature = seal.sign_head(replace(HEAD, tips=HEAD.tips[::-1]), KEY)

    assert len(signature) == 64
    assert seal.verify_head(HEAD, signature, PUBLIC_KEY)


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_head_fails_on_any_change(head: Head) -> None:
    """A signature is good for one program, one day and exactly its tips."""
    assert not seal.verify_head(head, seal.sign_head(HEAD, KEY), PUBLIC_KEY)


@settings(deadline=None)
@given(bit=st.integers(0, 511))
def test_head_fails_on_any_other_signature(bit: int) -> None:
    """A signature of which one bit is changed is none."""
    flipped = int.from_bytes(seal.sign_head(HEAD, KEY), "big") ^ (1 << bit)

    assert not seal.verify_head(HEAD, flipped.to_bytes(64, "big"), PUBLIC_KEY)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)], ids=len)
def test_head_fails_on_what_is_no_signature(signature: bytes) -> None:
    """What is no signature at all is refused, and does not crash."""
    assert not seal.verify_head(HEAD, signature, PUBLIC_KEY)


def test_head_fails_on_another_key() -> None:
    """A head that somebody else signed is not ours."""
    assert not seal.verify_head(HEAD, seal.sign_head(HEAD, OTHER_KEY), PUBLIC_KEY)


def test_head_takes_no_line_of_its_own() -> None:
    """A program id with a line feed could pass for a head with another tip, and is refused."""
    forged = Head("demo\n2026-03-01\n0 7 ab", HEAD.day, ())
    with pytest.raises(ValueError, match="line feed"):
        seal.sign_head(forged, KEY)
    with pytest.raises(ValueError, match="line feed"):
        seal.verify_head(forged, bytes(64), PUBLIC_KEY)


def test_head_has_one_tip_of_each_partition() -> None:
    """A head that names two blocks as the newest of one partition is never signed."""
    with pytest.raises(AssertionError):
        seal.sign_head(OTHERS["one tip twice"], KEY)
