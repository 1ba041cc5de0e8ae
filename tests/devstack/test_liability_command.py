"""What `./plaudit liability` promises, against a running stack."""

import contextlib
import csv
import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from arro3.io import read_parquet
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc

from services.devstack import cli
from services.devstack.commands import liability
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError
from services.kernel import ids, times
from services.kernel.tokens import Minter
from tests.devstack.stacks import UpProcess, plaudit
from tests.support.ledger import earn, spend

SCOPES = ("ledger.read", "ledger.write")
CALL_WAIT_S = 30


class Books:
    """A program of its own in a running stack: what posts to its ledger, and a key for the command."""

    def __init__(self, stack: UpProcess) -> None:
        data_dir = DataDir.open(stack.data_dir)
        program_id = f"books-{ids.new_id().hex}"
        self.url = stack.url
        self.key = Minter(data_dir.token_key()).mint(
            subject="test", program_id=program_id, scopes=SCOPES, lifetime_s=3600
        )
        self._address = f"127.0.0.1:{data_dir.load_stack().ports['ledger']}"

    @property
    def target(self) -> list[str]:
        """Gives the arguments that name it."""
        return ["--url", self.url, "--api-key", self.key]

    def post(self, *operations: ledger_pb2.Operation) -> None:
        """Posts operations, each of which happens."""
        with grpc.insecure_channel(self._address) as channel:
            answer = ledger_service_pb2_grpc.LedgerServiceStub(channel).PostOperations(
                ledger_service_pb2.PostOperationsRequest(operations=operations),
                metadata=(("authorization", f"Bearer {self.key}"),),
                timeout=CALL_WAIT_S,
            )
        assert all(result.HasField("posting") for result in answer.results)

    def client(self) -> httpx.Client:
        """Gives an HTTP client of the program."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=CALL_WAIT_S)

    def run(self, *arguments: str | Path) -> dict[str, Any]:
        """Runs the command and gives the JSON that it prints."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert liability.run(cli.parse(["liability", *self.target, *map(str, arguments), "--json"])) == 0
        report: dict[str, Any] = json.loads(printed.getvalue())
        return report


@pytest.fixture
def books(stack: UpProcess) -> Books:
    """Gives a program of its own with 10,000 points for a price of 9,000, of which 4,500 are redeemed."""
    made = Books(stack)
    campaigns = ("", "=spring", "autumn")
    made.post(
        *(
            earn(
                f"e{campaign}",
                amount=amount,
                allocated_value=amount * 9 // 10,
                cause=ledger_pb2.Cause(campaign_id=campaign),
            )
            for campaign, amount in zip(campaigns, (5_000, 3_000, 2_000), strict=True)
        ),
        spend("s", amount=4_500),
    )
    return made


def test_report_is_the_same_in_every_form(books: Books, tmp_path: Path) -> None:
    """What is printed for programs, written as CSV and as Parquet and answered over HTTP are the same figures."""
    with books.client() as client:
        made = client.post(
            "/v1/redemption-estimates",
            json={"asset": "points", "redemptionRateBps": 9_700},
            headers={"idempotency-key": "estimate-1"},
        )
        assert made.raise_for_status().json()["redemptionRateBps"] == 9_700
        assert client.get("/v1/redemption-estimates").json()["estimates"] == [made.json()]
    files = (tmp_path / "books.csv", tmp_path / "books.parquet")
    report = books.run("--csv", files[0], "--parquet", files[1], "--previous", "2026-01-01")
    with books.client() as client:
        answer = client.get("/v1/liability", params={"asOfTime": report["as_of"]}).raise_for_status().json()

    lines = report["lines"]
    # What is redeemed counts from the first lot: 4,500 of the 4,850 that are expected of it.
    assert [line["recognised_value"] for line in lines] == [4_175, 0, 0]
    assert [line["campaign_id"] for line in lines] == ["", "=spring", "autumn"]
    assert [line.pop("recognised_since_value") for line in lines] == [4_175, 0, 0]
    [total] = report["totals"]
    assert (total["asset"], total["open"], total["recognised_since_value"]) == ("points", 5_500, 4_175)
    assert total["deferred_value"] == 9_000 - 4_175 == int(answer["totals"][0]["figures"]["deferredValue"])
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"), newline="")))
    numbers = {name for name, value in lines[0].items() if isinstance(value, int)}
    assert [{name: int(row[name]) for name in numbers} for row in rows] == [
        {name: line[name] for name in numbers} for line in lines
    ]
    assert [row["campaign_id"] for row in rows] == ["", "'=spring", "autumn"]
    table = read_parquet(files[1]).read_all()
    assert {name: table[name].to_pylist() for name in lines[0]} == {
        name: [line[name] for line in lines] for name in lines[0]
    }
    assert {times.to_text(instant) for instant in table["as_of"].to_pylist()} == {report["as_of"]}


def test_report_of_a_past_instant_is_the_same_again(books: Books) -> None:
    """The instant that a report tells gives that report again, whatever was spent since."""
    first = books.run()
    books.post(spend("later", amount=1_000))

    assert books.run("--as-of", first["as_of"]) == first
    assert books.run()["totals"][0]["open"] == first["totals"][0]["open"] - 1_000


