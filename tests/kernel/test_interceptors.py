"""What happens around every call of every service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf import descriptor_pb2
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from plaudit.feed.v1 import feed_service_pb2

from services.kernel import calls, errors, interceptors, rpc
from tests.support.harness import MINTER, credential
from tests.support.scripted import SCOPE, Scripted, run_scripted
from tests.support.waiting import PATIENCE_S, eventually

GOOD = credential("demo", [SCOPE])
METHODS = ["unary", "stream"]


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    """Runs a server whose methods do what the test says."""
    async with run_scripted() as running:
        yield running


async def call(
    scripted: Scripted, method: str, metadata: Any, *, bad: bool = False, timeout: float | None = None
) -> Any:
    """Calls one of the methods, with a malformed request where `bad` says so."""
    if method == "unary":
        return await scripted.ask(metadata, wait_ms=-1 if bad else 0, timeout=timeout)
    return await scripted.read(metadata, partition=-1 if bad else 0, timeout=timeout)


async def refusal(scripted: Scripted, method: str, metadata: Any, **options: Any) -> errors.DomainError:
    """Gives the refusal of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(scripted, method, metadata, **options)
    return interceptors.from_error(caught.value, dependency="server")


def raising(scripted: Scripted, error: Exception) -> None:
    """Makes both methods raise, the streaming one after its first response."""

    async def unary(_: feed_service_pb2.ListHeadsRequest) -> feed_service_pb2.ListHeadsResponse:
        raise error

    async def stream(_: feed_service_pb2.ReadEventsRequest) -> AsyncIterator[feed_service_pb2.ReadEventsResponse]:
        yield feed_service_pb2.ReadEventsResponse(through_position=1)
        raise error

    scripted.servicer.unary, scripted.servicer.stream = unary, stream


def hanging(scripted: Scripted) -> "list[str]":
    """Makes both methods wait for ever; tells what became of them."""
    fate: list[str] = []

    async def hang() -> None:
        fate.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            fate.append("ended")

    async def unary(_: feed_service_pb2.ListHeadsRequest) -> feed_service_pb2.ListHeadsResponse:
        await hang()
        raise AssertionError("It waits for ever.")

    async def stream(_: feed_service_pb2.ReadEventsRequest) -> AsyncIterator[feed_service_pb2.ReadEventsResponse]:
        yield feed_service_pb2.ReadEventsResponse(through_position=1)
        await hang()

    scripted.servicer.unary, scripted.servicer.stream = unary, stream
    return fate


async def lines(logged: list[Any]) -> list[dict[str, Any]]:
    """Waits for the canonical lines that were logged, at least one, and gives them."""
    found: list[dict[str, Any]] = await eventually(lambda: [line for line in logged if line["event"] == "rpc"])
    return found


