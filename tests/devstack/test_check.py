"""What `./plaudit check`, `status` and `program` promise."""

import json
from pathlib import Path

import pytest

from services.devstack.catalogue import GATEWAY, NAMES, SERVICES
from services.devstack.children import ServiceProcess
from services.devstack.data_dir import DataDir
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.settings import Wiring
from tests.devstack.stacks import UpProcess, plaudit


@pytest.fixture
async def stopped(tmp_path: Path) -> Path:
    """Makes the data directory of a stack that has run and does not run now."""
    data_dir = DataDir.create(tmp_path / "data")
    with data_dir.locked(), EmbeddedPostgres(data_dir.postgres) as server:
        server.create_databases(NAMES)
        wiring = Wiring(
            dsns={name: server.dsn(name, name) for name in NAMES},
            owner_dsns={name: server.dsn(name, f"{name}_owner") for name in NAMES},
            redis_url="unix:///none",
            ports=dict.fromkeys(NAMES, 1),
            http_port=1,
            token_key=data_dir.token_key(),
            seal_key=data_dir.seal_key(),
            signal_key=data_dir.signal_key(),
            notify_keys=data_dir.notify_keys(),
            service_keys={name: data_dir.service_key(name) for name in (GATEWAY.name, *NAMES)},
            mail_ports=(1, 1),
        )
        for service in SERVICES:
            environment = wiring.environment(service, keep_pg=False)
            migration = ServiceProcess(service, "migrate", data_dir=data_dir, environment=environment)
            migration.spawn()
            await migration.finish()
    return data_dir.path


def test_finds_nothing_where_all_adds_up(stopped: Path) -> None:
    """Of a stack that does not run the databases are started for the check, which says that all adds up."""
    done = plaudit("check", "--data-dir", stopped)

    assert done.returncode == 0, done.stderr
    assert "everything adds up" in done.stdout
    assert "journal against balances" in done.stdout
    assert not DataDir.open(stopped).in_use()


def test_finds_balance_that_journal_does_not_explain(stopped: Path) -> None:
    """Value out of nowhere is a problem, told to people and to programs, with exit code 1."""
    with EmbeddedPostgres(stopped / "postgres") as server:
        server.execute(
            "INSERT INTO wallets (program_id, wallet_id, member_id, asset, sequence, balance, earned) "
            "VALUES ('demo', 1, 'm1', 'points', 0, 100, 100);",
            "ledger",
        )
    told = plaudit("check", "--data-dir", stopped)
    read = plaudit("check", "--data-dir", stopped, "--json")

    assert (told.returncode, read.returncode) == (1, 1), told.stderr
    assert "everything adds up" not in told.stdout
    assert "ledger: " in told.stdout
    report = json.loads(read.stdout)
    assert report["ok"] is False
    assert sum(len(row["problems"]) for row in report["services"]["ledger"]) > 0
    assert sum(len(row["problems"]) for row in report["services"]["program"]) == 0


def test_checks_running_stack(stack: UpProcess) -> None:
    """A running stack is checked where it runs."""
    done = plaudit("check", "--data-dir", stack.data_dir, "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert set(report["services"]) == set(NAMES)


@pytest.mark.parametrize("command", [["check"], ["status"], ["program", "create", "acme"]])
def test_needs_data_dir(tmp_path: Path, command: list[str]) -> None:
    """A place where no stack has been is told as such, with exit code 2, and nothing is made there."""
    done = plaudit(*command, "--data-dir", tmp_path / "none")

    assert done.returncode == 2
    assert done.stderr.startswith(f"plaudit: {tmp_path / 'none'} is not a data dir of Plaudit")
    assert list(tmp_path.iterdir()) == []


def test_status_tells_that_nothing_runs(stopped: Path) -> None:
    """Where nothing runs, status says so with exit code 1."""
    told = plaudit("status", "--data-dir", stopped)
    read = plaudit("status", "--data-dir", stopped, "--json")

    assert (told.returncode, read.returncode) == (1, 1)
    assert told.stderr == f"nothing runs on {stopped}; start it with ./plaudit up\n"
    assert json.loads(read.stdout) == {"running": False}


def test_status_tells_services_and_lags(stack: UpProcess) -> None:
    """Each service is told with its state, the version, and the figures that it gives of itself."""
    told = plaudit("status", "--data-dir", stack.data_dir)
    read = plaudit("status", "--data-dir", stack.data_dir, "--json")

    assert (told.returncode, read.returncode) == (0, 0), told.stderr + read.stderr
    report = json.loads(read.stdout)
    assert report["services"] == dict.fromkeys([*NAMES, "gateway"], "SERVING")
    assert report["pid"] == str(stack.process.pid)
    assert report["version"] in told.stdout
    assert {row["subject"] for rows in report["rows"].values() for row in rows}


def test_program_create_gives_working_key(stack: UpProcess) -> None:
    """A program comes with a key that works; asked again there is another key, and other content is refused."""
    first = plaudit("program", "create", "acme", "--name", "Acme", "--data-dir", stack.data_dir, "--json")
    again = plaudit("program", "create", "acme", "--name", "Acme", "--data-dir", stack.data_dir)
    other = plaudit("program", "create", "acme", "--name", "Other", "--data-dir", stack.data_dir)

    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 2), first.stderr + again.stderr
    made = json.loads(first.stdout)
    assert made["program"] == "acme"
    assert "api key plk_" in again.stdout
    assert made["api_key"] not in again.stdout
    assert other.stderr.startswith("plaudit: the program service refused: ")
    with stack.client() as client:
        headers = {"authorization": f"Bearer {made['api_key']}"}
        assert client.get("/v1/rules", headers=headers).raise_for_status().json().get("rules", []) == []
