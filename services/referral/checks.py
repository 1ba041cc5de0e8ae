"""What `plaudit check` and `plaudit status` say of referrals."""

from services.kernel import db, due, feed
from services.kernel.checks import CheckRow, StatusRow, compare
from services.referral.store import QUERIES


async def check(pool: db.Pool) -> list[CheckRow]:
    """Compares referrals with codes, decisions and due work, due work with age, and the feed with its heads."""
    return await db.read(pool, _check)


async def _check(connection: db.Connection) -> list[CheckRow]:
    counts = await connection.fetchrow(QUERIES["count_rows"])
    assert counts is not None, "An aggregate has a row."
    examined = counts["referrals"]
    return [
        await compare(connection, QUERIES["check_codes"], subject="referrals against codes", examined=examined),
        await compare(
            connection, QUERIES["check_decisions"], subject="decisions against assessments", examined=examined
        ),
        await compare(connection, QUERIES["check_due_work"], subject="referrals against due work", examined=examined),
        await due.check(connection),
        *await feed.check(connection),
    ]


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells how many referrals stand where, what is due, how far the feed reaches and where the follower stands."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        states = await connection.fetch(QUERIES["count_states"])
        heads = await feed.read_heads(connection)
        cursors = await feed.cursors(connection)
        return [
            *(StatusRow(f"referrals {row['state'].lower()}", str(row["count"]), "referrals") for row in states),
            *await due.status(connection),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
            *(
                StatusRow(f"cursor {follower} {program_id}/{partition}", str(position), "events dealt with")
                for follower, positions in cursors.items()
                for (program_id, partition), position in positions.items()
            ),
        ]

    return await db.read(pool, work)
