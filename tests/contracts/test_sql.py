"""House rules on schemas and migrations, read from the catalogs of databases that they made."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from services.kernel import migrations
from tests.contracts import sources
from tests.contracts.rules import Rule, assert_none
from tests.contracts.schemas import Schemas
from tests.contracts.sources import SERVICES, Source

COMMAND_TIMEOUT_S = 60
WITH_SQL = sources.services_with_sql()
MIGRATION_NAME = re.compile(r"(?P<number>\d{4})_(?P<phase>pre|post)_[a-z][a-z0-9_]*\.sql")

# Rules of squawk that are not for us, each with its reason.
SQUAWK_EXCLUDED = {
    "require-lock-timeout": "services/kernel/migrations.py sets it for every migration",
    "require-statement-timeout": "likewise",
    "prefer-bigint-over-int": "legs and versions are small by limits of their own; amounts have a SchemaRule",
    "prefer-bigint-over-smallint": "likewise",
}
# What a post migration is for, once the code that used it is gone.
SQUAWK_EXCLUDED_POST = ("ban-drop-column", "ban-drop-table", "ban-drop-not-null")

# Tables whose keys need not begin with program_id, each with its reason.
GLOBAL_TABLES = {
    "schema_migrations": "belongs to the database and not to a program",
    "api_keys": "a key is found before its program is known; small, copied to every node",
    "link_tags": "a link tells its program by its tag; a row a program, copied to every node",
}

# What the runtime role may only add to.
APPEND_ONLY = {
    "gamification": (
        "definition_versions",
        "metric_events",
        "closed_leaderboards",
        "closed_standings",
        "cohorts",
        "feed_events",
    ),
    "ledger": ("journal", "allocations", "redemption_estimates", "seal_blocks", "seal_heads"),
    "notify": (
        *("trigger_versions", "template_versions", "decisions", "delivery_causes", "preference_changes"),
        "feed_events",
    ),
    "program": ("rule_versions", "events", "feed_events"),
    "referral": ("referral_program_versions", "assessments", "reviews", "feed_events"),
}

AMOUNTS = r"^(amount|balance|remaining|expired|held|held_amount|cost|count|sequence|position|fence|.*_amount)$"


@dataclass(frozen=True)
class SchemaRule:
    """One rule on a schema: a query on the catalogs that lists breaches as `place` and `what`; `breach` makes one."""

    name: str
    lesson: str
    query: str
    breach: str

    def problems(self, schemas: Schemas, database: str, change: str = "") -> list[str]:
        """Lists every breach outside of the global tables."""
        rows = schemas.rows(database, self.query, change)
        return [f"{row['place']}: {row['what']}" for row in rows if row["place"] not in GLOBAL_TABLES]


KEYS = """
    SELECT relation.relname AS place, pg_get_indexdef(indexrelid) AS what
    FROM pg_index
    INNER JOIN pg_class AS relation ON relation.oid = indrelid
    WHERE relation.relnamespace = 'public'::regnamespace AND indisunique
        AND pg_get_indexdef(indexrelid, 1, true) <> 'program_id'
"""
FOREIGN_KEYS = """
    SELECT conrelid::regclass::text AS place, conname || ' ' || pg_get_constraintdef(oid) AS what
    FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype = 'f'
        AND pg_get_constraintdef(oid) !~ '^FOREIGN KEY \\(program_id, .*REFERENCES \\w+\\(program_id,'
"""
WITHOUT_PROGRAM = """
    SELECT relname AS place, 'has no program_id' AS what
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attname = 'program_id' AND attnotnull AND atttypid = 'text'::regtype
    )
"""
ACTIVE_PARTS = """
    SELECT tgrelid::regclass::text AS place, 'trigger ' || tgname AS what FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'public', 'function ' || oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'public', 'rule ' || rulename FROM pg_rules WHERE schemaname = 'public'
    UNION ALL
    SELECT relname, 'a sequence' FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
"""
TYPES = f"""
    SELECT attrelid::regclass::text AS place, attname || ' is ' || format_type(atttypid, atttypmod) AS what
    FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p'))
        AND attnum > 0 AND NOT attisdropped
        AND (
            format_type(atttypid, NULL) ~ '^(real|double|money|numeric|timestamp without|time|character|json$)'
            AND format_type(atttypid, NULL) <> 'timestamp with time zone'
            OR attname ~ '{AMOUNTS}' AND format_type(atttypid, NULL) <> 'bigint'
            OR attname ~ '_at$' AND format_type(atttypid, NULL) <> 'timestamp with time zone'
        )
