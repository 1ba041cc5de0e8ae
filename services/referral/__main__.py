"""`python -m services.referral serve | work | migrate | check`: wires by hand, no logic."""

from dataclasses import dataclass
from pathlib import Path

from services.kernel import clock, config, db, jobs, migrations, process, rpc, tokens
from services.referral import checks, events, server, worker
from services.referral.clients import CONTRACTS, RemoteMembers
from services.referral.operations.context import Context
from services.referral.operations.links import Links

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"
PROGRAM_SCOPES = ("feed.read", "members.read")


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` needs."""

    dsn: str = config.setting("PLAUDIT_REFERRAL_DSN", config.postgres_dsn, secret=True)
    listen: str = config.setting("PLAUDIT_REFERRAL_LISTEN", config.address, "127.0.0.1:50054")
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    service_keys: tuple[tokens.ServiceKey, ...] = config.setting("PLAUDIT_SERVICE_KEYS", tokens.read_service_keys, "")
    signal_key: bytes = config.setting("PLAUDIT_REFERRAL_SIGNAL_KEY", config.secret_key, secret=True)


@dataclass(frozen=True)
class WorkSettings:
    """What `work` needs."""

    dsn: str = config.setting("PLAUDIT_REFERRAL_DSN", config.postgres_dsn, secret=True)
    program_address: str = config.setting("PLAUDIT_PROGRAM_ADDRESS", config.address)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    private_key: bytes = config.setting("PLAUDIT_SERVICE_PRIVATE_KEY", config.ed25519_key, secret=True)
    signal_key: bytes = config.setting("PLAUDIT_REFERRAL_SIGNAL_KEY", config.secret_key, secret=True)


@dataclass(frozen=True)
class MigrateSettings:
    """What `migrate` needs: a role that owns the tables."""

    dsn: str = config.setting("PLAUDIT_REFERRAL_OWNER_DSN", config.postgres_dsn, secret=True)


@dataclass(frozen=True)
class CheckSettings:
    """What `check` needs."""

    dsn: str = config.setting("PLAUDIT_REFERRAL_DSN", config.postgres_dsn, secret=True)


async def serve(settings: ServeSettings) -> None:
    """Serves until it is stopped, then drains."""
    pool = await db.create_pool(settings.dsn, service="referral")
    context = Context(pool, clock.DatabaseClock(), events.encode, settings.signal_key)
    links = Links(context)
    verifier = tokens.Verifier(settings.public_keys, settings.service_keys)
    served = server.build_server(context, links, rpc.token_authenticator(verifier))
    await served.start(settings.listen)
    await process.until_stopped()
    await served.stop()
    await links.close()
    await pool.close()


async def work(settings: WorkSettings) -> None:
    """Runs the fraud checks and what else is due, and follows the program, until it is stopped."""
    pool = await db.create_pool(settings.dsn, service="referral-work")
    channel = rpc.channel(settings.program_address, CONTRACTS)
    identity = rpc.ServiceIdentity(tokens.Minter(settings.private_key), service="referral-work", scopes=PROGRAM_SCOPES)
    kicker = jobs.Kicker(settings.redis_url, "referral")
    context = Context(pool, clock.DatabaseClock(), events.encode, settings.signal_key)
    running = worker.build_worker(context, RemoteMembers(channel, identity), settings.redis_url)
    follower = worker.build_follower(context, worker.program_feed(channel, identity), kicker.kick)
    await process.until_stopped(running.async_run(), follower.run())
    await running.close()
    await kicker.close()
    await channel.close()
    await pool.close()


async def migrate(settings: MigrateSettings) -> None:
    """Brings the schema up to date."""
    await migrations.migrate(settings.dsn, MIGRATIONS, role="referral_service")


async def check(settings: CheckSettings) -> int:
    """Recomputes what is stored and tells what does not add up."""
    pool = await db.create_pool(settings.dsn, service="referral-check", size_max=1)
    rows = await checks.check(pool)
    await pool.close()
    return process.report(rows)


if __name__ == "__main__":
    process.main(
        "referral",
        {
            "serve": (ServeSettings, serve),
            "work": (WorkSettings, work),
            "migrate": (MigrateSettings, migrate),
            "check": (CheckSettings, check),
        },
    )
