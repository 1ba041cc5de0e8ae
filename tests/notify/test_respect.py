"""Unsubscribed, suppressed, capped, quiet: nothing is sent, and the reason is stored."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import given
from plaudit.notify.v1 import delivery_service_pb2, link_service_pb2, message_service_pb2, notify_pb2

from services.notify import links, model, respect
from services.notify.model import AttemptOutcome
from services.notify.ports import Handover
from tests.conftest import START
from tests.support.notify import NotifyHarness, outcomes, states
from tests.support.refusals import refusal

EMAIL = notify_pb2.CHANNEL_EMAIL
NIGHT: dict[str, Any] = {"quiet_from": "22:00", "quiet_until": "07:00"}
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


async def prepare(notify: NotifyHarness, *, caps: list[notify_pb2.FrequencyCap] | None = None, **settings: str) -> None:
    """Says how the program writes, and makes a trigger for a member who has an address."""
    await notify.settings(**settings, caps=caps or [])
    await notify.template()
    await notify.trigger()
    await notify.member()


async def suppress(notify: NotifyHarness, email: str) -> None:
    """Says that an address complained."""
    request = delivery_service_pb2.CreateSuppressionRequest(email=email, reason=notify_pb2.SUPPRESSION_REASON_COMPLAINT)
    await notify.deliveries.CreateSuppression(request, metadata=notify.metadata())


async def test_nothing_goes_where_it_may_not(notify: NotifyHarness) -> None:
    """No address, a suppressed one and a muted topic are each the reason of a decision, and no mail goes."""
    await prepare(notify)
    await notify.member("none", email="")
    await notify.member("muted")
    await suppress(notify, "M1@People.example")
    await notify.prefer("muted", muted=[notify_pb2.Mute(topic="news", channel=EMAIL)])
    for member_id in ("m1", "none", "muted"):
        await notify.happen(member_id=member_id)
    await notify.work()
    told = {name: outcomes(await notify.list_decisions(name)) for name in ("m1", "none", "muted")}

    assert notify.outbox.mails == []
    assert told == {
        "m1": [("NOT_SENT", "SUPPRESSED")],
        "none": [("NOT_SENT", "NO_ADDRESS")],
        "muted": [("NOT_SENT", "UNSUBSCRIBED")],
    }


async def test_needed_mail_goes_to_who_muted_and_not_to_who_bounced(notify: NotifyHarness) -> None:
    """A message that is needed passes preferences, quiet hours and caps, and never a suppressed address."""
    cap = notify_pb2.FrequencyCap(channel=EMAIL, days=1, max_count=1)
    await prepare(notify, caps=[cap], quiet_from="00:00", quiet_until="23:59")
    await notify.trigger(transactional=True)
    await notify.prefer(muted=[notify_pb2.Mute()])
    await notify.happen()
    await notify.happen()
    await notify.work()
    await suppress(notify, "m1@people.example")
    notify.time.value += timedelta(seconds=1)
    await notify.happen()

    assert len(notify.outbox.mails) == 2
    assert outcomes(await notify.list_decisions())[0] == ("NOT_SENT", "SUPPRESSED")


async def test_what_changes_before_sending_counts(notify: NotifyHarness) -> None:
    """Who unsubscribes, is suppressed, or whose trigger is paused between decision and sending gets nothing."""
    await prepare(notify)
    await notify.trigger(delay_minutes=10)
    for member_id in ("m2", "m3"):
        await notify.member(member_id)
        await notify.happen(member_id=member_id)
    await notify.prefer("m2", muted=[notify_pb2.Mute(topic="news")])
    await suppress(notify, "m3@people.example")
    notify.time.value += timedelta(minutes=11)
    await notify.work()
    await notify.happen()
    await notify.trigger(state=notify_pb2.TRIGGER_STATE_PAUSED)
    notify.time.value += timedelta(minutes=11)
    await notify.work()

    assert notify.outbox.mails == []
    assert [states(await notify.list_deliveries(name)) for name in ("m1", "m2", "m3")] == [
        [("CANCELLED", "TRIGGER_PAUSED")],
        [("CANCELLED", "UNSUBSCRIBED")],
        [("CANCELLED", "SUPPRESSED")],
    ]


async def test_mute_without_a_channel_is_told_for_each(notify: NotifyHarness) -> None:
    """Who wants nothing of a topic by whatever channel is told each channel, and muting one of them again adds none."""
    wanted = await notify.prefer(muted=[notify_pb2.Mute(topic="news"), notify_pb2.Mute(topic="news", channel=EMAIL)])

    assert [(each.topic, each.channel) for each in wanted.muted] == [
        ("news", EMAIL),
        ("news", notify_pb2.CHANNEL_INBOX),
        ("news", notify_pb2.CHANNEL_WEBHOOK),
    ]


async def test_quiet_hours_postpone(notify: NotifyHarness) -> None:
    """In the member's quiet hours a mail is postponed to their end in the member's zone, and then sent once."""
    await prepare(notify, **NIGHT)
    await notify.member(time_zone="Asia/Kolkata")
    notify.time.value = START.replace(hour=18)  # 23:30 in Kolkata
    await notify.happen()
    await notify.work()
    waiting = states(await notify.list_deliveries())
    notify.time.value = datetime.fromisoformat("2026-03-02T01:29:00Z")
    await notify.work()
    early = len(notify.outbox.mails)
    notify.time.value = datetime.fromisoformat("2026-03-02T01:30:00Z")
    await notify.work()
    await notify.work()

    assert outcomes(await notify.list_decisions()) == [("POSTPONED", "QUIET_HOURS")]
    assert waiting == [("WAITING", "QUIET_HOURS")]
    assert (early, len(notify.outbox.mails)) == (0, 1)


async def test_late_mail_waits_for_the_morning(notify: NotifyHarness) -> None:
    """What was due by day and is sent by night, since nobody worked, waits for the end of the quiet hours."""
    await prepare(notify, **NIGHT)
    await notify.happen()
    notify.time.value = START.replace(hour=23)
    await notify.work()

    assert notify.outbox.mails == []
    assert states(await notify.list_deliveries()) == [("WAITING", "QUIET_HOURS")]


async def test_cap_lets_the_important_through(notify: NotifyHarness) -> None:
    """Where a cap leaves room for one message the most important goes, the others say why not; tomorrow is new."""
    cap = notify_pb2.FrequencyCap(channel=EMAIL, days=1, max_count=1)
    await prepare(notify, caps=[cap])
    await notify.trigger("low", priority=2)
    await notify.trigger("high", priority=8)
    await notify.happen()
    await notify.work()
    first = {each.trigger_id: each.reason for each in await notify.list_deliveries()}
    notify.time.value += timedelta(days=1)
    await notify.happen()
    await notify.work()

    assert first == {"low": "CAPPED", "news": "CAPPED", "high": ""}
    assert len(notify.outbox.mails) == 2


async def test_cap_keeps_room_for_what_is_to_come(notify: NotifyHarness) -> None:
    """A message does not take the last room of a day from a more important one that waits for later that day."""
    cap = notify_pb2.FrequencyCap(channel=EMAIL, days=1, max_count=1)
    await prepare(notify, caps=[cap])
    await notify.trigger("later", priority=9, clock="18:00", on_event=notify_pb2.OnEvent(type="won"))
    await notify.happen("won")
    await notify.happen()
    await notify.work()
    notify.time.value = START.replace(hour=18)
    await notify.work()

    assert {each.trigger_id: each.reason for each in await notify.list_deliveries()} == {"news": "CAPPED", "later": ""}


async def test_bounce_suppresses(notify: NotifyHarness) -> None:
    """An address that does not exist gets no second mail, and can be let in again."""
    await prepare(notify)
    notify.outbox.answers = [Handover(AttemptOutcome.REFUSED, 550, "5.1.1 unknown", is_gone=True)]
    await notify.happen()
    await notify.work()
    notify.time.value += timedelta(seconds=1)
    await notify.happen()
    request = delivery_service_pb2.DeleteSuppressionRequest(email="m1@people.example")
    deleted = (await notify.deliveries.DeleteSuppression(request, metadata=notify.metadata())).deleted
    notify.time.value += timedelta(seconds=1)
    await notify.happen()
    await notify.work()

    assert states(await notify.list_deliveries()) == [("SENT", ""), ("FAILED", "REFUSED")]
    assert outcomes(await notify.list_decisions())[1] == ("NOT_SENT", "SUPPRESSED")
    assert deleted


async def unsubscribe(notify: NotifyHarness, token: str, **values: Any) -> link_service_pb2.UnsubscribeResponse:
    """Uses a link."""
    metadata = [("authorization", f"Bearer {token}")]
    return await notify.links.Unsubscribe(link_service_pb2.UnsubscribeRequest(**values), metadata=metadata)


async def test_link_unsubscribes_from_its_topic(notify: NotifyHarness) -> None:
    """The link of a mail shows what it is for and changes nothing; used, it mutes the topic of the mail, once."""
    await prepare(notify)
    await notify.happen()
    await notify.work()
    token = notify.outbox.mails[0].content.split(b"/u/")[1].split(b">")[0].decode()
    metadata = [("authorization", f"Bearer {token}")]
    shown = await notify.links.GetLink(link_service_pb2.GetLinkRequest(), metadata=metadata)
    for _ in range(2):
        await unsubscribe(notify, token, one_click=True)
    request = message_service_pb2.GetPreferencesRequest(member_id="m1")
    wanted = (await notify.messages.GetPreferences(request, metadata=notify.metadata())).preferences
    notify.time.value += timedelta(seconds=1)
    await notify.happen()
    changes = await notify.context.pool.fetch("SELECT source FROM preference_changes")

    assert (shown.brand, shown.topic, shown.unsubscribed) == ("Acme", "news", False)
    assert list(wanted.muted) == [notify_pb2.Mute(topic="news", channel=EMAIL)]
    assert outcomes(await notify.list_decisions())[0] == ("NOT_SENT", "UNSUBSCRIBED")
    assert [row["source"] for row in changes] == ["ONE_CLICK"]
    assert b"m1" not in token.encode()


async def test_link_opens_nothing_else(notify: NotifyHarness) -> None:
    """A link that was made up is no credential, and a true one is good for links alone."""
    await prepare(notify)
    await notify.happen()
    await notify.work()
    token = notify.outbox.mails[0].content.split(b"/u/")[1].split(b">")[0].decode()
    forged = links.make(bytes(range(1, 33)), links.Link("demo", respect_id()))
    first = await refusal(unsubscribe(notify, forged))
    second = await refusal(unsubscribe(notify, token[:-1] + ("A" if token[-1] != "A" else "B")))
    request = message_service_pb2.ListMessagesRequest(member_id="m1")
    third = await refusal(notify.messages.ListMessages(request, metadata=[("authorization", f"Bearer {token}")]))

    assert [each.reason for each in (first, second, third)] == [
        "CREDENTIAL_INVALID",
        "CREDENTIAL_INVALID",
        "SCOPE_MISSING",
    ]


def respect_id() -> uuid.UUID:
    """Makes the id of a delivery that was never made."""
    return uuid.UUID(int=7)


@given(
    at=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - the strategy adds the zone
    since=st.integers(0, 1439),
    until=st.integers(0, 1439),
    zone=st.sampled_from(ZONES),
)
def test_quiet_end_is_not_quiet(at: datetime, since: int, until: int, zone: str) -> None:
    """The end of quiet hours lies behind the instant that is in them, within a day and a change of the clock."""
    member = model.Member("m", zone, START)
    standing = respect.Standing(member, model.Preferences("m", quiet=model.Quiet(since, until)), is_suppressed=False)
    end = respect.quiet_end(at, model.Channel.EMAIL, standing, None)

    assert end is None or at < end <= at + timedelta(hours=26)
    assert end is None or respect.quiet_end(end, model.Channel.EMAIL, standing, None) is None
