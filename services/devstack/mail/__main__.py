"""`python -m services.devstack.mail serve`: a mail server and its pages, on loopback."""

import asyncio
import contextlib
from dataclasses import dataclass

import uvicorn
from aiosmtpd.smtp import SMTP

from services.devstack.mail.box import Box
from services.devstack.mail.pages import application
from services.kernel import config, process

DATA_BYTES_MAX = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Where mail comes in, and where it can be read."""

    smtp_listen: str = config.setting("PLAUDIT_MAIL_SMTP_LISTEN", config.address, "127.0.0.1:2525")
    http_listen: str = config.setting("PLAUDIT_MAIL_HTTP_LISTEN", config.address, "127.0.0.1:2580")


async def serve(settings: Settings) -> None:
    """Serves until it is stopped."""
    box = Box()
    loop = asyncio.get_running_loop()
    host, _, port = settings.smtp_listen.rpartition(":")
    listener = await loop.create_server(lambda: receiver(box), host, int(port))
    http_host, _, http_port = settings.http_listen.rpartition(":")
    pages = Pages(
        uvicorn.Config(application(box), host=http_host, port=int(http_port), log_config=None, lifespan="off")
    )
    await process.until_stopped(pages.serve())
    listener.close()


class Pages(uvicorn.Server):
    """Uvicorn's server without its own handling of signals: the kernel's process has that."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leaves signals alone."""
        return contextlib.nullcontext()


def receiver(box: Box) -> SMTP:
    """Makes what speaks SMTP on one connection."""
    return SMTP(box, data_size_limit=DATA_BYTES_MAX, hostname="localhost", ident="Plaudit's local mail")


if __name__ == "__main__":
    process.main("devstack.mail", {"serve": (Settings, serve)})
