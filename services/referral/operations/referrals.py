"""Referrals: told one by one, and listed, each with what a reviewer said."""

import uuid
from typing import Any

from services.kernel import db, pages
from services.referral import errors, model
from services.referral.model import Referral, Review
from services.referral.operations.context import Context
from services.referral.store import referrals

UUID_MAX = uuid.UUID(int=2**128 - 1)
Reviewed = tuple[Referral, Review | None]


async def get_referral(context: Context, program_id: str, referral_id: str) -> Reviewed:
    """Tells a referral and what a reviewer said. Raises REFERRAL_NOT_FOUND."""
    parsed = parse(referral_id)

    async def run(connection: db.Connection) -> Reviewed:
        if await referrals.get_referral(connection, program_id, parsed) is None:
            raise errors.referral_not_found(referral_id)
        return await with_review(connection, program_id, parsed)

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


async def with_review(connection: db.Connection, program_id: str, referral_id: uuid.UUID) -> Reviewed:
    """Reads a referral that exists, and what a reviewer said."""
    found = await referrals.get_referral(connection, program_id, referral_id)
    assert found is not None, "A referral is never deleted."
    [reviewed] = await _with_reviews(connection, program_id, [found])
    return reviewed


def parse(referral_id: str) -> uuid.UUID:
    """Reads the id of a referral. Raises REFERRAL_NOT_FOUND for what is none."""
    try:
        return uuid.UUID(referral_id)
    except ValueError:
        raise errors.referral_not_found(referral_id) from None


async def _with_reviews(connection: db.Connection, program_id: str, found: list[Referral]) -> list[Reviewed]:
    reviews = await referrals.find_reviews(connection, program_id, [each.referral_id for each in found])
    return [(each, reviews.get(each.referral_id)) for each in found]


def _page(found: list[Reviewed], limit: int, arguments: tuple[str, ...]) -> tuple[list[Reviewed], str]:
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([str(found[limit - 1][0].referral_id)], *arguments)


def _parse_position(text: Any) -> uuid.UUID:
    return uuid.UUID(pages.parse_text(text))
