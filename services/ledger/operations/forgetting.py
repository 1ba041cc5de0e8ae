"""Forgetting: the tie between a member and what the ledger holds is cut; what it holds stays, and names nobody."""

import uuid

from services.kernel import db, ids, requests
from services.kernel import errors as kernel_errors
from services.ledger import model
from services.ledger.model import Kind
from services.ledger.operations.posting import Ledger
from services.ledger.store import members

# Stands in the place of the member id, before something random that nothing leads to.
TOMBSTONE = "forgotten-"


async def forget_member(ledger: Ledger, program_id: str, member_id: str, request_id: str) -> tuple[int, bool]:
    """Takes the member id out of the ledger; tells how many wallets name nobody now, and whether that stood before.

    Idempotent by request id, for ever. Raises REQUEST_ID_REUSED. Other servers learn it from the wallets themselves.
    """
    key = ids.request_key(request_id)
    # With the id of the request, which is not stored, nobody can try member ids on what is.
    content = {"kind": Kind.FORGET.value, "requestId": request_id, "memberId": member_id}

    async def work(connection: db.Connection) -> tuple[int, bool, list[str]]:
        stored = await members.find_request(connection, program_id, key)
        if stored is not None:
            differing = requests.differing_fields(stored.fingerprint, content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            assert stored.detail is not None, "What was forgotten is counted."
            return stored.detail["wallets"], True, []
        wallets = await members.lock_member(connection, program_id, member_id)
        # The time is taken once the locks are held, as by a batch.
        now = await ledger.time.now(connection)
        await members.rename_member(connection, program_id, list(wallets), f"{TOMBSTONE}{uuid.uuid4()}")
        row = model.Row(
            request_id=key,
            leg=0,
            kind=Kind.FORGET,
            occurred_at=now,
            fingerprint=requests.fingerprint(content),
            detail={"wallets": len(wallets)},
        )
        await members.insert_request(connection, program_id, now, row, member_id)
        return len(wallets), False, list(wallets.values())

    count, replayed, assets = await db.transaction(ledger.pool, work)
    ledger.forget(program_id, [(member_id, asset) for asset in assets])
    return count, replayed
