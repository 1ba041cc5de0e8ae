"""Proofs: an outsider who keeps a signed head can verify one row with SHA-256 and Ed25519, and needs nobody's word."""

import asyncio
import base64
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import grpc
import pytest
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from plaudit.ledger.v1 import seal_service_pb2

from services.kernel import clock, errors, interceptors, pages
from services.ledger.operations import sealing
from tests.conftest import START
from tests.ledger.test_seal import decode
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, SEAL_KEYS, LedgerHarness, credential
from tests.support.ledger import capture, earn, hold, spend
from tests.support.seals import MINUTE, head_of, holds, list_blocks, prove, seal_each, seal_now, verify

ID = "0f43a1b2-6c1d-4e8f-9a3b-5d7c9e1f2a4b"
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
TODAY, YESTERDAY = "2026-03-02", "2026-03-01"


async def refusal(call: Awaitable[Any]) -> errors.DomainError:
    """Gives the refusal of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return interceptors.from_error(caught.value, dependency="ledger")


def is_signed(head: seal_service_pb2.GetSealHeadResponse) -> bool:
    """Verifies a head with the key that its reader was told of before."""
    try:
        Ed25519PublicKey.from_public_bytes(SEAL_KEYS.public_keys[0]).verify(head.signature, head.content)
    except InvalidSignature:
        return False
    return True


async def test_proof_holds_for_every_row(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each row of a block of any size is proven by what is answered, to somebody who knows SHA-256."""
    for size in range(1, 10):
        await seal_each(ledger, time, [earn(f"e{size}-{number}") for number in range(size)])
        proofs = [await prove(ledger, f"e{size}-{number}") for number in range(size)]

        assert all(holds(proof) for proof in proofs)
        places = [(proof.index, proof.size, proof.block.number) for proof in proofs]
        assert places == [(number, size, size) for number in range(size)]


