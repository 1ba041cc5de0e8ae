"""`python -m services.notify serve | work | migrate | check`: wires by hand, no logic."""

from dataclasses import dataclass
from pathlib import Path

from services.kernel import clock, config, db, jobs, migrations, process, rpc, tokens
from services.notify import checks, events, ports, server, smtp, worker
from services.notify.clients import CONTRACTS, RemoteLedger, RemotePeers
from services.notify.operations.context import Context
from services.notify.operations.sending import Sender
from services.notify.webhooks import Poster

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"
WORK_SCOPES = ("ledger.read", "feed.read", "progress.read")


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` needs."""

    dsn: str = config.setting("PLAUDIT_NOTIFY_DSN", config.postgres_dsn, secret=True)
    listen: str = config.setting("PLAUDIT_NOTIFY_LISTEN", config.address, "127.0.0.1:50055")
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    service_keys: tuple[tokens.ServiceKey, ...] = config.setting("PLAUDIT_SERVICE_KEYS", tokens.read_service_keys, "")
    link_key: bytes = config.setting("PLAUDIT_NOTIFY_LINK_KEY", config.secret_key, secret=True)
    secret_key: bytes = config.setting("PLAUDIT_NOTIFY_SECRET_KEY", config.secret_key, secret=True)
    public_url: str = config.setting("PLAUDIT_NOTIFY_PUBLIC_URL", config.web_url)
    webhook_hosts: str = config.setting("PLAUDIT_NOTIFY_WEBHOOK_HOSTS", config.choice("public", "loopback"), "public")


@dataclass(frozen=True)
class WorkSettings:
    """What `work` needs."""

    dsn: str = config.setting("PLAUDIT_NOTIFY_DSN", config.postgres_dsn, secret=True)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    program_address: str = config.setting("PLAUDIT_PROGRAM_ADDRESS", config.address)
    ledger_address: str = config.setting("PLAUDIT_LEDGER_ADDRESS", config.address)
    gamification_address: str = config.setting("PLAUDIT_GAMIFICATION_ADDRESS", config.address)
    referral_address: str = config.setting("PLAUDIT_REFERRAL_ADDRESS", config.address)
    private_key: bytes = config.setting("PLAUDIT_SERVICE_PRIVATE_KEY", config.ed25519_key, secret=True)
    link_key: bytes = config.setting("PLAUDIT_NOTIFY_LINK_KEY", config.secret_key, secret=True)
    secret_key: bytes = config.setting("PLAUDIT_NOTIFY_SECRET_KEY", config.secret_key, secret=True)
    public_url: str = config.setting("PLAUDIT_NOTIFY_PUBLIC_URL", config.web_url)
    smtp_url: str = config.setting("PLAUDIT_NOTIFY_SMTP_URL", smtp.url, secret=True)
    webhook_hosts: str = config.setting("PLAUDIT_NOTIFY_WEBHOOK_HOSTS", config.choice("public", "loopback"), "public")


@dataclass(frozen=True)
class MigrateSettings:
    """What `migrate` needs: a role that owns the tables."""

    dsn: str = config.setting("PLAUDIT_NOTIFY_OWNER_DSN", config.postgres_dsn, secret=True)


@dataclass(frozen=True)
class CheckSettings:
    """What `check` needs."""

    dsn: str = config.setting("PLAUDIT_NOTIFY_DSN", config.postgres_dsn, secret=True)


async def serve(settings: ServeSettings) -> None:
    """Serves until it is stopped, then drains."""
    pool = await db.create_pool(settings.dsn, service="notify")
    kicker = jobs.Kicker(settings.redis_url, "notify")
    poster = Poster(allow_loopback=settings.webhook_hosts == "loopback")
    context = Context(
        pool,
        clock.DatabaseClock(),
        events.encode,
        kicker.kick,
        settings.link_key,
        settings.secret_key,
        settings.public_url,
    )
    served = server.build_server(context, poster, tokens.Verifier(settings.public_keys, settings.service_keys))
    await served.start(settings.listen)
    await process.until_stopped()
    await served.stop()
    await poster.close()
    await kicker.close()
    await pool.close()


async def work(settings: WorkSettings) -> None:
    """Follows every feed, turns days and sends what is due, until it is stopped."""
    pool = await db.create_pool(settings.dsn, service="notify-work")
    addresses = {
        "program": settings.program_address,
        "ledger": settings.ledger_address,
        "gamification": settings.gamification_address,
        "referral": settings.referral_address,
    }
    channels = {name: rpc.channel(address, CONTRACTS) for name, address in addresses.items()}
    identity = rpc.ServiceIdentity(tokens.Minter(settings.private_key), service="notify-work", scopes=WORK_SCOPES)
    kicker = jobs.Kicker(settings.redis_url, "notify")
    poster = Poster(allow_loopback=settings.webhook_hosts == "loopback")
    mailer = smtp.Mailer(smtp.parse_url(settings.smtp_url))
    context = Context(
        pool,
        clock.DatabaseClock(),
        events.encode,
        kicker.kick,
        settings.link_key,
        settings.secret_key,
        settings.public_url,
    )
    ledger = RemoteLedger(channels["ledger"], identity)
    peers = RemotePeers(channels["gamification"], identity)
    sender = Sender(context, ports.Outside(mailer, poster, ledger, peers))
    running = worker.build_worker(context, sender, settings.redis_url)
    followers = worker.build_followers(
        context, {name: worker.remote_source(name, channel, identity) for name, channel in channels.items()}
    )
    await process.until_stopped(running.async_run(), *(follower.run() for follower in followers))
    sender.stop()
    await running.close()
    await sender.close()
    await mailer.close()
    await poster.close()
    await kicker.close()
    for channel in channels.values():
        await channel.close()
    await pool.close()


async def migrate(settings: MigrateSettings) -> None:
    """Brings the schema up to date."""
    await migrations.migrate(settings.dsn, MIGRATIONS, role="notify_service")


async def check(settings: CheckSettings) -> int:
    """Recomputes what is stored and tells what does not add up."""
    pool = await db.create_pool(settings.dsn, service="notify-check", size_max=1)
    rows = await checks.check(pool)
    await pool.close()
    return process.report(rows)


if __name__ == "__main__":
    process.main(
        "notify",
        {
            "serve": (ServeSettings, serve),
            "work": (WorkSettings, work),
            "migrate": (MigrateSettings, migrate),
            "check": (CheckSettings, check),
        },
    )
