"""`SealService` over gRPC: proto to operation to proto, nothing else."""

import asyncio
import re
import uuid
from datetime import date, datetime, timedelta
from typing import Any

from plaudit.ledger.v1 import seal_service_pb2, seal_service_pb2_grpc

from services.kernel import calls, errors, ids, times
from services.ledger import seal
from services.ledger.operations import proving, verifying
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Block, Keys
from services.ledger.store.sealing import Standing

ENTRY_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(0|[1-9][0-9]{0,4})")
SECOND = timedelta(seconds=1)
LEG_MAX = 2**15 - 1
# Verifying takes the time of whoever earns meanwhile, so the others wait.
VERIFICATIONS_AT_ONCE = 1


class SealServicer(seal_service_pb2_grpc.SealServiceServicer):
    """Serves `plaudit.ledger.v1.SealService`."""

    def __init__(self, ledger: Ledger, keys: Keys) -> None:
        self._ledger = ledger
        self._keys = keys
        self._slots = asyncio.Semaphore(VERIFICATIONS_AT_ONCE)

    async def VerifySeal(  # noqa: N802 - the contract's name
        self, request: seal_service_pb2.VerifySealRequest, context: Any
    ) -> seal_service_pb2.VerifySealResponse:
        """Verifies."""
        del context
        first, last = request.first_block or seal.FIRST_NUMBER, request.last_block or None
        if last is not None and last < first:
            raise errors.field_invalid(errors.Violation("lastBlock", "must not be before firstBlock"))
        partition = request.partition if request.HasField("partition") else None
        scope = verifying.Scope(calls.current().program_id, partition, first, last)
        async with self._slots:
            report = await verifying.verify(self._ledger, scope, self._keys.public_keys, request.page_token)
        return seal_service_pb2.VerifySealResponse(
            problems=[_problem(finding) for finding in report.tally.findings],
            problem_count=report.tally.finding_count,
            block_count=report.tally.blocks,
            row_count=report.tally.rows,
            head_count=report.tally.heads,
            partitions=[_partition(standing, report.now) for standing in report.standings],
            next_page_token=report.token,
        )

    async def GetInclusionProof(  # noqa: N802 - the contract's name
        self, request: seal_service_pb2.GetInclusionProofRequest, context: Any
    ) -> seal_service_pb2.GetInclusionProofResponse:
        """Proves a row."""
        del context
        request_key, leg = _row(request)
        proof = await proving.prove(self._ledger, calls.current().program_id, request_key, leg)
        return seal_service_pb2.GetInclusionProofResponse(
            content=proof.content,
            columns=proof.columns,
            index=proof.index,
            size=proof.size,
            siblings=proof.siblings,
            block=_block(proof.block),
        )

    async def GetSealHead(  # noqa: N802 - the contract's name
        self, request: seal_service_pb2.GetSealHeadRequest, context: Any
    ) -> seal_service_pb2.GetSealHeadResponse:
        """Gives a head."""
        del context
        day = date.fromisoformat(request.day) if request.day else None
        signed, kept = await proving.get_head(self._ledger, calls.current().program_id, self._keys, day)
        return seal_service_pb2.GetSealHeadResponse(
            day=signed.head.day.isoformat(),
            tips=[
                seal_service_pb2.SealTip(partition=tip.partition, block_number=tip.number, block_hash=tip.block_hash)
                for tip in signed.head.tips
            ],
            content=signed.content,
            signature=signed.signature,
            public_key=signed.public_key,
            key_id=seal.key_id(signed.public_key),
            kept=kept,
        )

    async def ListSealBlocks(  # noqa: N802 - the contract's name
        self, request: seal_service_pb2.ListSealBlocksRequest, context: Any
    ) -> seal_service_pb2.ListSealBlocksResponse:
        """Lists blocks."""
        del context
        first = request.first_block or seal.FIRST_NUMBER
        asked = verifying.Range(calls.current().program_id, request.partition, first)
        blocks, token = await proving.list_blocks(
            self._ledger, asked, page_size=request.page_size, page_token=request.page_token
        )
        return seal_service_pb2.ListSealBlocksResponse(
            blocks=[_block(block) for block in blocks], next_page_token=token
        )


def _row(request: seal_service_pb2.GetInclusionProofRequest) -> tuple[uuid.UUID, int]:
    """Reads which row is asked for, by its operation or as statements name it."""
    if bool(request.request_id) == bool(request.entry_id):
        raise errors.field_invalid(errors.Violation("entryId", "must be given where requestId is not, and only then"))
    if request.request_id:
        return ids.request_key(request.request_id), request.leg
    if request.leg:
        raise errors.field_invalid(errors.Violation("leg", "is part of entryId"))
    match = ENTRY_ID.fullmatch(request.entry_id)
    if match is None or int(match[2]) > LEG_MAX:
        raise errors.field_invalid(errors.Violation("entryId", "is not an id of an entry"))
    return uuid.UUID(match[1]), int(match[2])


def _problem(finding: verifying.Finding) -> seal_service_pb2.SealProblem:
    return seal_service_pb2.SealProblem(
        flaw=seal_service_pb2.SealFlaw.Value(f"SEAL_FLAW_{finding.flaw}"),
        partition=finding.partition,
        block_number=finding.number or 0,
        position=finding.position or 0,
        day=finding.day.isoformat() if finding.day else "",
        message=finding.message,
    )


def _partition(standing: Standing, now: datetime) -> seal_service_pb2.SealedPartition:
    waited_s = (now - standing.posted_at) // SECOND if standing.posted_at else None
    return seal_service_pb2.SealedPartition(
        partition=standing.partition,
        block_number=standing.number,
        sealed_position=standing.last_position,
        head_position=standing.head_position,
        # Begun seconds count, so that 0 means that nothing waits.
        lag_s=0 if waited_s is None else max(waited_s, 0) + 1,
    )


def _block(block: Block) -> seal_service_pb2.SealBlock:
    return seal_service_pb2.SealBlock(
        partition=block.partition,
        number=block.number,
        first_position=block.first_position,
        last_position=block.last_position,
        previous_hash=block.previous_hash,
        root=block.root,
        seal_time=times.to_proto(block.sealed_at),
        header=seal.block_header(block),
        block_hash=seal.block_hash(block),
    )
