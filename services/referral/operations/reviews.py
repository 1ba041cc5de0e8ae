"""Reviews: what people decide about referrals that were held."""

import uuid

from services.kernel import db, due, ids, requests
from services.kernel import errors as kernel_errors
from services.referral import errors, model
from services.referral.model import Referral, Review
from services.referral.operations.context import SETTLE, Context, work
from services.referral.operations.deciding import write
from services.referral.operations.referrals import Reviewed, parse, with_review
from services.referral.store import referrals


async def review_referral(
    context: Context,
    program_id: str,
    referral_id: str,
    review: Review,
    *,
    expected_version: int | None,
    request_id: str,
) -> tuple[Reviewed, bool]:
    """Approves or rejects a referral that waits for a reviewer; tells whether the answer stood before.

    The time of the review is set here. Raises REQUEST_ID_REUSED, REFERRAL_NOT_FOUND, CONCURRENT_UPDATE and
    REFERRAL_STATE_INVALID.
    """
    content = {
        "referralId": referral_id,
        "approved": review.is_approved,
        "reason": review.reason,
        "actor": review.actor,
        "etag": expected_version,
    }
    key, parsed = ids.request_key(request_id), parse(referral_id)

    async def run(connection: db.Connection) -> tuple[Reviewed, bool]:
        locked = await referrals.lock_referral(connection, program_id, parsed)
        # Only now is it sure that a request of this id, raced or earlier, is to be seen.
        prior = await referrals.find_review_request(connection, program_id, key)
        if prior is not None:
            differing = requests.differing_fields(prior[1], content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            return await with_review(connection, program_id, prior[0]), True
        if locked is None:
            raise errors.referral_not_found(referral_id)
        if expected_version not in (None, locked.version):
            raise kernel_errors.concurrent_update("referral", referral_id)
        if not locked.awaits_review:
            raise errors.referral_state_invalid(referral_id, locked.state.value)
        await _write(context, connection, program_id, locked, review, request=(key, requests.fingerprint(content)))
        return await with_review(connection, program_id, parsed), False

    return await db.transaction(context.pool, run)


async def _write(
    context: Context,
    connection: db.Connection,
    program_id: str,
    locked: Referral,
    review: Review,
    *,
    request: tuple[uuid.UUID, bytes],
) -> None:
    now = await context.time.now(connection)
    told = Review(review.is_approved, review.reason, review.actor, review.subject, now)
    await referrals.insert_review(
        connection, program_id, locked.referral_id, told, request_id=request[0], fingerprint=request[1]
    )
    after = locked.reviewed(is_approved=review.is_approved, now=now)
    if after.state is model.State.HELD:
        assert after.hold_ends_at is not None, "What is held is held until an instant."
        # The row may be there still, or be done already with nothing to release.
        await due.schedule(connection, [work(program_id, SETTLE, after.referral_id, after.hold_ends_at)])
    await write(context, connection, program_id, locked, after)
