"""What the environment says about servers of the person's own, and what each child is told by its environment."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.devstack.catalogue import GATEWAY, LOOPBACK, MAIL, SERVICES, Service
from services.devstack.errors import CannotRunError
from services.kernel import config

REDIS_VARIABLE = "PLAUDIT_REDIS_URL"
# What one service is told and no other.
PRIVATE = ("DSN", "OWNER_DSN", "LISTEN", "SEAL_KEY", "SIGNAL_KEY", "LINK_KEY", "SECRET_KEY", "SMTP_URL")


@dataclass(frozen=True, slots=True)
class External:
    """Is what the person set: servers that take the place of embedded ones."""

    dsns: Mapping[str, str] = field(default_factory=dict)  # by service; with each comes one in `owner_dsns`
    owner_dsns: Mapping[str, str] = field(default_factory=dict)
    redis_url: str | None = None


def read_external(environ: Mapping[str, str]) -> External:
    """Reads the servers of the person's own. Raises CannotRunError that names every bad variable."""
    problems: list[str] = []
    dsns = {service.name: read(environ, service.variable("DSN"), problems) for service in SERVICES}
    owners = {service.name: read(environ, service.variable("OWNER_DSN"), problems) for service in SERVICES}
    for service in SERVICES:
        if (dsns[service.name] is None) != (owners[service.name] is None):
            needed, other = service.variable("OWNER_DSN"), service.variable("DSN")
            if dsns[service.name] is None:
                needed, other = other, needed
            problems.append(f"{needed} is not set, and {other} is: they come together")
    redis_url = read(environ, REDIS_VARIABLE, problems)
    problems += log_problems(environ)
    if problems:
        raise CannotRunError("; ".join(dict.fromkeys(problems)))
    return External(
        {name: dsn for name, dsn in dsns.items() if dsn},
        {name: dsn for name, dsn in owners.items() if dsn},
        redis_url,
    )


def read(environ: Mapping[str, str], variable: str, problems: list[str]) -> str | None:
    """Reads one address, which may be absent; adds to `problems` where it is malformed, without its text: passwords."""
    value = environ.get(variable)
    if value is None:
        return None
    parse = config.redis_url if variable == REDIS_VARIABLE else config.postgres_dsn
    try:
        return parse(value)
    except ValueError as error:
        problems.append(f"{variable}: its value is not {error}")
        return value


def log_problems(environ: Mapping[str, str]) -> list[str]:
    """Finds what every child would refuse."""
    if not any(variable.startswith("PLAUDIT_LOG_") for variable in environ):
        return []
    from services.kernel import logs  # slow to load, and seldom needed here

    try:
        config.load(logs.Settings, environ)
    except config.SettingsError as error:
        return error.problems
    return []


@dataclass(frozen=True, slots=True)
class Wiring:
    """Is how the processes of one stack find each other."""

    dsns: Mapping[str, str]
    owner_dsns: Mapping[str, str]
    redis_url: str
    ports: Mapping[str, int]
    http_port: int
    token_key: bytes
    seal_key: bytes
    signal_key: bytes
    notify_keys: tuple[bytes, bytes]
    service_keys: Mapping[str, bytes]  # by service: what it signs with in its own name
    mail_ports: tuple[int, int]

    def address(self, service: Service) -> str:
        """Gives the gRPC address of a service."""
        return f"{LOOPBACK}:{self.ports[service.name]}"

    def shared(self) -> dict[str, str]:
        """Gives what every child is told."""
        return {
            "PLAUDIT_LOG_FORMAT": "json",
            REDIS_VARIABLE: self.redis_url,
            "PLAUDIT_TOKEN_PUBLIC_KEYS": public_half(self.token_key),
            "PLAUDIT_SERVICE_KEYS": self.known_services(),
            **{service.variable("ADDRESS"): self.address(service) for service in SERVICES},
        }

    def known_services(self) -> str:
        """Says by which key each service is known, and what it may do in its own name."""
        return json.dumps(
            {
                service.name: {"publicKey": public_half(self.service_keys[service.name]), "scopes": service.scopes}
                for service in (GATEWAY, *SERVICES)
                if service.scopes
            }
        )

    def told(self, service: Service) -> dict[str, str]:
        """Gives what the processes of one service are told: what every child is, and its own secrets."""
        signs = {}
        if service.scopes:
            signs["PLAUDIT_SERVICE_PRIVATE_KEY"] = base64.b64encode(self.service_keys[service.name]).decode()
        if service.name == "program":
            signs["PLAUDIT_TOKEN_PRIVATE_KEY"] = base64.b64encode(self.token_key).decode()
        if service == GATEWAY:
            return (
                self.shared()
                | signs
                | {
                    GATEWAY.variable("LISTEN"): f"{LOOPBACK}:{self.http_port}",
                    GATEWAY.variable("DEV_MAIL_URL"): self.mail_url,
                }
            )
        if service == MAIL:
            smtp_port, http_port = self.mail_ports
            return {
                MAIL.variable("SMTP_LISTEN"): f"{LOOPBACK}:{smtp_port}",
                MAIL.variable("HTTP_LISTEN"): f"{LOOPBACK}:{http_port}",
            }
        own = signs | {
            service.variable("LISTEN"): self.address(service),
            service.variable("DSN"): self.dsns[service.name],
            service.variable("OWNER_DSN"): self.owner_dsns[service.name],
        }
        if service.name == "referral":
            own["PLAUDIT_REFERRAL_SIGNAL_KEY"] = base64.b64encode(self.signal_key).decode()
        if service.name == "notify":
            own |= self._notify()
        if service.name == "ledger":
            own["PLAUDIT_LEDGER_SEAL_KEY"] = base64.b64encode(self.seal_key).decode()
            own["PLAUDIT_LEDGER_SEAL_PUBLIC_KEYS"] = public_half(self.seal_key)
        return self.shared() | own

    @property
    def mail_url(self) -> str:
        """Is where the mails of the stack can be read."""
        return f"http://{LOOPBACK}:{self.mail_ports[1]}/dev/mail"

    def _notify(self) -> dict[str, str]:
        """Gives what notify alone is told: how it signs, where mail goes, and where the links in mails lead."""
        link_key, secret_key = (base64.b64encode(key).decode() for key in self.notify_keys)
        return {
            "PLAUDIT_NOTIFY_LINK_KEY": link_key,
            "PLAUDIT_NOTIFY_SECRET_KEY": secret_key,
            "PLAUDIT_NOTIFY_PUBLIC_URL": f"http://{LOOPBACK}:{self.http_port}",
            "PLAUDIT_NOTIFY_SMTP_URL": f"smtp://{LOOPBACK}:{self.mail_ports[0]}",
            "PLAUDIT_NOTIFY_WEBHOOK_HOSTS": "loopback",
        }

    def environment(self, service: Service, *, keep_pg: bool) -> dict[str, str]:
        """Gives the whole environment of the processes of one service.

        Of what the person set it keeps nothing that another service is told. PG* variables, which bend connections, are
        kept only for servers of the person's own.
        """
        told = self.told(service)
        secrets = {each.variable(what) for each in SERVICES for what in PRIVATE}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in secrets and (keep_pg or not name.startswith("PG"))
        }
        return inherited | told


def public_half(private_key: bytes) -> str:
    """Gives the public key that belongs to a private one, in base64."""
    public = Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    return base64.b64encode(public).decode()
