"""One outcome per request: fingerprints of content, so that a reused id can be told by field.

The row of an effect carries its request id and a fingerprint of what was asked. A fingerprint is the concatenation of
a 4-byte checksum per field, in a fixed order of fields, so two fingerprints tell *which* fields differ without the
content being stored twice. Two different values of one field agree by accident once in four billion, and never where
they differ in one burst of up to four bytes (CRC-32); a caller who forges one deceives nobody but itself.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import orjson

FIELD_HASH_BYTES = 4


def fingerprint(content: Mapping[str, Any]) -> bytes:
    """Hashes each field of the content, in the order of the mapping; the caller keeps that order for ever."""
    return b"".join([zlib.crc32(_canonical(value)).to_bytes(FIELD_HASH_BYTES, "big") for value in content.values()])


def differing_fields(stored: bytes, content: Mapping[str, Any]) -> list[str]:
    """Names the fields of the content whose hash is not the stored one; none where the content is the same.

    A stored fingerprint of another length belongs to another kind of request: then every field differs.
    """
    current = fingerprint(content)
    if current == stored:
        return []
    if len(current) != len(stored):
        return list(content)
    width = FIELD_HASH_BYTES
    return [
        name
        for index, name in enumerate(content)
        if current[index * width : (index + 1) * width] != stored[index * width : (index + 1) * width]
    ]


def _canonical(value: Any) -> bytes:
    if isinstance(value, str):
        return b"s" + value.encode()
    if isinstance(value, int):
        return b"i%d" % value
    return b"j" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
