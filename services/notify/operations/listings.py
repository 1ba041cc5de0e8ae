"""Listings: what was decided, what became of it, and who gets nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.kernel import db, pages
from services.notify import errors, model
from services.notify.operations import deciding
from services.notify.operations.context import Context
from services.notify.store import deliveries, members

LAST = (datetime(9999, 12, 31, tzinfo=UTC), uuid.UUID(int=2**128 - 1))


@dataclass(frozen=True, slots=True)
class Followed:
    """A delivery with its attempts."""

    delivery: model.Delivery
    attempts: Sequence[model.Attempt]


async def list_decisions(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Decision], str]:
    """Lists a page of what was decided for a member, newest first, and the token of the next one."""
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, "decisions", program_id, member_id, parse=_place) or LAST
    found = await db.read(
        context.pool, lambda c: deliveries.list_decisions(c, program_id, member_id, before, limit + 1)
    )
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    place = [last.decided_at.isoformat(), str(last.decision_id)]
    return found[:limit], pages.encode_token(place, "decisions", program_id, member_id)


async def list_deliveries(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[Followed], str]:
    """Lists a page of the deliveries to a member, newest first, and the token of the next one."""
    limit = pages.page_size(page_size)
    before = pages.read_cursor(page_token, "deliveries", program_id, member_id, parse=_place) or LAST

    async def work(connection: db.Connection) -> list[Followed]:
        found = await deliveries.list_deliveries(connection, program_id, member_id, before, limit + 1)
        return await _follow(connection, program_id, found)

    followed = await db.read(context.pool, work)
    if len(followed) <= limit:
        return followed, ""
    last = followed[limit - 1].delivery
    place = [last.created_at.isoformat(), str(last.delivery_id)]
    return followed[:limit], pages.encode_token(place, "deliveries", program_id, member_id)


async def get_delivery(context: Context, program_id: str, text: str) -> Followed:
    """Tells a delivery with its attempts. Raises DELIVERY_NOT_FOUND."""
    try:
        delivery_id = uuid.UUID(text)
    except ValueError:
        raise errors.delivery_not_found(text) from None

    async def work(connection: db.Connection) -> list[Followed]:
        found = await deliveries.read_deliveries(connection, program_id, [delivery_id])
        return await _follow(connection, program_id, list(found.values()))

    followed = await db.read(context.pool, work)
    if not followed:
        raise errors.delivery_not_found(text)
    return followed[0]


async def _follow(connection: db.Connection, program_id: str, found: Sequence[model.Delivery]) -> list[Followed]:
    attempts = await deliveries.read_attempts(connection, program_id, [each.delivery_id for each in found])
    return [Followed(each, attempts.get(each.delivery_id, [])) for each in found]


def _place(at: Any, identity: Any) -> tuple[datetime, uuid.UUID]:
    instant = datetime.fromisoformat(at)
    if instant.tzinfo is None:
        raise ValueError("A page ends at an instant.")
    return instant, uuid.UUID(identity)


async def create_suppression(context: Context, program_id: str, email: str, reason: str) -> str:
    """Makes an address get no more mail, and gives the reason that stands: the first one stays."""
    address = deciding.address_hash(program_id, email)

    async def work(connection: db.Connection) -> str:
        now = await context.time.now(connection)
        await members.add_suppressions(connection, program_id, [address], reason, now)
        stands = await members.get_suppression(connection, program_id, address)
        assert stands is not None, "What is added is there."
        return stands

    return await db.transaction(context.pool, work)


async def delete_suppression(context: Context, program_id: str, email: str) -> bool:
    """Lets an address get mail again; tells whether it got none."""
    address = deciding.address_hash(program_id, email)
    return await db.transaction(context.pool, lambda c: members.delete_suppression(c, program_id, address))
