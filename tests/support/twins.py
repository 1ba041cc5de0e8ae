"""The unary twin of each operation: the same asked by a call of its own."""

from typing import Any

from plaudit.ledger.v1 import ledger_pb2, operation_service_pb2, operation_service_pb2_grpc

from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential

# Actions of an operation, and the rpcs that are their twins.
RPCS = {
    "earn": "Earn",
    "hold": "PlaceHold",
    "capture": "CaptureHold",
    "release": "ReleaseHold",
    "reverse": "Reverse",
    "confirm_earn": "ConfirmEarn",
    "cancel_earn": "CancelEarn",
    "spend": "Spend",
    "claw_back": "ClawBack",
    "adjust": "Adjust",
    "exchange": "Exchange",
    "expire": "Expire",
    "unexpire": "Unexpire",
    "fund_budget": "FundBudget",
    "close_budget": "CloseBudget",
}


async def call(ledger: LedgerHarness, operation: ledger_pb2.Operation, *, program: str = "demo") -> Any:
    """Asks for one operation by its twin, and gives the response: `replayed` and `posting`."""
    action = operation.WhichOneof("action")
    assert action is not None
    request = getattr(operation_service_pb2, f"{RPCS[action]}Request")(
        request_id=operation.request_id,
        occur_time=operation.occur_time if operation.HasField("occur_time") else None,
        cause=operation.cause if operation.HasField("cause") else None,
        **{action: getattr(operation, action)},
    )
    stub = operation_service_pb2_grpc.OperationServiceStub(ledger.channel)
    return await getattr(stub, RPCS[action])(request, metadata=credential(program, LEDGER_SCOPES))
