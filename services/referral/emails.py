"""E-mail addresses: which of them are one mailbox, which look alike, and which are thrown away. Pure.

The canonical form folds only what providers themselves fold, as they document it: Gmail ignores dots and what follows a
plus, and is googlemail.com too; iCloud was me.com and mac.com; Outlook, Proton, Fastmail, Zoho and Yandex have plus
addresses. Whatever is not known of a provider is left as it is. The loose form strips dots and plus addresses of all of
them, and says only that two addresses look alike.
"""

import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher

import idna
from disposable_email_domains import blocklist

SAME_PROVIDER = {
    "googlemail.com": "gmail.com",
    "me.com": "icloud.com",
    "mac.com": "icloud.com",
    "proton.me": "protonmail.com",
    "pm.me": "protonmail.com",
    "ya.ru": "yandex.ru",
    "yandex.com": "yandex.ru",
}
WITH_PLUS_ADDRESSES = frozenset(
    {
        *("gmail.com", "icloud.com", "protonmail.com", "yandex.ru", "fastmail.com", "zoho.com"),
        *("outlook.com", "hotmail.com", "live.com", "msn.com"),
    }
)
WITHOUT_DOTS = frozenset({"gmail.com"})
# A stem shorter than this is shared by too many to say anything.
STEM_LENGTH_MIN = 4


@dataclass(frozen=True, slots=True)
class Forms:
    """What one address is compared by; the stem is empty where it is too short to say anything."""

    canonical: str
    loose: str
    stem: str
    domain: str


def forms(address: str) -> Forms | None:
    """Gives the forms of an address; None for what is no address."""
    local, at, domain = unicodedata.normalize("NFKC", address).strip().rpartition("@")
    domain = _ascii(domain)
    if not at or not local or not domain:
        return None
    local, domain = local.casefold(), SAME_PROVIDER.get(domain, domain)
    untagged = local.partition("+")[0] or local
    canonical = untagged if domain in WITH_PLUS_ADDRESSES else local
    if domain in WITHOUT_DOTS:
        canonical = canonical.replace(".", "") or canonical
    letters = "".join(character for character in untagged if character.isalpha())
    return Forms(
        canonical=f"{canonical}@{domain}",
        loose=f"{untagged.replace('.', '') or untagged}@{domain}",
        stem=f"{letters}@{domain}" if len(letters) >= STEM_LENGTH_MIN else "",
        domain=domain,
    )


def _ascii(domain: str) -> str:
    """Writes a domain as the DNS has it; empty for what is none."""
    try:
        return idna.encode(domain.rstrip("."), uts46=True).decode().lower()
    except idna.IDNAError:
        return ""


def is_disposable(domain: str) -> bool:
    """Tells whether a domain, or one that it belongs to, gives addresses that are thrown away.

    By the list of disposable-email-domains (MIT), which leaves out relays of people who guard their privacy.
    """
    labels = domain.split(".")
    return any(".".join(labels[start:]) in blocklist for start in range(len(labels) - 1))


def similarity_percent(one: Forms, other: Forms) -> int:
    """Tells how alike two addresses of one domain look without digits, dots and tags, from 0 to 100."""
    if one.domain != other.domain or not one.stem or not other.stem:
        return 0
    local, other_local = one.stem.partition("@")[0], other.stem.partition("@")[0]
    return int(100 * SequenceMatcher(None, local, other_local, autojunk=False).ratio())
