"""The program over gRPC: proto to operation to proto, nothing else."""

from typing import Any

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.program.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    program_pb2,
    program_service_pb2,
    program_service_pb2_grpc,
)

from services.kernel import calls, errors, etags, feed_rpc, fields, rpc, times, tokens
from services.kernel.interceptors import Authenticate
from services.program import convert, masks, model
from services.program.operations import members, redemptions, rewards, rules, settlements
from services.program.operations.access import KEY_PREFIX, Access
from services.program.operations.context import Context
from services.program.operations.events import Events, Outcome

TOKEN_LIFETIME_S = 300


class ProgramServicer(program_service_pb2_grpc.ProgramServiceServicer):
    """Serves `plaudit.program.v1.ProgramService`."""

    def __init__(self, context: Context, events: Events) -> None:
        self._context = context
        self._events = events

    async def RecordEvents(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.RecordEventsRequest, context: Any
    ) -> program_service_pb2.RecordEventsResponse:
        """Judges malformed events here and records the others; answers in their order."""
        del context
        refused: dict[int, program_pb2.EventResult] = {}
        violations: list[errors.Violation] = []
        well_formed: list[model.Event] = []
        for index, message in enumerate(request.events):
            found = fields.violations(message)
            if found:
                violations += [errors.Violation(f"events[{index}].{each.field}", each.message) for each in found]
                refused[index] = convert.refused_event(message.event_id, errors.field_invalid(*found))
            else:
                well_formed.append(convert.event(message))
        if not well_formed:
            raise errors.field_invalid(*violations[: fields.VIOLATIONS_MAX])
        outcomes = await self._events.record(calls.current().program_id, well_formed)
        judged = iter(_result(event, outcome) for event, outcome in zip(well_formed, outcomes, strict=True))
        return program_service_pb2.RecordEventsResponse(
            results=[refused.get(index) or next(judged) for index in range(len(request.events))]
        )

    async def GetEvent(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetEventRequest, context: Any
    ) -> program_service_pb2.GetEventResponse:
        """Explains an event."""
        del context
        recorded, versions = await self._events.get(calls.current().program_id, request.event_id)
        return program_service_pb2.GetEventResponse(
            event=convert.event_to_proto(recorded.event),
            record_time=times.to_proto(recorded.recorded_at),
            decisions=[
                convert.decision_to_proto(
                    decision, versions[decision.rule_id, decision.rule_version], recorded.effect_state(decision)
                )
                for decision in recorded.decisions
            ],
            confirm_time=convert.settle_time(recorded.confirmed),
            take_back_time=convert.settle_time(recorded.taken_back),
            take_back_reason=recorded.taken_back.reason if recorded.taken_back else "",
        )

    async def ConfirmEvent(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.ConfirmEventRequest, context: Any
    ) -> program_service_pb2.ConfirmEventResponse:
        """Confirms an event."""
        del context
        wanted = settlements.Wanted(request.event_id, model.Settling.CONFIRM)
        recorded = await settlements.settle(self._context, calls.current().program_id, wanted)
        return program_service_pb2.ConfirmEventResponse(
            effects=convert.effects_to_proto(recorded), confirm_time=convert.settle_time(recorded.confirmed)
        )

    async def TakeBackEvent(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.TakeBackEventRequest, context: Any
    ) -> program_service_pb2.TakeBackEventResponse:
        """Takes back what an event gave."""
        del context
        wanted = settlements.Wanted(request.event_id, model.Settling.TAKE_BACK, request.reason)
        recorded = await settlements.settle(self._context, calls.current().program_id, wanted)
        return program_service_pb2.TakeBackEventResponse(
            effects=convert.effects_to_proto(recorded), take_back_time=convert.settle_time(recorded.taken_back)
        )

    async def UpdateMember(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.UpdateMemberRequest, context: Any
    ) -> program_service_pb2.UpdateMemberResponse:
        """Creates or replaces a member."""
        del context
        expected = etags.read(request.member.etag)
        wanted = convert.member(request.member)
        stored = await members.update_member(self._context, calls.current().program_id, wanted, expected)
        return program_service_pb2.UpdateMemberResponse(member=convert.member_to_proto(stored))

    async def GetMember(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetMemberRequest, context: Any
    ) -> program_service_pb2.GetMemberResponse:
        """Tells a member."""
        del context
        stored = await members.get_member(self._context, calls.current().program_id, request.member_id)
        return program_service_pb2.GetMemberResponse(member=convert.member_to_proto(stored))

    async def ListRules(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.ListRulesRequest, context: Any
    ) -> program_service_pb2.ListRulesResponse:
        """Lists rules."""
        del context
        found, token = await rules.list_rules(
            self._context, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return program_service_pb2.ListRulesResponse(
            rules=[convert.rule_to_proto(rule) for rule in found], next_page_token=token
        )

    async def GetRule(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetRuleRequest, context: Any
    ) -> program_service_pb2.GetRuleResponse:
        """Tells a rule."""
        del context
        rule = await rules.get_rule(self._context, calls.current().program_id, request.rule_id, request.version or None)
        return program_service_pb2.GetRuleResponse(rule=convert.rule_to_proto(rule))

    async def CreateRule(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.CreateRuleRequest, context: Any
    ) -> program_service_pb2.CreateRuleResponse:
        """Creates a rule."""
        del context
        rule, replayed = await rules.create_rule(
            self._context, calls.current().program_id, convert.rule(request.rule), request.request_id
        )
        return program_service_pb2.CreateRuleResponse(rule=convert.rule_to_proto(rule), replayed=replayed)

    async def UpdateRule(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.UpdateRuleRequest, context: Any
    ) -> program_service_pb2.UpdateRuleResponse:
        """Changes a rule."""
        del context
        if not request.rule.rule_id:
            raise errors.field_invalid(errors.Violation("rule.ruleId", "is required"))
        paths = masks.paths(request.update_mask, request.rule)
        rule, replayed = await rules.update_rule(
            self._context,
            calls.current().program_id,
            request.rule.rule_id,
            change=lambda current: masks.changed_rule(current, request.rule, paths),
            content=masks.content(request.rule, paths),
            expected_version=etags.read(request.rule.etag),
            request_id=request.request_id,
        )
        return program_service_pb2.UpdateRuleResponse(rule=convert.rule_to_proto(rule), replayed=replayed)

    async def GetEarningTable(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetEarningTableRequest, context: Any
    ) -> program_service_pb2.GetEarningTableResponse:
        """Tells what members can earn with."""
        del request, context
        live = await rules.get_earning_table(self._context, calls.current().program_id)
        return program_service_pb2.GetEarningTableResponse(rows=[convert.earning_row(rule) for rule in live])

    async def CreateReward(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.CreateRewardRequest, context: Any
    ) -> program_service_pb2.CreateRewardResponse:
        """Creates a reward."""
        del context
        wanted, codes = convert.reward(request.reward), list(request.reward.codes)
        reward, replayed = await rewards.create_reward(
            self._context, calls.current().program_id, wanted, codes, request.request_id
        )
        return program_service_pb2.CreateRewardResponse(reward=convert.reward_to_proto(reward), replayed=replayed)

    async def GetReward(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetRewardRequest, context: Any
    ) -> program_service_pb2.GetRewardResponse:
        """Tells a reward."""
        del context
        reward = await rewards.get_reward(self._context, calls.current().program_id, request.reward_id)
        return program_service_pb2.GetRewardResponse(reward=convert.reward_to_proto(reward))

    async def ListRewards(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.ListRewardsRequest, context: Any
    ) -> program_service_pb2.ListRewardsResponse:
        """Lists rewards."""
        del context
        found, token = await rewards.list_rewards(
            self._context, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return program_service_pb2.ListRewardsResponse(
            rewards=[convert.reward_to_proto(reward) for reward in found], next_page_token=token
        )

    async def UploadCodes(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.UploadCodesRequest, context: Any
    ) -> program_service_pb2.UploadCodesResponse:
        """Adds codes to a pool."""
        del context
        added, known = await rewards.upload_codes(
            self._context, calls.current().program_id, request.reward_id, request.codes
        )
        return program_service_pb2.UploadCodesResponse(added_count=added, known_count=known)

    async def CreateRedemption(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.CreateRedemptionRequest, context: Any
    ) -> program_service_pb2.CreateRedemptionResponse:
        """Redeems a reward."""
        del context
        redemption, replayed = await redemptions.create_redemption(
            self._context,
            calls.current().program_id,
            member_id=request.member_id,
            reward_id=request.reward_id,
            request_id=request.request_id,
        )
        return program_service_pb2.CreateRedemptionResponse(
            redemption=convert.redemption_to_proto(redemption), replayed=replayed
        )

    async def GetRedemption(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.GetRedemptionRequest, context: Any
    ) -> program_service_pb2.GetRedemptionResponse:
        """Tells a redemption."""
        del context
        redemption = await redemptions.get_redemption(
            self._context, calls.current().program_id, request.member_id, request.redemption_id
        )
        return program_service_pb2.GetRedemptionResponse(redemption=convert.redemption_to_proto(redemption))

    async def ListRedemptions(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.ListRedemptionsRequest, context: Any
    ) -> program_service_pb2.ListRedemptionsResponse:
        """Lists redemptions."""
        del context
        found, token = await redemptions.list_redemptions(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return program_service_pb2.ListRedemptionsResponse(
            redemptions=[convert.redemption_to_proto(each) for each in found], next_page_token=token
        )

    async def CancelRedemption(  # noqa: N802 - the contract's name
        self, request: program_service_pb2.CancelRedemptionRequest, context: Any
    ) -> program_service_pb2.CancelRedemptionResponse:
        """Cancels a redemption."""
        del context
        redemption = await redemptions.cancel_redemption(
            self._context, calls.current().program_id, request.member_id, request.redemption_id
        )
        return program_service_pb2.CancelRedemptionResponse(redemption=convert.redemption_to_proto(redemption))


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Serves `plaudit.program.v1.AccessService`."""

    def __init__(self, access: Access, minter: tokens.Minter) -> None:
        self._access = access
        self._minter = minter

    async def CreateProgram(  # noqa: N802 - the contract's name
        self, request: access_service_pb2.CreateProgramRequest, context: Any
    ) -> access_service_pb2.CreateProgramResponse:
        """Creates a program."""
        del context
        program, replayed = await self._access.create_program(convert.program(request.program))
        return access_service_pb2.CreateProgramResponse(program=convert.program_to_proto(program), replayed=replayed)

    async def CreateApiKey(  # noqa: N802 - the contract's name
        self, request: access_service_pb2.CreateApiKeyRequest, context: Any
    ) -> access_service_pb2.CreateApiKeyResponse:
        """Makes a key."""
        del context
        api_key, key_id = await self._access.create_api_key(
            request.program_id, list(request.scopes), request.display_name
        )
        return access_service_pb2.CreateApiKeyResponse(api_key=api_key, key_id=key_id)

    async def RevokeApiKey(  # noqa: N802 - the contract's name
        self, request: access_service_pb2.RevokeApiKeyRequest, context: Any
    ) -> access_service_pb2.RevokeApiKeyResponse:
        """Revokes a key."""
        del context
        await self._access.revoke_api_key(request.key_id)
        return access_service_pb2.RevokeApiKeyResponse()

    async def CreateToken(  # noqa: N802 - the contract's name
        self, request: access_service_pb2.CreateTokenRequest, context: Any
    ) -> access_service_pb2.CreateTokenResponse:
        """Trades the caller's key for a token with the same rights, but that of getting another one."""
        del request, context
        caller = calls.current().caller
        token = self._minter.mint(
            subject=caller.subject,
            program_id=calls.current().program_id,
            scopes=sorted(caller.scopes - {"token.create"}),
            lifetime_s=TOKEN_LIFETIME_S,
        )
        response = access_service_pb2.CreateTokenResponse(
            token=token, program_id=calls.current().program_id, key_id=caller.subject.removeprefix("key:")
        )
        response.expire_time.GetCurrentTime()
        response.expire_time.seconds += TOKEN_LIFETIME_S
        return response


def key_authenticator(access: Access, verifier: tokens.Verifier) -> Authenticate:
    """Makes the check of the program service, which takes API keys too."""

    async def authenticate(credential: str) -> tokens.Caller:
        if credential.startswith(f"{KEY_PREFIX}_"):
            return await access.authenticate(credential)
        return verifier.verify(credential)

    return authenticate


def build_server(context: Context, events: Events, *, minter: tokens.Minter, verifier: tokens.Verifier) -> rpc.Server:
    """Makes the server of the program, its access and its feed."""
    access = Access(context)

    def register(server: grpc.aio.Server) -> None:
        program_service_pb2_grpc.add_ProgramServiceServicer_to_server(ProgramServicer(context, events), server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(access, minter), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(context.pool), server)

    files = [program_service_pb2.DESCRIPTOR, access_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR]
    return rpc.Server(files=files, authenticate=key_authenticator(access, verifier), register=register)


def _result(event: model.Event, outcome: Outcome) -> program_pb2.EventResult:
    if outcome.refusal is not None:
        return convert.refused_event(event.event_id, outcome.refusal)
    assert outcome.recorded is not None, "An outcome is recorded or refused."
    return convert.recorded_event(outcome.recorded, is_duplicate=outcome.is_duplicate)
