"""Listings: what was decided, what became of it, and who gets nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.kernel import db, pages
from services.kernel import errors as kernel_errors
from services.notify import errors, model, signing
from services.notify.operations import deciding
from services.notify.operations.context import ENDPOINTS_PER_PROGRAM_MAX, Context
from services.notify.store import deliveries, endpoints, members, programs

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


async def list_endpoints(
    context: Context, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Endpoint], str]:
    """Lists a page of endpoints, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "endpoints", program_id, parse=pages.parse_text) or ""
    kept = await db.read(context.pool, lambda c: endpoints.list_endpoints(c, program_id, after, limit + 1))
    found = [each.endpoint for each in kept]
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].endpoint_id], "endpoints", program_id)


async def update_endpoint(
    context: Context, program_id: str, endpoint: model.Endpoint, *, is_public: bool
) -> tuple[model.Endpoint, str]:
    """Makes or changes an endpoint; gives its secret where it is new. Raises ADDRESS_REFUSED and FIELD_INVALID."""
    if not is_public:
        raise errors.address_refused(endpoint.url)
    secret = signing.new_secret()
    hidden = signing.hide(context.secret_key, secret)

    async def work(connection: db.Connection) -> tuple[model.Endpoint, str]:
        now = await context.time.now(connection)
        await programs.lock_program(connection, program_id, now)
        known = await endpoints.list_endpoints(connection, program_id, "", ENDPOINTS_PER_PROGRAM_MAX)
        names = {each.endpoint.endpoint_id for each in known}
        if endpoint.endpoint_id not in names and len(names) >= ENDPOINTS_PER_PROGRAM_MAX:
            message = f"would be more than {ENDPOINTS_PER_PROGRAM_MAX}; change one that is there"
            raise kernel_errors.field_invalid(kernel_errors.Violation("endpoint", message))
        created_at, stored = await endpoints.put_endpoint(connection, program_id, endpoint, hidden, now)
        await programs.count_change(connection, program_id)
        written = model.Endpoint(
            endpoint.endpoint_id, endpoint.url, endpoint.event_types, endpoint.is_active, "", created_at
        )
        return written, secret if stored == hidden else ""

    return await db.transaction(context.pool, work)