@pytest.mark.parametrize("method", METHODS)
async def test_refusals_have_an_order(scripted: Scripted, method: str) -> None:
    """Draining hides a bad credential, which hides a missing scope, which hides a malformed field."""
    scripted.server._drain.draining = True
    assert (await refusal(scripted, method, [], bad=True)).reason == "DRAINING"
    scripted.server._drain.draining = False
    assert (await refusal(scripted, method, [], bad=True)).reason == "CREDENTIAL_INVALID"
    missing = await refusal(scripted, method, credential("demo", ["ledger.read"]), bad=True)
    assert (missing.reason, missing.metadata) == ("SCOPE_MISSING", {"scope": SCOPE})
    malformed = await refusal(scripted, method, GOOD, bad=True)
    field = "waitMs" if method == "unary" else "partition"
    assert (malformed.reason, [each.field for each in malformed.violations]) == ("FIELD_INVALID", [field])
    assert await call(scripted, method, GOOD)


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic dXNlcjpwYXNz")],
        [("authorization", GOOD[0][1].removeprefix("Bearer "))],
        [("authorization", "Bearer garbage")],
        [("authorization", GOOD[0][1][:-2])],
        [("authorization", GOOD[0][1] + "A")],
        [("authorization", "Bearer " + "W1tb" * 1000 + ".e30.x")],
    ],
    ids=["none", "empty", "word", "blank", "basic", "bare", "garbage", "cut", "longer", "deep"],
)
async def test_call_without_good_credential_is_refused(scripted: Scripted, metadata: Any) -> None:
    """Whatever is no good credential is UNAUTHENTICATED, and no method is reached."""
    reached = hanging(scripted)
    found = await refusal(scripted, "unary", metadata)

    assert (found.code, found.reason) == (errors.Code.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert reached == []


async def test_word_bearer_is_read_in_any_case(scripted: Scripted) -> None:
    """The scheme of a credential is read in any case, as RFC 9110 says."""
    answer = await scripted.ask([("authorization", GOOD[0][1].replace("Bearer", "bEARER"))])

    assert answer is not None


@pytest.mark.parametrize("method", METHODS)
async def test_broken_method_hides_details(scripted: Scripted, method: str) -> None:
    """What breaks inside is INTERNAL with a correlation id and not a word more; the log has the rest under that id."""
    raising(scripted, ValueError("hunter2"))
    with structlog.testing.capture_logs() as logged:
        found = await refusal(scripted, method, [*GOOD, (calls.CORRELATION_HEADER, "given-1")])
        unnamed = await refusal(scripted, method, GOOD)

    assert (found.code, found.reason, found.metadata) == (
        errors.Code.INTERNAL,
        "INVARIANT_BROKEN",
        {"correlationId": "given-1"},
    )
    assert "hunter2" not in found.message
    assert unnamed.metadata["correlationId"] not in ("", "given-1")
    traces = [line for line in logged if line["event"] == "rpc_failed"]
    assert [str(line["exc_info"]) for line in traces] == ["hunter2"] * 2
    assert {line["code"] for line in await lines(logged)} == {"INTERNAL"}


async def test_broken_assertion_hides_details(scripted: Scripted) -> None:
    """A broken invariant is told like any other fault of ours."""
    raising(scripted, AssertionError("L4 of m1"))

    assert "m1" not in (await refusal(scripted, "unary", GOOD)).message


@pytest.mark.parametrize("method", METHODS)
async def test_refusal_arrives_as_it_was_raised(scripted: Scripted, method: str) -> None:
    """A refusal of a method reaches the caller whole: code, reason, domain, metadata, fields and when to come back."""
    raised = errors.DomainError(
        errors.Code.FAILED_PRECONDITION,
        "INSUFFICIENT_BALANCE",
        "Zu wenig übrig: 40 < 100.",
        domain="ledger.plaudit",
        metadata={"available": "40", "requested": "100"},
        violations=(errors.Violation("hold.amount", "is too much"), errors.Violation("é", "ü")),
        retry_after_s=1.25,
    )
    raising(scripted, raised)

    assert vars(await refusal(scripted, method, GOOD)) == vars(raised)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(
    code=st.sampled_from(list(errors.Code)),
    texts=st.lists(TEXTS, min_size=3, max_size=3),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    violations=st.lists(st.builds(errors.Violation, TEXTS, TEXTS), max_size=3),
    retry_ms=st.none() | st.integers(0, 10**7),
)
def test_refusal_survives_status(
    code: errors.Code,
    texts: list[str],
    metadata: dict[str, str],
    violations: list[errors.Violation],
    retry_ms: int | None,
) -> None:
    """Any refusal comes back from its status as it was."""
    reason, message, domain = texts
    retry_after_s = None if retry_ms is None else retry_ms / 1000
    raised = errors.DomainError(code, reason, message, domain, metadata, tuple(violations), retry_after_s)
    status = interceptors.to_status(raised)
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), trailer)

    assert status.code == code_pb2.Code.Value(code.value)
    assert vars(interceptors.from_error(error, dependency="server")) == vars(raised)


