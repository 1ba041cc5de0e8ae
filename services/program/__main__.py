"""`python -m services.program serve | work | migrate | check`: wires by hand, no logic."""

from dataclasses import dataclass
from pathlib import Path

from services.kernel import clock, config, db, jobs, migrations, process, rpc, tokens
from services.program import checks, events, server, worker
from services.program.clients import CONTRACTS, FEED_CONTRACTS, RemoteLedger
from services.program.operations.context import Context
from services.program.operations.events import Events

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"
LEDGER_SCOPES = ("ledger.write", "feed.read")


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` needs."""

    dsn: str = config.setting("PLAUDIT_PROGRAM_DSN", config.postgres_dsn, secret=True)
    listen: str = config.setting("PLAUDIT_PROGRAM_LISTEN", config.address, "127.0.0.1:50052")
    ledger_address: str = config.setting("PLAUDIT_LEDGER_ADDRESS", config.address)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    service_keys: tuple[tokens.ServiceKey, ...] = config.setting("PLAUDIT_SERVICE_KEYS", tokens.read_service_keys, "")
    private_key: bytes = config.setting("PLAUDIT_TOKEN_PRIVATE_KEY", config.ed25519_key, secret=True)


@dataclass(frozen=True)
class WorkSettings:
    """What `work` needs."""

    dsn: str = config.setting("PLAUDIT_PROGRAM_DSN", config.postgres_dsn, secret=True)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    ledger_address: str = config.setting("PLAUDIT_LEDGER_ADDRESS", config.address)
    gamification_address: str = config.setting("PLAUDIT_GAMIFICATION_ADDRESS", config.address)
    referral_address: str = config.setting("PLAUDIT_REFERRAL_ADDRESS", config.address)
    private_key: bytes = config.setting("PLAUDIT_TOKEN_PRIVATE_KEY", config.ed25519_key, secret=True)


@dataclass(frozen=True)
class MigrateSettings:
    """What `migrate` needs: a role that owns the tables."""

    dsn: str = config.setting("PLAUDIT_PROGRAM_OWNER_DSN", config.postgres_dsn, secret=True)


@dataclass(frozen=True)
class CheckSettings:
    """What `check` needs."""

    dsn: str = config.setting("PLAUDIT_PROGRAM_DSN", config.postgres_dsn, secret=True)


async def serve(settings: ServeSettings) -> None:
    """Serves until it is stopped, then drains."""
    pool = await db.create_pool(settings.dsn, service="program")
    channel = rpc.channel(settings.ledger_address, CONTRACTS)
    minter = tokens.Minter(settings.private_key)
    identity = rpc.ServiceIdentity(minter, service="program", scopes=LEDGER_SCOPES)
    kicker = jobs.Kicker(settings.redis_url, "program")
    context = Context(pool, clock.DatabaseClock(), events.encode, RemoteLedger(channel, identity), kicker.kick)
    recorded = Events(context)
    verifier = tokens.Verifier(settings.public_keys, settings.service_keys)
    served = server.build_server(context, recorded, minter=minter, verifier=verifier)
    await served.start(settings.listen)
    await process.until_stopped()
    await served.stop()
    await recorded.close()
    await kicker.close()
    await channel.close()
    await pool.close()


async def work(settings: WorkSettings) -> None:
    """Posts, settles and redeems what was left, and follows the other services, until it is stopped."""
    pool = await db.create_pool(settings.dsn, service="program-work")
    channel = rpc.channel(settings.ledger_address, CONTRACTS)
    identity = rpc.ServiceIdentity(tokens.Minter(settings.private_key), service="program", scopes=LEDGER_SCOPES)
    kicker = jobs.Kicker(settings.redis_url, "program")
    context = Context(pool, clock.DatabaseClock(), events.encode, RemoteLedger(channel, identity), kicker.kick)
    recorded = Events(context)
    running = worker.build_worker(context, recorded, settings.redis_url)
    gamification, referral = (
        rpc.channel(address, FEED_CONTRACTS) for address in (settings.gamification_address, settings.referral_address)
    )
    followers = [
        worker.build_follower(context, channel, identity),
        worker.build_gamification_follower(context, recorded, worker.gamification_feed(gamification, identity)),
        worker.build_referral_follower(context, recorded, worker.referral_feed(referral, identity)),
    ]
    await process.until_stopped(running.async_run(), *(each.run() for each in followers))
    await running.close()
    await recorded.close()
    await kicker.close()
    for each in (channel, gamification, referral):
        await each.close()
    await pool.close()


async def migrate(settings: MigrateSettings) -> None:
    """Brings the schema up to date."""
    await migrations.migrate(settings.dsn, MIGRATIONS, role="program_service")


async def check(settings: CheckSettings) -> int:
    """Recomputes what is stored and tells what does not add up."""
    pool = await db.create_pool(settings.dsn, service="program-check", size_max=1)
    rows = await checks.check(pool)
    await pool.close()
    return process.report(rows)


if __name__ == "__main__":
    process.main(
        "program",
        {
            "serve": (ServeSettings, serve),
            "work": (WorkSettings, work),
            "migrate": (MigrateSettings, migrate),
            "check": (CheckSettings, check),
        },
    )
