"""`python -m services.gateway serve`."""

from dataclasses import dataclass

from services.gateway.limits import Policy
from services.gateway.server import Gateway
from services.kernel import config, process, rpc, tokens

RATE_MAX = 1_000_000
PROXIES_MAX = 10
# What the gateway does by itself, and not for a caller.
SCOPES = ("links.follow",)


@dataclass(frozen=True)
class Settings:
    """What the gateway needs to know."""

    listen: str = config.setting("PLAUDIT_GATEWAY_LISTEN", config.address, "127.0.0.1:8080")
    program_address: str = config.setting("PLAUDIT_PROGRAM_ADDRESS", config.address)
    ledger_address: str = config.setting("PLAUDIT_LEDGER_ADDRESS", config.address)
    referral_address: str = config.setting("PLAUDIT_REFERRAL_ADDRESS", config.address)
    gamification_address: str = config.setting("PLAUDIT_GAMIFICATION_ADDRESS", config.address)
    notify_address: str = config.setting("PLAUDIT_NOTIFY_ADDRESS", config.address)
    redis_url: str = config.setting("PLAUDIT_REDIS_URL", config.redis_url, secret=True)
    public_keys: tuple[bytes, ...] = config.setting("PLAUDIT_TOKEN_PUBLIC_KEYS", config.ed25519_keys)
    rate_per_s: int = config.setting("PLAUDIT_GATEWAY_RATE_PER_S", config.integer(1, RATE_MAX), "2000")
    private_key: bytes = config.setting("PLAUDIT_SERVICE_PRIVATE_KEY", config.ed25519_key, secret=True)
    link_rate_per_s: int = config.setting("PLAUDIT_GATEWAY_LINK_RATE_PER_S", config.integer(1, RATE_MAX), "20")
    link_burst: int = config.setting("PLAUDIT_GATEWAY_LINK_RATE_BURST", config.integer(1, RATE_MAX), "100")
    # How many proxies of our own stand before the gateway: 1 for an ingress controller.
    proxies: int = config.setting("PLAUDIT_GATEWAY_PROXIES", config.integer(0, PROXIES_MAX), "0")
    dev_mail_url: str = config.setting("PLAUDIT_GATEWAY_DEV_MAIL_URL", lambda text: text and config.web_url(text), "")
    burst: int = config.setting("PLAUDIT_GATEWAY_RATE_BURST", config.integer(1, RATE_MAX), "4000")


async def serve(settings: Settings) -> None:
    """Serves until it is told to stop, then drains."""
    gateway = Gateway(
        addresses={
            "program": settings.program_address,
            "ledger": settings.ledger_address,
            "referral": settings.referral_address,
            "gamification": settings.gamification_address,
            "notify": settings.notify_address,
        },
        dev_mail_url=settings.dev_mail_url,
        identity=rpc.ServiceIdentity(tokens.Minter(settings.private_key), service="gateway", scopes=SCOPES),
        redis_url=settings.redis_url,
        public_keys=settings.public_keys,
        policy=Policy(settings.rate_per_s, settings.burst),
        link_policy=Policy(settings.link_rate_per_s, settings.link_burst),
        proxies=settings.proxies,
    )
    await gateway.start(settings.listen)
    try:
        await process.until_stopped(gateway.ended())
    finally:
        await gateway.stop()


if __name__ == "__main__":
    process.main("gateway", {"serve": (Settings, serve)})
