"""The tree of a seal: roots and proofs as others compute them, and none that passes for another."""

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger import seal

# The leaves of the reference implementation of certificate transparency, and the roots over the first 1 to 8 of them.
CONTENTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PROOFS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
SIZE_MAX = 40


def leaves_of(size: int) -> list[bytes]:
    """Makes leaves that all differ."""
    return [seal.hash_leaf(b"%d" % number) for number in range(size)]


def standard_root(leaves: list[bytes]) -> bytes:
    """Gives the root as RFC 9162 section 2.1.1 defines it: by halves, the left the largest power of two."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + standard_root(leaves[:half]) + standard_root(leaves[half:])).digest()


def standard_proof(leaves: list[bytes], index: int) -> list[bytes]:
    """Gives the proof as RFC 9162 section 2.1.3.1 defines it."""
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*standard_proof(leaves[:half], index), standard_root(leaves[half:])]
    return [*standard_proof(leaves[half:], index - half), standard_root(leaves[:half])]


def test_root_agrees_with_the_reference() -> None:
    """The roots over the reference's leaves are the reference's roots."""
    leaves = [seal.hash_leaf(content) for content in CONTENTS]

    assert [seal.root(leaves[:size]).hex() for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("index", "size"), PROOFS)
def test_proof_agrees_with_the_reference(index: int, size: int) -> None:
    """The proofs in the reference's trees are the reference's proofs."""
    leaves = [seal.hash_leaf(content) for content in CONTENTS]

    assert [each.hex() for each in seal.inclusion_proof(leaves[:size], index)] == PROOFS[index, size]


@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_proof_of_each_leaf_verifies(size: int) -> None:
    """In a tree of any size the root and each leaf's proof are those of the standard, and each proof verifies."""
    leaves = leaves_of(size)
    root = seal.root(leaves)

    assert root == standard_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = seal.inclusion_proof(leaves, index)
        assert proof == standard_proof(leaves, index)
        assert seal.verify_inclusion(leaf, index=index, size=size, proof=proof, root=root)


@pytest.mark.parametrize("size", range(1, SIZE_MAX + 1))
def test_proof_verifies_for_nothing_else(size: int) -> None:
    """No proof verifies for another leaf, another index or another root, nor one that was changed, cut or extended."""
    leaves = leaves_of(size)
    root, other = seal.root(leaves), seal.hash_leaf(b"other")
    for index, leaf in enumerate(leaves):
        proof = seal.inclusion_proof(leaves, index)
        strangers = [other, *leaves[:index], *leaves[index + 1 :]]
        indices = [each for each in range(-1, size + 2) if each != index]
        proofs = [[*proof, other], [other, *proof], *([proof[:-1], proof[1:]] if proof else [])]
        proofs += [[*proof[:place], other, *proof[place + 1 :]] for place in range(len(proof))]
        proofs += [
            [*proof[:place], right, left, *proof[place + 2 :]] for place, (left, right) in enumerate(pairwise(proof))
        ]

        assert not any(
            seal.verify_inclusion(each, index=index, size=size, proof=proof, root=root) for each in strangers
        )
        assert not any(seal.verify_inclusion(leaf, index=each, size=size, proof=proof, root=root) for each in indices)
        assert not any(seal.verify_inclusion(leaf, index=index, size=size, proof=each, root=root) for each in proofs)
        assert not seal.verify_inclusion(leaf, index=index, size=size, proof=proof, root=other)


def test_proof_refuses_hashes_of_other_lengths() -> None:
    """Two hashes divided at another place give the same node, and are refused nevertheless."""
    left, right = leaves_of(2)
    both, root = left + right, seal.root([left, right])

    assert seal.verify_inclusion(both[:32], index=0, size=2, proof=[both[32:]], root=root)
    for border in (0, 31, 33, 64):
        assert not seal.verify_inclusion(both[:border], index=0, size=2, proof=[both[border:]], root=root)


def test_proof_takes_no_node_for_a_tree_of_one() -> None:
    """A node below the root is no leaf of a smaller tree, though one hash more leads from it to the root."""
    left, right = leaves_of(2)
    root = seal.root([left, right])

    assert seal.verify_inclusion(right, index=1, size=2, proof=[left], root=root)
    assert not seal.verify_inclusion(right, index=0, size=1, proof=[left], root=root)


def test_tree_has_leaves() -> None:
    """There is no root over nothing, and no proof of a leaf that the tree does not have."""
    with pytest.raises(AssertionError):
        seal.root([])
    for index in (-1, 3):
        with pytest.raises(AssertionError):
            seal.inclusion_proof(leaves_of(3), index)


@settings(deadline=None)
@given(size=st.integers(1, SIZE_MAX), data=st.data())
def test_root_changes_with_any_leaf(size: int, data: st.DataObject) -> None:
    """A leaf that is changed, removed, added, repeated or swapped gives another root."""
    leaves = leaves_of(size)
    one, two = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    others = [
        [*leaves[:one], seal.hash_leaf(b"other"), *leaves[one + 1 :]],
        [*leaves[:one], leaves[two], *leaves[one:]],
        [*leaves, leaves[-1]],
    ]
    if size > 1:
        others.append(leaves[:one] + leaves[one + 1 :])
    if one != two:
        swapped = list(leaves)
        swapped[one], swapped[two] = leaves[two], leaves[one]
        others.append(swapped)

    assert seal.root(leaves) not in {seal.root(each) for each in others}
