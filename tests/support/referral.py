"""A running referral service beside a running program, and shorthand for what tests do with it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
from plaudit.program.v1 import program_pb2, program_service_pb2
from plaudit.referral.v1 import (
    events_pb2,
    link_service_pb2,
    link_service_pb2_grpc,
    referral_pb2,
    referral_service_pb2,
    referral_service_pb2_grpc,
)

from services.kernel import clock, db, due, feed, rpc
from services.referral import checks, events, ports, server, worker
from services.referral.clients import CONTRACTS, RemoteMembers
from services.referral.operations.context import CHECK, EXPIRE, SETTLE, Context
from services.referral.operations.links import Links
from tests.support.harness import MINTER, VERIFIER, credential
from tests.support.program import ProgramHarness, event

SCOPES = ("referrals.read", "referrals.write", "feed.read")
KEY = secrets.token_bytes(32)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
LANDING = "https://acme.example/welcome?plan=free"
FRIENDS = "friends"
STATE = "REFERRAL_STATE_"
DECISION = "REFERRAL_DECISION_"


@dataclass
class ReferralHarness:
    """A running referral service: its operations, its stubs, and the program that it follows."""

    context: Context
    links: Links
    members: ports.Members
    source: feed.Source
    program: ProgramHarness
    channel: grpc.aio.Channel
    stub: "referral_service_pb2_grpc.ReferralServiceAsyncStub"
    link_stub: "link_service_pb2_grpc.LinkServiceAsyncStub"
    time: clock.ManualClock
    kicks: list[str] = field(default_factory=list)

    def metadata(self, program: str = "demo") -> list[tuple[str, str]]:
        """Gives the metadata of a product of a program."""
        return credential(program, SCOPES)

    async def create(self, *, program: str = "demo", **values: Any) -> referral_pb2.ReferralProgram:
        """Makes a referral program: the first payment qualifies, and nothing is held back, unless said otherwise."""
        wanted: dict[str, Any] = {
            "referral_program_id": FRIENDS,
            "display_name": "Bring a friend",
            "landing_url": LANDING,
            "qualifying_event_type": "payment.succeeded",
        }
        request = referral_service_pb2.CreateReferralProgramRequest(
            referral_program=referral_pb2.ReferralProgram(**{**wanted, **values}), request_id="create"
        )
        return (await self.stub.CreateReferralProgram(request, metadata=self.metadata(program))).referral_program

    async def code(
        self, member_id: str, vanity: str = "", *, request_id: str = "", program: str = "demo"
    ) -> referral_pb2.ReferralCode:
        """Gives a member a code."""
        request = referral_service_pb2.CreateReferralCodeRequest(
            member_id=member_id,
            referral_program_id=FRIENDS,
            vanity_code=vanity,
            request_id=request_id or f"code-{member_id}-{vanity}",
        )
        return (await self.stub.CreateReferralCode(request, metadata=self.metadata(program))).referral_code

    async def follow_link(
        self, code: referral_pb2.ReferralCode | str, *, ip: str = "", agent: str = BROWSER, head: bool = False
    ) -> link_service_pb2.FollowLinkResponse:
        """Follows a link as the gateway does."""
        text = code if isinstance(code, str) else code.link_path.removeprefix("/r/")
        request = link_service_pb2.FollowLinkRequest(code=text, client_ip=ip, user_agent=agent, headers_only=head)
        metadata = credential("*", ["links.follow"])
        return await self.link_stub.FollowLink(request, metadata=metadata)

    async def click(self, code: referral_pb2.ReferralCode | str, *, ip: str = "") -> str:
        """Clicks on a link as a person does, and gives the click id."""
        return (await self.follow_link(code, ip=ip)).location.rpartition("ref=")[2]

    async def record(self, *recorded: program_pb2.Event, program: str = "demo") -> None:
        """Records events at the program, and takes in what it tells of them."""
        await self.program.record(*recorded, program=program)
        await self.catch_up()

    async def sign_up(self, member_id: str, *, at: datetime | None = None, **properties: Any) -> None:
        """Lets a member sign up."""
        at = at or self.time.value
        await self.record(event(f"sign-up-{member_id}", "user.signed_up", member_id, at=at, **properties))

    async def pay(self, member_id: str, *, at: datetime | None = None, **properties: Any) -> None:
        """Lets a member pay."""
        at = at or self.time.value
        await self.record(event(f"payment-{member_id}", "payment.succeeded", member_id, at=at, **properties))

    async def refund(self, member_id: str, payment: str = "", *, name: str = "") -> None:
        """Takes a member's payment back."""
        properties: dict[str, Any] = {"payment_id": payment or f"payment-{member_id}"}
        name = name or f"refund-{member_id}"
        await self.record(event(name, "payment.refunded", member_id, at=self.time.value, **properties))

    async def address(self, member_id: str, email: str) -> None:
        """Gives a member an e-mail address at the program."""
        request = program_service_pb2.UpdateMemberRequest(member=program_pb2.Member(member_id=member_id, email=email))
        await self.program.stub.UpdateMember(request, metadata=self.program.metadata())
        await self.catch_up()

    async def catch_up(self) -> None:
        """Takes in all that the program has told."""
        follower = worker.build_follower(self.context, self.source, self._kick)
        while await follower.catch_up(await self.source.list_heads(0)):
            pass

    async def _kick(self, job: str, after_s: float) -> None:
        del after_s  # Tests drain by hand.
        self.kicks.append(job)

    async def drain(self, *kinds: str) -> None:
        """Does all that is due, or what is due of some kinds."""
        handlers = worker.handlers(self.context, self.members)
        for kind in kinds or (CHECK, EXPIRE, SETTLE, CHECK):
            await due.drain(self.context.pool, kind, handlers[kind], self.context.time)

    async def listed(self, *, program: str = "demo", **arguments: Any) -> list[referral_pb2.Referral]:
        """Lists referrals, newest first."""
        request = referral_service_pb2.ListReferralsRequest(page_size=1000, **arguments)
        return list((await self.stub.ListReferrals(request, metadata=self.metadata(program))).referrals)

    async def of(self, referee_id: str) -> referral_pb2.Referral:
        """Gives the referral of a referee."""
        [found] = [each for each in await self.listed() if each.referee_id == referee_id]
        return found

    async def state(self, referee_id: str) -> str:
        """Tells where the referral of a referee stands."""
        return told(await self.of(referee_id))

    async def review(
        self, referral: referral_pb2.Referral, verb: str = "Approve", *, request_id: str = "review", **values: Any
    ) -> Any:
        """Approves or rejects a referral."""
        request = getattr(referral_service_pb2, f"{verb}ReferralRequest")(
            **{
                "referral_id": referral.referral_id,
                "reason": "They are colleagues.",
                "actor": "Kim",
                "request_id": request_id,
                **values,
            }
        )
        return await getattr(self.stub, f"{verb}Referral")(request, metadata=self.metadata())

    async def published(self) -> list[events_pb2.ReferralChanged]:
        """Lists what the feed tells, in order."""
        page = await db.read(self.context.pool, lambda c: feed.read_events(c, "demo", 0, 0))
        return [events_pb2.ReferralChanged.FromString(each.payload) for each in page.events]

    async def assert_sound(self) -> None:
        """Compares all that must agree."""
        rows = await checks.check(self.context.pool)
        problems = [f"{row.subject}: {problem}" for row in rows for problem in row.problems]
        assert not problems, problems


