"""Referrals over gRPC: proto to operation to proto, nothing else."""

from typing import Any

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.referral.v1 import (
    link_service_pb2,
    link_service_pb2_grpc,
    referral_service_pb2,
    referral_service_pb2_grpc,
)

from services.kernel import calls, errors, etags, feed_rpc, rpc, times
from services.kernel.interceptors import Authenticate
from services.referral import convert, masks, model
from services.referral.operations import links, programs, referrals, reviews
from services.referral.operations.context import Context
from services.referral.operations.links import Links

ReviewRequest = referral_service_pb2.ApproveReferralRequest | referral_service_pb2.RejectReferralRequest


class ReferralServicer(referral_service_pb2_grpc.ReferralServiceServicer):
    """Serves `plaudit.referral.v1.ReferralService`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def CreateReferralProgram(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.CreateReferralProgramRequest, context: Any
    ) -> referral_service_pb2.CreateReferralProgramResponse:
        """Creates a referral program."""
        del context
        made, replayed = await programs.create_program(
            self._context, calls.current().program_id, convert.program(request.referral_program), request.request_id
        )
        return referral_service_pb2.CreateReferralProgramResponse(
            referral_program=convert.program_to_proto(made), replayed=replayed
        )

    async def UpdateReferralProgram(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.UpdateReferralProgramRequest, context: Any
    ) -> referral_service_pb2.UpdateReferralProgramResponse:
        """Changes a referral program."""
        del context
        given = request.referral_program
        if not given.referral_program_id:
            raise errors.field_invalid(errors.Violation("referralProgram.referralProgramId", "is required"))
        paths = masks.paths(request.update_mask, given)
        made, replayed = await programs.update_program(
            self._context,
            calls.current().program_id,
            given.referral_program_id,
            change=lambda current: masks.changed_program(current, given, paths),
            content=masks.content(given, paths),
            expected_version=etags.read(given.etag),
            request_id=request.request_id,
        )
        return referral_service_pb2.UpdateReferralProgramResponse(
            referral_program=convert.program_to_proto(made), replayed=replayed
        )

    async def GetReferralProgram(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.GetReferralProgramRequest, context: Any
    ) -> referral_service_pb2.GetReferralProgramResponse:
        """Tells a referral program."""
        del context
        found = await programs.get_program(
            self._context, calls.current().program_id, request.referral_program_id, request.version or None
        )
        return referral_service_pb2.GetReferralProgramResponse(referral_program=convert.program_to_proto(found))

    async def ListReferralPrograms(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.ListReferralProgramsRequest, context: Any
    ) -> referral_service_pb2.ListReferralProgramsResponse:
        """Lists referral programs."""
        del context
        found, token = await programs.list_programs(
            self._context, calls.current().program_id, page_size=request.page_size, page_token=request.page_token
        )
        return referral_service_pb2.ListReferralProgramsResponse(
            referral_programs=[convert.program_to_proto(each) for each in found], next_page_token=token
        )

    async def CreateReferralCode(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.CreateReferralCodeRequest, context: Any
    ) -> referral_service_pb2.CreateReferralCodeResponse:
        """Gives a member a code."""
        del context
        made, replayed = await links.create_code(
            self._context,
            calls.current().program_id,
            member_id=request.member_id,
            referral_program_id=request.referral_program_id,
            vanity_code=request.vanity_code,
            request_id=request.request_id,
        )
        return referral_service_pb2.CreateReferralCodeResponse(
            referral_code=convert.code_to_proto(made), replayed=replayed
        )

    async def ListReferralCodes(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.ListReferralCodesRequest, context: Any
    ) -> referral_service_pb2.ListReferralCodesResponse:
        """Lists a member's codes."""
        del context
        found, token = await links.list_codes(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return referral_service_pb2.ListReferralCodesResponse(
            referral_codes=[convert.code_to_proto(each) for each in found], next_page_token=token
        )

    async def ListReferrals(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.ListReferralsRequest, context: Any
    ) -> referral_service_pb2.ListReferralsResponse:
        """Lists referrals."""
        del context
        found, token = await referrals.list_referrals(
            self._context,
            calls.current().program_id,
            state=convert.state(request.state),
            decision=convert.decision(request.decision),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return referral_service_pb2.ListReferralsResponse(
            referrals=[convert.referral_to_proto(*each) for each in found], next_page_token=token
        )

    async def ListMemberReferrals(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.ListMemberReferralsRequest, context: Any
    ) -> referral_service_pb2.ListMemberReferralsResponse:
        """Lists the referrals of a referrer."""
        del context
        found, token = await referrals.list_of_member(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return referral_service_pb2.ListMemberReferralsResponse(
            referrals=[convert.referral_to_proto(*each) for each in found], next_page_token=token
        )

    async def GetReferral(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.GetReferralRequest, context: Any
    ) -> referral_service_pb2.GetReferralResponse:
        """Tells a referral."""
        del context
        found = await referrals.get_referral(self._context, calls.current().program_id, request.referral_id)
        return referral_service_pb2.GetReferralResponse(referral=convert.referral_to_proto(*found))

    async def ApproveReferral(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.ApproveReferralRequest, context: Any
    ) -> referral_service_pb2.ApproveReferralResponse:
        """Approves a referral."""
        del context
        reviewed, replayed = await self._review(request, is_approved=True)
        return referral_service_pb2.ApproveReferralResponse(
            referral=convert.referral_to_proto(*reviewed), replayed=replayed
        )

    async def RejectReferral(  # noqa: N802 - the contract's name
        self, request: referral_service_pb2.RejectReferralRequest, context: Any
    ) -> referral_service_pb2.RejectReferralResponse:
        """Rejects a referral."""
        del context
        reviewed, replayed = await self._review(request, is_approved=False)
        return referral_service_pb2.RejectReferralResponse(
            referral=convert.referral_to_proto(*reviewed), replayed=replayed
        )

    async def _review(self, request: ReviewRequest, *, is_approved: bool) -> tuple[referrals.Reviewed, bool]:
        subject = calls.current().caller.subject
        review = model.Review(is_approved, request.reason, request.actor, subject, times.EPOCH)
        return await reviews.review_referral(
            self._context,
            calls.current().program_id,
            request.referral_id,
            review,
            expected_version=etags.read(request.etag),
            request_id=request.request_id,
        )


class LinkServicer(link_service_pb2_grpc.LinkServiceServicer):
    """Serves `plaudit.referral.v1.LinkService`."""

    def __init__(self, following: Links) -> None:
        self._links = following

    async def FollowLink(  # noqa: N802 - the contract's name
        self, request: link_service_pb2.FollowLinkRequest, context: Any
    ) -> link_service_pb2.FollowLinkResponse:
        """Says where a link leads, and counts the click."""
        del context
        program_id, followed = await self._links.follow(
            request.code,
            client_ip=request.client_ip,
            user_agent=request.user_agent,
            headers_only=request.headers_only,
        )
        return link_service_pb2.FollowLinkResponse(
            location=followed.location, counted=followed.is_counted, program_id=program_id
        )


def build_server(context: Context, following: Links, authenticate: Authenticate) -> rpc.Server:
    """Makes the server of referrals, links and their feed."""

    def register(server: grpc.aio.Server) -> None:
        referral_service_pb2_grpc.add_ReferralServiceServicer_to_server(ReferralServicer(context), server)
        link_service_pb2_grpc.add_LinkServiceServicer_to_server(LinkServicer(following), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(context.pool), server)

    files = [referral_service_pb2.DESCRIPTOR, link_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR]
    return rpc.Server(files=files, authenticate=authenticate, register=register)