"""
NAMELESS = """
    SELECT conrelid::regclass::text AS place, conname AS what
    FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND (
        conname ~ '(_pkey|_fkey|_check|_excl)[0-9]*$'
        OR contype = 'u' AND conname ~ '_key[0-9]*$'
        OR strpos(conname, conrelid::regclass::text || '_') <> 1
    )
"""

SCHEMA_RULES = [
    SchemaRule(
        "key_begins_with_program",
        "Every primary key, unique constraint and unique index begins with program_id, so that tables can be "
        "distributed by it (ARCHITECTURE 8). A table of the whole installation is in GLOBAL_TABLES with its reason.",
        KEYS,
        "CREATE UNIQUE INDEX wallets_member_once ON wallets (member_id);",
    ),
    SchemaRule(
        "foreign_key_begins_with_program",
        "Every foreign key begins with program_id on both sides (ARCHITECTURE 8).",
        FOREIGN_KEYS,
        "CREATE TABLE owners (program_id text NOT NULL, wallet_id bigint NOT NULL, CONSTRAINT owners_key PRIMARY KEY "
        "(wallet_id)); ALTER TABLE wallets ADD CONSTRAINT wallets_owner FOREIGN KEY (wallet_id) REFERENCES owners;",
    ),
    SchemaRule(
        "table_has_a_program",
        "Everything belongs to a program: program_id text NOT NULL.",
        WITHOUT_PROGRAM,
        "CREATE TABLE notes (note text NOT NULL);",
    ),
    SchemaRule(
        "schema_is_passive",
        "No triggers, functions, rules or sequences: what happens is in the code, and none of these survives "
        "distribution (ARCHITECTURE 8).",
        ACTIVE_PARTS,
        "CREATE FUNCTION one() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';",
    ),
    SchemaRule(
        "types_are_exact",
        "Amounts, counts and positions are bigint, instants timestamptz, texts text, documents jsonb; no float.",
        TYPES,
        "ALTER TABLE wallets ALTER COLUMN balance TYPE numeric;",
    ),
    SchemaRule(
        "constraint_is_named",
        "Constraints are named by what they promise, <table>_<promise> (the primary key <table>_key): stores and "
        "people read the names.",
        NAMELESS,
        "ALTER TABLE wallets ADD CHECK (balance >= sequence);",
    ),
]


@pytest.mark.parametrize("service", WITH_SQL)
@pytest.mark.parametrize("rule", SCHEMA_RULES, ids=lambda rule: rule.name)
def test_schema_keeps_rule(rule: SchemaRule, service: str, schemas: Schemas) -> None:
    """Every schema keeps the rule."""
    assert_none(rule.problems(schemas, schemas.migrated(service)), rule.lesson)


@pytest.mark.parametrize("rule", SCHEMA_RULES, ids=lambda rule: rule.name)
def test_schema_rule_sees_its_breach(rule: SchemaRule, schemas: Schemas) -> None:
    """The rule sees a breach of it, so that a clean schema means something."""
    assert rule.problems(schemas, schemas.migrated("ledger"), rule.breach)


@pytest.mark.parametrize("service", WITH_SQL)
def test_migrations_replay_to_schema(service: str, schemas: Schemas) -> None:
    """The migrations, replayed on an empty database, make exactly what schema.sql draws."""
    made, drawn = schemas.describe(schemas.migrated(service)), schemas.describe(schemas.drawn(service))
    assert any(line.startswith("grant") for line in made)
    differing = [f"only migrations: {line}" for line in made if line not in drawn]
    differing += [f"only schema.sql: {line}" for line in drawn if line not in made]
    assert_none(differing, f"services/{service}/sql/schema.sql is what the migrations give: change both together.")


CHANGES = [
    "ALTER TABLE wallets ALTER COLUMN balance SET DEFAULT 1;",
    "ALTER TABLE wallets ALTER COLUMN balance DROP NOT NULL;",
    "ALTER TABLE wallets ALTER COLUMN balance TYPE integer;",
    "ALTER TABLE wallets ADD COLUMN note text;",
    "ALTER TABLE wallets DROP CONSTRAINT wallets_sequence_counts;",
    "ALTER TABLE wallets SET (fillfactor = 80);",
    "DROP INDEX holds_by_wallet;",
    "GRANT DELETE ON journal TO ledger_service;",
    "REVOKE SELECT ON journal FROM ledger_service;",
    "GRANT UPDATE (amount) ON journal TO ledger_service;",
    "COMMENT ON TABLE wallets IS 'Holdings.';",
    "DROP TABLE feed_dead_letters;",
    "ALTER TABLE wallets OWNER TO ledger;",
]


@pytest.mark.parametrize("change", CHANGES)
def test_schemas_are_compared_by_everything(change: str, schemas: Schemas) -> None:
    """Any difference between two schemas is seen."""
    database = schemas.migrated("ledger")
    assert schemas.describe(database, change) != schemas.describe(database)


@pytest.mark.skipif(len(WITH_SQL) < 2, reason="one service alone has nothing to differ from")
def test_kernel_tables_are_the_same_everywhere(schemas: Schemas) -> None:
    """A table of the kernel is the same in every service that has it, but for who may read it."""
    found: dict[str, dict[str, list[str]]] = {}
    for service in WITH_SQL:
        for line in schemas.describe(schemas.migrated(service)):
            place = re.match(r"(?:relation|column|constraint|index) ((?:feed|due)_[a-z_]+)", line)
            if place:
                neutral = line.replace(f"{service}_owner", "owner")
                found.setdefault(place[1], {}).setdefault(service, []).append(neutral)
    assert found, "The kernel's tables begin with feed_ or due_."
    differing = [table for table, by_service in found.items() if len({tuple(x) for x in by_service.values()}) > 1]
    assert_none(differing, "These tables belong to the kernel, whose queries are the same for all services.")


@pytest.mark.parametrize("service", WITH_SQL)
def test_migrations_are_numbered(service: str) -> None:
    """Migrations are named NNNN_(pre|post)_what.sql and count from 0001 without gaps."""
    names = sorted(path.name for path in (SERVICES / service / "sql" / "migrations").iterdir())
    assert_none(
        [name for name in names if not MIGRATION_NAME.fullmatch(name)],
        "A migration is named NNNN_pre_what.sql (safe before the new code runs) or NNNN_post_what.sql (once the old "
        "code is gone).",
    )
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]


def squawk(path: Path) -> list[str]:
    """Lists what squawk says of a migration."""
    in_transaction = not path.read_text().startswith(migrations.NO_TRANSACTION)
    excluded = [*SQUAWK_EXCLUDED, *(SQUAWK_EXCLUDED_POST if "_post_" in path.name else ())]
    command: list[str | Path] = [
        Path(sys.executable).parent / "squawk",
        "--pg-version=18.0",
        "--reporter=gcc",
        f"--exclude={','.join(excluded)}",
        *(["--assume-in-transaction"] if in_transaction else []),
        path,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    assert result.returncode in (0, 1), f"squawk itself failed: {result.stderr}"
    return [line.removeprefix(str(path)) for line in result.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "path", sorted(SERVICES.glob("*/sql/migrations/*.sql")), ids=lambda path: f"{path.parents[2].name}-{path.name}"
)
def test_migration_locks_nothing_for_long(path: Path) -> None:
    """Squawk finds nothing in the migration that would stop a live service."""
    assert_none(squawk(path), "A migration works with the code before and after it and blocks neither.")


@pytest.mark.parametrize(
    ("name", "text", "is_fine"),
    [
        ("0002_pre_index.sql", "CREATE INDEX IF NOT EXISTS lots_old ON lots (program_id, expired);", False),
        ("0002_pre_index.sql", "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS x ON lots (expired);", True),
        ("0002_pre_drop.sql", "ALTER TABLE lots DROP COLUMN IF EXISTS priority;", False),
        ("0002_post_drop.sql", "ALTER TABLE lots DROP COLUMN IF EXISTS priority;", True),
        ("0002_pre_rename.sql", "ALTER TABLE lots RENAME COLUMN priority TO rank;", False),
    ],
)
def test_squawk_sees_what_would_lock(tmp_path: Path, name: str, text: str, *, is_fine: bool) -> None:
    """Squawk, as it is set up here, refuses what stops a live service and takes what does not."""
    path = tmp_path / name
    path.write_text(f"{text}\n")
    assert bool(squawk(path)) != is_fine


@pytest.mark.parametrize(("service", "table"), [(name, table) for name in WITH_SQL for table in APPEND_ONLY[name]])
async def test_history_is_only_added_to(service: str, table: str, schemas: Schemas) -> None:
    """The runtime role can neither change, remove nor empty what is kept for ever."""
    connection = await asyncpg.connect(schemas.server.dsn(schemas.migrated(service), service))
    try:
        assert await connection.fetchval(f"SELECT has_table_privilege('{table}', 'SELECT, INSERT')")
        for statement in (f"UPDATE {table} SET program_id = ''", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", WITH_SQL)
async def test_runtime_role_changes_no_schema(service: str, schemas: Schemas) -> None:
    """The runtime role makes, changes and drops no table."""
    connection = await asyncpg.connect(schemas.server.dsn(schemas.migrated(service), service))
    try:
        statements = ("CREATE TABLE note (note text)", "ALTER TABLE feed_heads ADD note text", "DROP TABLE feed_heads")
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", WITH_SQL)
async def test_database_is_closed_to_other_services(service: str, schemas: Schemas) -> None:
    """No other service's role can connect to the database of a service."""
    schemas.server.create_databases(WITH_SQL)
    for other in WITH_SQL:
        for role in (other, f"{other}_owner"):
            if other != service:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await asyncpg.connect(schemas.server.dsn(service, role))


