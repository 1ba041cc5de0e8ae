"""What each kind of operation does: one function a kind, given the state and what is asked for. Pure.

A decision first checks whatever can refuse it, in the order of `errors`, and raises the refusal with nothing changed;
then it changes the state and gives the posting.
"""

from collections.abc import Callable

from services.ledger import model
from services.ledger.decisions import budgets, earning, giving, spending
from services.ledger.model import Kind
from services.ledger.state import State

Decision = Callable[[State, model.Operation], model.Posting]

DECISIONS: dict[Kind, Decision] = {
    Kind.EARN: earning.earn,
    Kind.CONFIRM: earning.confirm,
    Kind.CANCEL: earning.cancel,
    Kind.CLAW_BACK: earning.claw_back,
    Kind.SPEND: spending.spend,
    Kind.HOLD: spending.hold,
    Kind.CAPTURE: spending.capture,
    Kind.RELEASE: spending.release,
    Kind.REVERSE: spending.reverse,
    Kind.ADJUST: giving.adjust,
    Kind.EXCHANGE: giving.exchange,
    Kind.EXPIRE: giving.expire,
    Kind.UNEXPIRE: giving.unexpire,
    Kind.FUND: budgets.fund,
    Kind.CLOSE: budgets.close,
}
