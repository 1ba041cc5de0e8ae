"""Previews: what a spend would do now, by the very decision that it would go through, on what is read without locks."""

import uuid
from datetime import datetime

from services.kernel import db
from services.ledger import model, views
from services.ledger.decisions import spending
from services.ledger.model import Kind, Operation, Owner, Wallet
from services.ledger.operations.needs import Needs
from services.ledger.operations.posting import Ledger
from services.ledger.operations.reading import read_balances_now
from services.ledger.state import State
from services.ledger.store import holdings

# A preview is no request: nothing is stored under these.
NAME, NO_KEY = "preview", uuid.UUID(int=0)


async def preview_spend(ledger: Ledger, program_id: str, owner: Owner, amount: int) -> views.Preview:
    """Tells what a spend would take now, lot by lot. Raises INSUFFICIENT_BALANCE as the spend would."""

    async def work(connection: db.Connection) -> views.Preview:
        now = await ledger.time.now(connection)
        # Who has no wallet is refused as one whose wallet is empty.
        wallet = await holdings.read_wallet(connection, program_id, owner) or Wallet(0, *owner, sequence=0, balance=0)
        item = _spend(owner, amount)
        state = State(now=now, wallets={owner: wallet})
        await ledger.load_lots(connection, program_id, state, Needs.of([item]))
        posting = spending.spend(state, item)
        available = await _available(connection, program_id, owner, now)
        return views.Preview(posting.parts, posting.burn_order_version, available - amount)

    return await db.read(ledger.pool, work)


def _spend(owner: Owner, amount: int) -> Operation:
    return Operation(
        request_id=NAME,
        key=NO_KEY,
        kind=Kind.SPEND,
        occurred_at=None,
        cause=model.NO_CAUSE,
        content={},
        fingerprint=b"",
        owner=owner,
        amount=amount,
    )


async def _available(connection: db.Connection, program_id: str, owner: Owner, now: datetime) -> int:
    """Tells what can be spent now of all lots, of which a spend reads no more than it needs."""
    found = await read_balances_now(connection, program_id, [owner[0]], now)
    return next(balance.available for balance in found[owner[0]] if balance.asset == owner[1])
