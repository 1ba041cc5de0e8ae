"""An event becomes a decision, a delivery, an attempt and a mail; and a message in the inbox."""

import email
import email.policy
from datetime import timedelta
from typing import Any

from google.protobuf.struct_pb2 import Struct
from plaudit.notify.v1 import delivery_service_pb2, notify_pb2

from tests.support.notify import NotifyHarness, outcomes, recorded, states
from tests.support.refusals import refusal

BOTH = [notify_pb2.CHANNEL_EMAIL, notify_pb2.CHANNEL_INBOX]


async def prepare(notify: NotifyHarness, **trigger: Any) -> None:
    """Says how the program writes, publishes a template and makes a trigger for a member who has an address."""
    await notify.settings()
    await notify.template()
    await notify.trigger(**trigger)
    await notify.member()


async def test_send_follows_an_event(notify: NotifyHarness) -> None:
    """An event that a trigger looks at is decided, sent once by mail, and each step of it is told."""
    await prepare(notify)
    await notify.happen(event_id="e1")
    await notify.work()
    [delivery] = await notify.list_deliveries()
    [decision] = await notify.list_decisions()

    assert [mail.recipient for mail in notify.outbox.mails] == ["m1@people.example"]
    assert states([delivery]) == [("SENT", "")]
    assert (decision.cause_type, decision.cause_id, decision.delivery_id) == (
        "report.generated",
        "e1",
        delivery.delivery_id,
    )
    assert [(each.number, each.outcome, each.code) for each in delivery.attempts] == [
        (1, notify_pb2.ATTEMPT_OUTCOME_ACCEPTED, 250)
    ]


async def test_send_goes_into_the_inbox(notify: NotifyHarness) -> None:
    """A message by both channels is decided for each, and the one in the inbox has its place there."""
    await prepare(notify, channels=BOTH)
    await notify.happen()
    await notify.happen()
    await notify.work()
    found = await notify.inbox()

    assert [(each.position, each.title, each.body) for each in found] == [
        (2, "News", "There is news."),
        (1, "News", "There is news."),
    ]
    assert len(notify.outbox.mails) == 2
    assert outcomes(await notify.list_decisions()) == [("SEND", "")] * 4


async def test_text_that_fails_fails_its_own_channel(notify: NotifyHarness) -> None:
    """A mail that does not fit what happened is not sent and says so; the inbox, whose texts do, gets its own."""
    await prepare(notify, channels=BOTH)
    texts = notify_pb2.TemplateLocale(
        locale="en", subject="News", title="News", body="There is news.", text="{{ event.properties.pages }} pages"
    )
    sample = Struct()
    sample.update({"event": {"properties": {"pages": 3}}})
    await notify.template(locales=[texts], sample=sample)
    await notify.happen()
    await notify.work()
    found = {each.channel: state for each in await notify.list_deliveries() for state in states([each])}

    assert found == {
        notify_pb2.CHANNEL_EMAIL: ("FAILED", "RENDER_FAILED"),
        notify_pb2.CHANNEL_INBOX: ("SENT", ""),
    }
    assert [each.body for each in await notify.inbox()] == ["There is news."]
    assert not notify.outbox.mails


async def test_mail_has_what_receivers_ask_for(notify: NotifyHarness) -> None:
    """A mail has both parts, its Message-ID, and the way out of it in one click, as RFC 8058 wants it."""
    await prepare(notify)
    await notify.happen()
    await notify.work()
    message = email.message_from_bytes(notify.outbox.mails[0].content, policy=email.policy.default)
    [delivery] = await notify.list_deliveries()

    assert message["Message-ID"] == f"<{delivery.delivery_id}@acme.example>"
    assert message["List-Unsubscribe"].startswith("<https://loyalty.example/u/")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (message["To"], message["Auto-Submitted"]) == ("M1 <m1@people.example>", "auto-generated")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert not any(part.defects for part in message.walk())


async def test_decide_once_for_each_cause(notify: NotifyHarness) -> None:
    """The same event told again, as after a replay of a feed, decides and sends nothing new."""
    await prepare(notify)
    same = recorded("e1", "report.generated", "m1", at=notify.time.value)
    await notify.tell(("m1", same), ("m1", same))
    await notify.tell(("m1", same))
    await notify.work()

    assert len(notify.outbox.mails) == len(await notify.list_decisions()) == 1


