"""Notify in the test's own process, over real databases, and shorthand for what its tests do."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from plaudit.ledger.v1 import events_pb2 as ledger_events
from plaudit.notify.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    link_service_pb2_grpc,
    message_service_pb2,
    message_service_pb2_grpc,
    notify_pb2,
    trigger_service_pb2,
    trigger_service_pb2_grpc,
)
from plaudit.program.v1 import events_pb2 as program_events
from plaudit.program.v1 import program_pb2

from services.kernel import clock, db, due, feed, rpc, times
from services.notify import causes, ports, server, worker
from services.notify import events as notify_events
from services.notify.model import AttemptOutcome
from services.notify.operations import days
from services.notify.operations.context import Context
from services.notify.operations.deciding import DELIVER
from services.notify.operations.sending import Sender
from services.notify.webhooks import Poster
from tests.conftest import START
from tests.support.feeds import LocalSource
from tests.support.harness import VERIFIER, credential

SCOPES = ("feed.read", "messages.read", "messages.write", "notify.read", "notify.write")
ACCEPTED = ports.Handover(AttemptOutcome.ACCEPTED, 250, "2.0.0 Ok")
PUBLIC_URL = "https://loyalty.example"


@dataclass
class Sent:
    """One mail that was handed over."""

    sender: str
    recipient: str
    content: bytes


@dataclass
class Outbox:
    """Takes mails and answers as the test wants: with what `answers` has next, or well."""

    mails: list[Sent] = field(default_factory=list)
    answers: list[ports.Handover | BaseException] = field(default_factory=list)

    async def send(self, sender: str, recipient: str, content: bytes) -> ports.Handover:
        """Takes one mail."""
        self.mails.append(Sent(sender, recipient, content))
        answer = self.answers.pop(0) if self.answers else ACCEPTED
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Posted:
    """Takes what is posted to endpoints."""

    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[ports.Handover] = field(default_factory=list)

    async def post(self, url: str, headers: dict[str, str], content: bytes) -> ports.Handover:
        """Takes one post."""
        self.posts.append((url, headers, content))
        return self.answers.pop(0) if self.answers else ACCEPTED


@dataclass
class Wallet:
    """Tells what ends of members' value, as the test wants."""

    amounts: dict[str, int] = field(default_factory=dict)

    async def expiring(
        self, program_id: str, member_id: str, asset: str, *, from_at: datetime, until_at: datetime
    ) -> int:
        """Tells what was set for a member."""
        del program_id, asset, from_at, until_at
        return self.amounts.get(member_id, 0)


@dataclass
class Peers:
    """Compares members as the test wants."""

    ahead_percent: int | None = None

    async def compare(self, program_id: str, member_id: str, metric_id: str) -> ports.Comparison | None:
        """Tells what was set."""
        del program_id, member_id, metric_id
        return None if self.ahead_percent is None else ports.Comparison(self.ahead_percent)


