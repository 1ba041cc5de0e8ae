"""JSON to messages and back: proto3 JSON with two house choices.

1. Values of enums are written without their prefix: `EVENT_STATUS_ACCEPTED` is `ACCEPTED`. Both are understood.
2. Fields without presence are always written, also where they are zero, empty or false; INPUT_ONLY ones never.

The rest is as proto3 JSON says: lowerCamelCase, 64-bit integers as strings, instants as RFC 3339, null as absent.
`decoder` and `encoder` compile the work for each message type; this module is the door to both.
"""

from typing import Any

import orjson
from google.protobuf.message import Message

from services.gateway.decoder import decoder
from services.gateway.encoder import encoder
from services.gateway.malformed import MalformedError

__all__ = ["MalformedError", "from_json", "parse", "render", "to_json"]


def parse(body: bytes) -> Any:
    """Parses a body: strict JSON in strict UTF-8, at most 1,024 levels deep. Raises MalformedError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError.at(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None


def render(value: Any) -> bytes:
    """Writes a JSON value."""
    return orjson.dumps(value)


def from_json(value: Any, message: Message) -> None:
    """Reads a JSON value into a message. Raises MalformedError with every fault, each by its path."""
    decoder(message.DESCRIPTOR)(value, message)


def to_json(message: Message) -> Any:
    """Writes a message as a JSON value."""
    return encoder(message.DESCRIPTOR)(message)
