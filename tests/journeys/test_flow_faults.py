"""The whole flow while everything dies around it: the same result, and nothing twice."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.devstack.catalogue import SERVICES
from tests.support import activity
from tests.support.chaos import SERVERS, kill_everything
from tests.support.journey import Journey, assert_becomes
from tests.support.stack import ROOT, Stack, run_stack

JOURNEYS = 6
ROUNDS = 2
REPLAY_WAIT_S = 300.0
TITLES = (
    "Quelqu’un s’est inscrit par votre lien",
    "Votre filleul est maintenant client",
    "Merci : votre récompense est là",
)
KILLED = ("gateway serve", *(f"{service.name} {role}" for service in SERVICES for role in service.roles), *SERVERS)


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs a stack that is going to be killed piece by piece."""
    with run_stack(tmp_path_factory.mktemp("flow-survivor") / "data") as running:
        yield running


async def go_through(journey: Journey, *, is_refunded: bool) -> None:
    """Goes all the way, and sees it end as it must."""
    await journey.bring()
    await assert_becomes(journey.states, ["SIGNED_UP"])
    await journey.pay()
    await journey.learn(3)
    await assert_becomes(journey.states, ["REWARDED"])
    if is_refunded:
        await journey.refund()
    await assert_becomes(journey.states, ["REVERSED" if is_refunded else "REWARDED"])
    await assert_becomes(journey.credits, [(0, 0), (0, 0)] if is_refunded else [(500, 0), (200, 0)])
    await assert_becomes(journey.level, "builder")
    await assert_becomes(journey.stars, (75, 0))


async def has_ended(journey: Journey) -> bool:
    """Tells whether nothing of what the referrer is to be told is on its way any more."""
    titles = await journey.inbox()
    states = {each["state"] for each in await journey.mail_deliveries()}
    return set(TITLES) <= set(titles) and not states & {"SENDING"}


async def assert_told_once(journey: Journey) -> None:
    """Fails where the referrer was told something twice, but for a mail of which nobody knew whether it had gone."""
    titles = await journey.inbox()
    assert len(titles) == len(set(titles)), titles
    mails = Counter(each["messageId"] for each in await journey.mails())
    for delivery in await journey.mail_deliveries():
        outcomes = Counter(each["outcome"] for each in delivery["attempts"])
        arrived = sum(count for message_id, count in mails.items() if delivery["deliveryId"] in message_id)
        accepted = outcomes["ACCEPTED"]
        assert accepted <= 1
        assert accepted <= arrived <= accepted + outcomes["UNKNOWN"], delivery


async def replay(stack: Stack, path: Path) -> dict[str, Any]:
    """Replays recorded activity into a stack, in small batches, so that there is time for everything to die."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "services.devstack", "replay", "activity", str(path), "--json"],
        *["--data-dir", str(stack.data_dir), "--batch-size", "100", "--in-flight", "2"],
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await asyncio.wait_for(process.communicate(), REPLAY_WAIT_S)
    assert process.returncode == 0
    summary: dict[str, Any] = json.loads(output)
    return summary


async def reached(client: httpx.AsyncClient, actor_id: str) -> activity.Expected:
    """Tells over HTTP what an actor has reached, in the words of the oracle."""
    found = (await client.get(f"/v1/members/{actor_id}/progress")).json()
    daily = next(each for each in found["streaks"] if each["streak"] == "daily")
    week = next(each for each in found["records"] if (each["metric"], each["period"]) == ("contributions", "WEEK"))
    return activity.Expected(
        longest=(daily["longest"], daily["longestStartDate"]),
        last=(daily["last"], daily["lastStartDate"]),
        last_date=daily["lastDate"],
        best_week=(int(week["value"]), week["startDate"]),
        badges={each["badge"]: datetime.fromisoformat(each["awardTime"]) for each in found["badges"]},
    )


async def assert_reached(client: httpx.AsyncClient) -> None:
    """Fails unless every actor has reached what the rows alone say, and stands where they say."""
    expected = activity.expected()

    async def everybody() -> dict[str, activity.Expected]:
        found = await asyncio.gather(*(reached(client, actor_id) for actor_id in expected))
        return dict(zip(expected, found, strict=True))

    async def standings() -> list[tuple[int, str, int]]:
        found = await client.get("/v1/leaderboards/contributors", params={"period": "ALL_TIME", "pageSize": 1000})
        return [(int(each["rank"]), each["memberId"], int(each["value"])) for each in found.json()["standings"]]

    await assert_becomes(standings, activity.standings())
    await assert_becomes(everybody, expected)


async def test_flow_survives_everything(survivor: Stack, tmp_path: Path) -> None:
    """Whatever dies, each pair and everybody of three years of activity, sent twice, end where they must."""
    killed: list[str] = []
    rows = list(activity.rows())
    random.shuffle(rows)
    halves = [activity.write(tmp_path / f"{start}.csv", rows[start::2]) for start in (0, 1)]
    async with survivor.client() as client, httpx.AsyncClient(base_url=survivor.url, timeout=30) as outside:
        journeys = [Journey(client, outside, str(number)) for number in range(JOURNEYS)]
        await journeys[0].define()
        chaos = asyncio.create_task(kill_everything(survivor, KILLED, killed, rounds=ROUNDS, calm_s=(0.3, 1.2)))
        replays = asyncio.gather(*(replay(survivor, half) for half in halves))
        await asyncio.gather(*(go_through(each, is_refunded=number % 2 == 1) for number, each in enumerate(journeys)))
        summaries = await replays
        await chaos
        for number, journey in enumerate(journeys):
            await assert_becomes(journey.credits, [(0, 0), (0, 0)] if number % 2 else [(500, 0), (200, 0)])
            assert await journey.stars() == (75, 0)
            await assert_becomes(lambda one=journey: has_ended(one), True)  # type: ignore[misc]
            await assert_told_once(journey)

        again = await replay(survivor, activity.write(tmp_path / "again.csv", activity.rows()))
        await assert_reached(client)

    assert sum(each["accepted"] + each["duplicates"] for each in summaries) == len(rows) == again["duplicates"]
    assert set(killed) == set(KILLED)
    checked = survivor.run("check")
    assert checked.returncode == 0, checked.stdout
