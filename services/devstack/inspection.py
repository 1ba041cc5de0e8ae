"""Gives `check` and `status` the databases of a stack, whether it runs or not."""

import contextlib
import importlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from services.devstack.catalogue import NAMES
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError
from services.devstack.postgres import EmbeddedPostgres
from services.kernel import db, errors, feed, logs

POOL_SIZE_MAX = 2

Stands = dict[tuple[str, int], int]  # how far a follower is, by program and partition


@contextlib.contextmanager
def databases(data_dir: DataDir) -> Iterator[dict[str, str]]:
    """Gives the connection strings of all services; starts PostgreSQL meanwhile where the stack does not run."""
    # What goes wrong is told in our own sentence, and standard output is for the answer alone.
    logs.configure(service="devstack", role="inspection", log_format="console", level="error")
    stack = data_dir.load_stack()
    if stack.dsns and (data_dir.in_use() or set(stack.external) >= set(NAMES)):
        yield stack.dsns
        return
    if not data_dir.postgres.exists():
        raise CannotRunError(f"{data_dir.path} holds no databases yet; start it with ./plaudit up")
    postgres = EmbeddedPostgres(data_dir.postgres, log_path=data_dir.logs / "postgres.log")
    external = {name: stack.dsns[name] for name in stack.external}
    with data_dir.locked(), postgres:
        yield {name: postgres.dsn(name, name) for name in NAMES} | external


@contextlib.asynccontextmanager
async def pool_of(service: str, dsn: str) -> AsyncIterator[db.Pool]:
    """Opens a pool to the database of a service; whatever goes wrong with it ends as CannotRunError."""
    try:
        pool = await db.create_pool(dsn, service=service, size_max=POOL_SIZE_MAX)
        try:
            yield pool
        finally:
            await pool.close()
    except (errors.DomainError, *db.UNAVAILABLE) as error:
        raise CannotRunError(f"the database of {service} cannot be used: {error}") from error


async def ask(service: str, question: str, pool: db.Pool) -> list[Any]:
    """Calls `check` or `status` of a service, which makes its own rows."""
    checks = importlib.import_module(f"services.{service}.checks")
    rows: list[Any] = await getattr(checks, question)(pool)
    return rows


async def read_feeds(dsns: dict[str, str]) -> list[tuple[str, str, Stands, list[feed.Head]]]:
    """Tells each follower's service, name and cursors, with the heads of the feed that it follows.

    A follower is named `<its service>-<the service that it follows>`, so both ends are known; only here are the
    databases of both at hand.
    """
    heads: dict[str, list[feed.Head]] = {}
    cursors: dict[str, dict[str, Stands]] = {}
    for name in NAMES:
        async with pool_of(name, dsns[name]) as pool:
            cursors[name] = await db.read(pool, feed.cursors)
    # The heads last: on a running stack both move on, and a cursor never passes its head.
    for name in NAMES:
        async with pool_of(name, dsns[name]) as pool:
            heads[name] = await db.read(pool, feed.read_heads)
    return [
        (name, follower, stands, heads[follower.rpartition("-")[2]])
        for name, followers in cursors.items()
        for follower, stands in followers.items()
    ]
