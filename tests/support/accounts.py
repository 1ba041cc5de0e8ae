"""What callers were told, added up: the simplest account there can be of what a ledger must hold."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from plaudit.ledger.v1 import ledger_pb2


@dataclass
class Account:
    """Collects results and says what they come to; a result that was given twice must be the same both times."""

    results: dict[str, ledger_pb2.OperationResult] = field(default_factory=dict)
    operations: dict[str, ledger_pb2.Operation] = field(default_factory=dict)

    def add(self, operations: Iterable[ledger_pb2.Operation], results: Iterable[ledger_pb2.OperationResult]) -> None:
        """Takes down what was answered to what was asked."""
        for operation, result in zip(operations, results, strict=True):
            assert operation.request_id == result.request_id
            kept = ledger_pb2.OperationResult.FromString(result.SerializeToString())
            kept.replayed = False
            known = self.results.setdefault(result.request_id, kept)
            assert known == kept, "An id has one outcome for ever."
            self.operations[operation.request_id] = operation

    def happened(self, action: str) -> list[tuple[ledger_pb2.Operation, ledger_pb2.Posting]]:
        """Lists what happened of one kind of operation."""
        return [
            (self.operations[request_id], result.posting)
            for request_id, result in self.results.items()
            if result.HasField("posting") and self.operations[request_id].WhichOneof("action") == action
        ]

    def owner_of(self, request_id: str) -> str:
        """Names the member whom a hold or a capture is about."""
        operation = self.operations[request_id]
        if operation.WhichOneof("action") == "capture":
            return self.owner_of(operation.capture.hold_request_id)
        return operation.hold.member_id

    def totals(self) -> Counter[str]:
        """Tells what each member must have, available and held together, where nothing expires."""
        found: Counter[str] = Counter()
        for operation, posting in self.happened("earn"):
            found[operation.earn.member_id] += posting.amount
        for operation, posting in self.happened("capture"):
            found[self.owner_of(operation.capture.hold_request_id)] -= posting.amount
        for operation, posting in self.happened("reverse"):
            found[self.owner_of(operation.reverse.target_request_id)] += posting.amount
        return found

    def held(self) -> Counter[str]:
        """Tells what each member must have in holds, where none times out."""
        found: Counter[str] = Counter()
        for operation, posting in self.happened("hold"):
            found[operation.hold.member_id] += posting.amount
        for action in ("capture", "release"):
            for operation, posting in self.happened(action):
                found[self.owner_of(getattr(operation, action).hold_request_id)] -= posting.amount
        return found

    def assert_ends_once(self) -> None:
        """Fails where a hold was ended twice, or a capture reversed twice."""
        ends = Counter(
            getattr(operation, action).hold_request_id
            for action in ("capture", "release")
            for operation, _ in self.happened(action)
        )
        reversals = Counter(operation.reverse.target_request_id for operation, _ in self.happened("reverse"))
        assert [each for each, count in (ends + reversals).items() if count > 1] == []