def _nulls_unexplained(source: Source) -> Iterator[str]:
    is_table, is_explained = False, False
    for number, line in enumerate(source.lines, start=1):
        stripped = line.strip()
        if stripped.startswith("CREATE TABLE"):
            is_table, is_explained = True, False
        elif stripped.startswith(")"):
            is_table = False
        elif stripped.startswith("--"):
            is_explained = True
        elif is_table and re.match(r"[a-z_]+ [a-z]", stripped):
            # A sentence holds for all columns right below it.
            if "NOT NULL" in stripped:
                is_explained = False
            elif not is_explained:
                yield f"{number}: {stripped}"


def _keywords_lower(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        code = re.sub(r"'[^']*'", "''", line.partition("--")[0])
        found = re.search(
            r"\b(select|insert into|update|delete from|from|where|join|values|returning|create|alter|order by|group by|"
            r"limit|not null|primary key|constraint|grant)\b",
            code,
        )
        if found:
            yield f"{number}: {found[1]}"


def _procedural(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, start=1):
        if re.search(r"\$\w*\$|\bplpgsql\b|\bTRIGGER\b", line.partition("--")[0]):
            yield f"{number}: {line.strip()}"


TEXT_RULES = [
    Rule(
        "null_means_something",
        "A column is NOT NULL unless absence means something: then the line above says what.",
        _nulls_unexplained,
        lambda source: source.path.endswith("sql/schema.sql"),
        (
            "services/x/sql/schema.sql",
            "CREATE TABLE lots (\n    lot_id uuid NOT NULL,\n    expires_at timestamptz\n);\n",
        ),
    ),
    Rule(
        "keywords_are_upper",
        "Keywords upper, names lower.",
        _keywords_lower,
        lambda source: source.path.endswith(".sql") and "/sql/" in source.path,
        ("services/x/sql/queries.sql", "-- get_lot --\n-- Reads a lot.\nselect amount FROM lots;\n"),
    ),
    Rule(
        "sql_is_declarative",
        "No PL/pgSQL, no triggers, no DO blocks: they do not survive distribution, and nobody looks for logic there.",
        _procedural,
        lambda source: source.path.endswith(".sql") and source.path.startswith("services/") and "/sql/" in source.path,
        ("services/x/sql/schema.sql", "DO $$ BEGIN END $$;\n"),
    ),
]


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.name)
def test_sql_keeps_rule(rule: Rule) -> None:
    """Every SQL file of the services keeps the rule."""
    rule.assert_kept(sources.texts())


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.name)
def test_sql_rule_sees_its_breach(rule: Rule) -> None:
    """The rule's finder sees a breach of it, so that clean files mean something."""
    rule.assert_seen()
