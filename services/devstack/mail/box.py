"""The box that mails fall into: the newest ones, in memory."""

from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from functools import lru_cache
from typing import Any

MAILS_MAX = 2000
TAKEN = "250 2.0.0 Ok"
NO_SUCH_ADDRESS = "550 5.1.1 There is no such address"
LATER = "451 4.3.0 Come back later"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail, as it was handed over."""

    number: int
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    def parse(self) -> EmailMessage:
        """Reads it, once for all who look."""
        return _parsed(self.content)


@lru_cache(MAILS_MAX)
def _parsed(content: bytes) -> EmailMessage:
    message = BytesParser(policy=default).parsebytes(content)
    assert isinstance(message, EmailMessage), "The default policy makes such messages."
    return message


class Box:
    """Takes mails; the hooks have the names that aiosmtpd calls them by."""

    def __init__(self) -> None:
        self.mails: deque[Mail] = deque(maxlen=MAILS_MAX)
        self.count = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        """Takes a recipient, or says why not."""
        del server, session, rcpt_options
        if address.startswith("bounce"):
            return NO_SUCH_ADDRESS
        if address.startswith("defer"):
            return LATER
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Takes a mail."""
        del server, session
        self.count += 1
        content = bytes(envelope.original_content or envelope.content)
        self.mails.append(Mail(self.count, envelope.mail_from, tuple(envelope.rcpt_tos), content))
        return TAKEN

    def find(self, number: int) -> Mail | None:
        """Finds a mail by its number."""
        return next((mail for mail in reversed(self.mails) if mail.number == number), None)
