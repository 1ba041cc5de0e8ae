"""The ledger's decisions without a database: one state that operations change one by one."""

import uuid
from datetime import datetime

from plaudit.ledger.v1 import ledger_pb2

from services.ledger import batch, convert, model
from services.ledger.model import Lot, Outcome, Owner, Wallet
from services.ledger.state import State
from tests.conftest import START

OWNER = ("m1", "points")


class _All(set[uuid.UUID]):
    """Has every id: whatever is made can be named later."""

    def __contains__(self, key: object) -> bool:
        return True


def make_state(*owners: Owner, now: datetime = START) -> State:
    """Makes a state in which some owners have empty wallets; one has points where none is named."""
    wallets = {
        owner: Wallet(wallet_id=number, member_id=owner[0], asset=owner[1], sequence=0, balance=0)
        for number, owner in enumerate(owners or (OWNER,), start=1)
    }
    return State(now=now, wallets=wallets, awaited=_All())


def post(state: State, operation: ledger_pb2.Operation) -> Outcome:
    """Decides one operation."""
    [outcome] = batch.Batch(state).post(convert.operation(operation))
    return outcome


def happen(state: State, *operations: ledger_pb2.Operation) -> list[model.Posting]:
    """Decides operations that must all happen."""
    found = []
    for operation in operations:
        outcome = post(state, operation)
        assert outcome.posting is not None, outcome.refusal
        found.append(outcome.posting)
    return found


def lots(state: State, owner: Owner = OWNER) -> dict[int, Lot]:
    """Gives the lots of an owner, by number."""
    return state.lots_of(state.wallets[owner])


def left(state: State, owner: Owner = OWNER) -> dict[int, int]:
    """Tells what each lot of an owner has left."""
    return {number: lot.remaining for number, lot in lots(state, owner).items()}
