"""Attempts: what is sent twice, and what never is, whoever dies."""

import asyncio
from datetime import timedelta
from typing import Any

from plaudit.notify.v1 import notify_pb2

from services.kernel import due
from services.notify import ports
from services.notify.model import AttemptOutcome
from services.notify.operations.deciding import DELIVER
from services.notify.operations.sending import Sender
from services.notify.ports import Handover
from tests.support.notify import NotifyHarness, states

AWAY = Handover(AttemptOutcome.DEFERRED, 421, "4.3.2 come back")
UNKNOWN = Handover(AttemptOutcome.UNKNOWN, 0, "the connection broke")


async def prepare(notify: NotifyHarness, **trigger: Any) -> None:
    """Makes a trigger for a member who has an address, and sets it off."""
    await notify.settings()
    await notify.template()
    await notify.trigger(**trigger)
    await notify.member()
    await notify.happen()


def message_ids(notify: NotifyHarness) -> set[bytes]:
    """Lists the ids of the mails that were handed over."""
    return {mail.content.split(b"Message-ID: ")[1].split(b"\r\n")[0] for mail in notify.outbox.mails}


async def attempts(notify: NotifyHarness) -> list[str]:
    """Tells how the attempts of the newest delivery ended."""
    [delivery] = await notify.list_deliveries()
    return [notify_pb2.AttemptOutcome.Name(each.outcome).removeprefix("ATTEMPT_OUTCOME_") for each in delivery.attempts]


async def test_deferred_mail_is_tried_again(notify: NotifyHarness) -> None:
    """A mail that the server defers goes later, under the same Message-ID, each attempt kept."""
    await prepare(notify)
    notify.outbox.answers = [AWAY, AWAY]
    for _ in range(3):
        await notify.work()
        notify.time.value += timedelta(minutes=2)

    assert len(notify.outbox.mails) == 3
    assert len(message_ids(notify)) == 1
    assert await attempts(notify) == ["DEFERRED", "DEFERRED", "ACCEPTED"]


async def test_mail_is_given_up_at_last(notify: NotifyHarness) -> None:
    """A mail that no server takes in twelve attempts ends as failed, and says so."""
    await prepare(notify)
    notify.outbox.answers = [AWAY] * 20
    for _ in range(14):
        await notify.work()
        notify.time.value += timedelta(hours=2)

    assert len(notify.outbox.mails) == 12
    assert states(await notify.list_deliveries()) == [("FAILED", "GAVE_UP")]


async def test_unknown_outcome_follows_the_policy(notify: NotifyHarness) -> None:
    """An attempt of which nobody knows is kept so, and made once more or not at all, as the trigger says."""
    await prepare(notify, unknown_policy=notify_pb2.UNKNOWN_POLICY_STOP)
    notify.outbox.answers = [UNKNOWN]
    await notify.work()
    notify.time.value += timedelta(hours=1)
    await notify.work()
    stopped = states(await notify.list_deliveries()), await attempts(notify), len(notify.outbox.mails)
    await notify.trigger()
    await notify.happen()
    notify.outbox.answers = [UNKNOWN, UNKNOWN]
    for _ in range(4):
        await notify.work()
        notify.time.value += timedelta(hours=1)

    assert stopped == ([("UNKNOWN", "OUTCOME_UNKNOWN")], ["UNKNOWN"], 1)
    assert states(await notify.list_deliveries())[0] == ("UNKNOWN", "OUTCOME_UNKNOWN")
    assert len(notify.outbox.mails) == 3


async def test_dead_sender_leaves_an_unknown_attempt(notify: NotifyHarness) -> None:
    """A sender that dies between its attempt and its record leaves one that the next one marks as unknown."""
    await prepare(notify)
    notify.outbox.answers = [asyncio.CancelledError()]
    try:
        await notify.work()
    except asyncio.CancelledError:
        died = await attempts(notify)
    notify.time.value += timedelta(seconds=due.LEASE_S + 1)
    await notify.work()

    assert died == ["UNDER_WAY"]
    assert await attempts(notify) == ["UNKNOWN", "ACCEPTED"]
    assert len(message_ids(notify)) == 1


async def test_two_workers_send_once(notify: NotifyHarness) -> None:
    """Workers that drain at the same time send each message once."""
    await prepare(notify)
    for number in range(30):
        await notify.happen(event_id=f"e{number}")
    pool, time = notify.context.pool, notify.time
    await asyncio.gather(*(due.drain_pages(pool, DELIVER, notify.sender.send_page, time) for _ in range(4)))

    assert len(notify.outbox.mails) == len(message_ids(notify)) == 31


async def test_taken_lease_sends_nothing(notify: NotifyHarness) -> None:
    """A sender whose lease ended and was taken by another one sends nothing any more."""
    await prepare(notify)
    items: list[due.DueItem] = []

    async def keep(program_id: str, page: object) -> None:
        del program_id
        items.extend(page)  # type: ignore[arg-type]

    await due.drain_pages(notify.context.pool, DELIVER, keep, notify.time)
    notify.time.value += timedelta(seconds=due.LEASE_S + 1)
    await notify.work()
    await notify.sender.send_page("demo", items[:1])

    assert len(notify.outbox.mails) == 1


async def test_stopped_sender_begins_nothing(notify: NotifyHarness) -> None:
    """A sender that is told to stop begins no attempt any more, and what it leaves goes with the next one."""
    await prepare(notify)
    notify.sender.stop()
    await notify.work()
    before = states(await notify.list_deliveries()), len(notify.outbox.mails)
    notify.time.value += timedelta(seconds=due.LEASE_S + 1)
    again = Sender(notify.context, ports.Outside(notify.outbox, notify.posted, notify.wallet, notify.peers))
    await due.drain_pages(notify.context.pool, DELIVER, again.send_page, notify.time)
    await again.close()

    assert before == ([("WAITING", "")], 0)
    assert len(notify.outbox.mails) == 1


async def test_drain_ends_in_time(notify: NotifyHarness) -> None:
    """A drain whose time is over begins no page, and leaves the rest to the next one."""
    await prepare(notify)
    done = await due.drain_pages(notify.context.pool, DELIVER, notify.sender.send_page, notify.time, within_s=0)

    assert (done, len(notify.outbox.mails)) == (0, 0)