@pytest.mark.parametrize("field", ["f" * 2000, "é" * 1000, "例" * 700], ids=["ascii", "latin", "wide"])
async def test_refusal_of_any_size_arrives(scripted: Scripted, field: str) -> None:
    """However much there is to say of fields, the refusal arrives with its reason and the first of them."""
    raising(scripted, errors.field_invalid(*[errors.Violation(field[:300], "must not contain NUL")] * 20))
    found = await refusal(scripted, "unary", GOOD)

    assert (found.code, found.reason) == (errors.Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert found.violations[0].field == field[:300]


def test_error_without_details_is_told_by_its_code() -> None:
    """An error that no service of ours made is the dependency being away, but for a deadline."""

    def told(code: grpc.StatusCode) -> str:
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())
        return interceptors.from_error(error, dependency="ledger").reason

    assert told(grpc.StatusCode.UNAVAILABLE) == told(grpc.StatusCode.UNKNOWN) == "DEPENDENCY_UNAVAILABLE"
    assert told(grpc.StatusCode.DEADLINE_EXCEEDED) == "DEADLINE_EXCEEDED"


def test_error_with_unknown_code_is_no_accident() -> None:
    """A status of a code that our services never send is the dependency's fault and not ours."""
    status = interceptors.to_status(errors.draining())
    status.code = code_pb2.Code.DATA_LOSS
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.DATA_LOSS, grpc.aio.Metadata(), trailer)

    assert interceptors.from_error(error, dependency="ledger").reason == "DEPENDENCY_UNAVAILABLE"


