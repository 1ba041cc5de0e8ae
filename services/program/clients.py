"""The program's calls to the ledger, over gRPC."""

from collections.abc import Sequence

import grpc
from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.kernel import rpc, times
from services.program import model, ports

# What is called through one channel: the ledger itself, and its feed.
CONTRACTS = (ledger_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR)
# What is called of services that are followed and no more.
FEED_CONTRACTS = (feed_service_pb2.DESCRIPTOR,)
# Longer than a batch takes under load, shorter than a caller waits.
CALL_TIMEOUT_S = 10.0


class RemoteLedger:
    """The ledger behind a channel; implements `ports.Ledger`."""

    def __init__(self, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> None:
        self._stub = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        self._identity = identity

    async def earn(self, program_id: str, earns: Sequence[ports.Earn]) -> list[ports.LedgerRefusal | None]:
        """Posts earns; tells for each why it was refused."""
        return await self._post(program_id, [_earn(each) for each in earns])

    async def settle(
        self, program_id: str, steps: Sequence[tuple[ports.Earn, ports.Step]]
    ) -> list[ports.LedgerRefusal | None]:
        """Takes steps about earns; tells for each why it was refused."""
        return await self._post(program_id, [_settle(earn, step) for earn, step in steps])

    async def hold(
        self, program_id: str, *, redemption_id: str, member_id: str, asset: str, amount: int, timeout_s: int
    ) -> ports.LedgerRefusal | None:
        """Holds the cost of a redemption."""
        hold = ledger_pb2.Hold(member_id=member_id, asset=asset, amount=amount, timeout_s=timeout_s)
        return await self._step(program_id, redemption_id, "hold", hold=hold)

    async def capture(self, program_id: str, *, redemption_id: str) -> ports.LedgerRefusal | None:
        """Spends what is held."""
        capture = ledger_pb2.Capture(hold_request_id=f"{redemption_id}:hold")
        return await self._step(program_id, redemption_id, "capture", capture=capture)

    async def release(self, program_id: str, *, redemption_id: str) -> ports.LedgerRefusal | None:
        """Frees what is held."""
        release = ledger_pb2.Release(hold_request_id=f"{redemption_id}:hold")
        return await self._step(program_id, redemption_id, "release", release=release)

    async def reverse(self, program_id: str, *, redemption_id: str) -> ports.LedgerRefusal | None:
        """Gives back what was spent."""
        reverse = ledger_pb2.Reverse(target_request_id=f"{redemption_id}:capture")
        return await self._step(program_id, redemption_id, "reverse", reverse=reverse)

    async def _step(
        self,
        program_id: str,
        redemption_id: str,
        step: str,
        *,
        hold: ledger_pb2.Hold | None = None,
        capture: ledger_pb2.Capture | None = None,
        release: ledger_pb2.Release | None = None,
        reverse: ledger_pb2.Reverse | None = None,
    ) -> ports.LedgerRefusal | None:
        operation = ledger_pb2.Operation(
            request_id=f"{redemption_id}:{step}",
            cause=ledger_pb2.Cause(redemption_id=redemption_id),
            hold=hold,
            capture=capture,
            release=release,
            reverse=reverse,
        )
        [refusal] = await self._post(program_id, [operation])
        return refusal

    async def _post(self, program_id: str, operations: list[ledger_pb2.Operation]) -> list[ports.LedgerRefusal | None]:
        request = ledger_service_pb2.PostOperationsRequest(operations=operations)
        call = self._stub.PostOperations(request, metadata=self._identity.metadata(program_id), timeout=CALL_TIMEOUT_S)
        response = await rpc.checked(call, dependency="ledger")
        return [_refusal(result) for result in response.results]


def _settle(earn: ports.Earn, step: ports.Step) -> ledger_pb2.Operation:
    operation = ledger_pb2.Operation(request_id=f"{earn.request_id}:{step}", cause=_cause(earn))
    match step:
        case ports.Step.CONFIRM:
            operation.confirm_earn.earn_request_id = earn.request_id
        case ports.Step.CANCEL:
            operation.cancel_earn.earn_request_id = earn.request_id
        case ports.Step.CLAW_BACK:
            operation.claw_back.target_request_id = earn.request_id
            operation.claw_back.policy = ledger_pb2.CLAW_BACK_POLICY_OTHER_LOTS_THEN_DEBT
    return operation


def _cause(earn: ports.Earn) -> ledger_pb2.Cause:
    return ledger_pb2.Cause(
        event_id=earn.event_id,
        rule_id=earn.rule_id,
        rule_version=earn.rule_version,
        campaign_id=earn.terms.campaign_id,
    )


def _earn(earn: ports.Earn) -> ledger_pb2.Operation:
    policy = _policy(earn.terms)
    return ledger_pb2.Operation(
        request_id=earn.request_id,
        occur_time=times.to_proto(earn.occurred_at),
        cause=_cause(earn),
        earn=ledger_pb2.Earn(
            member_id=earn.member_id,
            asset=earn.asset,
            amount=earn.amount,
            expire_time=times.to_proto(earn.expires_at) if earn.expires_at and policy is None else None,
            expiry=policy,
            promotional=earn.terms.is_promotional,
            budget_id=earn.terms.budget_id,
            pending=earn.terms.is_pending,
        ),
    )


def _policy(terms: model.Terms) -> ledger_pb2.ExpiryPolicy | None:
    rolling = terms.rolling
    if rolling is None:
        return None
    end = ledger_pb2.ExpiryEnd.Value(f"EXPIRY_END_{rolling.end.value if rolling.end else 'UNSPECIFIED'}")
    return ledger_pb2.ExpiryPolicy(
        time_zone=terms.time_zone, months=rolling.months, days=rolling.days, end=end, rolling=True
    )


def _refusal(result: ledger_pb2.OperationResult) -> ports.LedgerRefusal | None:
    if not result.HasField("refusal"):
        return None
    return ports.LedgerRefusal(result.refusal.reason, result.refusal.message, dict(result.refusal.metadata))
