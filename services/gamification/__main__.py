"""`python -m services.gamification serve | work | migrate | check`: wires by hand, no logic."""

from dataclasses import dataclass
from pathlib import Path

from services.gamification import checks, events, server, worker
from services.gamification.clients import CONTRACTS, SCOPES, program_feed
from services.gamification.operations.context import Context
from services.kernel import clock, config, db, jobs, migrations, process, rpc, tokens

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` needs."""

    dsn: str = config.setting("PLAUDIT_GAMIFICATION_DSN", config.postgres_dsn, secret=True)
    listen: str = config.setting("PLAUDIT_GAMIFICATION_LISTEN", config.address, "127.0.0.1:50053")
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    service_keys: tuple[tokens.ServiceKey, ...] = config.setting("PLAUDIT_SERVICE_KEYS", tokens.read_service_keys, "")


@dataclass(frozen=True)
class WorkSettings:
    """What `work` needs."""

    dsn: str = config.setting("PLAUDIT_GAMIFICATION_DSN", config.postgres_dsn, secret=True)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    program_address: str = config.setting("PLAUDIT_PROGRAM_ADDRESS", config.address)
    private_key: bytes = config.setting("PLAUDIT_SERVICE_PRIVATE_KEY", config.ed25519_key, secret=True)


@dataclass(frozen=True)
class MigrateSettings:
    """What `migrate` needs: a role that owns the tables."""

    dsn: str = config.setting("PLAUDIT_GAMIFICATION_OWNER_DSN", config.postgres_dsn, secret=True)


@dataclass(frozen=True)
class CheckSettings:
    """What `check` needs."""

    dsn: str = config.setting("PLAUDIT_GAMIFICATION_DSN", config.postgres_dsn, secret=True)


async def serve(settings: ServeSettings) -> None:
    """Serves until it is stopped, then drains."""
    pool = await db.create_pool(settings.dsn, service="gamification")
    kicker = jobs.Kicker(settings.redis_url, "gamification")
    context = Context(pool, clock.DatabaseClock(), events.encode, kicker.kick)
    verifier = tokens.Verifier(settings.public_keys, settings.service_keys)
    served = server.build_server(context, rpc.token_authenticator(verifier))
    await served.start(settings.listen)
    await process.until_stopped()
    await served.stop()
    await kicker.close()
    await pool.close()


async def work(settings: WorkSettings) -> None:
    """Follows the program, and does what is due, until it is stopped."""
    pool = await db.create_pool(settings.dsn, service="gamification-work")
    channel = rpc.channel(settings.program_address, CONTRACTS)
    minter = tokens.Minter(settings.private_key)
    identity = rpc.ServiceIdentity(minter, service="gamification-work", scopes=SCOPES)
    source = program_feed(channel, identity, worker.TYPES)
    kicker = jobs.Kicker(settings.redis_url, "gamification")
    context = Context(pool, clock.DatabaseClock(), events.encode, kicker.kick)
    running = worker.build_worker(context, source, settings.redis_url)
    follower = worker.build_follower(context, source)
    await process.until_stopped(running.async_run(), follower.run())
    await running.close()
    await kicker.close()
    await channel.close()
    await pool.close()


async def migrate(settings: MigrateSettings) -> None:
    """Brings the schema up to date."""
    await migrations.migrate(settings.dsn, MIGRATIONS, role="gamification_service")


async def check(settings: CheckSettings) -> int:
    """Recomputes what is stored and tells what does not add up."""
    pool = await db.create_pool(settings.dsn, service="gamification-check", size_max=1)
    rows = await checks.check(pool)
    await pool.close()
    return process.report(rows)


if __name__ == "__main__":
    process.main(
        "gamification",
        {
            "serve": (ServeSettings, serve),
            "work": (WorkSettings, work),
            "migrate": (MigrateSettings, migrate),
            "check": (CheckSettings, check),
        },
    )
