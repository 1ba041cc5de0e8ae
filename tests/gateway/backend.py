"""The services behind the gateway, scripted: real gRPC servers with the kernel's guard, answering as tests want.

What real services answer is proved in their own tests and in the journeys; here it is the gateway that is looked at.
"""

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2
from plaudit.program.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    program_pb2,
    program_service_pb2,
    program_service_pb2_grpc,
)
from plaudit.type.v1 import refusal_pb2

from services.gateway import examples, transcode
from services.gateway.backends import CALLED_TOO, CONTRACTS
from services.kernel import calls, errors, fields, ids, rpc, tokens
from services.kernel.errors import Code, DomainError, Violation

PRIVATE_KEY = secrets.token_bytes(32)
MINTER = tokens.Minter(PRIVATE_KEY)
SCOPES = (
    "events.read",
    "events.write",
    "gamification.read",
    "gamification.write",
    "ledger.read",
    "ledger.write",
    "members.read",
    "members.write",
    "messages.read",
    "messages.write",
    "notify.read",
    "notify.write",
    "progress.read",
    "progress.write",
    "redemptions.read",
    "redemptions.write",
    "referrals.read",
    "referrals.write",
    "rewards.read",
    "rewards.write",
    "rules.read",
    "rules.write",
    "token.create",
)
API_KEY = "plk_demo_secret"
OTHER_API_KEY = "plk_other_secret"
READ_ONLY_API_KEY = "plk_reader_secret"
KEYS = {
    API_KEY: tokens.Caller("key:demo", "demo", frozenset(SCOPES), 0.0),
    OTHER_API_KEY: tokens.Caller("key:other", "other", frozenset(SCOPES), 0.0),
    READ_ONLY_API_KEY: tokens.Caller("key:reader", "demo", frozenset({"rules.read", "token.create"}), 0.0),
}
INSTANT_S = 1_770_000_000

Answer = Callable[[Any], Message]


@dataclass
class Seen:
    """One call that reached a service."""

    method: str
    request: Any
    program: str
    correlation_id: str
    time_left_s: float


@dataclass
class Script:
    """What the services answer, and what they saw. `answers` replaces the usual answer of a method by its name."""

    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    # Calls of these methods wait until the test lets them go.
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def reset(self) -> None:
        """Goes back to the usual answers, with nothing seen."""
        self.answers.clear()
        self.seen.clear()
        self.gates.clear()

    def calls_of(self, method: str) -> list[Seen]:
        """Lists the calls of one method."""
        return [each for each in self.seen if each.method == method]

    def last(self, method: str) -> Seen:
        """Gives the newest call of a method."""
        return self.calls_of(method)[-1]

    async def answer(self, method: str, empty: Callable[[], Message], request: Any, context: Any) -> Message:
        """Answers one call; with an empty response where nobody said more."""
        call = calls.current()
        self.seen.append(Seen(method, request, call.program, call.correlation_id, context.time_remaining()))
        if method in self.gates:
            await self.gates[method].wait()
        answer = self.answers.get(method) or USUAL.get(method)
        return answer(request) if answer else empty()

    async def stream(
        self, method: str, empty: Callable[[], Message], request: Any, context: Any
    ) -> AsyncIterator[Message]:
        """Streams one answer, as often as it is asked."""
        yield await self.answer(method, empty, request, context)

    def servicer(self, *files: FileDescriptor) -> Any:
        """Makes an object that has the methods of all services in these contracts."""
        methods = [method for file in files for each in file.services_by_name.values() for method in each.methods]
        handlers = {
            method.name: staticmethod(
                partial(
                    self.stream if method.server_streaming else self.answer,
                    method.name,
                    GetMessageClass(method.output_type),
                )
            )
            for method in methods
        }
        return type("Scripted", (), handlers)()


def refuse(error: DomainError) -> Answer:
    """Makes an answer that is a refusal."""

    def answer(_: Any) -> Message:
        raise error

    return answer


async def authenticate(credential: str) -> tokens.Caller:
    """Knows the keys above, the tokens that were made from them, and the links of mails."""
    if credential.startswith("u_"):
        return tokens.Caller(credential, "demo", frozenset({"link.read", "link.write"}), float("inf"))
    if not credential.startswith("plk_"):
        return tokens.Verifier([MINTER.public_key()]).verify(credential)
    if credential not in KEYS:
        raise errors.credential_invalid("There is no such key.")
    return KEYS[credential]


