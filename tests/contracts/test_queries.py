"""House rules on queries: each is named, said in a sentence, used, prepared against the schema, and stays in a program.

Whether a query stays in its program is read from its plan: every scan of a table that has programs is pinned to the
one that was asked for, as a distributed database needs it, however the query is written.
"""

import ast
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from services.kernel import db
from tests.contracts import sources
from tests.contracts.rules import assert_none
from tests.contracts.schemas import Schemas
from tests.contracts.sources import ROOT, SERVICES
from tests.contracts.test_sql import GLOBAL_TABLES, WITH_SQL

ACROSS = "across programs"
PINNED = re.compile(r"\((\w+\.)?program_id = (\$\d+|\(\$\d+\)::text)\)")
CONDITIONS = ("Index Cond", "Recheck Cond", "Filter")
LOCKS = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b")
WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+(?!SKIP)([a-z_]+)")


@dataclass(frozen=True)
class Query:
    """One named query, with the comment above it."""

    place: str
    name: str
    sentence: str
    text: str

    @property
    def is_across(self) -> bool:
        """Tells whether it says that it reads across programs."""
        return ACROSS in self.sentence


def query_files(folder: str) -> list[Path]:
    """Lists the files of named queries of a folder of services/."""
    return sorted(path for path in (SERVICES / folder / "sql").glob("*.sql") if path.name != "schema.sql")


def read_queries(path: Path) -> list[Query]:
    """Reads a file of queries by the kernel's own loader, and the comment that stands above each."""
    loaded, text = db.Queries(path), path.read_text()
    place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    found = []
    for name in loaded.names():
        comment = re.search(rf"^-- {name} --\n((?:-- .*\n)+)", text, re.MULTILINE)
        assert comment, f"{place}: {name} has a sentence, or the loader would not know it."
        sentence = " ".join(line.removeprefix("-- ") for line in comment[1].splitlines())
        found.append(Query(f"{place}: {name}", name, sentence, _without_comments(loaded[name])))
    return found


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("--")).strip()


def queries_of(service: str, tables: frozenset[str]) -> list[Query]:
    """Lists what runs on a service's database: its own queries, and those of the kernel whose tables it has."""
    found = [query for path in query_files(service) for query in read_queries(path)]
    for path in query_files("kernel"):
        used = {
            table for query in read_queries(path) for _, table in re.findall(r"\b(FROM|INTO) ([a-z_]+)", query.text)
        }
        if {table for table in used if table.startswith(path.stem)} <= tables:
            found += read_queries(path)
    return found


