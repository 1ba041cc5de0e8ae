"""Routes: made from the contracts alone, and found by paths that are not yet decoded."""

import pytest

from services.gateway import routes
from services.gateway.backends import CONTRACTS
from services.gateway.malformed import MalformedError
from services.gateway.routes import MethodNotAllowedError
from services.kernel.errors import DomainError
from tests.gateway import contracts

TABLE = routes.build(CONTRACTS)


def table(**methods: tuple[str, str]) -> routes.Table:
    """Builds the routes of a service that is made up."""
    return routes.build({"test": [contracts.service(**methods)]})


@pytest.mark.parametrize(
    ("verb", "path", "rpc", "values"),
    [
        ("POST", "/v1/events", "RecordEvents", []),
        ("GET", "/v1/events/e-1", "GetEvent", ["e-1"]),
        ("HEAD", "/v1/events/e-1", "GetEvent", ["e-1"]),
        ("PUT", "/v1/members/m-1", "UpdateMember", ["m-1"]),
        ("GET", "/v1/members/m-1/balances", "GetBalances", ["m-1"]),
        ("GET", "/v1/members/a%2Fb/lots", "ListLots", ["a/b"]),
        ("GET", "/v1/members/%C3%A9%20x", "GetMember", ["é x"]),
        ("GET", "/v1/members/a:cancel", "GetMember", ["a:cancel"]),
        ("POST", "/v1/members/m/redemptions/r:cancel", "CancelRedemption", ["m", "r"]),
        ("POST", "/v1/members/m/redemptions/a:b:cancel", "CancelRedemption", ["m", "a:b"]),
        ("GET", "/v1/members/m/redemptions/r%3Acancel", "GetRedemption", ["m", "r:cancel"]),
        ("POST", "/v1/rewards/mug:uploadCodes", "UploadCodes", ["mug"]),
        ("GET", "/v1/members/balances", "GetMember", ["balances"]),
        ("GET", "/v1/members/m:cancel/balances", "GetBalances", ["m:cancel"]),
        ("GET", "/v1/members/a+b", "GetMember", ["a+b"]),
        ("POST", "/v1/members/m-1/adjustments", "Adjust", ["m-1"]),
        ("POST", "/v1/budgets/b-1:fund", "FundBudget", ["b-1"]),
        ("POST", "/v1/budgets/b-1:close", "CloseBudget", ["b-1"]),
        ("GET", "/v1/members/m-1/statement", "ListEntries", ["m-1"]),
        ("GET", "/v1/members/m-1/statement:summarize", "SummarizeStatement", ["m-1"]),
        ("POST", "/v1/lots:unexpire", "UnexpireLots", []),
        ("GET", "/v1/seals:verify", "VerifySeal", []),
        ("GET", "/v1/seals/proof", "GetInclusionProof", []),
        ("GET", "/v1/seals/head", "GetSealHead", []),
        ("GET", "/v1/seals/blocks", "ListSealBlocks", []),
    ],
)
def test_find_knows_path(verb: str, path: str, rpc: str, values: list[str]) -> None:
    """A path finds the rpc of the contract, with the values of its variables decoded."""
    route, found = TABLE.find(verb, path.encode())
    assert (route.method.name, found) == (rpc, values)


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nope",
        "/v1/events/",
        "/v1/events/a/b",
        "/v1//events",
        "/v1/members//balances",
        "/v2/events",
        "/V1/events",
        "/v1/%65vents",
        "/v1/members/m/balances/",
        "v1/events",
        "*",
        "//v1/events",
        "/a" * 5000,
    ],
    ids=lambda path: path[:30],
)
def test_find_refuses_unknown_path(path: str) -> None:
    """A path that no contract names is ROUTE_NOT_FOUND, without a guess at what was meant."""
    with pytest.raises(DomainError) as raised:
        TABLE.find("GET", path.encode())
    assert raised.value.reason == "ROUTE_NOT_FOUND"
    assert len(raised.value.message) < 300


def test_find_names_allowed_methods() -> None:
    """A path under another method says which ones it answers to."""
    with pytest.raises(MethodNotAllowedError) as raised:
        TABLE.find("DELETE", b"/v1/rules")
    assert raised.value.allowed == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize("segment", ["%", "%G0", "%2", "%ff", "%C3", "%ED%A0%80", "a%00%zz"])
def test_find_names_variable_that_cannot_be_decoded(segment: str) -> None:
    """A broken percent escape, or one that is not UTF-8, is refused under the name of the variable."""
    with pytest.raises(MalformedError) as raised:
        TABLE.find("PUT", f"/v1/members/{segment}".encode())
    assert [each.field for each in raised.value.violations] == ["member.memberId"]


def test_build_leaves_internal_rpc_out() -> None:
    """An rpc without a path in its contract has no route."""
    assert [route.method.name for route in table(Open=("get", "/v1/items/{item_id}"), Internal=("", "")).routes] == [
        "Open"
    ]
    assert not {"PostOperations", "CreateToken", "Spend", "ForgetMember"} & {
        route.method.name for route in TABLE.routes
    }


def test_build_shows_new_rpc() -> None:
    """A new rpc with a path has its route from the contract alone, whatever its method and shape."""
    made = table(
        Remove=("delete", "/v1/items/{item_id}"),
        Replace=("put", "/v1/items/{nested.item_id}/parts/{other_id=*}"),
        Act=("post", "/v1/items/{item_id}:act"),
        ActOnAll=("post", "/v1/items:act"),
    )
    assert [(each.verb, each.template) for each in made.routes] == [
        ("DELETE", "/v1/items/{itemId}"),
        ("PUT", "/v1/items/{itemId}/parts/{otherId}"),
        ("POST", "/v1/items/{itemId}:act"),
        ("POST", "/v1/items:act"),
    ]
    assert made.find("POST", b"/v1/items/a:act")[0].method.name == "Act"
    assert made.find("POST", b"/v1/items:act")[0].method.name == "ActOnAll"
    assert [each.path for each in made.routes[1].variables] == ["nested.itemId", "otherId"]


@pytest.mark.parametrize(
    "methods",
    [
        {"Stream": ("post", "/v1/items")},
        {"Tree": ("get", "/v1/items")},
        {"Wide": ("get", "/v1/{item_id=items/**}")},
        {"Unknown": ("get", "/v1/{nope}")},
        {"Deep": ("get", "/v1/{item_id.nope}")},
        {"Message": ("get", "/v1/{nested}")},
        {"Twice": ("get", "/v1/{item_id}/{nested.item_id}")},
        {"First": ("get", "/v1/{item_id}"), "Second": ("get", "/v1/{other_id}")},
    ],
    ids=lambda methods: next(iter(methods)),
)
def test_build_refuses_what_it_cannot_serve(methods: dict[str, tuple[str, str]]) -> None:
    """A contract that the gateway could not keep stops it from starting, and says which part of it."""
    with pytest.raises(AssertionError, match=r"\w"):
        table(**methods)
