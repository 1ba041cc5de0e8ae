"""Comparing: weekly snapshots of cohorts, and how a member stands in them."""

from datetime import date, timedelta

from services.gamification import boards, cohorts, errors, model
from services.gamification.operations import scheduling
from services.gamification.operations.context import Context
from services.gamification.ports import Reader
from services.gamification.store import cohorts as cohorts_store
from services.gamification.store import members
from services.kernel import db, due
from services.kernel import errors as kernel_errors


async def take_snapshot(context: Context, reader: Reader, item: due.DueItem) -> None:
    """Takes the snapshots of a week, and leaves the next week to its time; due work.

    Raises DEPENDENCY_UNAVAILABLE while something that was recorded in time has yet to be counted.
    """
    program_id, week = item.program_id, date.fromisoformat(item.payload["week"])
    over_at = boards.close_time(model.Period.WEEK, week)
    if over_at is not None and await reader.is_behind(program_id, over_at):
        raise kernel_errors.dependency_unavailable("program feed")

    async def work(connection: db.Connection) -> None:
        rulebook = await context.rulebook(connection, program_id)
        for metric_id, metric in sorted(rulebook.metrics.items()):
            if metric.state is model.State.ACTIVE:
                peers = await cohorts_store.list_peers(connection, program_id, metric_id, week)
                await cohorts_store.insert_cohorts(connection, program_id, cohorts.snapshots(metric_id, week, peers))
        await due.schedule(connection, [scheduling.compare_item(program_id, week + timedelta(days=7))])

    await db.transaction(context.pool, work)


async def get_comparison(context: Context, program_id: str, member_id: str) -> list[cohorts.Comparison]:
    """Compares a member with peers, metric by metric. Raises MEMBER_NOT_FOUND."""

    async def work(connection: db.Connection) -> list[cohorts.Comparison]:
        member = await members.get_member(connection, program_id, member_id)
        if member is None:
            raise errors.member_not_found(member_id)
        count = await members.count_org(connection, program_id, member.org_id) if member.org_id else 0
        size = cohorts.org_size(count)
        found = cohorts.finest(
            await cohorts_store.find_cohorts(connection, program_id, member.plan, size), member.plan, size
        )
        if not found:
            return []
        week = next(iter(found.values())).week
        values = await cohorts_store.find_week_values(connection, program_id, list(found), member_id, week)
        return [cohorts.compare(each, values.get(metric_id, 0)) for metric_id, each in sorted(found.items())]

    return await db.read(context.pool, work)
