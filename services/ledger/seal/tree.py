"""Trees: many rows under one hash, and the proof that a row is among them, as RFC 9162 has them."""

from collections.abc import Sequence
from hashlib import sha256

from services.ledger.seal.encoding import Value, encode

LEAF_PREFIX, NODE_PREFIX = b"\x00", b"\x01"
HASH_BYTES = 32


def leaf(fields: Sequence[Value]) -> bytes:
    """Hashes one row from all its values, in the order of its columns."""
    return hash_leaf(encode(fields))


def hash_leaves(contents: Sequence[bytes]) -> list[bytes]:
    """Hashes the contents of leaves."""
    return [sha256(LEAF_PREFIX + content).digest() for content in contents]


def hash_leaf(content: bytes) -> bytes:
    """Hashes the content of one leaf, as RFC 9162 does."""
    return sha256(LEAF_PREFIX + content).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Gives the Merkle root over leaves, one at least: the Merkle Tree Hash of RFC 9162 section 2.1.1."""
    assert leaves, "A block has rows."
    level = list(leaves)
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Gives the hashes that lead from a leaf to the root, lowest first (RFC 9162 section 2.1.3.1)."""
    assert 0 <= index < len(leaves), "A proof is of a leaf of the tree."
    level, proof = list(leaves), []
    while len(level) > 1:
        # The last of an odd level has no neighbour and rises as it is.
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1])
        level, index = _level_above(level), index >> 1
    return proof


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tells whether a proof leads from the leaf at an index of a tree to its root (RFC 9162 section 2.1.3.2).

    `size` comes from the block's header: by itself a proof does not tell a node from a leaf of a smaller tree.
    """
    # A leaf of another length, and a proof to match, could divide the bytes of a node elsewhere.
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    last, computed = size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            computed = _node(sibling, computed)
            # Up through the levels where it had no neighbour.
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            computed = _node(computed, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and computed == root


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    # Pair by pair from the left gives the same tree as the halves of RFC 9162.
    above = [_node(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE_PREFIX + left + right).digest()
