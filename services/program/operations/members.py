"""Members: what is known of them."""

from services.kernel import db
from services.kernel import errors as kernel_errors
from services.program import errors, model
from services.program.operations.context import Context
from services.program.store import members


async def update_member(
    context: Context, program_id: str, member: model.Member, expected_version: int | None
) -> model.Member:
    """Makes a member or replaces all that is known of one. Raises CONCURRENT_UPDATE where another version stands."""

    async def work(connection: db.Connection) -> model.Member:
        now = await context.time.now(connection)
        if expected_version is not None and not await members.read_members(connection, program_id, [member.member_id]):
            raise kernel_errors.concurrent_update("member", member.member_id)
        stored = await members.put_member(connection, program_id, member, now, expected_version)
        if stored is None:
            raise kernel_errors.concurrent_update("member", member.member_id)
        await context.publish(connection, program_id, model.MemberChanged(stored))
        return stored

    return await db.transaction(context.pool, work)


async def get_member(context: Context, program_id: str, member_id: str) -> model.Member:
    """Tells what is known of a member. Raises MEMBER_NOT_FOUND."""
    found = await db.ask(context.pool, lambda c: members.read_members(c, program_id, [member_id]))
    if member_id not in found:
        raise errors.member_not_found(member_id)
    return found[member_id]
