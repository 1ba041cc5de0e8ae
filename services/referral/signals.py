"""Signals: what members are seen with, turned into keyed hashes at once. Pure.

A hash is an HMAC-SHA256 under a key of the program's own, derived from that of the service: equal values of one program
can be told equal, and nothing can be told of two programs, nor of a value without the key.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

HASH_BYTES = 16
VALUE_LENGTH_MAX = 1000
SUBNET_BITS = {4: 24, 6: 56}
# One subscriber of IPv6 has a whole network, and takes another address of it every day.
HOST_BITS = {4: 32, 6: 64}
# Addresses that are many machines' own, or a proxy's before us: they say nothing of who is behind them.
NOWHERE = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)


class Kind(StrEnum):
    """What a signal is of."""

    EMAIL = "EMAIL"
    EMAIL_LOOSE = "EMAIL_LOOSE"
    EMAIL_STEM = "EMAIL_STEM"
    IP = "IP"
    SUBNET = "SUBNET"
    AGENT = "AGENT"
    DEVICE = "DEVICE"
    PAYMENT = "PAYMENT"


# By these two accounts are taken for one person.
IDENTITY_KINDS = (Kind.EMAIL, Kind.DEVICE, Kind.PAYMENT)
# The properties of events that are signals, in the spellings of products.
PROPERTIES = {
    "user_agent": Kind.AGENT,
    "userAgent": Kind.AGENT,
    "device_id": Kind.DEVICE,
    "deviceId": Kind.DEVICE,
    "payment_fingerprint": Kind.PAYMENT,
    "paymentFingerprint": Kind.PAYMENT,
}
IP_PROPERTIES = ("ip", "ip_address", "ipAddress")


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that somebody was seen with."""

    kind: Kind
    value_hash: bytes


def program_key(key: bytes, program_id: str) -> bytes:
    """Derives the key of a program."""
    return hmac.digest(key, b"program:" + program_id.encode(), "sha256")


def hashed(key: bytes, kind: Kind, value: str) -> Signal:
    """Hashes one value."""
    text = f"{kind.value}:{value[:VALUE_LENGTH_MAX]}".encode("utf-8", "surrogatepass")
    return Signal(kind, hmac.digest(key, text, "sha256")[:HASH_BYTES])


def of_address(key: bytes, text: str) -> list[Signal]:
    """Gives the signals of an IP address: itself and its network; none for what is no address that says anything."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in NOWHERE):
        return []
    host, subnet = (
        str(ipaddress.ip_network((address, bits[address.version]), strict=False)) for bits in (HOST_BITS, SUBNET_BITS)
    )
    return [hashed(key, Kind.IP, host), hashed(key, Kind.SUBNET, subnet)]


def of_properties(key: bytes, properties: Mapping[str, Any]) -> list[Signal]:
    """Gives the signals in the properties of an event."""
    found = [
        hashed(key, kind, value)
        for name, kind in PROPERTIES.items()
        if isinstance(value := properties.get(name), str) and value
    ]
    for name in IP_PROPERTIES:
        value = properties.get(name)
        if isinstance(value, str):
            found += of_address(key, value)
    return found
