"""Notify's rows: one function per named query, rows to values and back; a module a noun."""

from pathlib import Path

from services.kernel import db

QUERIES = db.Queries(Path(__file__).parents[1] / "sql" / "queries.sql")
