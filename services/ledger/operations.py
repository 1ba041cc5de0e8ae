"""The ledger's verbs: post, read, book what is over. One function, one transaction."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.kernel import batcher, clock, db, errors, feed, ids, pages
from services.ledger import batch, model, store
from services.ledger.model import Booking, Kind, Operation, Outcome, Owner

EncodeEvent = Callable[[model.Event], feed.Outgoing]

# Owners whose wallets are known to exist; only a hint that saves an insert, so it may forget.
KNOWN_OWNERS_MAX = 200_000
BOOKINGS_PER_ROUND = 500
BOOKING_ROUNDS_MAX = 200
PROGRAMS_MAX = 1000
# Behind every entry and every lot, where listings begin.
SEQUENCE_MAX = 2**63 - 1
PLACE_MAX = (datetime.max.replace(tzinfo=UTC), store.UUID_MAX)
TARGETED = (Kind.CAPTURE, Kind.RELEASE, Kind.REVERSE)


@dataclass
class Ledger:
    """The ledger over one database. `encode` turns its events into what the feed publishes."""

    pool: db.Pool
    time: clock.Clock
    encode: EncodeEvent
    _known: set[tuple[str, Owner]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Starts the batcher that every write goes through."""
        self.writes: batcher.Batcher[Operation | Booking, Outcome] = batcher.Batcher("ledger", self._run)

    async def post(self, program_id: str, operations: Sequence[Operation]) -> list[Outcome | errors.DomainError]:
        """Posts 1 to 1,000 operations, each judged alone; gives their outcomes in order.

        Idempotent by request id, for ever. Raises QUEUE_FULL, DRAINING and DEPENDENCY_UNAVAILABLE for all of them; one
        that broke the ledger itself has a DomainError for its outcome.
        """
        return await self.writes.submit(program_id, operations)

    async def get_balances(
        self, program_id: str, member_ids: Sequence[str], as_of: datetime | None
    ) -> dict[str, list[model.Balance]]:
        """Tells how members stand at an instant, now where none is given; one who is unknown here has no points."""

        async def work(connection: db.Connection) -> dict[str, list[model.Balance]]:
            instant = as_of or await self.time.now(connection)
            return await store.read_balances(connection, program_id, member_ids, instant)

        found = await db.read(self.pool, work)
        return {member_id: found.get(member_id) or [model.Balance(model.DEFAULT_ASSET)] for member_id in member_ids}

    async def list_entries(
        self, program_id: str, owner: Owner, *, page_size: int, page_token: str
    ) -> tuple[list[model.Entry], str]:
        """Lists a page of a statement, newest first, and the token of the next one.

        What is over and yet to be booked is booked first, so that a statement always adds up to the balance.
        """
        limit = pages.page_size(page_size)
        before = pages.read_cursor(page_token, "entries", program_id, *owner, parse=_parse_sequence) or SEQUENCE_MAX
        wallet_id = await self._booked_wallet(program_id, owner)
        if wallet_id is None:
            return [], ""
        entries = await db.read(
            self.pool, lambda connection: store.list_entries(connection, program_id, wallet_id, before, limit + 1)
        )
        if len(entries) <= limit:
            return entries, ""
        token = pages.encode_token([entries[limit - 1].sequence], "entries", program_id, *owner)
        return entries[:limit], token

    async def list_lots(
        self, program_id: str, owner: Owner, *, page_size: int, page_token: str
    ) -> tuple[list[model.LotView], datetime, str]:
        """Lists a page of lots, the latest first, with the instant it is true for, and the token of the next one."""
        limit = pages.page_size(page_size)
        before = pages.read_cursor(page_token, "lots", program_id, *owner, parse=_parse_place) or PLACE_MAX
        wallet_id = await self._booked_wallet(program_id, owner)

        async def work(connection: db.Connection) -> tuple[list[model.LotView], datetime]:
            now = await self.time.now(connection)
            if wallet_id is None:
                return [], now
            return await store.list_lots(connection, program_id, wallet_id, before, limit + 1), now

        lots, now = await db.read(self.pool, work)
        if len(lots) <= limit:
            return lots, now, ""
        last = lots[limit - 1]
        position = [last.effective_at.isoformat(), str(last.lot_id)]
        return lots[:limit], now, pages.encode_token(position, "lots", program_id, *owner)

    async def book_due(self) -> int:
        """Books lots and holds that are over, program by program, and tells in how many wallets it did."""
        booked = 0
        for _ in range(BOOKING_ROUNDS_MAX):
            before = booked
            for program_id, owners in await db.read(self.pool, self._find_due):
                outcomes = await self.writes.submit(program_id, [Booking(owner) for owner in owners])
                booked += sum(isinstance(outcome, Outcome) for outcome in outcomes)
            if booked == before:
                break  # Nothing is due but what cannot be booked, which the log and `plaudit check` tell.
        return booked

    async def _find_due(self, connection: db.Connection) -> list[tuple[str, list[Owner]]]:
        now = await self.time.now(connection)
        found = []
        for program_id in await store.list_programs_to_book(connection, now, PROGRAMS_MAX):
            owners = await store.list_wallets_to_book(connection, program_id, now, BOOKINGS_PER_ROUND)
            if owners:
                found.append((program_id, owners))
        return found

    async def _booked_wallet(self, program_id: str, owner: Owner) -> uuid.UUID | None:
        async def work(connection: db.Connection) -> tuple[uuid.UUID, bool] | None:
            return await store.find_wallet(connection, program_id, owner, await self.time.now(connection))

        found = await db.read(self.pool, work)
        if found is None:
            return None
        wallet_id, is_due = found
        if is_due:
            await self.writes.submit(program_id, [Booking(owner)])
        return wallet_id

    async def _run(self, program_id: str, items: list[Operation | Booking]) -> list[Outcome]:
        outcomes = await db.transaction(self.pool, lambda connection: self._post(connection, program_id, items))
        # Only after the commit: an owner whose wallet was rolled back is not known.
        if len(self._known) > KNOWN_OWNERS_MAX:
            self._known.clear()
        self._known.update((program_id, item.owner) for item in items if item.owner is not None)
        return outcomes

    async def _post(
        self, connection: db.Connection, program_id: str, items: list[Operation | Booking]
    ) -> list[Outcome]:
        """Reads and locks in sorted order, decides, writes in bulk."""
        state = await self._load(connection, program_id, items)
        outcomes = [state.post(item) for item in items]
        await self._write(connection, program_id, state)
        return outcomes

    async def _load(self, connection: db.Connection, program_id: str, items: list[Operation | Booking]) -> batch.Batch:
        operations = [item for item in items if isinstance(item, Operation)]
        targets = sorted({item.target_key for item in operations if item.target_key is not None})
        held = await store.find_hold_owners(connection, program_id, targets) if targets else {}
        owners = {item.owner for item in items if item.owner is not None}
        missing = sorted(
            owner
            for owner in {item.owner for item in operations if item.owner is not None}
            if (program_id, owner) not in self._known
        )
        if missing:
            await store.create_wallets(connection, program_id, [(ids.new_id(), owner) for owner in missing])
        owners |= {owner for _, owner in held.values()}
        wallets = await store.lock_wallets(connection, program_id, sorted(owners))
        # The time is taken once the locks are held, so that it never runs backwards within a wallet.
        now = await self.time.now(connection)
        keys = list({item.key for item in operations})
        rows = await store.find_outcomes(connection, program_id, keys) if keys else []
        needing = self._needing_lots(items, held, wallets)
        replayed = {row["request_id"] if row["kind"] == Kind.HOLD else row["target_id"] for row in rows} - {None}
        replay_holds = await store.find_hold_owners(connection, program_id, sorted(replayed)) if replayed else {}
        hold_ids = sorted({hold_id for hold_id, _ in (held | replay_holds).values()})
        state = batch.Batch(now=now, wallets=wallets, prior={})
        if needing or hold_ids:
            state.holds = await store.read_holds(connection, program_id, hold_ids=hold_ids, wallet_ids=needing, now=now)
            lot_ids = sorted({lot_id for hold in state.holds.values() for lot_id, _ in hold.parts})
            wallet_ids = sorted({*needing, *(hold.wallet_id for hold in state.holds.values())})
            state.lots = await store.read_lots(connection, program_id, wallet_ids, lot_ids)
        state.index()
        for row in rows:
            key = row["request_id"] if row["kind"] == Kind.HOLD else row["target_id"]
            hold_id = replay_holds[key][0] if key in replay_holds else None
            state.prior[row["request_id"]] = store.to_prior(row, state.parts_of(hold_id))
        return state

    @staticmethod
    def _needing_lots(
        items: list[Operation | Booking],
        held: dict[uuid.UUID, tuple[uuid.UUID, Owner]],
        wallets: dict[Owner, model.Wallet],
    ) -> list[uuid.UUID]:
        """Lists the wallets whose lots must be read: all but those that only earn and have room for it."""
        owners = {owner for _, owner in held.values()}
        earned = sum(item.amount for item in items if isinstance(item, Operation) and item.kind is Kind.EARN)
        owners |= {owner for owner, wallet in wallets.items() if wallet.balance + earned > model.BALANCE_MAX}
        owners |= {item.owner for item in items if isinstance(item, Booking) or item.kind is Kind.HOLD} - {None}  # type: ignore[arg-type]
        return sorted(wallets[owner].wallet_id for owner in owners if owner in wallets)

    async def _write(self, connection: db.Connection, program_id: str, state: batch.Batch) -> None:
        if state.rows:
            await store.insert_journal(connection, program_id, state.now, state.rows)
        if state.touched_lots:
            await store.write_lots(connection, program_id, state.touched_lots.values())
        if state.touched_holds:
            await store.write_holds(connection, program_id, state.touched_holds.values())
        if state.allocations:
            await store.insert_allocations(connection, program_id, state.allocations)
        changed = [wallet for wallet in state.wallets.values() if wallet.changed]
        if changed:
            await store.update_wallets(connection, program_id, changed)
        await feed.append(connection, program_id, state.now, [self.encode(event) for event in state.events])


def _parse_sequence(sequence: Any) -> int:
    if type(sequence) is not int or not 0 < sequence <= SEQUENCE_MAX:
        raise ValueError("An entry has a number.")
    return sequence


def _parse_place(effective_at: Any, lot_id: Any) -> tuple[datetime, uuid.UUID]:
    instant = datetime.fromisoformat(effective_at)
    if instant.tzinfo is None:
        raise ValueError("An instant has a zone.")
    return instant.astimezone(UTC), uuid.UUID(str(lot_id))
