"""The whole flow while everything dies around it: the same result, and nothing twice."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from services.devstack.catalogue import SERVICES
from tests.support.chaos import SERVERS, kill_everything
from tests.support.journey import Journey, assert_becomes
from tests.support.stack import Stack, run_stack

JOURNEYS = 6
ROUNDS = 2
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


async def test_flow_survives_everything(survivor: Stack) -> None:
    """Whatever is killed and emptied meanwhile, each pair ends where it would have, and all adds up."""
    killed: list[str] = []
    async with survivor.client() as client, httpx.AsyncClient(base_url=survivor.url, timeout=30) as outside:
        journeys = [Journey(client, outside, str(number)) for number in range(JOURNEYS)]
        await journeys[0].define()
        chaos = asyncio.create_task(kill_everything(survivor, KILLED, killed, rounds=ROUNDS, calm_s=(0.3, 1.2)))
        await asyncio.gather(
            *(go_through(journey, is_refunded=number % 2 == 1) for number, journey in enumerate(journeys))
        )
        await chaos
        for number, journey in enumerate(journeys):
            await assert_becomes(journey.credits, [(0, 0), (0, 0)] if number % 2 else [(500, 0), (200, 0)])
            assert await journey.stars() == (75, 0)
            await assert_becomes(lambda one=journey: has_ended(one), True)  # type: ignore[misc]
            await assert_told_once(journey)

    assert set(killed) == set(KILLED)
    checked = survivor.run("check")
    assert checked.returncode == 0, checked.stdout
