"""69,659 real purchases go in over HTTP while everything dies around them, and every balance is right at every date."""

import asyncio
import csv
import gzip
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.chaos import kill_everything
from tests.support.stack import ROOT, Stack, run_stack

PURCHASES = ROOT / "services" / "devstack" / "data" / "purchases.csv.gz"
KILLED = ("ledger serve", "program serve", "gateway serve", "ledger work", "program work", "postgres", "valkey-server")
ROUNDS = 2
# Small batches, so that there is time for everything to die.
PACE = ("--batch-size", "100", "--in-flight", "2")
DATES = [
    datetime(1997, 1, 1, 11, 59, 59, tzinfo=UTC),
    datetime(1997, 1, 1, 12, tzinfo=UTC),
    datetime(1997, 3, 15, tzinfo=UTC),
    datetime(1997, 6, 30, 12, tzinfo=UTC),
    datetime(1997, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(1998, 1, 1, 12, tzinfo=UTC),
    datetime(1998, 2, 28, 12, tzinfo=UTC),
    datetime(1998, 7, 1, tzinfo=UTC),
    datetime(1999, 6, 30, 11, 59, 59, tzinfo=UTC),
    datetime(1999, 6, 30, 12, tzinfo=UTC),
]
MEMBERS_A_CALL = 1000
SAMPLE = 200

Purchases = dict[str, list[tuple[datetime, datetime, int]]]


@pytest.fixture(scope="module")
def purchases() -> Purchases:
    """Reads the file: for each customer when each purchase counts from and until, and its points."""
    found: Purchases = defaultdict(list)
    with gzip.open(PURCHASES, "rt") as file:
        for row in csv.DictReader(file):
            begin = datetime.fromisoformat(f"{row['purchased_on']}T12:00:00+00:00")
            # No purchase was made on a 29 February, so a year later is the same day of the next year.
            end = begin.replace(year=begin.year + 1)
            found[row["customer_id"]].append((begin, end, int(row["amount_cents"]) // 100))
    return found


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs a stack that is going to be killed piece by piece."""
    with run_stack(tmp_path_factory.mktemp("survivor") / "data") as running:
        yield running


async def replay_while_killing(stack: Stack) -> dict[str, int]:
    """Replays all purchases while processes are killed in random order and Redis is emptied; gives the summary."""
    replay = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "services.devstack", "replay", "purchases", "--json"],
        *["--data-dir", str(stack.data_dir), *PACE],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    killed: list[str] = []
    chaos = asyncio.create_task(kill_everything(stack, KILLED, killed, rounds=ROUNDS))
    output, _ = await asyncio.wait_for(replay.communicate(), 400)
    chaos.cancel()
    await asyncio.gather(chaos, return_exceptions=True)
    assert replay.returncode == 0
    assert set(killed) == set(KILLED), "the replay was over before everything had died once"
    summary = json.loads(output)
    return {name: int(summary[name]) for name in ("events", "accepted", "duplicates", "refused")}


async def balances(
    client: httpx.AsyncClient, members: list[str], as_of: datetime | None = None
) -> dict[str, dict[str, str]]:
    """Reads the points of many members over HTTP."""
    found = {}
    for start in range(0, len(members), MEMBERS_A_CALL):
        body = {"memberIds": members[start : start + MEMBERS_A_CALL]}
        if as_of is not None:
            body["asOfTime"] = as_of.isoformat()  # type: ignore[assignment]
        response = await client.post("/v1/members:batchGetBalances", json=body)
        assert response.status_code == 200, response.text
        for member in response.json()["members"]:
            [balance] = member["balances"]
            found[member["memberId"]] = balance
    return found


async def test_replay_survives_everything(survivor: Stack, purchases: Purchases) -> None:
    """Whatever is killed meanwhile, every purchase is paid once in the end, right at every date, and all adds up."""
    summary = await replay_while_killing(survivor)
    again = survivor.run("replay", "purchases", "--json")
    count = sum(len(rows) for rows in purchases.values())

    # An event whose answer was lost is a duplicate when it is sent again.
    assert summary["accepted"] + summary["duplicates"] == summary["events"] == count
    assert summary["refused"] == 0
    assert json.loads(again.stdout)["duplicates"] == count

    members = sorted(purchases)
    async with survivor.client() as client:
        await settled(client, members, purchases)
        for date in DATES:
            available = await balances(client, members, date)
            wrong = [
                (member, date, balance["available"])
                for member, balance in available.items()
                if int(balance["available"]) != sum(p for begin, end, p in purchases[member] if begin <= date < end)
            ]
            assert wrong == []
        for member in random.Random(7).sample(members, SAMPLE):
            date = random.Random(member).choice(DATES)
            response = await client.get(f"/v1/members/{member}/balances", params={"asOfTime": date.isoformat()})
            [balance] = response.json()["balances"]
            expected = sum(points for begin, end, points in purchases[member] if begin <= date < end)
            assert int(balance["available"]) == expected

    checked = survivor.run("check")
    assert checked.returncode == 0, checked.stdout


async def settled(client: httpx.AsyncClient, members: list[str], purchases: Purchases) -> None:
    """Waits until what was left to due work has followed: the life-time sums are those of the file."""
    expected = {member: sum(points for _, _, points in rows) for member, rows in purchases.items()}
    deadline = asyncio.get_running_loop().time() + 90
    while True:
        found = await balances(client, members)
        earned = {member: int(balance["lifetimeEarned"]) for member, balance in found.items()}
        if earned == expected:
            return
        assert asyncio.get_running_loop().time() < deadline, "effects did not follow"
        await asyncio.sleep(1)


def test_a_year_is_a_year(purchases: Purchases) -> None:
    """The file has no purchase for which "a year later" would need a rule."""
    spans = {end - begin for rows in purchases.values() for begin, end, _ in rows}
    assert spans == {timedelta(days=365)}
    assert PURCHASES.is_relative_to(Path(ROOT))