def test_report_is_read_page_by_page(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages of a report are read, and their lines come once each."""
    whole = books.run()["lines"]
    monkeypatch.setattr(liability, "PAGE_SIZE", 1)
    assert books.run()["lines"] == whole

    monkeypatch.setattr(liability, "PAGES_MAX", 2)
    with pytest.raises(CannotRunError, match="more than 2 lines"):
        books.run()


def test_table_tells_lines_and_totals(books: Books) -> None:
    """People see a row for each cohort, the sums below, and what the amounts are."""
    done = plaudit("liability", *books.target, "--previous", "2026-01-01", "--zone", "Europe/Paris")
    assert done.returncode == 0, done.stderr

    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert [row[1] for row in cells] == ["", "=spring", "autumn", ""]
    total = ["10,000", "4,500", "0", "0", "5,500", "0", "0", "4,050", "4,950", "4,050"]
    assert cells[-1] == ["total", "", "points", "", *total]
    assert "recognised and deferred (and since) in minor units of money" in done.stdout


def test_table_of_nothing_says_so(stack: UpProcess) -> None:
    """A program in which nothing was issued has no table."""
    done = plaudit("liability", *Books(stack).target)
    assert (done.returncode, done.stdout.partition(" until ")[0]) == (0, "nothing was issued")


def test_report_of_the_demo_program_needs_no_arguments(stack: UpProcess) -> None:
    """The running stack and its demo program are what is reported where nothing else is named."""
    done = plaudit("liability", "--data-dir", stack.data_dir)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--as-of", "9000-01-01"], "--as-of must not lie in the future; it is "),
        (["--previous", "9000-01-01"], "--previous must lie before --as-of"),
        (["--as-of", "9999-12-31"], "the calendar ends with 9999-12-31; name an earlier day"),
        (["--zone", "Europe/Atlantis"], "--zone is not an IANA time zone"),
        (["--zone", "Europe/Atlantis", "--as-of", "2026-01-01"], "--zone is no IANA time zone such as Europe/Paris"),
        (["--zone", "../UTC", "--as-of", "2026-01-01"], "--zone is no IANA time zone such as Europe/Paris"),
        (["--csv", "/nowhere/at/all.csv"], "cannot write /nowhere/at/all.csv: No such file or directory"),
        (["--parquet", "/"], "cannot write /: Is a directory"),
    ],
)
def test_names_what_cannot_be_reported(books: Books, arguments: list[str], complaint: str) -> None:
    """What is wrong with an argument is told by the name of its option."""
    with pytest.raises(CannotRunError) as refused:
        books.run(*arguments)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--url", "http://127.0.0.1:9"],
            "http://127.0.0.1:9 does not answer (…); start it with ./plaudit up, or name a",
        ),
        (["--url", "127.0.0.1:9"], "--url is not a URL of the form http://host:port"),
        (["--api-key", "plk_no_key"], "… refused the call: The API key is not valid. (HTTP 401); name a key that may "),
        (["--data-dir", "/nowhere/at/all"], "/nowhere/at/all is not a data dir of Plaudit"),
    ],
    ids=["nobody there", "no URL", "no key", "no data dir"],
)
def test_names_target_that_has_no_report(stack: UpProcess, arguments: list[str], complaint: str) -> None:
    """Where there is no report to be had, the command says what to do about it, in one line and with exit code 2."""
    named = {"--url": stack.url, "--api-key": "plk_a_b"} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = arguments if "--data-dir" in arguments else [word for pair in named.items() for word in pair]
    done = plaudit("liability", *words)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    pattern = ".*".join(map(re.escape, f"plaudit: {complaint}".split("…")))
    assert re.match(pattern, done.stderr), done.stderr


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "2026-10", "2026-10-31T22:00:00", "31.10.2026"])
def test_names_text_that_is_no_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is neither a day nor an instant with its offset is refused before anything is asked."""
    with pytest.raises(SystemExit) as ended:
        cli.parse(["liability", "--as-of", text])
    assert ended.value.code == 2
    assert "is neither a day such as 2026-10-31 nor an instant such as 2026-10-31T22:00:00Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("day", "zone", "end"),
    [
        ("2026-10-31", "UTC", "2026-10-31T23:59:59.999999Z"),
        ("2026-10-31", "Europe/Paris", "2026-10-31T22:59:59.999999Z"),
        ("2026-10-24", "Europe/Paris", "2026-10-24T21:59:59.999999Z"),
        ("2026-12-31", "America/New_York", "2027-01-01T04:59:59.999999Z"),
    ],
)
def test_day_means_its_last_instant(day: str, zone: str, end: str) -> None:
    """A day is meant to its end by the calendar of the zone, and an instant is meant as it is."""
    assert times.to_text(liability.instant_of(date.fromisoformat(day), zone)) == end
    instant = datetime(2026, 10, 31, 12, tzinfo=UTC) + timedelta(microseconds=7)
    assert liability.instant_of(cli.moment(times.to_text(instant)), zone) == instant
