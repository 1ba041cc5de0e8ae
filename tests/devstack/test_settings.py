"""What children are told, and what they are not."""

import base64

import pytest

from services.devstack.catalogue import GATEWAY, SERVICES
from services.devstack.errors import CannotRunError
from services.devstack.settings import External, Wiring, read_external
from services.kernel import tokens

CALLERS = [service for service in (GATEWAY, *SERVICES) if service.scopes]
WIRING = Wiring(
    dsns={service.name: f"postgresql://{service.name}@/{service.name}" for service in SERVICES},
    owner_dsns={service.name: f"postgresql://{service.name}_owner@/{service.name}" for service in SERVICES},
    redis_url="unix:///redis.sock",
    ports={service.name: 20001 + number for number, service in enumerate(reversed(SERVICES))},
    http_port=8080,
    token_key=bytes(range(32)),
    seal_key=bytes(range(1, 33)),
    signal_key=bytes(range(2, 34)),
    notify_keys=(bytes(range(3, 35)), bytes(range(4, 36))),
    service_keys={service.name: bytes(range(9 + number, 41 + number)) for number, service in enumerate(CALLERS)},
    mail_ports=(20101, 20102),
)


def test_reads_servers_of_ones_own() -> None:
    """Addresses that are set take the place of embedded servers, each for itself."""
    assert read_external({}) == External()
    assert read_external(
        {
            "PLAUDIT_LEDGER_DSN": "postgresql://a@db/ledger",
            "PLAUDIT_LEDGER_OWNER_DSN": "postgres://b@db/ledger",
            "PLAUDIT_REDIS_URL": "rediss://cache:6380/0",
        }
    ) == External(
        dsns={"ledger": "postgresql://a@db/ledger"},
        owner_dsns={"ledger": "postgres://b@db/ledger"},
        redis_url="rediss://cache:6380/0",
    )


def test_wants_both_roles_of_a_database() -> None:
    """Migrations and service use different roles: one address without the other is a mistake."""
    with pytest.raises(CannotRunError, match="PLAUDIT_LEDGER_OWNER_DSN is not set"):
        read_external({"PLAUDIT_LEDGER_DSN": "postgresql://a@db/ledger"})
    with pytest.raises(CannotRunError, match="PLAUDIT_PROGRAM_DSN is not set"):
        read_external({"PLAUDIT_PROGRAM_OWNER_DSN": "postgresql://a@db/program"})


def test_tells_each_service_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child is told another's secrets, databases or keys, and PG* variables bend no embedded connection."""
    monkeypatch.setenv("PLAUDIT_LEDGER_DSN", "postgresql://set@by/person")
    monkeypatch.setenv("PLAUDIT_LEDGER_SEAL_KEY", "set by person")
    monkeypatch.setenv("PLAUDIT_REFERRAL_SIGNAL_KEY", "set by person")
    monkeypatch.setenv("PGPORT", "6543")
    told = {service.name: WIRING.environment(service, keep_pg=False) for service in (*SERVICES, GATEWAY)}

    assert told["ledger"]["PLAUDIT_LEDGER_DSN"] == WIRING.dsns["ledger"]
    for name, environment in told.items():
        foreign = [
            variable
            for variable in environment
            if variable.endswith("_DSN") and not variable.startswith(f"PLAUDIT_{name.upper()}_")
        ]
        assert foreign == []
        assert "PGPORT" not in environment
        assert ("PLAUDIT_TOKEN_PRIVATE_KEY" in environment) == (name == "program")
        assert ("PLAUDIT_SERVICE_PRIVATE_KEY" in environment) == (name in {caller.name for caller in CALLERS})
        assert ("PLAUDIT_REFERRAL_SIGNAL_KEY" in environment) == (name == "referral")
        assert ("PLAUDIT_NOTIFY_LINK_KEY" in environment) == (name == "notify")
        assert ("PLAUDIT_LEDGER_SEAL_KEY" in environment) == (name == "ledger")
        assert environment["PLAUDIT_LEDGER_ADDRESS"] == f"127.0.0.1:{WIRING.ports['ledger']}"
        assert len(base64.b64decode(environment["PLAUDIT_TOKEN_PUBLIC_KEYS"])) == 32
    assert WIRING.environment(GATEWAY, keep_pg=True)["PGPORT"] == "6543"
    private, public = (told["ledger"][f"PLAUDIT_LEDGER_SEAL_{name}"] for name in ("KEY", "PUBLIC_KEYS"))
    assert tokens.Minter(base64.b64decode(private)).public_key() == base64.b64decode(public)


def test_services_are_known_by_keys_of_their_own() -> None:
    """What a service signs with its key is known to all as its own, and no more than the catalogue says it may do."""
    told = {service.name: WIRING.environment(service, keep_pg=False) for service in (*SERVICES, GATEWAY)}
    for caller in CALLERS:
        minter = tokens.Minter(base64.b64decode(told[caller.name]["PLAUDIT_SERVICE_PRIVATE_KEY"]))
        token = minter.mint(
            subject=f"service:{caller.name}", program_id=tokens.ANY_PROGRAM, scopes=caller.scopes, lifetime_s=60
        )
        for environment in told.values():
            verifier = tokens.Verifier([], tokens.read_service_keys(environment["PLAUDIT_SERVICE_KEYS"]))
            assert verifier.verify(token).scopes == set(caller.scopes)
