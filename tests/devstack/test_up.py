"""What `./plaudit up` promises to the person at the terminal."""

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from services.devstack import demo
from services.devstack.catalogue import NAMES
from services.devstack.data_dir import DataDir
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.redis import EmbeddedRedis
from tests.devstack.stacks import UpProcess, balance, plaudit, still_running
from tests.support.waiting import eventually

ONE_PURCHASE = {
    "eventId": "up-1",
    "type": "purchase.completed",
    "memberId": "up-member",
    "occurTime": "2026-01-02T03:04:05Z",
    "properties": {"amount_cents": 12_345},
}


def test_writes_credentials_for_this_user_alone(stack: UpProcess) -> None:
    """The key of the demo program works, and only this user can read it."""
    path = stack.data_dir / "credentials.json"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"program", "api_key"}
    with stack.client() as client:
        assert client.get("/v1/rules").status_code == 200


def test_serves_demo_rules(stack: UpProcess) -> None:
    """The demo program's earning table shows each of its rules with a title and a description."""
    with stack.client() as client:
        rows = client.get("/v1/earning-table").raise_for_status().json()["rows"]

    assert {row["ruleId"] for row in rows} >= {rule.rule_id for rule in demo.RULES}
    assert all(row["displayName"] and row["description"] for row in rows)


def test_refuses_data_dir_in_use(stack: UpProcess) -> None:
    """A second `up` on a data directory names the first and ends with exit code 2."""
    second = plaudit("up", "--data-dir", stack.data_dir, "--port", "0")

    assert second.returncode == 2
    assert second.stderr == f"plaudit: data dir {stack.data_dir} is in use by pid {stack.process.pid}\n"


def test_refuses_taken_port(stack: UpProcess, tmp_path: Path) -> None:
    """A port that somebody listens on is named, with exit code 2, before anything is started."""
    port = stack.url.rpartition(":")[2]
    second = plaudit("up", "--data-dir", tmp_path / "data", "--port", port)

    assert second.returncode == 2
    assert second.stderr == f"plaudit: port {port} is taken; choose another with --port\n"
    assert not (tmp_path / "data" / "postgres").exists()
    DataDir.create(tmp_path / "data")  # the next try, with another port, is welcome


def test_refuses_directory_of_somebody_else(tmp_path: Path) -> None:
    """A directory that holds other things is left alone."""
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = plaudit("up", "--data-dir", tmp_path, "--port", "0")

    assert refused.returncode == 2
    assert "is not empty and was not made by Plaudit" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_names_every_bad_setting(tmp_path: Path) -> None:
    """All bad variables are named at once, and no value that may hold a password is repeated."""
    refused = plaudit(
        "up",
        "--data-dir",
        tmp_path / "data",
        "--port",
        "0",
        extra={
            "PLAUDIT_LEDGER_DSN": "mysql://me:secret@db/ledger",
            "PLAUDIT_PROGRAM_OWNER_DSN": "postgresql://owner@db/program",
            "PLAUDIT_REDIS_URL": "http://cache",
            "PLAUDIT_LOG_LEVEL": "loud",
        },
    )

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    for variable in ("LEDGER_DSN", "LEDGER_OWNER_DSN", "PROGRAM_DSN", "REDIS_URL", "LOG_LEVEL"):
        assert f"PLAUDIT_{variable}" in refused.stderr
    assert "secret" not in refused.stderr


@pytest.mark.parametrize("words", ["services.gateway serve", "services.ledger work"])
async def test_restarts_child_that_dies(stack: UpProcess, words: str) -> None:
    """A process that is killed is replaced, and `up` says so."""
    title = words.removeprefix("services.")
    before = await eventually(lambda: stack.child(words))
    said = stack.errors().count(f"{title} died (exit -9)")
    signal_process(before, signal.SIGKILL)

    await eventually(lambda: stack.errors().count(f"{title} died (exit -9), restarting in") > said)
    assert await eventually(lambda: stack.child(words)) != before


async def test_comes_back_when_postgres_dies(stack: UpProcess) -> None:
    """PostgreSQL is restarted after a crash and the services use it again."""
    with stack.client() as client:
        before = await eventually(lambda: stack.child("bin/postgres"))
        signal_process(before, signal.SIGKILL)
        await eventually(lambda: stack.child("bin/postgres") not in (0, before))
        await eventually(stack.ready)
        event = ONE_PURCHASE | {"eventId": "after-crash", "memberId": "crash-member"}
        await eventually(lambda: client.post("/v1/events", json={"events": [event]}).status_code == 200)
        await eventually(lambda: balance(client, "crash-member") == 123)