@dataclass
class NotifyHarness:
    """A running notify, with a feed of each service that the test writes into its own database of a program."""

    context: Context
    sender: Sender
    time: clock.ManualClock
    feeds: dict[str, db.Pool]
    outbox: Outbox
    posted: Posted
    wallet: Wallet
    peers: Peers
    address: str
    channel: grpc.aio.Channel
    messages: "message_service_pb2_grpc.MessageServiceAsyncStub"
    triggers: "trigger_service_pb2_grpc.TriggerServiceAsyncStub"
    deliveries: "delivery_service_pb2_grpc.DeliveryServiceAsyncStub"
    links: "link_service_pb2_grpc.LinkServiceAsyncStub"

    def metadata(self, program: str = "demo") -> list[tuple[str, str]]:
        """Gives the metadata of a product of a program."""
        return credential(program, SCOPES)

    async def settings(self, program: str = "demo", **values: Any) -> notify_pb2.Settings:
        """Says how a program writes."""
        brand = notify_pb2.Brand(name="Acme", sender_email="hello@acme.example", site_url="https://acme.example")
        request = trigger_service_pb2.UpdateSettingsRequest(settings=notify_pb2.Settings(**{"brand": brand, **values}))
        response = await self.triggers.UpdateSettings(request, metadata=self.metadata(program))
        return response.settings

    async def template(self, template_id: str = "news", *, program: str = "demo", **values: Any) -> notify_pb2.Template:
        """Publishes a template."""
        texts = notify_pb2.TemplateLocale(
            locale="en", subject="News", title="News", body="There is news.", text="There is news."
        )
        template = notify_pb2.Template(
            **{"template_id": template_id, "display_name": template_id, "locales": [texts], **values}
        )
        return await self.publish_template(template, program=program)

    async def publish_template(self, template: notify_pb2.Template, *, program: str = "demo") -> notify_pb2.Template:
        """Publishes a template as it is."""
        request = trigger_service_pb2.UpdateTemplateRequest(template=template, request_id=secrets.token_hex(8))
        return (await self.triggers.UpdateTemplate(request, metadata=self.metadata(program))).template

    async def trigger(self, trigger_id: str = "news", *, program: str = "demo", **values: Any) -> notify_pb2.Trigger:
        """Makes a trigger; by default mail on `report.generated`."""
        trigger = notify_pb2.Trigger(
            **{
                "trigger_id": trigger_id,
                "display_name": trigger_id,
                "template_id": "news",
                "channels": [notify_pb2.CHANNEL_EMAIL],
                "topic": "news",
                **({} if any(name.startswith("on_") for name in values) else {"on_event": on_event()}),
                **values,
            }
        )
        request = trigger_service_pb2.UpdateTriggerRequest(trigger=trigger, request_id=secrets.token_hex(8))
        return (await self.triggers.UpdateTrigger(request, metadata=self.metadata(program))).trigger

    async def tell(self, *messages: tuple[str, Message], service: str = "program", program: str = "demo") -> None:
        """Publishes messages in the feed of a service and has notify follow it."""
        outgoing = [
            feed.Outgoing(member_id, message.DESCRIPTOR.full_name, message.SerializeToString())
            for member_id, message in messages
        ]
        pool, now = self.feeds[service], self.time.value
        await db.transaction(pool, lambda connection: feed.append(connection, program, now, outgoing))
        await self.follow(service)

    async def follow(self, service: str = "program") -> None:
        """Follows a feed to its end."""
        source = LocalSource(self.feeds[service], types=causes.types_of(service))
        follower = worker.build_follower(self.context, service, source)
        while await follower.catch_up(await source.list_heads(0)):
            pass

    async def member(self, member_id: str = "m1", *, program: str = "demo", **values: Any) -> None:
        """Tells of a member, who has an address where nothing else is said."""
        known = {"email": f"{member_id}@people.example", "display_name": member_id.upper(), "etag": "2", **values}
        member = program_pb2.Member(member_id=member_id, create_time=times.to_proto(START), **known)
        await self.tell((member_id, program_events.MemberChanged(member=member)), program=program)

    async def happen(
        self,
        type_: str = "report.generated",
        member_id: str = "m1",
        *,
        event_id: str = "",
        program: str = "demo",
        at: datetime | None = None,
        **properties: Any,
    ) -> None:
        """Tells of an event of the product."""
        event_id = event_id or secrets.token_hex(8)
        message = recorded(event_id, type_, member_id, at=at or self.time.value, **properties)
        await self.tell((member_id, message), program=program)

    async def earn(self, member_id: str, amount: int, expires_at: datetime | None, *, program: str = "demo") -> None:
        """Tells of points that were earned."""
        entry = ledger_events.EntryPosted(
            member_id=member_id,
            asset="points",
            amount=amount,
            balance=amount,
            occur_time=times.to_proto(self.time.value),
            expire_time=times.to_proto(expires_at) if expires_at else None,
        )
        await self.tell((member_id, entry), service="ledger", program=program)

    async def work(self) -> None:
        """Turns the days that have come and sends what is due."""
        await due.drain(self.context.pool, days.TURN_DAY, lambda item: days.turn(self.context, item), self.time)
        await due.drain_pages(self.context.pool, DELIVER, self.sender.send_page, self.time)

    async def list_deliveries(self, member_id: str = "m1", program: str = "demo") -> list[notify_pb2.Delivery]:
        """Lists the deliveries to a member, newest first."""
        request = delivery_service_pb2.ListDeliveriesRequest(member_id=member_id)
        response = await self.deliveries.ListDeliveries(request, metadata=self.metadata(program))
        return list(response.deliveries)

    async def list_decisions(self, member_id: str = "m1", program: str = "demo") -> list[notify_pb2.Decision]:
        """Lists what was decided for a member, newest first."""
        request = delivery_service_pb2.ListDecisionsRequest(member_id=member_id)
        response = await self.deliveries.ListDecisions(request, metadata=self.metadata(program))
        return list(response.decisions)

    async def inbox(self, member_id: str = "m1", program: str = "demo") -> list[notify_pb2.InboxMessage]:
        """Lists a member's inbox, newest first."""
        request = message_service_pb2.ListMessagesRequest(member_id=member_id)
        response = await self.messages.ListMessages(request, metadata=self.metadata(program))
        return list(response.messages)

    async def prefer(self, member_id: str = "m1", **values: Any) -> notify_pb2.Preferences:
        """Says what a member wants."""
        request = message_service_pb2.UpdatePreferencesRequest(
            preferences=notify_pb2.Preferences(member_id=member_id, **values)
        )
        return (await self.messages.UpdatePreferences(request, metadata=self.metadata())).preferences