async def test_history_sets_nothing_off(notify: NotifyHarness) -> None:
    """An event that is older than two days is counted, and sends nothing."""
    await prepare(notify, condition='member.counts["report.generated"] == 2')
    await notify.happen(at=notify.time.value - timedelta(days=3))
    await notify.work()
    before = list(notify.outbox.mails)
    await notify.happen()
    await notify.work()

    assert (len(before), len(notify.outbox.mails)) == (0, 1)


async def test_condition_looks_at_the_event_and_the_member(notify: NotifyHarness) -> None:
    """A trigger matches where its condition is true of the event, the member and the counts at that moment."""
    condition = 'event.properties.pages > 10 && member.attributes.plan == "pro" && member.month_counts["doc"] >= 1'
    await prepare(notify, condition=condition)
    await notify.happen(pages=20)
    await notify.happen("doc")
    await notify.member(attributes={"plan": "pro"})
    await notify.happen(pages=5)
    await notify.happen(event_id="match", pages=20)
    await notify.work()

    assert [each.cause_id for each in await notify.list_decisions()] == ["match"]


async def test_once_per_sends_once(notify: NotifyHarness) -> None:
    """A trigger that sends once for each value of an expression sends once for it, whatever else happens."""
    await prepare(notify, once_per="event.properties.survey")
    for survey in ("a", "a", "b"):
        await notify.happen(survey=survey)
    await notify.work()

    assert len(notify.outbox.mails) == 2


async def test_gather_makes_one_message(notify: NotifyHarness) -> None:
    """Causes within the time of a trigger that gathers become one message, which knows how many they were."""
    await prepare(notify, gather_minutes=60)
    for _ in range(3):
        await notify.happen()
    await notify.work()
    waiting = list(notify.outbox.mails)
    notify.time.value += timedelta(minutes=61)
    await notify.work()
    await notify.happen()
    [later, first] = await notify.list_deliveries()

    assert (waiting, len(notify.outbox.mails)) == ([], 1)
    assert (first.cause_count, later.cause_count) == (3, 1)


async def test_delay_waits_and_looks_again(notify: NotifyHarness) -> None:
    """A delayed message is sent after its time where what it rests on is true still, and else says that it is not."""
    await prepare(notify, delay_minutes=60, still='!("report.shared" in member.counts)')
    await notify.member("m2")
    await notify.happen()
    await notify.happen(member_id="m2")
    await notify.happen("report.shared", "m2")
    notify.time.value += timedelta(minutes=61)
    await notify.work()

    assert [mail.recipient for mail in notify.outbox.mails] == ["m1@people.example"]
    assert states(await notify.list_deliveries("m2")) == [("CANCELLED", "NO_LONGER_TRUE")]


async def test_welcome_comes_with_the_address(notify: NotifyHarness) -> None:
    """A member becomes reachable once: when an address is known for the first time."""
    await notify.settings()
    await notify.template()
    await notify.trigger(on_event=notify_pb2.OnEvent(type="member.reachable"), once_per="member.member_id")
    await notify.member(email="")
    await notify.member()
    await notify.member(email="new@people.example")
    await notify.work()

    assert [mail.recipient for mail in notify.outbox.mails] == ["new@people.example"]


async def test_echo_is_no_cause(notify: NotifyHarness) -> None:
    """What the program records of another feed under its name is no cause beside what that feed tells itself."""
    await prepare(notify, on_event=notify_pb2.OnEvent(type="gamification.level_reached"))
    await notify.happen("gamification.level_reached")

    assert await notify.list_decisions() == []


async def test_programs_do_not_see_each_other(notify: NotifyHarness) -> None:
    """What one program sends is not there for another one, by list or by id."""
    await prepare(notify)
    await notify.happen()
    [delivery] = await notify.list_deliveries()
    request = delivery_service_pb2.GetDeliveryRequest(delivery_id=delivery.delivery_id)
    refused = await refusal(notify.deliveries.GetDelivery(request, metadata=notify.metadata("other")))

    assert refused.reason == "DELIVERY_NOT_FOUND"
    assert await notify.list_deliveries(program="other") == await notify.list_decisions(program="other") == []
