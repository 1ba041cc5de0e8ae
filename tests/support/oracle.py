"""The ledger as its promises say it, and as naively as they can be said: lists, and a loop over all of them each time.

Written from `services/ledger/__init__.py` and the comments of the contract; shares no code with the service. There is
no sweep and no state of a lot: what is asked at an instant is computed from what was done by then.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile

from tests.support.oracle_asks import Answer, Ask, Owner, RefusedError, differing
from tests.support.oracle_operations import OPERATIONS, Book
from tests.support.oracle_wallet import Standing, Wallet


@dataclass
class Oracle:
    """One program's ledger: what it has, and how every operation ended."""

    book: Book = field(default_factory=Book)
    outcomes: dict[str, tuple[Ask, Answer]] = field(default_factory=dict)

    def post(self, ask: Ask, now: datetime) -> Answer:
        """Judges one operation. L5: an id has one outcome for ever, refusals included."""
        if ask.request_id in self.outcomes:
            first, answer = self.outcomes[ask.request_id]
            fields = differing(first, ask)
            if fields and not (fields == {"memberId"} and self._is_nobodys(first, answer)):
                return Answer("REQUEST_ID_REUSED", fields=fields)
            return replace(answer, replayed=True)
        try:
            answer = OPERATIONS[ask.kind](self.book, ask, now)
        except RefusedError as refusal:
            answer = refusal.answer
        self.outcomes[ask.request_id] = (ask, answer)
        return answer

    def link(self, asks: Sequence[Ask], now: datetime) -> list[Answer]:
        """Judges linked operations: all happen, or none; then one says why and the others name it."""
        before = pickle.dumps((self.book, self.outcomes))
        answers: list[Answer] = []
        for ask in asks:
            answers.append(self.post(ask, now))
            if answers[-1].reason:
                self.book, self.outcomes = pickle.loads(before)
                return self._refuse(asks, len(answers) - 1, answers[-1], now)
        return answers

    def _is_nobodys(self, first: Ask, answer: Answer) -> bool:
        """Tells whether an outcome is that of whoever asks: nothing happened by it, nor before in that wallet."""
        before = takewhile(lambda outcome: outcome[0] is not first, self.outcomes.values())
        happened = (ask for ask, ended in before if _has_happened(ask, ended))
        return not _has_happened(first, answer) and all(
            first.owner not in ((ask.member, ask.asset), (ask.member, ask.to_asset)) for ask in happened
        )

    def _refuse(self, asks: Sequence[Ask], culprit: int, refusal: Answer, now: datetime) -> list[Answer]:
        metadata = (("reason", refusal.reason), ("requestId", asks[culprit].request_id))
        answers = []
        for index, ask in enumerate(asks):
            if ask.request_id not in self.outcomes:
                answer = refusal if index == culprit else Answer("LINKED_REFUSED", metadata)
                self.outcomes[ask.request_id] = (ask, answer)
                answers.append(answer)
            else:
                answers.append(self.post(ask, now))
        return answers

    def wallet(self, owner: Owner, now: datetime) -> Wallet:
        """Gives what a member holds of an asset; nothing where they hold nothing."""
        return self.book.wallet(owner, now) if owner in self.book.wallets else Wallet(owner)

    def standing(self, owner: Owner, t: datetime) -> Standing:
        """Tells how a member stands in one asset at any instant, by what is known now."""
        return self.book.wallets.get(owner, Wallet(owner)).standing(t)


def _has_happened(ask: Ask, answer: Answer) -> bool:
    """Tells whether anything happened: not by a refusal, nor by an end or a return that found nothing."""
    return not answer.reason and (ask.kind not in ("expire", "unexpire") or answer.amount > 0)