def on_event(type_: str = "report.generated") -> notify_pb2.OnEvent:
    """Makes the source of a trigger that looks at one type of event."""
    return notify_pb2.OnEvent(type=type_)


def recorded(
    event_id: str, type_: str, member_id: str, *, at: datetime, depth: int = 0, **properties: Any
) -> program_events.EventRecorded:
    """Makes what the program publishes of an event."""
    struct = Struct()
    struct.update(properties)
    event = program_pb2.Event(
        event_id=event_id, type=type_, member_id=member_id, occur_time=times.to_proto(at), properties=struct
    )
    return program_events.EventRecorded(event=event, causation_depth=depth)


def states(deliveries: Sequence[notify_pb2.Delivery]) -> list[tuple[str, str]]:
    """Tells the state and the reason of deliveries."""
    return [
        (notify_pb2.DeliveryState.Name(each.state).removeprefix("DELIVERY_STATE_"), each.reason) for each in deliveries
    ]


def outcomes(decisions: Sequence[notify_pb2.Decision]) -> list[tuple[str, str]]:
    """Tells the outcome and the reason of decisions."""
    return [
        (notify_pb2.DecisionOutcome.Name(each.outcome).removeprefix("DECISION_OUTCOME_"), each.reason)
        for each in decisions
    ]


@asynccontextmanager
async def run_notify(
    dsn: str, time: clock.ManualClock, feeds: dict[str, str], *, outside: ports.Outside | None = None
) -> AsyncIterator[NotifyHarness]:
    """Runs notify over a database until the block ends; `feeds` are databases into which a test writes feeds."""
    pool = await db.create_pool(dsn, service="notify")
    pools = {name: await db.create_pool(each, service=name, size_max=2) for name, each in feeds.items()}

    async def kick(job: str, after_s: float) -> None:
        del job, after_s  # Tests drain by hand.

    context = Context(pool, time, notify_events.encode, kick, bytes(32), bytes(range(32)), PUBLIC_URL)
    outbox, posted, wallet, peers = Outbox(), Posted(), Wallet(), Peers()
    sender = Sender(context, outside or ports.Outside(outbox, posted, wallet, peers))
    poster = Poster()
    served = server.build_server(context, poster, VERIFIER)
    await served.start("127.0.0.1:0")
    address = f"127.0.0.1:{served.port}"
    channel = rpc.channel(address)
    try:
        yield NotifyHarness(
            context,
            sender,
            time,
            pools,
            outbox,
            posted,
            wallet,
            peers,
            address,
            channel,
            message_service_pb2_grpc.MessageServiceStub(channel),
            trigger_service_pb2_grpc.TriggerServiceStub(channel),
            delivery_service_pb2_grpc.DeliveryServiceStub(channel),
            link_service_pb2_grpc.LinkServiceStub(channel),
        )
    finally:
        await channel.close()
        await served.stop(notice_s=0)
        await sender.close()
        await poster.close()
        for each in pools.values():
            await each.close()
        await pool.close()
