"""Reviews: what people decide about referrals that were held, and the referrals themselves, told."""

import uuid
from typing import Any

from services.kernel import db, due, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.referral import errors, model
from services.referral.model import Referral, Review
from services.referral.operations.context import SETTLE, Context, work
from services.referral.operations.deciding import write
from services.referral.store import referrals

UUID_MAX = uuid.UUID(int=2**128 - 1)
Reviewed = tuple[Referral, Review | None]


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
    key, parsed = ids.request_key(request_id), _parse(referral_id)

    async def run(connection: db.Connection) -> tuple[Reviewed, bool]:
        locked = await referrals.lock_referral(connection, program_id, parsed)
        # Only now is it sure that a request of this id, raced or earlier, is to be seen.
        prior = await referrals.find_review_request(connection, program_id, key)
        if prior is not None:
            differing = requests.differing_fields(prior[1], content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            return await _with_review(connection, program_id, prior[0]), True
        if locked is None:
            raise errors.referral_not_found(referral_id)
        if expected_version not in (None, locked.version):
            raise kernel_errors.concurrent_update("referral", referral_id)
        if not locked.awaits_review:
            raise errors.referral_state_invalid(referral_id, locked.state.value)
        await _write(context, connection, program_id, locked, review, request=(key, requests.fingerprint(content)))
        return await _with_review(connection, program_id, parsed), False

    return await db.transaction(context.pool, run)


async def get_referral(context: Context, program_id: str, referral_id: str) -> Reviewed:
    """Tells a referral and what a reviewer said. Raises REFERRAL_NOT_FOUND."""
    parsed = _parse(referral_id)

    async def run(connection: db.Connection) -> Reviewed:
        if await referrals.get_referral(connection, program_id, parsed) is None:
            raise errors.referral_not_found(referral_id)
        return await _with_review(connection, program_id, parsed)

    return await db.read(context.pool, run)


async def list_referrals(
    context: Context,
    program_id: str,
    *,
    state: model.State | None,
    decision: model.Decision | None,
    page_size: int,
    page_token: str,
) -> tuple[list[Reviewed], str]:
    """Lists a page of referrals, newest first, and the token of the next one."""
    arguments = ("referrals", program_id, state or "", decision or "")
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, *arguments, parse=_parse_position) or UUID_MAX

    async def run(connection: db.Connection) -> list[Reviewed]:
        found = await referrals.list_referrals(
            connection, program_id, before, limit + 1, state=state, decision=decision
        )
        return await _with_reviews(connection, program_id, found)

    return _page(await db.read(context.pool, run), limit, arguments)


async def list_of_member(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[Reviewed], str]:
    """Lists a page of the referrals of one referrer, newest first, and the token of the next one."""
    arguments = ("member_referrals", program_id, member_id)
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, *arguments, parse=_parse_position) or UUID_MAX

    async def run(connection: db.Connection) -> list[Reviewed]:
        found = await referrals.list_of_member(connection, program_id, member_id, before, limit + 1)
        return await _with_reviews(connection, program_id, found)

    return _page(await db.read(context.pool, run), limit, arguments)


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


async def _with_review(connection: db.Connection, program_id: str, referral_id: uuid.UUID) -> Reviewed:
    found = await referrals.get_referral(connection, program_id, referral_id)
    assert found is not None, "A referral is never deleted."
    [reviewed] = await _with_reviews(connection, program_id, [found])
    return reviewed


async def _with_reviews(connection: db.Connection, program_id: str, found: list[Referral]) -> list[Reviewed]:
    reviews = await referrals.find_reviews(connection, program_id, [each.referral_id for each in found])
    return [(each, reviews.get(each.referral_id)) for each in found]


def _page(found: list[Reviewed], limit: int, arguments: tuple[str, ...]) -> tuple[list[Reviewed], str]:
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([str(found[limit - 1][0].referral_id)], *arguments)


def _parse(referral_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(referral_id)
    except ValueError:
        raise errors.referral_not_found(referral_id) from None


def _parse_position(text: Any) -> uuid.UUID:
    return uuid.UUID(pages.parse_text(text))
