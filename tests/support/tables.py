"""What stands in a database, row by row, to be compared."""

from collections import Counter

from services.kernel import db

TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(oid, 'SELECT')
"""


async def dump(pool: db.Pool) -> dict[str, list[str]]:
    """Gives all rows of all tables as text, each table in an order of its own."""
    names = sorted(row["relname"] for row in await pool.fetch(TABLES))
    return {
        name: [row["line"] for row in await pool.fetch(f'SELECT line::text FROM "{name}" AS line ORDER BY 1')]
        for name in names
    }


def changed(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """Tells what rows are gone and what are new, by table; nothing of tables that are the same."""
    found = {}
    for name, rows in after.items():
        if rows != before[name]:
            gone, new = Counter(before[name]) - Counter(rows), Counter(rows) - Counter(before[name])
            found[name] = (list(gone.elements()), list(new.elements()))
    return found
