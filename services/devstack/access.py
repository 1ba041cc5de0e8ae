"""The operator's calls to the services: programs, keys, and the demo's rules and referral programs."""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from plaudit.gamification.v1 import definition_service_pb2_grpc
from plaudit.program.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    program_pb2,
    program_service_pb2,
    program_service_pb2_grpc,
)
from plaudit.referral.v1 import referral_service_pb2, referral_service_pb2_grpc

from services.devstack import messages
from services.devstack.errors import CannotRunError
from services.devstack.readiness import EAGER
from services.kernel.tokens import ANY_PROGRAM, Minter

CALL_WAIT_S = 10.0
TOKEN_LIFETIME_S = 60


class Access:
    """Speaks to the program service at `address` as operator, by the stack's own key.

    Raises CannotRunError, with the service's words, wherever the service does not do what is asked.
    """

    def __init__(self, address: str, token_key: bytes) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=EAGER)
        self._minter = Minter(token_key)
        self._access: Any = access_service_pb2_grpc.AccessServiceStub(self._channel)
        self._program: Any = program_service_pb2_grpc.ProgramServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    def _operator(self) -> tuple[tuple[str, str], ...]:
        token = self._minter.mint(
            subject="devstack", program_id=ANY_PROGRAM, scopes=["operator"], lifetime_s=TOKEN_LIFETIME_S
        )
        return bearer(token)

    async def create_program(self, program: program_pb2.Program) -> None:
        """Creates a program; one that is there with the same content is fine."""
        request = access_service_pb2.CreateProgramRequest(program=program)
        await self._call(self._access.CreateProgram, request, self._operator())

    async def ensure_program(self, program: program_pb2.Program) -> None:
        """Creates a program; one that is there, whatever its content, is fine."""
        request = access_service_pb2.CreateProgramRequest(program=program)
        await self._call(self._access.CreateProgram, request, self._operator(), fine=grpc.StatusCode.ALREADY_EXISTS)

    async def create_api_key(self, program_id: str, display_name: str) -> str:
        """Makes an API key that may do all that a product may."""
        request = access_service_pb2.CreateApiKeyRequest(program_id=program_id, display_name=display_name)
        answer = await self._call(self._access.CreateApiKey, request, self._operator())
        key: str = answer.api_key
        return key

    async def key_works(self, api_key: str) -> bool:
        """Says whether an API key is good for this stack."""
        answer = await self._call(
            self._access.CreateToken,
            access_service_pb2.CreateTokenRequest(),
            bearer(api_key),
            fine=grpc.StatusCode.UNAUTHENTICATED,
        )
        return answer is not None

    async def ensure_rules(self, api_key: str, requests: Iterable[program_service_pb2.CreateRuleRequest]) -> None:
        """Creates rules; those that are there, in whatever version or state, are left alone."""
        for request in requests:
            await self._call(self._program.CreateRule, request, bearer(api_key), fine=grpc.StatusCode.ALREADY_EXISTS)

    async def ensure_referral_programs(
        self,
        address: str,
        program_id: str,
        requests: Iterable[referral_service_pb2.CreateReferralProgramRequest],
    ) -> None:
        """Creates referral programs at the referral service; those that are there are left alone."""
        token = self._minter.mint(
            subject="devstack", program_id=program_id, scopes=["referrals.write"], lifetime_s=TOKEN_LIFETIME_S
        )
        async with grpc.aio.insecure_channel(address, options=EAGER) as channel:
            stub: Any = referral_service_pb2_grpc.ReferralServiceStub(channel)
            for request in requests:
                fine = grpc.StatusCode.ALREADY_EXISTS
                await self._call(stub.CreateReferralProgram, request, bearer(token), fine, service="referral")

    async def ensure_definitions(self, address: str, program_id: str, requests: Iterable[Message]) -> None:
        """Creates what gamification counts and gives; what is there, in whatever version, is left alone."""
        token = self._minter.mint(
            subject="devstack", program_id=program_id, scopes=["gamification.write"], lifetime_s=TOKEN_LIFETIME_S
        )
        async with grpc.aio.insecure_channel(address, options=EAGER) as channel:
            stub: Any = definition_service_pb2_grpc.DefinitionServiceStub(channel)
            for request in requests:
                method = getattr(stub, request.DESCRIPTOR.name.removesuffix("Request"))
                fine = grpc.StatusCode.ALREADY_EXISTS
                await self._call(method, request, bearer(token), fine, service="gamification")

    async def ensure_messages(self, address: str, program_id: str) -> None:
        """Makes the messages of the demo at the notify service; those that are there are left alone."""
        token = self._minter.mint(
            subject="devstack", program_id=program_id, scopes=messages.SETTINGS_SCOPES, lifetime_s=TOKEN_LIFETIME_S
        )
        async with grpc.aio.insecure_channel(address, options=EAGER) as channel:
            await messages.ensure(channel, bearer(token))

    async def _call(
        self,
        method: Any,
        request: Any,
        metadata: tuple[tuple[str, str], ...],
        fine: grpc.StatusCode | None = None,
        service: str = "program",
    ) -> Any:
        """Calls a method; gives None where it ends with the status that is fine too."""
        try:
            return await method(request, metadata=metadata, timeout=CALL_WAIT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() == fine:
                return None
            raise CannotRunError(f"the {service} service refused: {error.details()} ({error.code().name})") from error


def bearer(credential: str) -> tuple[tuple[str, str], ...]:
    """Gives the metadata that carries a credential."""
    return (("authorization", f"Bearer {credential}"),)