def token(program_id: str = "demo", *, subject: str = "key:demo", lifetime_s: int = 300) -> str:
    """Makes a token."""
    return MINTER.mint(subject=subject, program_id=program_id, scopes=SCOPES, lifetime_s=lifetime_s)


def program_server(script: Script) -> rpc.Server:
    """Makes the program service."""
    files = [program_service_pb2.DESCRIPTOR, access_service_pb2.DESCRIPTOR]
    servicer = script.servicer(*files)

    def register(server: grpc.aio.Server) -> None:
        program_service_pb2_grpc.add_ProgramServiceServicer_to_server(servicer, server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(servicer, server)

    return rpc.Server(files=files, authenticate=authenticate, register=register)


def scripted_server(script: Script, name: str) -> rpc.Server:
    """Makes a service by its name, with all that the gateway calls of it."""
    files = [*CONTRACTS[name], *CALLED_TOO.get(name, ())]
    servicer = script.servicer(*files)

    def register(server: grpc.aio.Server) -> None:
        for file in files:
            stubs = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
            for name in file.services_by_name:
                getattr(stubs, f"add_{name}Servicer_to_server")(servicer, server)

    return rpc.Server(files=files, authenticate=authenticate, register=register)


def _create_token(_: Any) -> Message:
    caller = calls.current().caller
    scopes = sorted(caller.scopes)
    made = MINTER.mint(subject=caller.subject, program_id=caller.program_id, scopes=scopes, lifetime_s=300)
    return access_service_pb2.CreateTokenResponse(token=made, program_id=caller.program_id, key_id=caller.subject)


def _record_events(request: program_service_pb2.RecordEventsRequest) -> Message:
    faults = [fields.violations(event) for event in request.events]
    if all(faults):
        named = [
            Violation(f"events[{place}].{each.field}", each.message)
            for place, found in enumerate(faults)
            for each in found
        ]
        raise errors.field_invalid(*named[: fields.VIOLATIONS_MAX])
    pairs = zip(request.events, faults, strict=True)
    return program_service_pb2.RecordEventsResponse(results=[_event_result(event, found) for event, found in pairs])


def _event_result(event: program_pb2.Event, found: list[Violation]) -> program_pb2.EventResult:
    if found:
        refusal = refusal_pb2.Refusal(
            reason="FIELD_INVALID",
            message=f"{found[0].field}: {found[0].message}",
            field=found[0].field,
            fields=[each.field for each in found],
        )
        return program_pb2.EventResult(event_id=event.event_id, status=program_pb2.EVENT_STATUS_REFUSED, error=refusal)
    result = program_pb2.EventResult(event_id=event.event_id, status=program_pb2.EVENT_STATUS_ACCEPTED)
    effect = result.effects.add(rule_id="purchase", rule_version=1, member_id=event.member_id, asset="points")
    effect.amount, effect.state = 64, program_pb2.EFFECT_STATE_POSTED
    effect.expire_time.seconds = INSTANT_S
    return result


def _missing(kind: str, resource_id: str) -> None:
    if resource_id == "missing":
        metadata = {f"{kind}Id": resource_id}
        message = f"There is no {kind} {resource_id}."
        raise DomainError(
            Code.NOT_FOUND, f"{kind.upper()}_NOT_FOUND", message, domain="program.plaudit", metadata=metadata
        )


def _get_event(request: program_service_pb2.GetEventRequest) -> Message:
    _missing("event", request.event_id)
    event = program_pb2.Event(event_id=request.event_id, type="purchase.completed", member_id="member-42")
    event.occur_time.seconds = INSTANT_S
    event.properties.update({"amount_cents": 6499, "nested": {"list": [1, "two", None, True]}})
    response = program_service_pb2.GetEventResponse(event=event)
    response.record_time.seconds = INSTANT_S
    decision = response.decisions.add(rule=_rule("purchase"))
    decision.effect.rule_id = "purchase"
    decision.effect.state = program_pb2.EFFECT_STATE_POSTED
    return response


def _get_member(request: program_service_pb2.GetMemberRequest) -> Message:
    _missing("member", request.member_id)
    return program_service_pb2.GetMemberResponse(member=program_pb2.Member(member_id=request.member_id))


def _rule(rule_id: str) -> program_pb2.Rule:
    return program_pb2.Rule(
        rule_id=rule_id,
        version=1,
        display_name="A point for every euro",
        state=program_pb2.RULE_STATE_ACTIVE,
        event_type="purchase.completed",
        amount="event.properties.amount_cents / 100",
        expiry=program_pb2.Expiry(months=12, end=program_pb2.EXPIRY_END_INSTANT),
        caps=[program_pb2.Cap(period=program_pb2.CAP_PERIOD_DAY, max_amount=100)],
    )


def _get_rule(request: program_service_pb2.GetRuleRequest) -> Message:
    _missing("rule", request.rule_id)
    return program_service_pb2.GetRuleResponse(rule=_rule(request.rule_id))


def _live(rule: program_pb2.Rule) -> program_pb2.Rule:
    kept = _rule(rule.rule_id)
    kept.ClearField("caps")
    kept.MergeFrom(rule)
    return kept


def _reward(reward_id: str) -> program_pb2.Reward:
    return program_pb2.Reward(
        reward_id=reward_id, display_name="Coffee mug", cost=500, fulfilment=program_pb2.FULFILMENT_CODE
    )


def _create_reward(request: program_service_pb2.CreateRewardRequest) -> Message:
    made = program_pb2.Reward()
    made.CopyFrom(request.reward)
    made.reward_id = made.reward_id or "chosen"
    made.fulfilment = made.fulfilment or program_pb2.FULFILMENT_CODE
    return program_service_pb2.CreateRewardResponse(reward=made)


def _redemption(request: Any) -> program_pb2.Redemption:
    return program_pb2.Redemption(
        redemption_id=getattr(request, "redemption_id", "") or str(ids.new_id()),
        member_id=request.member_id,
        reward_id="mug",
        state=program_pb2.REDEMPTION_STATE_FULFILLED,
        cost=500,
        code="MUG-1",
    )


def _get_balances(request: ledger_service_pb2.GetBalancesRequest) -> Message:
    del request
    balance = ledger_pb2.Balance(asset="points", available=564, lifetime_earned=564)
    balance.next_expiry.amount = 64
    balance.next_expiry.expire_time.seconds = INSTANT_S
    return ledger_service_pb2.GetBalancesResponse(balances=[balance])


def _as_documented(method: MethodDescriptor) -> Answer:
    """Makes the answer that the documentation shows."""

    def answer(_: Any) -> Message:
        made: Message = GetMessageClass(method.output_type)()
        transcode.from_json(examples.received(method.output_type), made)
        return made

    return answer


USUAL: dict[str, Answer] = {
    **{
        method.name: _as_documented(method)
        for name in ("gamification", "notify", "referral")
        for file in CONTRACTS[name]
        for service in file.services_by_name.values()
        for method in service.methods
    },
    "CreateToken": _create_token,
    "RecordEvents": _record_events,
    "GetEvent": _get_event,
    "UpdateMember": lambda request: program_service_pb2.UpdateMemberResponse(member=request.member),
    "GetMember": _get_member,
    "ListRules": lambda _: program_service_pb2.ListRulesResponse(rules=[_rule("purchase")]),
    "GetRule": _get_rule,
    "CreateRule": lambda request: program_service_pb2.CreateRuleResponse(rule=_live(request.rule)),
    "UpdateRule": lambda request: program_service_pb2.UpdateRuleResponse(rule=_live(request.rule)),
    "GetEarningTable": lambda _: program_service_pb2.GetEarningTableResponse(),
    "CreateReward": _create_reward,
    "GetReward": lambda request: program_service_pb2.GetRewardResponse(reward=_reward(request.reward_id)),
    "ListRewards": lambda _: program_service_pb2.ListRewardsResponse(rewards=[_reward("mug")]),
    "UploadCodes": lambda request: program_service_pb2.UploadCodesResponse(added_count=len(request.codes)),
    "CreateRedemption": lambda request: program_service_pb2.CreateRedemptionResponse(redemption=_redemption(request)),
    "GetRedemption": lambda request: program_service_pb2.GetRedemptionResponse(redemption=_redemption(request)),
    "ListRedemptions": lambda _: program_service_pb2.ListRedemptionsResponse(),
    "CancelRedemption": lambda request: program_service_pb2.CancelRedemptionResponse(redemption=_redemption(request)),
    "GetBalances": _get_balances,
    "BatchGetBalances": lambda request: ledger_service_pb2.BatchGetBalancesResponse(
        members=[ledger_pb2.MemberBalances(member_id=each) for each in request.member_ids]
    ),
    "ListEntries": lambda _: ledger_service_pb2.ListEntriesResponse(),
    "ListLots": lambda _: ledger_service_pb2.ListLotsResponse(),
}
