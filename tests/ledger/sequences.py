"""Short sequences that the ledger once got wrong: asked again in every run, whatever the search draws."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tests.conftest import START
from tests.ledger.chooser import Call, Step
from tests.support.oracle_asks import Ask, Policy

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DECIDED = {"reason": "closed", "actor": "staff-1"}


def ask(request_id: str, kind: str, **what: Any) -> Ask:
    """Asks about the points of a member, where nothing else is said."""
    owned = {"earn", "spend", "hold", "adjust", "exchange", "expire", "unexpire"}
    return Ask(request_id, kind, **({"member": "m1", "asset": "points"} if kind in owned else {}) | what)


def call(*asks: Ask) -> Step:
    """Posts in one call."""
    return Step("post", (Call(asks),))


def turn(time: timedelta) -> Step:
    """Turns the clock."""
    return Step("turn", turn=time)


READ = Step("read", member="m1")
ROLLING = Policy("Europe/Paris", days=2, rolling=True)

SEQUENCES: dict[str, Sequence[Step]] = {
    # Of lots that never end, promotional ones were not spent before older ones that were paid for.
    "promotional_lots_without_end": [
        call(ask("paid", "earn", amount=10)),
        turn(HOUR),
        call(ask("free", "earn", amount=10, promotional=True), ask("s", "spend", amount=15)),
    ],
    # The lots that a spend needs were read before another operation of its call ended one of them.
    "lot_ended_before_a_spend": [
        call(ask("e1", "earn", amount=10), ask("e2", "earn", amount=10)),
        call(ask("x", "expire", target="e1", **DECIDED), ask("s", "spend", amount=10)),
    ],
    # A spend has an entry with a number, which was taken for that of a lot.
    "end_of_what_is_no_earn": [
        call(ask("e", "earn", amount=10), ask("s", "spend", amount=5)),
        call(ask("x", "expire", target="s", **DECIDED)),
    ],
    # What was left of a debt depended on whether the sweep had been there.
    "debt_repaid_from_a_hold_that_is_over": [
        call(ask("e1", "earn", amount=10), ask("e2", "earn", amount=10), ask("h", "hold", amount=20, timeout_s=3600)),
        call(ask("c", "claw_back", target="e1", policy="DEBT")),
        turn(HOUR),
        call(ask("e3", "earn", amount=1)),
        READ,
    ],
    "debt_made_and_repaid_in_one_call": [
        call(ask("e1", "earn", amount=10), ask("h", "hold", amount=10, timeout_s=3600)),
        turn(HOUR),
        call(
            ask("e2", "earn", amount=5, pending=True),
            ask("e3", "earn", amount=5, expires=START + HOUR, effective=START),
            ask("c", "claw_back", target="e3", policy="DEBT"),
            ask("o", "confirm", target="e2"),
        ),
        READ,
    ],
    # A lot lived on or not by whether it was read in the call of the activity.
    "rolling_lot_that_a_hold_has_all_of": [
        call(ask("e1", "earn", amount=10, expiry=ROLLING), ask("h", "hold", amount=10, timeout_s=10 * 86400)),
        turn(DAY),
        call(ask("e2", "earn", amount=1)),
        turn(DAY),
        call(ask("r", "release", target="h")),
        READ,
    ],
    "rolling_lot_that_is_spent": [
        call(ask("e1", "earn", amount=10, expiry=ROLLING), ask("s", "spend", amount=10)),
        turn(DAY),
        call(ask("e2", "earn", amount=1), ask("v", "reverse", target="s")),
        READ,
    ],
    # It was said to be pending, with the advice to cancel it.
    "claw_back_of_a_cancelled_earn": [
        call(ask("e", "earn", amount=10, pending=True), ask("c", "cancel", target="e")),
        call(ask("b", "claw_back", target="e", policy="DEBT")),
        READ,
    ],
    # It was written off, and the member kept what had been given back.
    "claw_back_of_what_was_given_back": [
        call(ask("e", "earn", amount=10, expires=START + HOUR)),
        turn(HOUR),
        call(ask("u", "unexpire", since=START, until=START + DAY, expires=START + 2 * HOUR, **DECIDED)),
        call(ask("s", "spend", amount=2)),
        turn(HOUR),
        call(ask("b", "claw_back", target="e", amount=3, policy="WRITE_OFF")),
        call(ask("v", "unexpire", since=START, until=START + DAY, **DECIDED)),
        call(ask("n", "earn", amount=4), ask("c", "claw_back", target="e", policy="DEBT")),
        READ,
    ],
    # It repaid a debt, though it gave nothing.
    "capture_in_full_of_a_debtor": [
        call(ask("e1", "earn", amount=10), ask("e2", "earn", amount=10), ask("h", "hold", amount=10, timeout_s=3600)),
        call(ask("b", "claw_back", target="e1", policy="DEBT"), ask("c", "capture", target="h")),
        READ,
    ],
    # The other side was said to have occurred when it was posted.
    "exchange_that_occurred_before": [
        call(ask("e", "earn", amount=10)),
        call(ask("x", "exchange", amount=6, to_asset="credits", at=START - DAY)),
        READ,
    ],
    # What is over makes room, booked or not, also where the call does not say how much comes.
    "reversal_into_a_wallet_full_of_what_is_over": [
        call(ask("a", "adjust", amount=2 * 10**6, **DECIDED), ask("f", "earn", amount=10**6, expires=START + HOUR)),
        call(
            ask("x", "exchange", amount=10**6 - 1, to_asset="gems"),
            ask("e", "earn", asset="gems", amount=10**9, expires=START + HOUR),
        ),
        call(ask("s", "spend", asset="gems", amount=10**9)),
        call(ask("e4", "earn", asset="gems", amount=10**9, expires=START + HOUR)),
        turn(HOUR),
        call(ask("v", "reverse", target="s")),
        READ,
    ],
}
