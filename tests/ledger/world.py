"""The ledger and its oracle side by side: what is asked of one is asked of the other, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import events_pb2, ledger_pb2, ledger_service_pb2

from services.kernel import clock, times
from services.ledger import checks
from services.ledger import events as ledger_events
from services.ledger.operations import booking
from tests.support import ledger as build
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.oracle import Answer, Ask, Oracle, Owner, Standing

MEMBERS = ("m1", "m2")
ASSETS = ("points", "credits")
ENTRY_KINDS = ("EARN", "SPEND", "REVERSAL", "EXPIRY")


@dataclass
class World:
    """A program of its own in a running ledger, and the oracle of it."""

    ledger: LedgerHarness
    time: clock.ManualClock
    program: str
    oracle: Oracle = field(default_factory=Oracle)
    posted: list[Sequence[Ask]] = field(default_factory=list)
    seen_position: int = 0
    seen_total: dict[Owner, int] = field(default_factory=dict)

    async def post(self, asks: Sequence[Ask]) -> None:
        """Posts in one call, and compares each result."""
        self.posted.append(asks)
        results = await self.ledger.post(*(to_proto(ask) for ask in asks), program=self.program)
        await self._follow()
        earns = {lot_id: request_id for request_id, lot_id in self.oracle.lot_ids.items()}
        for ask, result in zip(asks, results, strict=True):
            expected = self.oracle.post(ask, self.time.value)
            assert result.request_id == ask.request_id
            answer = to_answer(result, earns)
            if expected.fields == {"kind"}:
                # Another kind of operation: which of its fields are named besides is not promised.
                assert answer.reason == expected.reason
                assert "kind" in answer.fields
            else:
                assert answer == expected, ask

    async def look(self, member: str, as_of: datetime | None) -> None:
        """Compares the balances of a member at an instant, or now."""
        request = ledger_service_pb2.GetBalancesRequest(
            member_id=member, as_of_time=times.to_proto(as_of) if as_of else None
        )
        response = await self.ledger.stub.GetBalances(request, metadata=self._credential())
        told = {balance.asset: to_standing(balance) for balance in response.balances}
        for asset in ASSETS:
            expected = self.oracle.standing((member, asset), as_of or self.time.value)
            given = told.get(asset, Standing())
            assert given == expected, f"{member} has {given} {asset} at {as_of}, and not {expected}"

    async def read(self, member: str) -> None:
        """Compares the statement and the lots of a member, in which everything that is over is booked."""
        for asset in ASSETS:
            await self._list_entries((member, asset))
            await self._list_lots((member, asset))

    async def sweep(self) -> None:
        """Books what is over."""
        await booking.book_due(self.ledger.ledger)

    async def assert_sound(self) -> None:
        """Sweeps, compares everything with everything, and lets the ledger check itself."""
        await self.sweep()
        await self._follow()
        for member in MEMBERS:
            await self.look(member, None)
            await self.read(member)
            for asset in ASSETS:
                total = self.oracle.total((member, asset), self.time.value)
                assert self.seen_total.get((member, asset), 0) == total, "The feed tells every entry once."
        rows = await checks.check(self.ledger.ledger.pool, self.time)
        assert [problem for row in rows for problem in row.problems] == []

    async def _list_entries(self, owner: Owner) -> None:
        request = ledger_service_pb2.ListEntriesRequest(member_id=owner[0], asset=owner[1], page_size=1000)
        entries = (await self.ledger.stub.ListEntries(request, metadata=self._credential())).entries
        balance = 0
        sums = dict.fromkeys(ENTRY_KINDS, 0)
        for entry in reversed(entries):
            balance += entry.amount
            assert entry.balance == balance >= 0
            sums[ledger_pb2.EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_")] += entry.amount
        assert balance == self.oracle.total(owner, self.time.value)
        assert {kind: sums[kind] for kind in ENTRY_KINDS[:3]} == self.oracle.spent(owner)

    async def _list_lots(self, owner: Owner) -> None:
        request = ledger_service_pb2.ListLotsRequest(member_id=owner[0], asset=owner[1], page_size=1000)
        lots = (await self.ledger.stub.ListLots(request, metadata=self._credential())).lots
        told = {
            lot.origin.event_id: (
                ledger_pb2.LotState.Name(lot.state).removeprefix("LOT_STATE_"),
                lot.amount,
                lot.remaining,
                lot.held,
                lot.expired,
            )
            for lot in lots
        }
        assert told == self.oracle.lots_of(owner, self.time.value)
        effective = [lot.effective_time.ToDatetime() for lot in lots]
        assert effective == sorted(effective, reverse=True)

    async def _follow(self) -> None:
        """Reads on in the feed: what the service calls each lot, and what every entry did."""
        request = feed_service_pb2.ReadEventsRequest(after_position=self.seen_position, max_events=10_000)
        async for response in self.ledger.feed.ReadEvents(request, metadata=self._credential()):
            self.seen_position = response.through_position
            for event in response.events:
                if event.payload.type_url.endswith(ledger_events.ENTRY_POSTED):
                    entry = events_pb2.EntryPosted.FromString(event.payload.value)
                    owner = (entry.member_id, entry.asset)
                    self.seen_total[owner] = self.seen_total.get(owner, 0) + entry.amount
                    if entry.kind == ledger_pb2.ENTRY_KIND_EARN:
                        self.oracle.lot_ids[entry.cause.event_id] = entry.request_id

    def _credential(self) -> list[tuple[str, str]]:
        return credential(self.program, LEDGER_SCOPES)


def to_proto(ask: Ask) -> ledger_pb2.Operation:
    """Says an operation in the contract's words; an earn names itself as its cause."""
    match ask.kind:
        case "earn":
            operation = build.earn(
                ask.request_id,
                ask.member,
                ask.amount,
                asset=ask.asset,
                effective=ask.effective,
                expires=ask.expires,
                priority=ask.priority,
                cause=ledger_pb2.Cause(event_id=ask.request_id),
            )
        case "hold":
            operation = build.hold(ask.request_id, ask.member, ask.amount, timeout_s=ask.timeout_s)
            operation.hold.asset = ask.asset
        case "capture":
            operation = build.capture(ask.request_id, ask.target)
        case "release":
            operation = build.release(ask.request_id, ask.target)
        case _:
            operation = build.reverse(ask.request_id, ask.target)
    if ask.at is not None:
        operation.occur_time.CopyFrom(times.to_proto(ask.at))
    return operation


def to_answer(result: ledger_pb2.OperationResult, earns: dict[str, str]) -> Answer:
    """Reads a result; lots are named by the ids of their earns."""
    if result.HasField("refusal"):
        return Answer(
            reason=result.refusal.reason,
            metadata=()
            if result.refusal.reason == "REQUEST_ID_REUSED"
            else tuple(sorted(result.refusal.metadata.items())),
            fields=frozenset(result.refusal.fields),
            replayed=result.replayed,
        )
    posting = result.posting
    return Answer(
        posted=times.from_proto(posting.post_time),
        amount=posting.amount,
        expires=times.from_proto(posting.expire_time) if posting.HasField("expire_time") else None,
        parts=tuple((earns[part.lot_id], part.amount) for part in posting.allocations),
        replayed=result.replayed,
    )


def to_standing(balance: ledger_pb2.Balance) -> Standing:
    """Reads a balance."""
    expiry = None
    if balance.HasField("next_expiry"):
        expiry = (balance.next_expiry.amount, times.from_proto(balance.next_expiry.expire_time))
    return Standing(
        balance.available,
        balance.held,
        balance.pending,
        balance.lifetime_earned,
        balance.lifetime_spent,
        balance.lifetime_expired,
        expiry,
    )
