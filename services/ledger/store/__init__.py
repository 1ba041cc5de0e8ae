"""The ledger's rows: one function per named query, rows to values and back; a module a purpose.

Queries stand in files by purpose too. Their names are one space, so that a query is found by its name alone.
"""

from pathlib import Path

from services.kernel import db

FILES = [
    db.Queries(path) for path in sorted((Path(__file__).parents[1] / "sql").glob("*.sql")) if path.stem != "schema"
]
QUERIES = {name: queries[name] for queries in FILES for name in queries.names()}
assert len(QUERIES) == sum(len(queries.names()) for queries in FILES), "Two files have a query of one name."
