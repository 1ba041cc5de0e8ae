"""Endpoints: places of the program's own that are told what happens, and the secrets that sign what they are told."""

from dataclasses import replace
from datetime import timedelta

from services.kernel import db, ids, pages
from services.kernel import errors as kernel_errors
from services.notify import errors, model, signing
from services.notify.operations.context import ENDPOINTS_PER_PROGRAM_MAX, Context
from services.notify.store import endpoints, programs

# How long the secret before signs beside the new one, so that a receiver has time to change over.
OVERLAP = timedelta(hours=24)


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
        kept = await endpoints.put_endpoint(connection, program_id, endpoint, hidden, now)
        await programs.count_change(connection, program_id)
        return kept.endpoint, secret if kept.secret == hidden else ""

    return await db.transaction(context.pool, work)


async def rotate_secret(
    context: Context, program_id: str, endpoint_id: str, request_id: str
) -> tuple[model.Endpoint, str, bool]:
    """Gives an endpoint another secret, and tells it, and whether the request had its answer before.

    Raises ENDPOINT_NOT_FOUND.
    """
    secret, rotation_id = signing.new_secret(), ids.request_key(request_id)

    async def work(connection: db.Connection) -> tuple[model.Endpoint, str, bool]:
        now = await context.time.now(connection)
        await programs.lock_program(connection, program_id, now)
        kept = await endpoints.find_endpoint(connection, program_id, endpoint_id)
        if kept is None:
            raise errors.endpoint_not_found(endpoint_id)
        if kept.rotation_id == rotation_id:
            return kept.endpoint, signing.reveal(context.secret_key, kept.secret), True
        ends_at = now + OVERLAP
        await endpoints.rotate_secret(
            connection,
            program_id,
            endpoint_id,
            secret=signing.hide(context.secret_key, secret),
            previous_ends_at=ends_at,
            rotation_id=rotation_id,
        )
        await programs.count_change(connection, program_id)
        return replace(kept.endpoint, previous_ends_at=ends_at), secret, False

    return await db.transaction(context.pool, work)
