"""Referrals, what the fraud checks found about them, and reviews."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from services.kernel import db
from services.referral import model
from services.referral.store import QUERIES


def _referral(row: Any) -> model.Referral:
    return model.Referral(
        **{
            **dict(row),
            "state": model.State(row["state"]),
            "decision": model.Decision(row["decision"]),
            "end_reason": model.EndReason(row["end_reason"]),
            "findings": tuple(model.Finding(**finding) for finding in row["findings"]),
        }
    )


def _findings(findings: Sequence[model.Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


async def lock_referrers(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> None:
    """Locks referrers in the order of their ids, made where they are missing."""
    await connection.execute(QUERIES["create_referrers"], program_id, member_ids)
    await connection.fetch(QUERIES["lock_referrers"], program_id, member_ids)


async def insert_referral(connection: db.Connection, program_id: str, referral: model.Referral) -> bool:
    """Writes a new referral; tells whether its referee had none."""
    made = await connection.fetchval(
        QUERIES["insert_referral"],
        program_id,
        referral.referral_id,
        referral.referral_program_id,
        referral.referral_program_version,
        referral.referrer_id,
        referral.referee_id,
        referral.code,
        referral.clicked_at,
        referral.signed_up_at,
        referral.expires_at,
        referral.state,
        referral.decision,
        referral.end_reason,
        referral.score,
        _findings(referral.findings),
        referral.qualifying_event_id,
        referral.payment,
        referral.qualified_at,
        referral.hold_ends_at,
        referral.depth,
        referral.created_at,
        referral.updated_at,
        referral.version,
    )
    return made is not None


async def update_referral(connection: db.Connection, program_id: str, referral: model.Referral) -> None:
    """Writes how a referral stands now."""
    await connection.execute(
        QUERIES["update_referral"],
        program_id,
        referral.referral_id,
        referral.state,
        referral.decision,
        referral.end_reason,
        referral.score,
        _findings(referral.findings),
        referral.qualifying_event_id,
        referral.payment,
        referral.qualified_at,
        referral.hold_ends_at,
        referral.depth,
        referral.updated_at,
        referral.version,
    )


async def get_referral(connection: db.Connection, program_id: str, referral_id: uuid.UUID) -> model.Referral | None:
    """Reads a referral."""
    row = await connection.fetchrow(QUERIES["get_referral"], program_id, referral_id)
    return _referral(row) if row else None


async def lock_referral(connection: db.Connection, program_id: str, referral_id: uuid.UUID) -> model.Referral | None:
    """Locks and reads a referral."""
    row = await connection.fetchrow(QUERIES["lock_referral"], program_id, referral_id)
    return _referral(row) if row else None


async def find_of_referees(
    connection: db.Connection, program_id: str, member_ids: Sequence[str]
) -> dict[str, model.Referral]:
    """Reads the referrals of some referees, by referee."""
    rows = await connection.fetch(QUERIES["find_referrals_of_referees"], program_id, member_ids)
    return {row["referee_id"]: _referral(row) for row in rows}


async def list_referrals(
    connection: db.Connection,
    program_id: str,
    before: uuid.UUID,
    limit: int,
    *,
    state: model.State | None,
    decision: model.Decision | None,
) -> list[model.Referral]:
    """Lists referrals before an id, newest first; those that wait for a reviewer by an index of their own."""
    if state is model.State.HELD and decision is model.Decision.HOLD:
        rows = await connection.fetch(QUERIES["list_waiting_referrals"], program_id, before, limit)
    else:
        rows = await connection.fetch(QUERIES["list_referrals"], program_id, before, state, decision, limit)
    return [_referral(row) for row in rows]


async def list_of_member(
    connection: db.Connection, program_id: str, referrer_id: str, before: uuid.UUID, limit: int
) -> list[model.Referral]:
    """Lists the referrals of a referrer before an id, newest first."""
    rows = await connection.fetch(QUERIES["list_member_referrals"], program_id, referrer_id, before, limit)
    return [_referral(row) for row in rows]


async def count_qualified(
    connection: db.Connection,
    program_id: str,
    referrer_id: str,
    referral_program_id: str,
    window: tuple[datetime | None, datetime | None],
) -> int:
    """Counts the referrals of a referrer that qualified in a period and count towards its caps."""
    count = await connection.fetchval(QUERIES["count_qualified"], program_id, referrer_id, referral_program_id, *window)
    assert isinstance(count, int)
    return count


async def list_sign_ups(
    connection: db.Connection, program_id: str, referrer_id: str, since: datetime, until: datetime, *, limit: int
) -> tuple[datetime, ...]:
    """Lists when the referees of a referrer signed up behind one instant and up to another, newest first."""
    rows = await connection.fetch(QUERIES["list_sign_ups"], program_id, referrer_id, since, until, limit)
    return tuple(row["signed_up_at"] for row in rows)


async def find_referrers(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> dict[str, str]:
    """Tells who referred some members."""
    rows = await connection.fetch(QUERIES["find_referrers"], program_id, member_ids)
    return {row["referee_id"]: row["referrer_id"] for row in rows}


async def list_pending(connection: db.Connection, program_id: str, member_ids: Sequence[str]) -> list[uuid.UUID]:
    """Lists the referrals of some referees whose reward is pending."""
    rows = await connection.fetch(QUERIES["list_pending_of_members"], program_id, member_ids)
    return [row["referral_id"] for row in rows]


async def insert_assessment(
    connection: db.Connection, program_id: str, referral: model.Referral, now: datetime
) -> None:
    """Writes what the fraud checks found, as it stands at the referral now."""
    await connection.execute(
        QUERIES["insert_assessment"],
        program_id,
        referral.referral_id,
        referral.version,
        referral.decision,
        referral.score,
        _findings(referral.findings),
        now,
    )


async def insert_review(
    connection: db.Connection,
    program_id: str,
    referral_id: uuid.UUID,
    review: model.Review,
    *,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> None:
    """Writes what a person decided."""
    await connection.execute(
        QUERIES["insert_review"],
        program_id,
        referral_id,
        review.is_approved,
        review.reason,
        review.actor,
        review.subject,
        review.reviewed_at,
        request_id,
        fingerprint,
    )


async def find_reviews(
    connection: db.Connection, program_id: str, referral_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, model.Review]:
    """Reads what people decided about some referrals, by referral."""
    rows = await connection.fetch(QUERIES["find_reviews"], program_id, referral_ids)
    return {
        row["referral_id"]: model.Review(
            row["is_approved"], row["reason"], row["actor"], row["subject"], row["reviewed_at"]
        )
        for row in rows
    }


async def find_review_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[uuid.UUID, bytes] | None:
    """Finds the referral that a request reviewed, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_review_request"], program_id, request_id)
    return (row["referral_id"], row["fingerprint"]) if row else None