@asynccontextmanager
async def connect(schemas: Schemas, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connects as the runtime role, so that what it may not do fails here; plans are those for any argument."""
    connection = await asyncpg.connect(schemas.server.dsn(schemas.migrated(service), service))
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        yield connection
    finally:
        await connection.close()


async def tables_of(connection: "asyncpg.Connection[asyncpg.Record]") -> frozenset[str]:
    """Names the tables of a database."""
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return frozenset(row["relname"] for row in rows)


async def explain(connection: "asyncpg.Connection[asyncpg.Record]", query: Query) -> dict[str, Any]:
    """Plans a query for any argument, with the rights of the runtime role. Raises PostgresError where it is wrong."""
    await connection.prepare(query.text)  # takes one statement only
    await connection.execute(f"PREPARE {query.name} AS {query.text}")
    count = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1", query.name
    )
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON, VERBOSE false) EXECUTE {query.name}{arguments}")
    await connection.execute(f"DEALLOCATE {query.name}")
    found: dict[str, Any] = orjson.loads(plan)[0]["Plan"]
    return found


def conjuncts(condition: str) -> list[str]:
    """Splits a condition, as plans write it, into the parts that must all hold."""
    inner = condition[1:-1] if condition.startswith("((") else condition
    parts, depth, start = [], 0, 0
    for index, character in enumerate(inner):
        depth += (character == "(") - (character == ")")
        if depth == 0 and inner.startswith(" OR ", index):
            return [condition]
        if depth == 0 and inner.startswith(" AND ", index):
            parts.append(inner[start:index])
            start = index + len(" AND ")
    return [*parts, inner[start:]]


def unpinned(node: dict[str, Any]) -> Iterator[str]:
    """Names the tables that a plan scans without pinning them to one program."""
    table = node.get("Relation Name", "")
    if "Scan" in node["Node Type"] and table and table not in GLOBAL_TABLES:
        # The condition of a bitmap stands at the index scans below it too; the heap's own says all of it again.
        conditions = [part for name in CONDITIONS for part in conjuncts(node.get(name, ""))]
        if not any(PINNED.fullmatch(part) for part in conditions):
            yield table
    for child in node.get("Plans", []):
        yield from unpinned(child)


def faults_of_text(query: Query) -> Iterator[str]:
    """Says what is wrong with the words of a query."""
    if not re.match(r"[A-Z][a-z]+s ", query.sentence) or not query.sentence.endswith("."):
        yield "says what it does in the third person, with a full stop"
    if re.search(r"[.!?] [A-Z]", query.sentence):
        yield "is said in one sentence; a second one belongs beside its lines"
    if not query.text.endswith(";") or query.text.count(";") > 1:
        yield "is one statement that ends with ;"
    for star in re.finditer(r"SELECT \* FROM (?!unnest\()(\w+)|\b(\w+)\.\*", query.text):
        if star[1] or not re.search(rf"unnest\([^;]*\)\s+AS {star[2]}\b", query.text):
            yield f"lists its columns instead of {star[0]}"
    if re.search(r"double precision|\bfloat\d?\b|\breal\b", query.text, re.IGNORECASE):
        yield "has no float"
    written = {table for _, _, table in _writes(query)} - set(GLOBAL_TABLES)
    if query.is_across and (written or LOCKS.search(query.text)):
        yield f"reads {ACROSS} and so neither writes nor locks"
    if "SKIP LOCKED" in query.text and not re.search(r"\bprogram_id = \$\d+", query.text):
        yield "skips locked rows of one program only"


def _writes(query: Query) -> list[tuple[str, str, str]]:
    # ON CONFLICT … DO UPDATE and FOR UPDATE name no table of their own.
    text = re.sub(r"DO UPDATE|FOR (NO KEY )?UPDATE( SKIP LOCKED)?", "", query.text)
    return [(found[0], found[1], found[2]) for found in WRITES.finditer(text)]


async def faults_of(connection: "asyncpg.Connection[asyncpg.Record]", query: Query) -> list[str]:
    """Says everything that is wrong with a query."""
    faults = list(faults_of_text(query))
    try:
        plan = await explain(connection, query)
    except asyncpg.PostgresError as error:
        return [*faults, f"does not run on the schema with the rights of the service: {error}"]
    tables = sorted(set(unpinned(plan)))
    if tables and not query.is_across:
        faults.append(f"scans {', '.join(tables)} without program_id = $n (or say that it reads {ACROSS})")
    if not tables and query.is_across and not _touches_global(query):
        faults.append(f"stays in one program and so does not say {ACROSS}")
    return faults


def _touches_global(query: Query) -> bool:
    return any(re.search(rf"\b{table}\b", query.text) for table in GLOBAL_TABLES)


@pytest.mark.parametrize("service", WITH_SQL)
async def test_queries_keep_the_rules(service: str, schemas: Schemas) -> None:
    """Every query of the service, and of the kernel on its tables, runs, stays in its program and says what it does."""
    async with connect(schemas, service) as connection:
        queries = queries_of(service, await tables_of(connection))
        problems = [f"{query.place} {fault}" for query in queries for fault in await faults_of(connection, query)]
    assert_none(
        problems,
        "Each query has one sentence, runs with the rights of the service, lists its columns and is pinned to one "
        "program, or says that it reads across programs and only reads (ARCHITECTURE 8).",
    )


BREACHES = [
    ("Reads a wallet", "SELECT balance FROM wallets WHERE program_id = $1;", "full stop"),
    ("Reads it. It is a wallet.", "SELECT balance FROM wallets WHERE program_id = $1;", "one sentence"),
    ("Reads two.", "SELECT 1; SELECT 2;", "one statement"),
    ("Reads all.", "SELECT * FROM wallets WHERE program_id = $1;", "lists its columns"),
    ("Reads all.", "SELECT wallet.* FROM wallets AS wallet WHERE program_id = $1;", "lists its columns"),
    ("Reads half.", "SELECT balance::float8 FROM wallets WHERE program_id = $1;", "no float"),
    ("Reads nothing.", "SELECT total FROM wallets WHERE program_id = $1;", "does not run"),
    ("Empties the journal.", "DELETE FROM journal WHERE program_id = $1;", "permission denied"),
    ("Reads a wallet.", "SELECT balance FROM wallets WHERE wallet_id = $1;", "scans wallets"),
    ("Reads a wallet.", "SELECT balance FROM wallets WHERE wallet_id = $1 OR program_id = $2;", "scans wallets"),
    (
        "Reads lots.",
        "SELECT lots.amount FROM wallets INNER JOIN lots ON lots.wallet_id = wallets.wallet_id "
        "WHERE wallets.program_id = $1;",
        "scans lots",
    ),
    ("Closes holds.", "UPDATE holds SET ended_at = $1 WHERE hold_id = $2;", "scans holds"),
    ("Closes holds across programs.", "UPDATE holds SET ended_at = $1 WHERE hold_id = $2;", "neither writes"),
    ("Locks holds across programs.", "SELECT hold_id FROM holds FOR UPDATE SKIP LOCKED;", "neither writes nor locks"),
    ("Takes a hold.", "SELECT hold_id FROM holds LIMIT 1 FOR UPDATE SKIP LOCKED;", "skips locked rows"),
    ("Reads a wallet across programs.", "SELECT balance FROM wallets WHERE program_id = $1;", "stays in one"),
]


@pytest.mark.parametrize(("sentence", "text", "expected"), BREACHES)
async def test_bad_query_is_seen(sentence: str, text: str, expected: str, schemas: Schemas) -> None:
    """A query that breaks a rule is complained of by that rule."""
    async with connect(schemas, "ledger") as connection:
        faults = await faults_of(connection, Query("here: bad", "bad", sentence, text))
    assert any(expected in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("Reads wallets.", "SELECT balance FROM wallets WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]);"),
        ("Counts wallets, across programs.", "SELECT count(*) FROM wallets;"),
        (
            "Reads lots with their wallets.",
            "SELECT lot.amount FROM lots AS lot LEFT JOIN wallets AS wallet ON wallet.program_id = lot.program_id AND "
            "wallet.wallet_id = lot.wallet_id WHERE lot.program_id = $1;",
        ),
        (
            "Places holds.",
            "INSERT INTO holds (program_id, hold_id, wallet_id, amount, state, placed_at, expires_at, request_name) "
            "SELECT $1, hold.*, $3, $4, $5, $6, $8 FROM unnest($2::uuid[], $7::bigint[]) AS hold;",
        ),
    ],
)
async def test_good_query_is_fine(sentence: str, text: str, schemas: Schemas) -> None:
    """A query that keeps the rules is not complained of."""
    async with connect(schemas, "ledger") as connection:
        assert await faults_of(connection, Query("here: good", "good", sentence, text)) == []


def used_names(paths: Sequence[str], texts: Sequence[sources.Source]) -> tuple[set[str], set[str]]:
    """Lists the names that Python asks QUERIES for, and every text in it that could be one."""
    asked: set[str] = set()
    texts_found: set[str] = set()
    for source in texts:
        if not (source.is_python and source.path.startswith(tuple(paths))):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts_found.add(node.value)
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("QUERIES"):
                asked |= {str(node.slice.value)} if isinstance(node.slice, ast.Constant) else set()
    return asked, texts_found


@pytest.mark.parametrize("folder", ["kernel", *WITH_SQL])
def test_queries_are_used(folder: str) -> None:
    """Every query has a use in Python, and everything that is asked for is there."""
    known = {query.name: query.place for path in query_files(folder) for query in read_queries(path)}
    asked, texts = used_names([f"services/{folder}/"], sources.texts())
    assert known
    assert_none([place for name, place in known.items() if name not in texts], "Nobody asks for these queries.")
    assert_none(sorted(asked - known.keys()), f"services/{folder}/sql has no queries of these names.")


def test_unused_query_is_seen() -> None:
    """A name counts as used where Python asks for it."""
    source = sources.Source("services/x/store.py", 'QUERIES["get_lot"]\n"list_lots"\n')
    assert used_names(["services/x/"], [source]) == ({"get_lot"}, {"get_lot", "list_lots"})