def told(referral: referral_pb2.Referral) -> str:
    """Names where a referral stands."""
    return referral_pb2.ReferralState.Name(referral.state).removeprefix(STATE)


def decided(referral: referral_pb2.Referral) -> str:
    """Names what was decided about a referral."""
    return referral_pb2.ReferralDecision.Name(referral.decision).removeprefix(DECISION)


def found(referral: referral_pb2.Referral) -> dict[str, int]:
    """Tells the points of each check that found something."""
    return {finding.check: finding.points for finding in referral.findings}


@asynccontextmanager
async def run_referral(
    dsn: str, time: clock.ManualClock, program: ProgramHarness, program_address: str = ""
) -> AsyncIterator[ReferralHarness]:
    """Runs a referral service over a database and a program until the block ends."""
    pool = await db.create_pool(dsn, service="referral")
    program_channel = rpc.channel(program_address or program.address, CONTRACTS)
    identity = rpc.ServiceIdentity(MINTER, service="referral-work", scopes=("feed.read", "members.read"))
    context = Context(pool, time, events.encode, KEY)
    links = Links(context)
    served = server.build_server(context, links, rpc.token_authenticator(VERIFIER))
    await served.start("127.0.0.1:0")
    channel = rpc.channel(f"127.0.0.1:{served.port}")
    try:
        yield ReferralHarness(
            context,
            links,
            RemoteMembers(program_channel, identity),
            worker.program_feed(program_channel, identity),
            program,
            channel,
            referral_service_pb2_grpc.ReferralServiceStub(channel),
            link_service_pb2_grpc.LinkServiceStub(channel),
            time,
        )
    finally:
        await channel.close()
        await served.stop(notice_s=0)
        await asyncio.gather(links.close(), program_channel.close())
        await pool.close()
