"""Databases for the rules on SQL: one that the migrations made and one that schema.sql draws, for each service."""

import asyncio
import itertools
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.devstack.postgres import EmbeddedPostgres
from services.kernel import migrations
from tests.contracts.sources import ROOT, SERVICES

CATALOG = (ROOT / "tests" / "contracts" / "catalog.sql").read_text()
NUMBERS = itertools.count(1)


class Schemas:
    """Makes a service's databases when they are first needed."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._made: dict[tuple[str, str], str] = {}

    def empty(self, service: str) -> str:
        """Makes an empty database that the service's owner owns, by name."""
        self.server.create_databases([service])
        name = f"contracts_{service}_{os.getpid()}_{next(NUMBERS)}"
        self.server.execute(f'CREATE DATABASE "{name}" OWNER "{service}_owner"')
        return name

    def migrated(self, service: str) -> str:
        """Names the database that the migrations made."""
        return self._once(service, "migrated", self._migrate)

    def drawn(self, service: str) -> str:
        """Names the database that schema.sql draws."""
        return self._once(service, "drawn", self._draw)

    def _once(self, service: str, how: str, make: Callable[[str], str]) -> str:
        if (service, how) not in self._made:
            self._made[service, how] = make(service)
        return self._made[service, how]

    def _migrate(self, service: str) -> str:
        name = self.empty(service)
        folder = SERVICES / service / "sql" / "migrations"
        dsn = self.server.dsn(name, f"{service}_owner")
        # In a thread of its own, since the test that first needs it may have a loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(migrations.migrate(dsn, folder, role=f"{service}_service"))).result()
        return name

    def _draw(self, service: str) -> str:
        name = self.empty(service)
        schema = (SERVICES / service / "sql" / "schema.sql").read_text()
        # The table of migrations is made by their runner.
        script = f'SET SESSION AUTHORIZATION "{service}_owner";\n{migrations.CREATE_TABLE};\n{schema}'
        self.server.execute(script, name)
        return name

    def describe(self, database: str, change: str = "") -> list[str]:
        """Describes a database's schema, after a change that is undone again."""
        return self.server.execute(f"BEGIN;\n{change}\n{CATALOG}ROLLBACK;\n", database).splitlines()

    def rows(self, database: str, query: str, change: str = "") -> list[dict[str, Any]]:
        """Gives the rows of a query on the catalogs, after a change that is undone again."""
        wrapped = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM ({query}) AS found;"
        found: list[dict[str, Any]] = json.loads(
            self.server.execute(f"BEGIN;\n{change}\n{wrapped}\nROLLBACK;\n", database)
        )
        return found
