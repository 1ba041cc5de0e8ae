"""The referral service's calls to the program service, over gRPC."""

import grpc
from plaudit.feed.v1 import feed_service_pb2
from plaudit.program.v1 import program_service_pb2, program_service_pb2_grpc

from services.kernel import errors, rpc

# What is called through one channel: the program service itself, and its feed.
CONTRACTS = (program_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR)
CALL_TIMEOUT_S = 5.0


class RemoteMembers:
    """The members behind a channel; implements `ports.Members`."""

    def __init__(self, channel: grpc.aio.Channel, identity: rpc.ServiceIdentity) -> None:
        self._stub = program_service_pb2_grpc.ProgramServiceStub(channel)
        self._identity = identity

    async def email(self, program_id: str, member_id: str) -> str:
        """Tells a member's e-mail address, empty where there is none. Raises DEPENDENCY_UNAVAILABLE."""
        request = program_service_pb2.GetMemberRequest(member_id=member_id)
        call = self._stub.GetMember(request, metadata=self._identity.metadata(program_id), timeout=CALL_TIMEOUT_S)
        try:
            response = await rpc.checked(call, dependency="program")
        except errors.DomainError as error:
            if error.code is errors.Code.NOT_FOUND:
                return ""
            raise
        email: str = response.member.email
        return email
