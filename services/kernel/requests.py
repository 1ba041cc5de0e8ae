"""One outcome per request: fingerprints of content, so that a reused id can be told by field.

The row of an effect carries its request id and a fingerprint of what was asked: 8 bytes of BLAKE2b over the whole
content, which tell whether it is the same, and then one byte a field, which tell *which* fields differ without the
content being stored twice. Two contents agree by accident once in 2^64; a caller who looks for two that do deceives
nobody but itself. The byte of a field misses one change in 256, though none of its last byte alone: then the other
fields that differ are named, and all fields where no byte tells.
"""

import struct
import zlib
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgpack
import orjson

DIGEST_BYTES = 8
# Copied for each fingerprint, which is a third faster than to make one.
EMPTY_DIGEST = blake2b(digest_size=DIGEST_BYTES)

# Of what MessagePack writes, each value says its type and length, so that no two ways to cut a content into fields
# are the same bytes, and no number is its text. Times are instants, whatever their zone.
PACKED_TYPES = frozenset({str, int, bool, type(None), bytes, datetime})
pack = msgpack.Packer(datetime=True).pack


def fingerprint(content: Mapping[str, Any]) -> bytes:
    """Hashes the content and each of its fields, in the order of the mapping; the caller keeps that order for ever."""
    fields = [pack(value) if type(value) in PACKED_TYPES else _pack_other(value) for value in content.values()]
    digest = EMPTY_DIGEST.copy()
    digest.update(b"".join(fields))
    # The low byte of each field's CRC-32, which every change of the field's last byte changes. The numbers are packed
    # and each fourth byte taken, since to look at them one by one takes as long as the checksums.
    return digest.digest() + struct.pack(f"<{len(fields)}I", *map(zlib.crc32, fields))[::4]


def _pack_other(value: Any) -> bytes:
    """Packs what has keys in any order, or is of a derived type, as its JSON; as an extension, it is no text."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    packed: bytes = pack(msgpack.ExtType(ord("j"), text))
    return packed


def differing_fields(stored: bytes, content: Mapping[str, Any]) -> list[str]:
    """Names the fields of the content that are not what was stored; none where the content is the same.

    A stored fingerprint of another length belongs to another kind of request: then every field differs.
    """
    current = fingerprint(content)
    if current == stored:
        return []
    if len(current) != len(stored):
        return list(content)
    bytes_of_fields = zip(content, current[DIGEST_BYTES:], stored[DIGEST_BYTES:], strict=True)
    return [name for name, ours, theirs in bytes_of_fields if ours != theirs] or list(content)
