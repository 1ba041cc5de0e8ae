"""Databases for tests: one server a run, a migrated template a service, a copy of it a test."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from services.devstack.postgres import EmbeddedPostgres
from services.kernel import migrations

SERVICES = Path(__file__).parents[2] / "services"
NUMBERS = itertools.count(1)


class Databases:
    """Makes databases on one server. A template is migrated when it is first needed."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._templates: set[str] = set()

    def dsn(self, name: str, user: str) -> str:
        """Gives the connection string of a database for a role."""
        return self.server.dsn(name, user)

    async def admin(self, name: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        """Connects as the superuser."""
        return await asyncpg.connect(self.server.dsn(name))

    @asynccontextmanager
    async def copy(self, service: str) -> AsyncIterator[str]:
        """Lends a fresh, migrated database of a service, by name."""
        if service not in self._templates:
            await self._make_template(service)
        name = f"{service}_{os.getpid()}_{next(NUMBERS)}"
        connection = await self.admin()
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{service}" OWNER "{service}_owner"')
            yield name
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        finally:
            await connection.close()

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Lends an empty database, by name; nobody but the superuser has a right in it."""
        name = f"empty_{os.getpid()}_{next(NUMBERS)}"
        connection = await self.admin()
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
            yield name
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        finally:
            await connection.close()

    async def _make_template(self, service: str) -> None:
        self.server.create_databases([service])
        folder = SERVICES / service / "sql" / "migrations"
        await migrations.migrate(self.dsn(service, f"{service}_owner"), folder, role=f"{service}_service")
        self._templates.add(service)
