"""Rankings: told from the stored values, a page at a time, and closed when their period is over everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from services.gamification import boards, errors, model
from services.gamification.model import Kind, Leaderboard, Period
from services.gamification.operations import scheduling
from services.gamification.operations.context import Context
from services.gamification.ports import Reader
from services.gamification.store import boards as boards_store
from services.gamification.store import definitions
from services.kernel import db, due, pages, times
from services.kernel import errors as kernel_errors

# What closes a board tells the first ten with it.
TOLD_MAX = 10
# Before the first place of every ranking.
TOP = boards.Place("", 2**63 - 1, times.EARLIEST)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of which ranking: any day of the period or today, and around whom."""

    leaderboard_id: str
    period: Period | None
    day: date | None
    around_member_id: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of a ranking; the times are absent where it is never closed."""

    leaderboard: Leaderboard
    period: Period
    start: date
    standings: Sequence[model.Standing]
    next_page_token: str
    close_time: datetime | None
    is_closed: bool


async def get_leaderboard(context: Context, program_id: str, asked: Asked) -> Shown:
    """Tells a page of a ranking. Raises DEFINITION_NOT_FOUND, and FIELD_INVALID for a period that is not ranked."""
    limit = pages.page_size(asked.page_size)

    async def work(connection: db.Connection) -> Shown:
        board = await definitions.get_definition(connection, program_id, Kind.LEADERBOARD, asked.leaderboard_id)
        if not isinstance(board, Leaderboard):
            raise errors.definition_not_found(Kind.LEADERBOARD, asked.leaderboard_id)
        period = asked.period or board.periods[0]
        if period not in board.periods:
            allowed = ", ".join(board.periods)
            raise kernel_errors.field_invalid(kernel_errors.Violation("period", f"must be one of {allowed}"))
        now = await context.time.now(connection)
        start = period.start(asked.day or now.astimezone(UTC).date())
        closed_at = await boards_store.find_closed(connection, program_id, board.definition_id, period, start)
        if closed_at is None:
            standings, token = await _open_page(connection, program_id, board, (period, start), asked, limit=limit)
        else:
            standings, token = await _closed_page(connection, program_id, board, (period, start), asked, limit=limit)
        close_time = closed_at or boards.close_time(period, start)
        # A period that was over when the board was made is never closed.
        if closed_at is None and close_time is not None and board.created_at and close_time <= board.created_at:
            close_time = None
        return Shown(board, period, start, standings, token, close_time, closed_at is not None)

    return await db.read(context.pool, work)


async def _open_page(
    connection: db.Connection,
    program_id: str,
    board: Leaderboard,
    run: tuple[Period, date],
    asked: Asked,
    *,
    limit: int,
) -> tuple[list[model.Standing], str]:
    ranking = (board.metric_id, *run)
    bound = ("ranking", program_id, board.definition_id, run[0], run[1].isoformat())
    after = pages.read_cursor(asked.page_token, *bound, parse=_parse_place) or TOP
    places: list[boards.Place] = []
    if asked.around_member_id and not asked.page_token:
        place = await boards_store.find_place(connection, program_id, ranking, asked.around_member_id)
        if place is None:
            return [], ""
        above = await boards_store.list_ranked_above(connection, program_id, ranking, place, limit=limit // 2)
        places, after = [*above, place], place
    places += await boards_store.list_ranked(connection, program_id, ranking, after, limit=limit + 1 - len(places))
    if not places:
        return [], ""
    ahead = await boards_store.count_ahead(connection, program_id, ranking, places[0], ties=board.ties)
    standings = boards.ranked(board.ties, places[:limit], ahead)
    if len(places) <= limit:
        return standings, ""
    last = places[limit - 1]
    return standings, pages.encode_token([last.member_id, last.value, last.reached_at.isoformat()], *bound)


def _parse_place(member_id: Any, value: Any, reached_at: Any) -> boards.Place:
    at = datetime.fromisoformat(reached_at)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63 or at.tzinfo is None:
        raise ValueError("A ranking goes on behind a place.")
    return boards.Place(pages.parse_text(member_id), value, at)


async def _closed_page(
    connection: db.Connection,
    program_id: str,
    board: Leaderboard,
    run: tuple[Period, date],
    asked: Asked,
    *,
    limit: int,
) -> tuple[list[model.Standing], str]:
    ranking = (board.definition_id, *run)
    bound = ("closed-ranking", program_id, board.definition_id, run[0], run[1].isoformat())
    after = pages.read_cursor(asked.page_token, *bound, parse=_parse_number) or 0
    if asked.around_member_id and not asked.page_token:
        place = await boards_store.find_closed_place(connection, program_id, ranking, asked.around_member_id)
        if place is None:
            return [], ""
        after = max(0, place - 1 - limit // 2)
    found = await boards_store.list_closed(connection, program_id, ranking, after=after, limit=limit + 1)
    standings = [standing for _, standing in found[:limit]]
    token = pages.encode_token([found[limit - 1][0]], *bound) if len(found) > limit else ""
    return standings, token


def _parse_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("A closed ranking goes on behind a number.")
    return value


async def close(context: Context, reader: Reader, item: due.DueItem) -> None:
    """Closes the ranking of a period, tells it, and leaves the next period to its time; due work.

    Raises DEPENDENCY_UNAVAILABLE while something that was recorded in time has yet to be counted.
    """
    program_id = item.program_id
    period, start = Period(item.payload["period"]), date.fromisoformat(item.payload["start"])
    over_at = boards.close_time(period, start)
    if over_at is not None and await reader.is_behind(program_id, over_at):
        raise kernel_errors.dependency_unavailable("program feed")

    async def work(connection: db.Connection) -> None:
        board = await definitions.get_definition(
            connection, program_id, Kind.LEADERBOARD, item.payload["leaderboard_id"]
        )
        assert isinstance(board, Leaderboard), "What is to be closed was defined."
        if board.state is model.State.ARCHIVED or period not in board.periods:
            return
        following = scheduling.close_item(program_id, board.definition_id, period, period.following(start))
        await due.schedule(connection, [following])
        now = await context.time.now(connection)
        count = await boards_store.close_ranking(connection, program_id, board, period, start=start, closed_at=now)
        if count is None:
            return
        ranking = (board.definition_id, period, start)
        first = await boards_store.list_closed(connection, program_id, ranking, after=0, limit=TOLD_MAX)
        told = tuple(standing for _, standing in first)
        await context.publish(connection, program_id, model.Closed(board, period, start, count, told, now))

    await db.transaction(context.pool, work)
