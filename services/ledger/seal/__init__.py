"""Seals the journal: what was written can be proven later, and any row that was changed, removed or swapped is found.

The rows of one (program, partition), in the order of their gapless positions, are cut into blocks. Each row becomes a
leaf, the leaves of a block one Merkle root (RFC 9162 section 2.1), and each block names the hash of the block before
it. Once a day the newest block of each partition is signed: a chain that was cut short or sealed anew as a whole
agrees with itself, and differs only from a head that somebody outside has kept. No I/O, no clock.

Four kinds of bytes are hashed by SHA-256 or signed, and none can be taken for another:

    leaf        0x00, encoded values: the number of a format, then those of a row's columns; see `formats`
    node        0x01, left hash, right hash
    block hash  0x02, encoded values of the header: the fields of `Block`, in their order
    head        text that begins with HEAD_TITLE; see `head_bytes`

Encoded values are ENCODING_VERSION, then for each value a tag, the length of its content in 4 bytes, and the content;
numbers are big-endian:

    N  null      nothing
    B  boolean   one byte, 0 or 1
    I  integer   8 bytes, two's complement
    S  text      UTF-8
    X  bytes     as they are
    U  UUID      16 bytes
    T  instant   microseconds since 1970-01-01T00:00:00Z, 8 bytes, two's complement
    L  list      its values, one behind the other
    D  object    for each key in the order of code points: the key as S, then its value

Values can be read back, since each says where it ends, and so two different rows never encode alike. Fractions have no
tag: nothing near value has any. Hashes are compared for ever, so other columns need another format, and other types
another version.
"""

from services.ledger.seal.chain import (
    BLOCK_PREFIX,
    FIRST_NUMBER,
    FIRST_POSITION,
    NO_HASH,
    Block,
    Flaw,
    PositionedRow,
    Problem,
    block_hash,
    block_header,
    next_block,
    verify_block,
    verify_chain,
    verify_leaves,
)
from services.ledger.seal.encoding import ENCODING_VERSION, UNENCODABLE, Value, encode, encode_rows
from services.ledger.seal.formats import COLUMNS, FORMAT, StoredBlock, leaf_contents, leaf_values
from services.ledger.seal.head import (
    HEAD_TITLE,
    Head,
    Keys,
    SignedHead,
    Tip,
    head_bytes,
    key_id,
    read_head,
    sign_head,
    verify_head,
)
from services.ledger.seal.tree import (
    HASH_BYTES,
    LEAF_PREFIX,
    NODE_PREFIX,
    hash_leaf,
    hash_leaves,
    inclusion_proof,
    leaf,
    root,
    verify_inclusion,
)

__all__ = [
    "BLOCK_PREFIX",
    "COLUMNS",
    "ENCODING_VERSION",
    "FIRST_NUMBER",
    "FIRST_POSITION",
    "FORMAT",
    "HASH_BYTES",
    "HEAD_TITLE",
    "LEAF_PREFIX",
    "NODE_PREFIX",
    "NO_HASH",
    "UNENCODABLE",
    "Block",
    "Flaw",
    "Head",
    "Keys",
    "PositionedRow",
    "Problem",
    "SignedHead",
    "StoredBlock",
    "Tip",
    "Value",
    "block_hash",
    "block_header",
    "encode",
    "encode_rows",
    "hash_leaf",
    "hash_leaves",
    "head_bytes",
    "inclusion_proof",
    "key_id",
    "leaf",
    "leaf_contents",
    "leaf_values",
    "next_block",
    "read_head",
    "root",
    "sign_head",
    "verify_block",
    "verify_chain",
    "verify_head",
    "verify_inclusion",
    "verify_leaves",
]
