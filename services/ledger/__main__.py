"""`python -m services.ledger serve | work | migrate | check`: wires by hand, no logic."""

from dataclasses import dataclass
from pathlib import Path

from services.kernel import clock, config, db, migrations, process, rpc, tokens
from services.ledger import checks, server, worker
from services.ledger.operations import booking
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Keys

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` needs."""

    dsn: str = config.setting("PLAUDIT_LEDGER_DSN", config.postgres_dsn, secret=True)
    listen: str = config.setting("PLAUDIT_LEDGER_LISTEN", config.address, "127.0.0.1:50051")
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    service_keys: tuple[tokens.ServiceKey, ...] = config.setting("PLAUDIT_SERVICE_KEYS", tokens.read_service_keys, "")
    seal_key: bytes = config.setting("PLAUDIT_LEDGER_SEAL_KEY", config.ed25519_key, secret=True)
    seal_public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS", config.ed25519_keys)


@dataclass(frozen=True)
class WorkSettings:
    """What `work` needs."""

    dsn: str = config.setting("PLAUDIT_LEDGER_DSN", config.postgres_dsn, secret=True)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    seal_key: bytes = config.setting("PLAUDIT_LEDGER_SEAL_KEY", config.ed25519_key, secret=True)


@dataclass(frozen=True)
class MigrateSettings:
    """What `migrate` needs: a role that owns the tables."""

    dsn: str = config.setting("PLAUDIT_LEDGER_OWNER_DSN", config.postgres_dsn, secret=True)


@dataclass(frozen=True)
class CheckSettings:
    """What `check` needs."""

    dsn: str = config.setting("PLAUDIT_LEDGER_DSN", config.postgres_dsn, secret=True)
    seal_public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS", config.ed25519_keys)


async def serve(settings: ServeSettings) -> None:
    """Serves until it is stopped, then drains."""
    pool = await db.create_pool(settings.dsn, service="ledger")
    ledger = Ledger(pool, clock.DatabaseClock())
    verifier = tokens.Verifier(settings.public_keys, settings.service_keys)
    keys = Keys(settings.seal_key, settings.seal_public_keys)
    served = server.build_server(ledger, keys, rpc.token_authenticator(verifier))
    await served.start(settings.listen)
    await process.until_stopped()
    await served.stop()
    await ledger.writes.close()
    await pool.close()


async def work(settings: WorkSettings) -> None:
    """Books what is over, and seals, until it is stopped."""
    pool = await db.create_pool(settings.dsn, service="ledger-work")
    ledger = Ledger(pool, clock.DatabaseClock(), batch_max=booking.BOOKINGS_MAX)
    running = worker.build_worker(ledger, Keys(settings.seal_key, ()), settings.redis_url)
    await process.until_stopped(running.async_run())
    await running.close()
    await ledger.writes.close()
    await pool.close()


async def migrate(settings: MigrateSettings) -> None:
    """Brings the schema up to date."""
    await migrations.migrate(settings.dsn, MIGRATIONS, role="ledger_service")


async def check(settings: CheckSettings) -> int:
    """Recomputes what is stored and tells what does not add up."""
    pool = await db.create_pool(settings.dsn, service="ledger-check", size_max=2)
    rows = await checks.check(pool, seal_keys=settings.seal_public_keys)
    await pool.close()
    return process.report(rows)


if __name__ == "__main__":
    process.main(
        "ledger",
        {
            "serve": (ServeSettings, serve),
            "work": (WorkSettings, work),
            "migrate": (MigrateSettings, migrate),
            "check": (CheckSettings, check),
        },
    )
