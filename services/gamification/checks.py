"""What `plaudit check` and `plaudit status` say of gamification."""

from services.gamification.store import QUERIES
from services.kernel import db, due, feed
from services.kernel.checks import CheckRow, StatusRow, compare


async def check(pool: db.Pool) -> list[CheckRow]:
    """Compares totals with events, records with values, closed rankings with their order, due work, and the feed."""
    return await db.read(pool, _check)


async def _check(connection: db.Connection) -> list[CheckRow]:
    counts = await connection.fetchrow(QUERIES["count_rows"])
    assert counts is not None, "An aggregate has a row."
    return [
        await _row(connection, "check_totals", "totals against events", counts["events"]),
        await _row(connection, "check_records", "records against values", counts["records"]),
        await _row(connection, "check_standings", "closed rankings in order", counts["standings"]),
        await due.check(connection),
        *await feed.check(connection),
    ]


async def _row(connection: db.Connection, query: str, subject: str, examined: int) -> CheckRow:
    return await compare(connection, QUERIES[query], subject=subject, examined=examined)


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells how much is stored, what is due, how far the feed reaches and where the follower stands."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        counts = await connection.fetchrow(QUERIES["count_rows"])
        assert counts is not None, "An aggregate has a row."
        heads = await feed.read_heads(connection)
        cursors = await feed.cursors(connection)
        return [
            StatusRow("metric events", str(counts["events"]), "events that metrics count"),
            StatusRow("milestones", str(counts["milestones"]), "levels, badges, streaks and records reached"),
            *await due.status(connection),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
            *(
                StatusRow(f"cursor {follower} {program_id}/{partition}", str(position), "events dealt with")
                for follower, positions in cursors.items()
                for (program_id, partition), position in positions.items()
            ),
        ]

    return await db.read(pool, work)
