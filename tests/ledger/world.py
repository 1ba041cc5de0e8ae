"""The ledger and its oracle side by side: what is asked of one is asked of the other, and compared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import events_pb2, ledger_pb2, ledger_service_pb2

from services.kernel import clock, times
from services.ledger import batch, convert, model
from services.ledger import events as ledger_events
from services.ledger.operations import booking
from tests.ledger.chooser import ASSETS, BUDGETS, MEMBERS, Call, Step
from tests.ledger.words import to_answer, to_proto, to_standing
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.oracle import Oracle
from tests.support.oracle_asks import Answer, Owner, Part, names_rightly
from tests.support.oracle_operations import Budget
from tests.support.oracle_wallet import Lot, Standing

RATES = (("points", "credits", 1, 3), ("credits", "points", 7, 2), ("points", "gems", 10**9, 1))
# What `FundBudget` spreads a budget over, so that sub-accounts meet too.
SHARDS = {"b1": 1, "b2": 3, "b3": 2}


@dataclass
class World:
    """A program of its own in a running ledger, and the oracle of it."""

    ledger: LedgerHarness
    time: clock.ManualClock
    program: str
    oracle: Oracle = field(default_factory=Oracle)
    lot_names: dict[str, str] = field(default_factory=dict)
    rate_count: int = 0

    async def begin(self, start: datetime) -> None:
        """Makes the budgets and rates that there are from the start."""
        self.time.value = start
        self.metadata = credential(self.program, LEDGER_SCOPES)
        pool = self.ledger.ledger.pool
        for name, asset in BUDGETS.items():
            self.oracle.book.budgets[name] = Budget(asset)
        await pool.execute(
            """
            WITH made AS (
                INSERT INTO budgets
                SELECT $1, id, asset, shards, '{80, 100}', gen_random_uuid(), '', $5
                FROM unnest($2::text[], $3::text[], $4::smallint[]) AS budget (id, asset, shards)
                RETURNING program_id, budget_id, shard_count
            )
            INSERT INTO budget_shards (program_id, budget_id, shard)
            SELECT program_id, budget_id, shard FROM made CROSS JOIN generate_series(0, shard_count - 1) AS shard
            """,
            self.program,
            list(BUDGETS),
            list(BUDGETS.values()),
            [SHARDS[name] for name in BUDGETS],
            start,
        )
        for rate in RATES:
            await self.set_rate(*rate)

    async def take(self, step: Step) -> None:
        """Takes one step."""
        match step.what:
            case "post":
                await self.post(step.calls)
            case "turn":
                self.time.value += step.turn
            case "look":
                await self.look(step.instant)
            case "read":
                await self.read(step.member)
            case "sweep":
                await booking.book_due(self.ledger.ledger)
            case "rate":
                await self.set_rate(*step.rate)

    async def set_rate(self, source: str, target: str, numerator: int, denominator: int) -> None:
        """Stores a rate from now on."""
        self.rate_count += 1
        self.oracle.book.rates[source, target] = (numerator, denominator)
        await self.ledger.ledger.pool.execute(
            "INSERT INTO exchange_rates VALUES ($1, $2, $3, $4, $5, $6, $7, gen_random_uuid(), '')",
            *(self.program, source, target, self.rate_count, numerator, denominator, self.time.value),
        )

    async def post(self, calls: Sequence[Call]) -> None:
        """Posts calls in one batch, and compares each result."""
        results = await (self._post(calls[0]) if len(calls) == 1 else self._submit(calls))
        asks = [ask for call in calls for ask in call.asks]
        for ask, result, expected in zip(asks, results, self._judged(calls), strict=True):
            assert result.request_id == ask.request_id
            answer = to_answer(result)
            answer = replace(answer, parts=self._named(answer.parts, expected.parts))
            if expected.reason == answer.reason == "REQUEST_ID_REUSED":
                first, _ = self.oracle.outcomes[ask.request_id]
                assert names_rightly(answer.fields, first, ask), f"{answer.fields} differ between {first} and {ask}"
            else:
                assert answer == expected, f"{ask}\n  is answered {answer}\n  and not      {expected}"

    def _judged(self, calls: Sequence[Call]) -> Iterator[Answer]:
        """Lets the oracle answer, one operation after the other."""
        now = self.time.value
        for call in calls:
            yield from (
                self.oracle.link(call.asks, now) if call.linked else (self.oracle.post(ask, now) for ask in call.asks)
            )

    async def _post(self, call: Call) -> Sequence[ledger_pb2.OperationResult]:
        """Posts a call as callers do."""
        operations = [to_proto(ask) for ask in call.asks]
        request = ledger_service_pb2.PostOperationsRequest(operations=operations, linked=call.linked)
        return (await self.ledger.stub.PostOperations(request, metadata=self.metadata)).results

    async def _submit(self, calls: Sequence[Call]) -> Sequence[ledger_pb2.OperationResult]:
        """Posts calls as they come together in a batch; which ones do so on their own is not in our hands."""
        items: list[model.Item] = []
        for call in calls:
            operations = [convert.operation(to_proto(ask)) for ask in call.asks]
            if call.booked is not None:
                items.append(model.Booking(call.booked))
            elif call.linked:
                items.append(model.Linked(tuple(operations)))
            else:
                items += operations
        submitted = await self.ledger.ledger.writes.submit(self.program, items)
        results = []
        for item, outcomes in zip(items, submitted, strict=True):
            assert isinstance(outcomes, list), outcomes
            for operation, outcome in zip(batch.operations_of(item), outcomes, strict=False):
                results.append(convert.result(operation.request_id, outcome))
        return results

    def _named(self, told: tuple[Part, ...], expected: tuple[Part, ...]) -> tuple[Part, ...]:
        """Names lots as the oracle does: by what was learned, or else by trust, which the next reading puts right."""
        for part, meant in zip(told, expected, strict=False):
            if meant.lot not in self.lot_names.values():
                self.lot_names.setdefault(part.lot, meant.lot)
        return tuple(replace(part, lot=self.lot_names.get(part.lot, part.lot)) for part in told)

    async def look(self, as_of: datetime | None) -> None:
        """Compares all balances at an instant, or now."""
        request = ledger_service_pb2.BatchGetBalancesRequest(
            member_ids=MEMBERS, as_of_time=times.to_proto(as_of) if as_of else None
        )
        response = await self.ledger.stub.BatchGetBalances(request, metadata=self.metadata)
        for member in response.members:
            told = {balance.asset: to_standing(balance) for balance in member.balances}
            assert list(told) == sorted(told)
            for asset in ASSETS:
                expected = self.oracle.standing((member.member_id, asset), as_of or self.time.value)
                given = told.get(asset, Standing())
                assert given == expected, f"{member.member_id} at {as_of}\n  has {given} {asset}\n  not {expected}"

    async def read(self, member: str) -> dict[Owner, list[ledger_pb2.Entry]]:
        """Compares the statements and lots of a member; gives the statements, oldest first."""
        owners = [owner for owner in self.oracle.book.wallets if owner[0] == member]
        for owner in owners:
            await self._list_lots(owner)
        return {owner: await self._list_entries(owner) for owner in owners}

    async def assert_sound(self) -> None:
        """Sweeps, and compares everything with everything."""
        await booking.book_due(self.ledger.ledger)
        entries: dict[Owner, list[ledger_pb2.Entry]] = {}
        for member in MEMBERS:
            entries |= await self.read(member)
        await self.look(None)
        await self._compare_feed({owner: listed for owner, listed in entries.items() if listed})
        await self._compare_budgets()

    async def _list_entries(self, owner: Owner) -> list[ledger_pb2.Entry]:
        request = ledger_service_pb2.ListEntriesRequest(member_id=owner[0], asset=owner[1], page_size=1000)
        response = await self.ledger.stub.ListEntries(request, metadata=self.metadata)
        entries = list(reversed(response.entries))
        balance = 0
        told: Counter[tuple[str, datetime, str]] = Counter()
        for entry in entries:
            balance += entry.amount
            assert entry.balance == balance >= 0, f"the statement of {owner} adds up to {balance} at {entry}"
            kind = ledger_pb2.EntryKind.Name(entry.kind).removeprefix("ENTRY_KIND_")
            told[kind, times.from_proto(entry.occur_time), entry.cause.event_id] += entry.amount
        wallet = self.oracle.book.wallet(owner, self.time.value)
        expected = {key: amount for key, amount in wallet.entries.items() if amount}
        assert {key: amount for key, amount in told.items() if amount} == expected, f"the statement of {owner}"
        assert balance == wallet.total(self.time.value)
        return entries

    async def _list_lots(self, owner: Owner) -> None:
        request = ledger_service_pb2.ListLotsRequest(member_id=owner[0], asset=owner[1], page_size=1000)
        lots = (await self.ledger.stub.ListLots(request, metadata=self.metadata)).lots
        wallet, now = self.oracle.book.wallet(owner, self.time.value), self.time.value
        by_age = sorted(lots, key=lambda lot: int(lot.lot_id.rpartition(".")[2]))
        for told, lot in zip(by_age, wallet.lots, strict=True):
            name = wallet.name(lot.number)
            assert self.lot_names.setdefault(told.lot_id, name) == name, f"{told.lot_id} is {name}, by its age"
            given, expected = _told_lot(told), _lot_at(lot, now, wallet.held_of(lot.number, now))
            assert given == expected, f"{name}\n  is {given}\n not {expected}"
        assert lots == by_age[::-1], "Lots are listed with the last made first."

    async def _compare_feed(self, entries: dict[Owner, list[ledger_pb2.Entry]]) -> None:
        """Reads the whole feed: its entries are those of the statements, its holds those that there are."""
        told: dict[Owner, list[tuple[Any, ...]]] = {}
        holds: Counter[tuple[str, str, Owner, int]] = Counter()
        request = feed_service_pb2.ReadEventsRequest(max_events=10_000)
        position = 0
        async for response in self.ledger.feed.ReadEvents(request, metadata=self.metadata):
            for event in response.events:
                assert event.position > position, "Positions count up."
                position = event.position
                if event.payload.type_url.endswith(ledger_events.ENTRY_POSTED):
                    entry = events_pb2.EntryPosted.FromString(event.payload.value)
                    told.setdefault((entry.member_id, entry.asset), []).append(_essence(entry))
                elif event.payload.type_url.endswith(ledger_events.HOLD_CHANGED):
                    hold = events_pb2.HoldChanged.FromString(event.payload.value)
                    state = events_pb2.HoldState.Name(hold.state).removeprefix("HOLD_STATE_")
                    holds[hold.hold_request_id, state, (hold.member_id, hold.asset), hold.amount] += 1
        listed = {owner: [_essence(entry) for entry in of] for owner, of in entries.items()}
        assert told == listed, "The feed tells every entry once, in order."
        expected: Counter[tuple[str, str, Owner, int]] = Counter()
        for name, held in self.oracle.book.holds.items():
            states = {"ACTIVE", held.state_at(self.time.value)}
            expected.update((name, state, held.owner, held.amount) for state in states)
        assert holds == expected, "The feed tells of every hold when it is placed, and when it ends."

    async def _compare_budgets(self) -> None:
        rows = await self.ledger.ledger.pool.fetch(
            """
            SELECT
                budget_id, sum(remaining)::bigint AS "left", sum(held)::bigint AS held, sum(given)::bigint AS given,
                bool_and(is_closed) AS closed
            FROM budget_shards
            WHERE program_id = $1
            GROUP BY budget_id
            """,
            self.program,
        )
        told = {row["budget_id"]: Budget(BUDGETS[row["budget_id"]], *list(row.values())[1:]) for row in rows}
        assert told == self.oracle.book.budgets


def _essence(entry: ledger_pb2.Entry | events_pb2.EntryPosted) -> tuple[Any, ...]:
    return entry.kind, entry.amount, entry.balance, entry.occur_time.ToMicroseconds()


def _told_lot(lot: ledger_pb2.Lot) -> tuple[Any, ...]:
    return (
        ledger_pb2.LotState.Name(lot.state).removeprefix("LOT_STATE_"),
        (lot.amount, lot.remaining, lot.held, lot.expired),
        (lot.priority, lot.promotional, lot.origin.event_id),
        times.from_proto(lot.effective_time) if lot.HasField("effective_time") else None,
        times.from_proto(lot.expire_time) if lot.HasField("expire_time") else None,
    )


def _lot_at(lot: Lot, now: datetime, held: int) -> tuple[Any, ...]:
    rest = lot.rest(now)
    remaining, expired = (0, rest) if lot.is_over(now) else (rest, 0)
    state = "ACTIVE" if remaining else "EXPIRED" if expired else "SPENT"
    if not lot.has_begun(now) and not lot.is_cancelled():
        state = "PENDING"
    return (
        state,
        (lot.amount, remaining, held, expired),
        (lot.priority, lot.promotional, lot.event),
        lot.effective,
        lot.expires,
    )
