"""Webhooks as Standard Webhooks 1.0 has them: payloads, signatures, and secrets that are kept encrypted."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kernel import times

SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's own word before every secret
SECRET_BYTES = 32
NONCE_BYTES = 12


def new_secret() -> str:
    """Makes a secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def hide(key: bytes, secret: str) -> bytes:
    """Encrypts a secret to be kept."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret.encode(), None)


def reveal(key: bytes, kept: bytes) -> str:
    """Decrypts a secret that was kept."""
    return AESGCM(key).decrypt(kept[:NONCE_BYTES], kept[NONCE_BYTES:], None).decode()


def payload(kind: str, occurred_at: datetime, data: Mapping[str, Any]) -> bytes:
    """Writes what an endpoint is told."""
    return orjson.dumps({"type": kind, "timestamp": times.to_text(occurred_at), "data": dict(data)})


def headers(signers: Sequence[str], message_id: str, now: datetime, content: bytes) -> dict[str, str]:
    """Signs one attempt with each secret: the id is the same over all attempts, the time is that of this one."""
    timestamp = str(int(now.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + content
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_sign(secret, signed)}" for secret in signers),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
