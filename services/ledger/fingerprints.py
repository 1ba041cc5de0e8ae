"""What the journal keeps of the content of an operation, so that its id stands for it alone. It tells no member.

A fingerprint takes no secret to make, and member ids can be tried: if one were part of it, a copy of the journal would
tell whose row is whose for ever, though the member be forgotten. So an operation is made of everything but the member,
whose it was is told by the wallet that its row names, and that wallet names the member only until it is forgotten.

Where the row leads to no member, nobody can say that another one asked: it is the same request whoever asks, and no
less once the same one does. That is so once the member is forgotten, whose callers must still be given the first
outcome; and of a refusal to a member in whose wallet nothing had ever happened, since that wallet was never made. Then
the caller who takes an id twice is given the refusal of the first time, and nothing moves.
"""

from typing import Any

from services.kernel import requests
from services.ledger.model import Kind, Operation, Prior

MEMBER = "memberId"


def fingerprint(kind: Kind, content: dict[str, Any]) -> bytes:
    """Hashes the content of an operation without its member; the kind is the first field."""
    fields = {"kind": kind.value, **content}
    fields.pop(MEMBER, None)
    return requests.fingerprint(fields)


def differing_fields(prior: Prior, item: Operation) -> list[str]:
    """Names the fields of an operation that are not those of the outcome which stands for its id; none if it is that.

    Rows of earlier versions have the member in their fingerprint, which is longer by the byte of that field. Their
    content is compared as it was then, with the member, which those rows know for ever.
    """
    content = item.content
    is_same_member = prior.member_id is None or prior.member_id == content.get(MEMBER, prior.member_id)
    if is_same_member and prior.fingerprint == item.fingerprint:
        return []
    content = {"kind": item.kind.value, **content}
    if len(prior.fingerprint) == requests.DIGEST_BYTES + len(content):
        return requests.differing_fields(prior.fingerprint, content)
    nameless = {name: value for name, value in content.items() if name != MEMBER}
    differing = requests.differing_fields(prior.fingerprint, nameless)
    if len(differing) == len(nameless):
        # Another kind of operation, or a change that no byte tells.
        return list(content)
    return [name for name in content if name in differing or (name == MEMBER and not is_same_member)]
