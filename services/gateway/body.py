"""Reading a body: bounded in bytes and in time, whatever the client says of its length."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from services.gateway import problems
from services.kernel import errors
from services.kernel.errors import Code, DomainError, Violation

BODY_BYTES_MAX = 4 * 1024 * 1024
# A client that sends too much reads no answer before it is done sending, so this much more is read and thrown away.
DISCARD_BYTES_MAX = 16 * 1024 * 1024
READ_TIMEOUT_S = 20.0
JSON_TYPE = "application/json"


async def read(receive: Receive, headers: Headers) -> bytes:
    """Gives the whole body.

    Raises BODY_TOO_LARGE past 4 MiB, a 415 for what is not plain JSON, a 408 for a client that dawdles, and
    ClientDisconnect for one that is gone.
    """
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise problems.media_type_unsupported("Content-Encoding", "identity: compressed bodies are not taken")
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            body = await _collect(receive, headers)
    except TimeoutError:
        message = f"The body did not arrive within {READ_TIMEOUT_S:.0f} s."
        error = DomainError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message)
        raise problems.HttpError(408, error, {"connection": "close"}) from None
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON_TYPE and (body or media_type):
        raise problems.media_type_unsupported("Content-Type", JSON_TYPE)
    return body


async def _collect(receive: Receive, headers: Headers) -> bytes:
    announced = headers.get("content-length", "0")
    too_large = announced.isdigit() and int(announced[:20]) > BODY_BYTES_MAX
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        too_large = too_large or size > BODY_BYTES_MAX
        if too_large:
            chunks.clear()
        else:
            chunks.append(chunk)
        ended = not message.get("more_body", False)
        if too_large and (ended or size > DISCARD_BYTES_MAX):
            error = errors.body_too_large(BODY_BYTES_MAX)
            headers_sent = {} if ended else {"connection": "close"}
            raise problems.HttpError(problems.status_of(error), error, headers_sent)
        if ended:
            return b"".join(chunks)


def missing() -> DomainError:
    """Says that a body is needed."""
    return errors.field_invalid(Violation("body", "is required: a JSON object"))