async def test_keeps_state_and_leaves_no_process(stack: UpProcess, tmp_path: Path) -> None:
    """A second stack beside the first keeps its points, its key and the owner's rules over stop and start."""
    up = UpProcess(tmp_path / "data", errors_path=tmp_path / "errors.txt").wait_ready()
    known = up.descendants()
    with up.client() as client, stack.client() as other:
        assert client.post("/v1/events", json={"events": [ONE_PURCHASE]}).json()["results"][0]["status"] == "ACCEPTED"
        await eventually(lambda: balance(client, "up-member") == 123)
        assert other.get("/v1/members/up-member").status_code == 404
        change = client.patch(
            "/v1/rules/survey-completed", json={"amount": "75"}, headers={"idempotency-key": "owner-knows-best"}
        )
        assert change.status_code == 200, change.text
    key = up.api_key
    assert up.end(signal.SIGTERM) == 0
    assert still_running(known) == []

    again = UpProcess(tmp_path / "data", errors_path=tmp_path / "errors.txt").wait_ready()
    known = again.descendants()
    with again.client() as client:
        assert again.api_key == key
        assert balance(client, "up-member") == 123
        assert client.get("/v1/rules/survey-completed").json()["amount"] == "75"
    # Nobody tells the children when `up` is killed outright; the kernel does.
    assert again.end(signal.SIGKILL) == -signal.SIGKILL
    await eventually(lambda: not still_running(known))


@pytest.mark.parametrize("moment", ["starting PostgreSQL", "bringing the databases", "starting the services"])
async def test_interrupt_while_starting_stops_everything(tmp_path: Path, moment: str) -> None:
    """Ctrl-C during start-up ends what has been started, and the next start finds nothing broken."""
    up = UpProcess(tmp_path / "data", errors_path=tmp_path / "errors.txt")
    await eventually(lambda: moment in up.errors())
    known = up.descendants()

    assert up.end(signal.SIGINT) == 130
    assert up.errors().rstrip().endswith("stopped")
    assert still_running(known) == []


def test_uses_servers_of_ones_own(tmp_path: Path) -> None:
    """With servers named in the environment nothing is embedded, and `check` finds the databases by itself."""
    with EmbeddedPostgres(tmp_path / "postgres") as server, EmbeddedRedis(tmp_path / "redis") as redis:
        server.create_databases(NAMES)
        extra = {"PLAUDIT_REDIS_URL": redis.url}
        for name in NAMES:
            extra[f"PLAUDIT_{name.upper()}_DSN"] = server.dsn(name, name)
            extra[f"PLAUDIT_{name.upper()}_OWNER_DSN"] = server.dsn(name, f"{name}_owner")
        up = UpProcess(tmp_path / "data", errors_path=tmp_path / "errors.txt", extra=extra).wait_ready()
        try:
            assert up.child("bin/postgres") == up.child("valkey-server") == 0
            assert plaudit("check", "--data-dir", up.data_dir).returncode == 0
        finally:
            up.end(signal.SIGTERM)
        assert plaudit("check", "--data-dir", up.data_dir).returncode == 0
        assert not (up.data_dir / "postgres").exists()
    refused = plaudit("up", "--data-dir", up.data_dir, "--port", "0", extra=extra)

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("_OWNER_DSN")


def test_refuses_broken_databases(tmp_path: Path) -> None:
    """A cluster that PostgreSQL does not take back is named with PostgreSQL's own words."""
    data_dir = tmp_path / "data"
    write_stack_file(data_dir)
    cluster = data_dir / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("18\n")
    refused = plaudit("up", "--data-dir", data_dir, "--port", "0")

    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("plaudit: PostgreSQL did not start: ")
    assert str(data_dir / "logs" / "postgres.log") in last


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', '{"format": 1, "ports": []}'])
def test_refuses_broken_stack_file(tmp_path: Path, content: str) -> None:
    """A data directory whose own record cannot be read is named in one sentence."""
    data_dir = tmp_path / "data"
    write_stack_file(data_dir, content)
    refused = plaudit("up", "--data-dir", data_dir, "--port", "0")

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"plaudit: data dir {data_dir} is ")
    assert refused.stderr.count("\n") == 1


def test_refuses_broken_token_key(tmp_path: Path) -> None:
    """A signing key that is no key is named in one sentence, and not replaced."""
    data_dir = tmp_path / "data"
    write_stack_file(data_dir)
    (data_dir / "token_key").write_text("AAAA\n")
    refused = plaudit("up", "--data-dir", data_dir, "--port", "0")

    assert refused.returncode == 2
    assert refused.stderr == f"plaudit: data dir {data_dir} is broken: token_key holds 3 bytes, not 32\n"


def write_stack_file(data_dir: Path, content: str = '{"format": 1}') -> None:
    """Makes a data directory that looks like ours."""
    data_dir.mkdir()
    (data_dir / "stack.json").write_text(content)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process of a stack."""
    assert pid, "there is no such process"
    os.kill(pid, number)
