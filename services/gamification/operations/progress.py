"""Progress: what a member has reached, and the values behind it."""

from datetime import date, datetime
from typing import Any

from services.gamification import errors, model, rules, streaks
from services.gamification.model import Kind, Period, Subject
from services.gamification.operations.context import Context
from services.gamification.store import definitions, members, metrics, milestones
from services.kernel import db, pages


async def get_progress(context: Context, program_id: str, member_id: str) -> model.Progress:
    """Tells levels, streaks, badges and records. Raises MEMBER_NOT_FOUND."""

    async def work(connection: db.Connection) -> model.Progress:
        member = await members.get_member(connection, program_id, member_id)
        if member is None:
            raise errors.member_not_found(member_id)
        rulebook = await context.rulebook_to_read(connection, program_id)
        now = await context.time.now(connection)
        return model.Progress(
            await _levels(connection, program_id, rulebook, member_id),
            await _streaks(connection, program_id, rulebook, member, now),
            await milestones.list_awards(connection, program_id, member_id),
            await metrics.list_records(connection, program_id, member_id),
        )

    return await db.read(context.pool, work)


async def _levels(
    connection: db.Connection, program_id: str, rulebook: rules.Rulebook, member_id: str
) -> list[model.LevelProgress]:
    metric_ids = sorted({each.metric_id for each in rulebook.ladders})
    totals = await metrics.find_totals(connection, program_id, metric_ids, [member_id])
    times = await milestones.list_level_times(connection, program_id, member_id)
    found = []
    for ladder in rulebook.ladders:
        current = totals.get((member_id, ladder.metric_id), 0)
        level = model.LevelProgress(ladder, current, None).level
        reached_at = times.get((ladder.definition_id, level.level_id)) if level else None
        found.append(model.LevelProgress(ladder, current, reached_at))
    return found


async def _streaks(
    connection: db.Connection, program_id: str, rulebook: rules.Rulebook, member: model.Member, now: datetime
) -> list[model.StreakProgress]:
    runs = await milestones.find_runs(connection, program_id, [member.member_id])
    found = []
    for streak in rulebook.streaks.values():
        run = runs.get((member.member_id, streak.definition_id))
        # Whose zone is not known is where the last event was.
        today = rules.local_time(now, member.time_zone, run.last_offset if run else None).date()
        found.append(streaks.standing(streak, run, today))
    return found


async def set_ranked(context: Context, program_id: str, member_id: str, *, is_ranked: bool) -> bool:
    """Writes whether leaderboards show a member. Raises MEMBER_NOT_FOUND."""
    shown = await db.transaction(
        context.pool, lambda c: members.set_ranked(c, program_id, member_id, is_ranked=is_ranked)
    )
    if shown is None:
        raise errors.member_not_found(member_id)
    return shown


async def list_values(
    context: Context,
    program_id: str,
    metric_id: str,
    *,
    subject: tuple[Subject, str],
    period: Period,
    page_size: int,
    page_token: str,
) -> tuple[list[tuple[date, int]], str]:
    """Lists a page of the values of a member or an org, and the token of the next one. Raises DEFINITION_NOT_FOUND."""
    limit = pages.page_size(page_size)
    bound = ("values", program_id, metric_id, *subject, period)
    before = pages.read_cursor(page_token, *bound, parse=_parse_day) or date.max

    async def work(connection: db.Connection) -> list[tuple[date, int]]:
        if await definitions.get_definition(connection, program_id, Kind.METRIC, metric_id) is None:
            raise errors.definition_not_found(Kind.METRIC, metric_id)
        return await metrics.list_values(
            connection,
            program_id,
            metric_id,
            subject=subject[0],
            subject_id=subject[1],
            period=period,
            before=before,
            limit=limit + 1,
        )

    found = await db.read(context.pool, work)
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1][0].isoformat()], *bound)


def _parse_day(value: Any) -> date:
    return date.fromisoformat(value)
