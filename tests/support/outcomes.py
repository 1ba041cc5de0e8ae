"""How operations ended, in a word."""

from collections.abc import Iterable

from plaudit.ledger.v1 import ledger_pb2

from tests.support.harness import LedgerHarness


def reasons(results: Iterable[ledger_pb2.OperationResult]) -> list[str]:
    """Tells how each operation ended: why it was refused, or nothing where it happened."""
    return [result.refusal.reason for result in results]


async def happen(ledger: LedgerHarness, *operations: ledger_pb2.Operation) -> list[ledger_pb2.Posting]:
    """Posts operations that must all happen, each a thousand in a call, and gives what they did."""
    found: list[ledger_pb2.Posting] = []
    for start in range(0, len(operations), 1000):
        results = await ledger.post(*operations[start : start + 1000])
        assert set(reasons(results)) == {""}, [result.refusal for result in results if result.HasField("refusal")]
        found += [result.posting for result in results]
    return found


async def refused(ledger: LedgerHarness, operation: ledger_pb2.Operation) -> tuple[str, dict[str, str]]:
    """Posts an operation that must be refused, and gives the reason with its metadata."""
    [result] = await ledger.post(operation)
    assert result.HasField("refusal"), result
    return result.refusal.reason, dict(result.refusal.metadata)