@pytest.mark.parametrize("method", METHODS)
async def test_deadline_of_the_caller_ends_the_method(scripted: Scripted, method: str) -> None:
    """When the caller's time is up it is told so, and the method does not go on behind its back."""
    fate = hanging(scripted)
    with structlog.testing.capture_logs() as logged:
        found = await refusal(scripted, method, GOOD, timeout=0.1)
        await eventually(lambda: fate == ["began", "ended"])
        [line] = await lines(logged)

    assert (found.code, found.reason) == (errors.Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert line["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("timeout", [None, PATIENCE_S])
@pytest.mark.parametrize("method", METHODS)
async def test_default_deadline_bounds_every_call(
    scripted: Scripted, method: str, timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call without a deadline, or with one too far away, ends at ours with a refusal of the kernel."""
    monkeypatch.setattr(interceptors, "DEADLINE_MAX_S", 0.05)
    fate = hanging(scripted)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(scripted, method, GOOD, timeout=timeout)

    found = interceptors.from_error(caught.value, dependency="server")
    assert (found.reason, found.domain) == ("DEADLINE_EXCEEDED", errors.KERNEL_DOMAIN)
    assert caught.value.trailing_metadata()
    assert fate == ["began", "ended"]


@pytest.mark.parametrize("method", METHODS)
async def test_caller_that_goes_away_ends_the_method(scripted: Scripted, method: str) -> None:
    """When a caller cancels, its method is cancelled, and the line of the call says so."""
    fate = hanging(scripted)
    with structlog.testing.capture_logs() as logged:
        task = asyncio.create_task(call(scripted, method, GOOD))
        await eventually(lambda: fate)
        task.cancel()
        await eventually(lambda: fate == ["began", "ended"])
        [line] = await lines(logged)

    assert (line["code"], line["reason"]) == ("CANCELLED", "")


@pytest.mark.parametrize("method", METHODS)
async def test_canonical_line_tells_every_call(scripted: Scripted, method: str) -> None:
    """Each call has one line with its method, program, code, reason and duration, and no credential in it."""
    with structlog.testing.capture_logs() as logged:
        await call(scripted, method, GOOD)
        await refusal(scripted, method, GOOD, bad=True)
        await refusal(scripted, method, [])
        await eventually(lambda: len([line for line in logged if line["event"] == "rpc"]) == 3)
        told = await lines(logged)

    name = "ListHeads" if method == "unary" else "ReadEvents"
    assert [(line["program"], line["code"], line["reason"]) for line in told] == [
        ("demo", "OK", ""),
        ("demo", "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("", "UNAUTHENTICATED", "CREDENTIAL_INVALID"),
    ]
    assert {line["method"] for line in told} == {f"/plaudit.feed.v1.FeedService/{name}"}
    assert all(line["duration_ms"] >= 0 for line in told)
    assert GOOD[0][1].removeprefix("Bearer ") not in str(logged)


async def test_method_knows_its_call(scripted: Scripted) -> None:
    """A method finds who calls, for which program and under which correlation id, each call its own."""
    seen = []

    async def unary(_: feed_service_pb2.ListHeadsRequest) -> feed_service_pb2.ListHeadsResponse:
        await asyncio.sleep(0)
        seen.append(calls.current())
        return feed_service_pb2.ListHeadsResponse()

    scripted.servicer.unary = unary
    await asyncio.gather(
        *(
            scripted.ask([*credential(f"p{number}", [SCOPE]), (calls.CORRELATION_HEADER, f"c{number}" * 30)])
            for number in range(20)
        )
    )

    assert {(each.program_id, each.correlation_id) for each in seen} == {
        (f"p{number}", (f"c{number}" * 30)[: calls.CORRELATION_LENGTH_MAX]) for number in range(20)
    }


async def test_only_a_service_chooses_its_program(scripted: Scripted) -> None:
    """The program of a token stands; only a service's token may name another with each call."""
    seen = []

    async def unary(_: feed_service_pb2.ListHeadsRequest) -> feed_service_pb2.ListHeadsResponse:
        seen.append(calls.current().program_id)
        return feed_service_pb2.ListHeadsResponse()

    scripted.servicer.unary = unary
    for program in ("demo", "*"):
        await scripted.ask([*credential(program, [SCOPE]), (calls.PROGRAM_HEADER, "chosen")])
    found = await refusal(scripted, "unary", credential("*", [SCOPE]))

    assert seen == ["demo", "chosen"]
    assert (found.reason, found.violations[0].field) == ("FIELD_INVALID", calls.PROGRAM_HEADER)


async def test_health_and_reflection_are_open(scripted: Scripted) -> None:
    """Probes and tools need no credential, and find what is served."""
    health = health_pb2_grpc.HealthStub(scripted.channel)
    for service in ("", "plaudit.feed.v1.FeedService"):
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(scripted.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    responses = [response async for response in reflection.ServerReflectionInfo(iter([request]))]
    assert "plaudit.feed.v1.FeedService" in {each.name for each in responses[0].list_services_response.service}
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="plaudit.feed.v1.FeedService")
    [described] = [response async for response in reflection.ServerReflectionInfo(iter([request]))]
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in described.file_descriptor_response.file_descriptor_proto
    ]
    assert files[0].name == "plaudit/feed/v1/feed_service.proto"


async def send(method: Any, wire: bytes) -> None:
    """Sends bytes to a method, and reads its answer to the end."""
    response = method(wire, metadata=GOOD)
    if isinstance(response, grpc.aio.UnaryStreamCall):
        async for _ in response:
            continue
    else:
        await response


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_bytes_that_are_no_request_are_refused(scripted: Scripted, kind: str) -> None:
    """Bytes that are no message, or a text that is no UTF-8, are the caller's fault and told as such."""
    method = "/plaudit.feed.v1.FeedService/" + ("ListHeads" if kind == "unary_unary" else "ReadEvents")
    for wire in (b"\xff\xff\xff", b"\x08", b"\x22\x02\xff\xfe" if kind == "unary_stream" else b"\x0f"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(getattr(scripted.channel, kind)(method), wire)
        found = interceptors.from_error(caught.value, dependency="server")
        assert (found.code, found.reason) == (errors.Code.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_method_that_does_not_exist_is_told(scripted: Scripted) -> None:
    """A method that nobody serves is UNIMPLEMENTED, with or without a credential."""
    unknown: Any = scripted.channel.unary_unary("/plaudit.feed.v1.FeedService/Nothing")
    for metadata in ([], GOOD):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unknown(b"", metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_service_credential_is_renewed() -> None:
    """A service's own credential is kept while it is good, and carries the correlation id of the call under way."""
    identity = rpc.ServiceIdentity(MINTER, service="test", scopes=[SCOPE])
    first, second = dict(identity.metadata("demo")), dict(identity.metadata("other"))

    assert first["authorization"] == second["authorization"]
    assert (first[calls.PROGRAM_HEADER], second[calls.PROGRAM_HEADER]) == ("demo", "other")
    assert calls.CORRELATION_HEADER not in first
