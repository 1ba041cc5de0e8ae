"""A reader of a service's feed that keeps all it was told, and asks again from where it stands when it is cut off."""

from dataclasses import dataclass, field

import grpc

from services.kernel import errors, feed, feed_rpc, rpc
from tests.support.harness import MINTER

PAGES_MAX = 10_000


@dataclass
class Listener:
    """Follows the one partition of a program's feed over gRPC."""

    channel: grpc.aio.Channel
    program_id: str = "demo"
    events: list[feed.Incoming] = field(default_factory=list)
    position: int = 0

    def __post_init__(self) -> None:
        """Makes the source."""
        identity = rpc.ServiceIdentity(MINTER, service="test", scopes=("feed.read",))
        self.source = feed_rpc.RemoteSource(self.channel, identity, name="ledger", types=[])

    async def advance(self) -> bool:
        """Reads one page, and tells whether it moved; a page that was cut off is read again."""
        try:
            page = await self.source.read(self.program_id, 0, self.position)
        except errors.DomainError as error:
            if not error.is_transient:
                raise
            return True
        moved = page.through_position > self.position
        self.events += page.events
        self.position = page.through_position
        return moved

    async def catch_up(self) -> None:
        """Reads until there is nothing more."""
        for _ in range(PAGES_MAX):
            if not await self.advance():
                return
        raise AssertionError("The feed does not end.")

    def assert_equal(self, other: "Listener") -> None:
        """Compares with another reader of the same feed: the same events, once each, in the same order."""
        assert [event.position for event in self.events] == sorted({event.position for event in self.events})
        assert len({event.event_id for event in self.events}) == len(self.events)
        ours, theirs = ({event.position: event for event in each.events} for each in (self, other))
        both = sorted(ours.keys() | theirs.keys())
        assert [(ours.get(place), theirs.get(place)) for place in both if ours.get(place) != theirs.get(place)] == []
