"""Disks that are full for PostgreSQL: what it writes meets the kernel's own refusal, for any user in any container."""

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from services.devstack.postgres import EmbeddedPostgres
from tests.support.processes import children_of

# The smallest that there are, so that a table can outgrow a limit that a file of the write-ahead log keeps to.
SEGMENT_MIB = 1
SEGMENT_BYTES = SEGMENT_MIB * 1024 * 1024
SEGMENT_OPTION = f"--wal-segsize={SEGMENT_MIB}"
FULL = Path("/dev/full")


def limit_files(server: EmbeddedPostgres, size: str) -> None:
    """Lets no process of a server write beyond a size in any file; `unlimited` lets them again.

    What was forked meanwhile has its parent's limit. The superuser of a container may not be allowed to do this to
    another user's process, but that user may. A program becomes that user, and not this process between fork and exec,
    where it still has what gRPC's threads were at.
    """
    assert server.process is not None
    main = server.process.pid
    owner = Path(f"/proc/{main}").stat()
    as_owner = []
    if owner.st_uid != os.geteuid():
        as_owner = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    for process_id in (main, *children_of(main)):
        subprocess.run([*as_owner, "prlimit", f"--pid={process_id}", f"--fsize={size}:"], check=True, timeout=10)


@asynccontextmanager
async def full_table(server: EmbeddedPostgres, database: str, table: str) -> AsyncIterator[None]:
    """Leaves an empty table on a disk without any space until the block ends; nobody may have opened it before."""
    connection = await asyncpg.connect(server.dsn(database))
    name = await connection.fetchval("SELECT pg_relation_filepath($1::regclass)", table)
    await connection.execute("CHECKPOINT")
    await connection.close()
    file = server.data_dir / name
    kept = file.with_name(f"{file.name}.kept")
    file.rename(kept)
    file.symlink_to(FULL)
    try:
        yield
    finally:
        kept.replace(file)
        # Who has opened the full one must come back to find the other.
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ledger'")
