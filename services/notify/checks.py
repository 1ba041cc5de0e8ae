"""What `plaudit check` and `plaudit status` say of notify."""

from services.kernel import db, due, feed
from services.kernel.checks import CheckRow, StatusRow, compare
from services.notify.store import QUERIES


async def check(pool: db.Pool) -> list[CheckRow]:
    """Compares decisions, deliveries, attempts and inboxes with each other, due work with age, the feed with heads."""
    return await db.read(pool, _check)


async def _check(connection: db.Connection) -> list[CheckRow]:
    counts = await connection.fetchrow(QUERIES["count_rows"])
    assert counts is not None, "An aggregate has a row."
    compared = (
        ("check_decisions", "decisions against deliveries", counts["decisions"]),
        ("check_deliveries", "deliveries against due work", counts["deliveries"]),
        ("check_attempts", "sent deliveries against attempts", counts["deliveries"]),
        ("check_inboxes", "inboxes against their heads", counts["inboxes"]),
    )
    return [
        *[
            await compare(connection, QUERIES[query], subject=subject, examined=examined)
            for query, subject, examined in compared
        ],
        await due.check(connection),
        *await feed.check(connection),
    ]


async def status(pool: db.Pool) -> list[StatusRow]:
    """Tells what is due, what became of messages, how far the feed reaches and where the followers stand."""

    async def work(connection: db.Connection) -> list[StatusRow]:
        heads = await feed.read_heads(connection)
        cursors = await feed.cursors(connection)
        sent = await connection.fetch(QUERIES["summarise_deliveries"])
        return [
            *await due.status(connection),
            *(
                StatusRow(f"messages {row['channel'].lower()} {row['state'].lower()}", str(row["count"]), "messages")
                for row in sent
            ),
            *(StatusRow(f"feed {head.program_id}/{head.partition}", str(head.position), "events") for head in heads),
            *(
                StatusRow(f"cursor {follower} {program_id}/{partition}", str(position), "events dealt with")
                for follower, positions in cursors.items()
                for (program_id, partition), position in positions.items()
            ),
        ]

    return await db.read(pool, work)
