"""What `plaudit check` and `plaudit status` say of the program."""

from services.kernel import db, due, feed
from services.kernel.checks import CheckRow, StatusRow, compare
from services.program.store import QUERIES


async def check(pool: db.Pool) -> list[CheckRow]:
    """Compares caps, codes and redemptions with what they follow from, due work with age, the feed with its heads."""
    return await db.read(pool, _check)


async def _check(connection: db.Connection) -> list[CheckRow]:
    counts = await connection.fetchrow(QUERIES["count_rows"])
    assert counts is not None, "An aggregate has a row."
    return [
        await _row(connection, "check_usage", "caps against decisions", counts["usages"]),
        await compare(
            connection, QUERIES["check_codes"], subject="codes against redemptions", examined=counts["codes"]
        ),
        await compare(
            connection,
            QUERIES["check_redemptions"],
            subject="redemptions against due work",
            examined=counts["redemptions"],
        ),
        await due.check(connection),
        *await feed.check(connection),
    ]


async def _row(connection: db.Connection, query: str, subject: str, examined: int) -> CheckRow:
    return await compare(connection, QUERIES[query], subject=subject, examined=examined)


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells what is due, how far the feed reaches and where the followers stand."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        heads = await feed.read_heads(connection)
        cursors = await feed.cursors(connection)
        return [
            *await due.status(connection),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
            *(
                StatusRow(f"cursor {follower} {program_id}/{partition}", str(position), "events dealt with")
                for follower, positions in cursors.items()
                for (program_id, partition), position in positions.items()
            ),
        ]

    return await db.read(pool, work)
