"""Programs and keys: who may do what, and how it ends."""

from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from plaudit.program.v1 import access_service_pb2, program_pb2, program_service_pb2

from services.program.operations.access import PRODUCT_SCOPES
from tests.support.harness import LedgerHarness, credential
from tests.support.program import ProgramHarness
from tests.support.refusals import refusal

OPERATOR = credential("*", ["operator"])


def bearer(token: str) -> list[tuple[str, str]]:
    """Makes the metadata of a credential."""
    return [("authorization", f"Bearer {token}")]


async def make_key(program: ProgramHarness, *scopes: str) -> Any:
    """Makes a key for the tenant `demo`."""
    request = access_service_pb2.CreateApiKeyRequest(program_id="demo", scopes=scopes)
    return await program.access.CreateApiKey(request, metadata=OPERATOR)


async def test_key_speaks_for_its_program_everywhere(program: ProgramHarness, ledger: LedgerHarness) -> None:
    """A key works at the program itself, and its token at every service, for its own program."""
    made = await make_key(program)
    response = await program.access.CreateToken(access_service_pb2.CreateTokenRequest(), metadata=bearer(made.api_key))
    request = ledger_service_pb2.GetBalancesRequest(member_id="m1")
    balances = await ledger.stub.GetBalances(request, metadata=bearer(response.token))
    rules = await program.stub.ListRules(program_service_pb2.ListRulesRequest(), metadata=bearer(made.api_key))

    assert (response.program_id, response.key_id) == ("demo", made.key_id)
    assert balances.balances[0].asset == "points"
    assert list(rules.rules) == []
    stub = ledger_service_pb2_grpc.LedgerServiceStub(ledger.channel)
    assert (await refusal(stub.GetBalances(request, metadata=bearer(made.api_key)))).reason == "CREDENTIAL_INVALID"


async def test_revoked_key_is_refused(program: ProgramHarness) -> None:
    """A revoked key is refused at once where it was revoked; revoking again is fine, an unknown one is told."""
    made = await make_key(program)

    def call() -> Any:
        return program.stub.ListRules(program_service_pb2.ListRulesRequest(), metadata=bearer(made.api_key))

    await call()
    for _ in range(2):
        await program.access.RevokeApiKey(access_service_pb2.RevokeApiKeyRequest(key_id=made.key_id), metadata=OPERATOR)

    assert (await refusal(call())).reason == "CREDENTIAL_INVALID"
    unknown = access_service_pb2.RevokeApiKeyRequest(key_id="nope")
    assert (await refusal(program.access.RevokeApiKey(unknown, metadata=OPERATOR))).reason == "API_KEY_NOT_FOUND"


@pytest.mark.parametrize("change", ["secret", "id", "prefix", "empty", "non-ascii"])
async def test_forged_key_is_refused(program: ProgramHarness, change: str) -> None:
    """A key that differs in any part is refused, and says nothing about which part."""
    made = await make_key(program)
    prefix, key_id, secret = made.api_key.split("_", 2)
    forged = {
        "secret": f"{prefix}_{key_id}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}",
        "id": f"{prefix}_{'0' * len(key_id)}_{secret}",
        "prefix": f"plx_{key_id}_{secret}",
        "empty": "plk_",
        "non-ascii": f"{prefix}_{key_id}_",
    }[change]
    error = await refusal(program.stub.ListRules(program_service_pb2.ListRulesRequest(), metadata=bearer(forged)))

    assert error.reason == "CREDENTIAL_INVALID"


async def test_scopes_of_a_key_bind(program: ProgramHarness) -> None:
    """A key does what its scopes say and nothing else; unknown scopes are refused when it is made."""
    made = await make_key(program, "rules.read", "token.create")
    rule = program_pb2.Rule(rule_id="a", display_name="a", event_type="a.b", amount="1")
    write = program_service_pb2.CreateRuleRequest(rule=rule, request_id="r1")
    error = await refusal(program.stub.CreateRule(write, metadata=bearer(made.api_key)))

    assert (error.reason, error.metadata["scope"]) == ("SCOPE_MISSING", "rules.write")
    assert (await refusal(make_key(program, "everything"))).violations[0].field == "scopes"


async def test_products_cannot_operate(program: ProgramHarness) -> None:
    """No product may make programs or keys, nor post to the ledger by itself."""
    request = access_service_pb2.CreateApiKeyRequest(program_id="demo")
    error = await refusal(program.access.CreateApiKey(request, metadata=program.metadata()))

    assert error.metadata["scope"] == "operator"
    assert not {"operator", "ledger.write"} & set(PRODUCT_SCOPES)


async def test_create_program_is_idempotent(program: ProgramHarness) -> None:
    """The same program again is answered as it is; another content is refused, and so is an unknown one for a key."""
    await program.create()
    changed = access_service_pb2.CreateProgramRequest(
        program=program_pb2.Program(program_id="demo", time_zone="Europe/Paris")
    )
    unknown = access_service_pb2.CreateApiKeyRequest(program_id="nope")

    assert (await refusal(program.access.CreateProgram(changed, metadata=OPERATOR))).reason == "PROGRAM_EXISTS"
    assert (await refusal(program.access.CreateApiKey(unknown, metadata=OPERATOR))).reason == "PROGRAM_NOT_FOUND"
