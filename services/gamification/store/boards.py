"""Rankings, open and closed."""

from collections.abc import Sequence
from datetime import date, datetime

from services.gamification.boards import Ahead, Place
from services.gamification.model import Leaderboard, Period, Standing, Ties
from services.gamification.store import QUERIES
from services.kernel import db


async def list_ranked(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], after: Place, *, limit: int
) -> list[Place]:
    """Lists the places behind one of a ranking: a metric's in a period."""
    rows = await connection.fetch(
        QUERIES["list_ranked"], program_id, *ranking, after.value, after.reached_at, after.member_id, limit
    )
    return [Place(row["member_id"], row["amount"], row["reached_at"]) for row in rows]


async def list_ranked_above(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], before: Place, *, limit: int
) -> list[Place]:
    """Lists the last places before one of a ranking, in their order."""
    rows = await connection.fetch(
        QUERIES["list_ranked_above"], program_id, *ranking, before.value, before.reached_at, before.member_id, limit
    )
    return [Place(row["member_id"], row["amount"], row["reached_at"]) for row in reversed(rows)]


async def find_place(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], member_id: str
) -> Place | None:
    """Finds the place of a member in a ranking; None where the member is not ranked."""
    row = await connection.fetchrow(QUERIES["find_place"], program_id, *ranking, member_id)
    return Place(member_id, row["amount"], row["reached_at"]) if row else None


async def count_ahead(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], place: Place, *, ties: Ties
) -> Ahead:
    """Counts what stands before a place; different values only where the policy on ties asks for them."""
    distinct = 0
    if ties is Ties.DENSE:
        distinct = await connection.fetchval(QUERIES["count_values_above"], program_id, *ranking, place.value)
    row = await connection.fetchrow(
        QUERIES["count_ahead"], program_id, *ranking, place.value, place.reached_at, place.member_id
    )
    assert row is not None, "An aggregate has a row."
    return Ahead(row["above"], distinct, row["listed"])


async def close_ranking(
    connection: db.Connection,
    program_id: str,
    board: Leaderboard,
    period: Period,
    *,
    start: date,
    closed_at: datetime,
) -> int | None:
    """Closes a ranking and gives the number of its places; None where it was closed before."""
    key = (program_id, board.definition_id, period, start)
    if await connection.fetchval(QUERIES["insert_closed"], *key, closed_at) is None:
        return None
    await connection.execute(
        QUERIES["insert_closed_standings"], program_id, board.definition_id, board.metric_id, period, start, board.ties
    )
    count: int = await connection.fetchval(QUERIES["count_closed_standings"], *key)
    return count


async def find_closed(
    connection: db.Connection, program_id: str, leaderboard_id: str, period: Period, start: date
) -> datetime | None:
    """Tells when a ranking was closed; None where it is open."""
    closed_at: datetime | None = await connection.fetchval(
        QUERIES["find_closed"], program_id, leaderboard_id, period, start
    )
    return closed_at


async def list_closed(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], *, after: int, limit: int
) -> Sequence[tuple[int, Standing]]:
    """Lists the places of a board's ranking that is closed, behind one, each with its number."""
    rows = await connection.fetch(QUERIES["list_closed_standings"], program_id, *ranking, after, limit)
    return [(row["place"], Standing(row["rank"], row["member_id"], row["amount"])) for row in rows]


async def find_closed_place(
    connection: db.Connection, program_id: str, ranking: tuple[str, Period, date], member_id: str
) -> int | None:
    """Finds the number of a member's place in a board's ranking that is closed."""
    place: int | None = await connection.fetchval(QUERIES["find_closed_place"], program_id, *ranking, member_id)
    return place
