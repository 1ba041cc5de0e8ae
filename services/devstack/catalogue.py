"""Which services there are, and what each needs to run."""

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Service:
    """Is a service with a database of its own and a gRPC port, run as one process for each role."""

    name: str
    roles: tuple[str, ...] = ("serve", "work")
    # What it may do at other services in its own name; none for one that calls nobody, or signs for everybody.
    scopes: tuple[str, ...] = ()

    def variable(self, what: str) -> str:
        """Names an environment variable of the service."""
        return f"PLAUDIT_{self.name.rpartition('.')[2].upper()}_{what}"


# In the order in which they stop: who calls comes before who is called.
SERVICES = (
    Service("notify", scopes=("feed.read", "ledger.read", "progress.read")),
    Service("referral", scopes=("feed.read", "members.read")),
    Service("gamification", scopes=("feed.read",)),
    Service("program"),
    Service("ledger"),
)
NAMES = tuple(service.name for service in SERVICES)
GATEWAY = Service("gateway", roles=("serve",), scopes=("links.follow",))
# Takes the mail of the stack, so that none leaves this machine.
MAIL = Service("devstack.mail", roles=("serve",))
