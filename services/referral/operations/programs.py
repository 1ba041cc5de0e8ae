"""Referral programs: making versions of them, and telling them."""

from collections.abc import Callable
from dataclasses import replace

from services.kernel import db, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.referral import codes, errors, model, rules
from services.referral.model import ReferralProgram
from services.referral.operations.context import Context
from services.referral.store import programs

Change = Callable[[ReferralProgram], ReferralProgram]


async def create_program(
    context: Context, program_id: str, program: ReferralProgram, request_id: str
) -> tuple[ReferralProgram, bool]:
    """Makes a referral program; tells whether the answer stood before.

    Raises FIELD_INVALID, EXPRESSION_INVALID, REQUEST_ID_REUSED and REFERRAL_PROGRAM_EXISTS.
    """
    _validate(program)
    content: dict[str, object] = {
        "referralProgram": programs.to_definition(program),
        "referralProgramId": program.referral_program_id,
    }

    async def work(connection: db.Connection) -> tuple[ReferralProgram, bool]:
        now = await context.time.now(connection)
        made = await programs.insert_program(connection, program_id, program.referral_program_id, now)
        # Only now is it sure that a request of this id, raced or earlier, is to be seen.
        prior = await _prior(connection, program_id, request_id, content)
        if prior is not None:
            return prior, True
        if not made:
            raise errors.referral_program_exists(program.referral_program_id)
        written = replace(program, version=1)
        return await _write(context, connection, program_id, written, request_id=request_id, content=content), False

    return await db.transaction(context.pool, work)


async def update_program(
    context: Context,
    program_id: str,
    referral_program_id: str,
    *,
    change: Change,
    content: dict[str, object],
    expected_version: int | None,
    request_id: str,
) -> tuple[ReferralProgram, bool]:
    """Makes the next version of a referral program by a change; tells whether the answer stood before.

    `content` is what was asked for, for the fingerprint. Raises REQUEST_ID_REUSED, REFERRAL_PROGRAM_NOT_FOUND,
    REFERRAL_PROGRAM_ARCHIVED, CONCURRENT_UPDATE, FIELD_INVALID and EXPRESSION_INVALID.
    """

    async def work(connection: db.Connection) -> tuple[ReferralProgram, bool]:
        is_there = await programs.lock_program(connection, program_id, referral_program_id)
        prior = await _prior(connection, program_id, request_id, content)
        if prior is not None:
            return prior, True
        current = await programs.get_program(connection, program_id, referral_program_id) if is_there else None
        if current is None:
            raise errors.referral_program_not_found(referral_program_id)
        if current.state is model.ProgramState.ARCHIVED:
            raise errors.referral_program_archived(referral_program_id)
        if expected_version not in (None, current.version):
            raise kernel_errors.concurrent_update("referralProgram", referral_program_id)
        changed = replace(change(current), version=current.version + 1, created_at=current.created_at)
        _validate(changed)
        return await _write(context, connection, program_id, changed, request_id=request_id, content=content), False

    return await db.transaction(context.pool, work)


async def get_program(
    context: Context, program_id: str, referral_program_id: str, version: int | None
) -> ReferralProgram:
    """Tells a referral program, in its newest version where none is given. Raises REFERRAL_PROGRAM_NOT_FOUND."""
    found = await db.read(context.pool, lambda c: programs.get_program(c, program_id, referral_program_id, version))
    if found is None:
        raise errors.referral_program_not_found(referral_program_id)
    return found


async def list_programs(
    context: Context, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[ReferralProgram], str]:
    """Lists a page of referral programs, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "referral_programs", program_id, parse=pages.parse_text) or ""
    found = await db.read(context.pool, lambda c: programs.list_programs(c, program_id, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].referral_program_id], "referral_programs", program_id)


def _validate(program: ReferralProgram) -> None:
    faults = list(rules.program_faults(program))
    landing = codes.landing_fault(program.landing_url)
    if landing is not None:
        faults.append(("landingUrl", landing))
    if faults:
        violations = [kernel_errors.Violation(f"referralProgram.{name}", fault) for name, fault in faults]
        raise kernel_errors.field_invalid(*violations)
    rules.compile_condition("referralProgram.condition", program.condition)


async def _prior(
    connection: db.Connection, program_id: str, request_id: str, content: dict[str, object]
) -> ReferralProgram | None:
    found = await programs.find_request(connection, program_id, ids.request_key(request_id))
    if found is None:
        return None
    program, fingerprint = found
    differing = requests.differing_fields(fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)
    return program


async def _write(
    context: Context,
    connection: db.Connection,
    program_id: str,
    program: ReferralProgram,
    *,
    request_id: str,
    content: dict[str, object],
) -> ReferralProgram:
    now = await context.time.now(connection)
    written = replace(program, created_at=program.created_at or now, updated_at=now)
    await programs.insert_version(
        connection,
        program_id,
        written,
        now=now,
        request_id=ids.request_key(request_id),
        fingerprint=requests.fingerprint(content),
    )
    return written