async def test_proof_holds_in_full_block(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A row of a full block is proven by ten hashes."""
    await ledger.post(*(earn(f"e{number}") for number in range(sealing.ROWS_PER_BLOCK)))
    await sealing.seal_due(ledger.ledger)

    for number in (0, 511, 512, 998, 999):
        proof = await prove(ledger, f"e{number}")
        assert holds(proof)
        assert len(proof.siblings) <= 10


async def test_proof_of_another_row_fails(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A proof with another content, place, hash, root or header does not hold."""
    await seal_each(ledger, time, [earn(f"e{number}") for number in range(5)])
    proof, other = await prove(ledger, "e1"), await prove(ledger, "e3")
    assert holds(proof)

    changes: list[dict[str, Any]] = [
        {"content": other.content},
        {"content": proof.content + b"\x00"},
        {"index": 2},
        {"siblings": proof.siblings[:-1]},
        {"siblings": [*proof.siblings, proof.siblings[0]]},
        {"siblings": reversed(proof.siblings)},
    ]
    for change in changes:
        changed = seal_service_pb2.GetInclusionProofResponse()
        changed.CopyFrom(proof)
        for name, value in change.items():
            changed.ClearField(name)  # type: ignore[arg-type]
            changed.MergeFrom(seal_service_pb2.GetInclusionProofResponse(**{name: value}))
        assert not holds(changed), change


async def test_proof_says_what_the_row_says(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The content of a proof can be read back, column by column, by the table that the contract points to."""
    await seal_each(ledger, time, [earn("e1", amount=300), spend("s1", amount=120)])
    proof = await prove(ledger, "s1", leg=0)

    number, *values = decode(proof.content[1:])
    row = dict(zip(proof.columns, values, strict=True))
    assert number == 1
    assert (row["program_id"], row["kind"], row["amount"], row["balance"]) == ("demo", "SPEND", -120, 180)
    assert (row["partition"], row["position"], row["posted_at"]) == (0, 2, START)
    program, partition, block, first, last, previous, root, sealed_at = decode(proof.block.header[1:])
    assert (program, partition, block, first, last) == ("demo", 0, 1, 1, 2)
    assert (previous, root, sealed_at) == (bytes(32), proof.block.root, START + MINUTE)


async def test_proof_is_of_any_leg_and_entry(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Rows beside the outcome are proven by their leg, and what Plaudit booked by itself by its entry's id."""
    await ledger.post(earn("e1", expires=START + MINUTE), earn("e2"), hold("h", amount=150), capture("c", "h"))
    await ledger.post(earn("e3", "m2", expires=START + MINUTE))
    time.value += MINUTE
    entries = [*await ledger.statement("m1"), *await ledger.statement("m2")]
    await seal_now(ledger, time)

    proofs = [await prove(ledger, entry_id=entry.entry_id) for entry in entries]
    assert all(holds(proof) for proof in proofs)
    assert len({proof.content for proof in proofs}) == len(entries) > 4
    assert {entry.entry_id.rpartition(".")[2] for entry in entries} == {"0", "1"}
    assert await prove(ledger, "c", leg=1) in proofs
    assert holds(await prove(ledger, "h"))


async def test_proof_leads_to_signed_head(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """From the block of a proof a chain of hashes leads to the tip of a head that was kept."""
    await seal_each(ledger, time, *[[earn(f"e{number}")] for number in range(5)])
    head, proof = await head_of(ledger), await prove(ledger, "e1")
    blocks = await list_blocks(ledger, first_block=proof.block.number)

    assert is_signed(head)
    assert head.key_id == sha256(SEAL_KEYS.public_keys[0]).hexdigest()[:16]
    [tip] = head.tips
    assert f"\n{tip.partition} {tip.block_number} {tip.block_hash.hex()}\n" in head.content.decode()
    assert blocks[0] == proof.block
    for block, following in pairwise(blocks):
        assert sha256(b"\x02" + block.header).digest() == block.block_hash == following.previous_hash
        assert following.previous_hash in following.header
    assert (blocks[-1].number, blocks[-1].block_hash) == (tip.block_number, tip.block_hash)


async def test_unknown_entry_is_refused(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A proof of what the program does not have is refused with ENTRY_NOT_FOUND, and other programs have nothing."""
    await seal_each(ledger, time, [earn("e1")])
    await ledger.post(earn("mine"), program="other")
    entry_id = (await ledger.statement("m1"))[0].entry_id

    for call in (
        prove(ledger, "e2"),
        prove(ledger, "e1", leg=1),
        prove(ledger, "e1", program="other"),
        prove(ledger, entry_id=entry_id, program="other"),
        prove(ledger, entry_id=entry_id.replace(".0", ".32767")),
    ):
        found = await refusal(call)
        assert (found.code, found.reason) == (errors.Code.NOT_FOUND, "ENTRY_NOT_FOUND")


async def test_unsealed_entry_is_refused_for_now(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A proof of what is too new is refused with ENTRY_NOT_SEALED and the time to come back, and given then."""
    await seal_each(ledger, time, [earn("e0")])
    await ledger.post(earn("e1"))
    found = await refusal(prove(ledger, "e1"))
    assert (found.code, found.reason) == (errors.Code.FAILED_PRECONDITION, "ENTRY_NOT_SEALED")
    assert found.retry_after_s == 60

    time.value += timedelta(seconds=found.retry_after_s)
    await sealing.seal_due(ledger.ledger)
    assert holds(await prove(ledger, "e1"))


async def test_broken_block_proves_nothing(
    ledger: LedgerHarness, time: clock.ManualClock, databases: Databases, ledger_database: str
) -> None:
    """A proof of a row in a block that is not what was sealed is refused with SEAL_BROKEN, and others are given."""
    await seal_each(ledger, time, [earn("a1"), earn("a2")], [earn("b1")])
    connection = await databases.admin(ledger_database)
    for change in (
        "UPDATE journal SET amount = amount + 1 WHERE position = 2",
        "UPDATE journal SET posted_at = 'infinity' WHERE position = 2",
        "UPDATE seal_blocks SET format = 99 WHERE number = 1",
        "UPDATE seal_blocks SET last_position = 1000000000000 WHERE number = 1",
    ):
        await connection.execute(change)
        for request_id in ("a1", "a2"):
            found = await refusal(prove(ledger, request_id))
            assert (found.code, found.reason) == (errors.Code.FAILED_PRECONDITION, "SEAL_BROKEN")
            assert found.metadata == {"partition": "0", "block": "1"}
        assert holds(await prove(ledger, "b1"))
    await connection.close()


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({}, "entryId"),
    ({"request_id": "e1", "entry_id": f"{ID}.0"}, "entryId"),
    ({"entry_id": f"{ID}.0", "leg": 1}, "leg"),
    ({"entry_id": f"{ID}.32768"}, "entryId"),
    ({"entry_id": f"{ID}.01"}, "entryId"),
    ({"entry_id": ID}, "entryId"),
    ({"entry_id": "e1"}, "entryId"),
    ({"request_id": "e1", "leg": -1}, "leg"),
]


async def test_malformed_question_is_refused(ledger: LedgerHarness) -> None:
    """A proof that names no row, or two, or none that could be, is refused by its field."""
    for asked, field in MALFORMED:
        found = await refusal(prove(ledger, **asked))
        assert (found.reason, found.violations[0].field) == ("FIELD_INVALID", field)


async def test_range_or_token_of_another_is_refused(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A range that ends before it begins and a token of another listing are refused by their fields."""
    await seal_each(ledger, time, [earn("e1")])
    forged = pages.encode_token([0, 0], "seals", "demo", "None", "1", "None")
    strange = pages.encode_token([1], "entries", "demo", "m1", "points")

    for call, field in (
        (verify(ledger, first_block=3, last_block=2), "lastBlock"),
        (verify(ledger, partition=64), "partition"),
        (asked_with(ledger, forged), "pageToken"),
        (asked_with(ledger, strange), "pageToken"),
        (list_blocks(ledger, page_token=strange), "pageToken"),
        (list_blocks(ledger, page_size=-1), "pageSize"),
    ):
        found = await refusal(call)
        assert (found.reason, found.violations[0].field) == ("FIELD_INVALID", field)


async def asked_with(ledger: LedgerHarness, token: str) -> seal_service_pb2.VerifySealResponse:
    """Asks for the page of a token."""
    request = seal_service_pb2.VerifySealRequest(page_token=token)
    return await ledger.seals.VerifySeal(request, metadata=credential("demo", LEDGER_SCOPES))


async def test_blocks_are_listed_page_by_page(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Pages of blocks put together are the whole chain, the oldest first, from any block on."""
    await seal_each(ledger, time, *[[earn(f"e{number}")] for number in range(7)])
    for first, size in ((0, 3), (2, 3), (7, 1), (8, 5)):
        found: list[int] = []
        token = ""
        while True:
            request = seal_service_pb2.ListSealBlocksRequest(first_block=first, page_size=size, page_token=token)
            response = await ledger.seals.ListSealBlocks(request, metadata=credential("demo", LEDGER_SCOPES))
            found += [block.number for block in response.blocks]
            token = response.next_page_token
            if not token:
                break
            assert len(response.blocks) == size
        assert found == list(range(max(first, 1), 8))


async def test_other_program_sees_nothing(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What one program sealed is neither listed, verified nor signed for another, and wants the scope to read."""
    await seal_each(ledger, time, [earn("e1")])
    told = await verify(ledger, program="other")
    assert (told.problems, told.blocks, told.rows, list(told.partitions)) == ([], 0, 0, [])
    assert await list_blocks(ledger, program="other") == []
    found = await refusal(head_of(ledger, program="other"))
    assert (found.code, found.reason) == (errors.Code.NOT_FOUND, "HEAD_NOT_FOUND")

    call = ledger.seals.GetSealHead(
        seal_service_pb2.GetSealHeadRequest(), metadata=credential("demo", ["ledger.write"])
    )
    assert (await refusal(call)).reason == "SCOPE_MISSING"


async def test_day_is_signed_once_it_has_ended(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The head of a day says how far the program was sealed at midnight, and is logged whole in one line."""
    await seal_each(ledger, time, [earn("e1")], [earn("e2")])
    time.value = MIDNIGHT
    assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 0
    assert (await refusal(head_of(ledger, YESTERDAY))).reason == "HEAD_NOT_FOUND"
    await seal_each(ledger, time, [earn("e3")])
    time.value = MIDNIGHT + sealing.DAY_WAIT
    with structlog.testing.capture_logs() as lines:
        assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 1
        assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 0

    head = await head_of(ledger, YESTERDAY)
    assert (is_signed(head), head.kept, head.day) == (True, True, YESTERDAY)
    assert [tip.block_number for tip in head.tips] == [2]
    [line] = [line for line in lines if line["event"] == "seal_head_signed"]
    assert (line["program"], line["day"], line["key_id"]) == ("demo", YESTERDAY, head.key_id)
    assert (line["content"], base64.b64decode(line["signature"])) == (head.content.decode(), head.signature)


async def test_head_of_this_moment_is_signed_when_asked_for(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Without a day the head says how far everything is sealed now, and is kept by whoever asked for it."""
    assert (await refusal(head_of(ledger))).reason == "HEAD_NOT_FOUND"
    await seal_each(ledger, time, [earn("e1")])
    first = await head_of(ledger)
    await seal_each(ledger, time, [earn("e2")])
    second = await head_of(ledger)

    for number, head in enumerate((first, second), start=1):
        assert (is_signed(head), head.kept, head.day) == (True, False, YESTERDAY)
        assert [tip.block_number for tip in head.tips] == [number]
    assert (await refusal(head_of(ledger, YESTERDAY))).reason == "HEAD_NOT_FOUND"
    assert (await refusal(head_of(ledger, "2026-13-01"))).reason == "FIELD_INVALID"


async def test_days_that_were_missed_are_signed_later(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """After days without a worker each day on which something was sealed gets its head, and quiet days get none."""
    await seal_each(ledger, time, [earn("e1")])
    time.value += DAY
    await seal_each(ledger, time, [earn("e2")])
    time.value += 3 * DAY
    await seal_each(ledger, time, [earn("e3")])
    time.value += DAY
    assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 3

    for day, number in ((YESTERDAY, 1), (TODAY, 2), ("2026-03-05", 3)):
        assert [tip.block_number for tip in (await head_of(ledger, day)).tips] == [number]
    assert (await refusal(head_of(ledger, "2026-03-03"))).metadata == {"day": "2026-03-03"}
    told = await verify(ledger)
    assert (told.problems, told.heads) == ([], 3)


async def test_day_is_signed_by_one_of_many(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Of workers that sign days at once each day is signed by one, and none fails."""
    await ledger.post(earn("e1"), program="other")
    for number in range(12):
        await seal_each(ledger, time, [earn(f"e{number}")])
        time.value += DAY
    with structlog.testing.capture_logs() as lines:
        signed = await asyncio.gather(*(sealing.sign_days(ledger.ledger, SEAL_KEYS) for _ in range(8)))

    assert sum(signed) == sum(line["event"] == "seal_head_signed" for line in lines) == 13
    assert is_signed(await head_of(ledger, YESTERDAY, program="other"))
    assert (await verify(ledger)).heads == 12


async def test_block_of_midnight_is_of_the_day_that_begins(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A block that is sealed at the very midnight is in the head of the day that begins, and in none before."""
    await seal_each(ledger, time, [earn("e1")])
    time.value = MIDNIGHT - MINUTE
    await seal_each(ledger, time, [earn("e2")])
    time.value = MIDNIGHT + timedelta(hours=2)
    assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 1
    assert (await verify(ledger)).problems == []
    time.value = MIDNIGHT + DAY + timedelta(hours=2)
    assert await sealing.sign_days(ledger.ledger, SEAL_KEYS) == 1

    for day, number in ((YESTERDAY, 1), (TODAY, 2)):
        assert [tip.block_number for tip in (await head_of(ledger, day)).tips] == [number]
    told = await verify(ledger)
    assert (told.problems, told.heads) == ([], 2)
