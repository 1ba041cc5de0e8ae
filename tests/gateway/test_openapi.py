"""The OpenAPI document and the page made from it: valid, complete, and true to what the gateway does."""

import re
import shlex
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from google.protobuf.message_factory import GetMessageClass
from schemathesis.specs.openapi.definitions import OPENAPI_31

from services.gateway import docs, openapi, routes, transcode
from services.gateway.backends import CONTRACTS
from services.gateway.limits import Policy
from services.gateway.pages import CONTENT_SECURITY_POLICY
from tests.gateway import contracts
from tests.gateway.backend import Script

TABLE = routes.build(CONTRACTS)
DOCUMENT: Any = orjson.loads(openapi.render(openapi.document(TABLE, Policy(2000, 4000))))
OPERATIONS = [(path, verb, each) for path, verbs in DOCUMENT["paths"].items() for verb, each in verbs.items()]
IDS = [each["operationId"] for _, _, each in OPERATIONS]
SCHEMAS = DOCUMENT["components"]["schemas"]


def resolved(value: Any) -> Any:
    """Follows a reference."""
    if "$ref" not in value:
        return value
    _, _, kind, name = value["$ref"].split("/")
    return DOCUMENT["components"][kind][name]


def validator(schema: Any) -> Any:
    """Makes a validator of a schema of the document."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_document_is_valid_openapi() -> None:
    """The document is a valid one of OpenAPI 3.1, by the schema of its makers."""
    errors = [error.message for error in jsonschema_rs.Draft202012Validator(OPENAPI_31).iter_errors(DOCUMENT)]
    assert errors == []


def test_document_has_every_route() -> None:
    """Every route is in the document, each under a name of its own."""
    assert {(verb.upper(), path) for path, verb, _ in OPERATIONS} == {
        (each.verb, each.template) for each in TABLE.routes
    }
    assert len(set(IDS)) == len(IDS)


def test_document_resolves_all_references() -> None:
    """Every reference leads somewhere, and every schema is referred to."""
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', orjson.dumps(DOCUMENT).decode()))
    assert used == set(SCHEMAS)
    for reference in set(re.findall(r'"(#/components/[^"]+)"', orjson.dumps(DOCUMENT).decode())):
        assert resolved({"$ref": reference})


def test_document_describes_everything() -> None:
    """Every operation, parameter and field of the document is described, in the words of the contracts."""
    for _, _, operation in OPERATIONS:
        assert operation["summary"]
        assert f"`{operation['x-required-scope']}`" in operation["description"]
        for parameter in operation["parameters"]:
            assert resolved(parameter)["description"]
    undescribed = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, each in schema["properties"].items()
        if not each.get("description") and name != "Problem"
    ]
    assert undescribed == []


def test_document_speaks_of_fields_as_http_does() -> None:
    """Fields are named in lowerCamelCase, but in expressions, whose variables are those of the contract."""
    assert "Idempotent by `eventId`" in DOCUMENT["paths"]["/v1/events"]["post"]["description"]
    assert "`event_id`" in SCHEMAS["Rule"]["properties"]["condition"]["description"]


def test_document_tells_the_limits() -> None:
    """Limits of the contracts stand in the schemas: lengths, patterns, ranges, numbers of items, values of enums."""
    event = SCHEMAS["Event"]["properties"]
    assert (event["eventId"]["minLength"], event["eventId"]["maxLength"]) == (1, 128)
    assert re.fullmatch(event["type"]["pattern"], "purchase.completed")
    assert not re.fullmatch(event["type"]["pattern"], "Purchase")
    events = SCHEMAS["RecordEventsBody"]["properties"]["events"]
    assert (events["minItems"], events["maxItems"]) == (1, 1000)
    assert SCHEMAS["RecordEventsBody"]["required"] == ["events"]
    months = SCHEMAS["Expiry"]["properties"]["months"]
    assert (months["type"], months["minimum"], months["maximum"]) == ("integer", 0, 1200)
    assert SCHEMAS["EventResult"]["properties"]["status"]["enum"] == ["ACCEPTED", "DUPLICATE", "REFUSED"]
    assert SCHEMAS["Rule"]["required"] == ["ruleId", "displayName", "eventType", "amount"]
    assert SCHEMAS["Rule"]["properties"]["version"]["readOnly"] is True
    assert SCHEMAS["Reward"]["properties"]["codes"]["writeOnly"] is True
    reason = re.compile(SCHEMAS["AdjustBody"]["properties"]["reason"]["pattern"])
    assert [bool(reason.search(text)) for text in ("goodwill", " a\n", " ", "")] == [True, True, False, False]
    (size,) = [each for each in DOCUMENT["paths"]["/v1/rules"]["get"]["parameters"] if each["name"] == "pageSize"]
    assert (size["schema"]["minimum"], size["schema"]["maximum"]) == (0, 2147483647)


def test_document_tells_that_another_path_may_be_met() -> None:
    """Every operation tells of a path that answers to other methods, which an empty name in its own leads to."""
    assert all("405" in each["responses"] for _, _, each in OPERATIONS)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("1", True),
        ("1000000000000", True),
        ("999999999999", True),
        ("0", False),
        ("1000000000001", False),
        ("-1", False),
    ],
)
def test_document_bounds_amounts_in_digits(text: str, matches: bool) -> None:
    """The bounds of an amount hold for the digits that it is written in."""
    cost = SCHEMAS["Reward"]["properties"]["cost"]
    assert cost["type"] == "string"
    assert bool(re.search(cost["pattern"], text)) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("a", True),
        ("a b", True),
        ("é", True),
        ("..a", True),
        ("", False),
        ("a/b", False),
        (" a", False),
        ("..", False),
        ("a\n", False),
    ],
)
def test_document_knows_what_an_id_is(text: str, matches: bool) -> None:
    """The pattern of an id takes and refuses what the check takes and refuses."""
    schema = SCHEMAS["Event"]["properties"]["eventId"]
    assert validator(schema).is_valid(text) is matches


def test_document_closes_what_is_sent() -> None:
    """What is sent takes no unknown fields; what is only received may grow."""
    assert SCHEMAS["Event"]["additionalProperties"] is False
    assert "additionalProperties" not in SCHEMAS["Effect"]


def test_document_leaves_out_what_comes_from_elsewhere() -> None:
    """A body does not ask for what the path and the Idempotency-Key say, and a partial one asks for nothing."""
    assert set(SCHEMAS["CreateRedemptionBody"]["properties"]) == {"rewardId"}
    assert "memberId" not in SCHEMAS["UpdateMemberBody"]["properties"]
    assert "required" not in SCHEMAS["UpdateRuleBody"]
    keys = {
        each["operationId"]: [
            resolved(one)["required"] for one in each["parameters"] if resolved(one)["in"] == "header"
        ]
        for _, _, each in OPERATIONS
    }
    assert keys["createRule"] == [True]
    assert keys["updateRule"] == keys["cancelRedemption"] == [False]
    assert keys["recordEvents"] == keys["getRule"] == []


def test_document_has_new_rpc() -> None:
    """A new rpc is documented from its contract alone."""
    table = routes.build({"test": [contracts.service(Remove=("delete", "/v1/items/{item_id}"))]})
    made = openapi.document(table, Policy(1, 1))
    assert made["paths"]["/v1/items/{itemId}"]["delete"]["operationId"] == "remove"
    assert b"/v1/items/" in docs.page(made)


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS, ids=IDS)
def test_example_keeps_the_schema(path: str, verb: str, operation: Any) -> None:
    """Every example is what its schema says, and what the decoder takes."""
    answer = operation["responses"]["200"]["content"].get("application/json")
    assert answer is not None or path.endswith(":stream")
    if answer is not None:
        assert [error.message for error in validator(answer["schema"]).iter_errors(answer["example"])] == []
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        assert [error.message for error in validator(content["schema"]).iter_errors(content["example"])] == []
        route, _ = TABLE.find(verb.upper(), re.sub(r"\{[^}]+\}", "x", path).encode())
        message = GetMessageClass(route.method.input_type)()
        body = message if route.body == "*" else getattr(message, route.body)
        transcode.from_json(content["example"], body)


@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS, ids=IDS)
def test_curl_of_the_docs_works(
    path: str, verb: str, operation: Any, stranger: httpx.Client, script: Script, api_key: str
) -> None:
    """The command beside each operation, pasted as it is, makes a call that succeeds."""
    command = docs.curl(verb, path, operation, DOCUMENT).replace("\\\n", "")
    words = iter(shlex.split(command.replace("$PLAUDIT_API_KEY", api_key).replace("$PLAUDIT_URL", "http://gateway")))
    method, headers, content, url = "GET", {}, b"", ""
    assert next(words) == "curl"
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            content = next(words).encode()
        else:
            url = word.removeprefix("http://gateway")
    # A stream has no end: its status is all there is to wait for.
    with stranger.stream(method, url, headers=headers, content=content) as response:
        if not url.endswith(":stream") or response.status_code != 200:
            response.read()
        assert response.status_code == 200, response.text
    assert script.seen[-1].method.lower() == operation["operationId"].lower()


class Page(HTMLParser):
    """Collects what matters of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes an element."""
        self.tags.add(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))
            assert not name.startswith("on"), "No scripts, not even small ones."
            assert name != "style", "The policy forbids styles that are written in."

    def handle_endtag(self, tag: str) -> None:
        """Takes its end."""
        assert self.open.pop() == tag


def test_page_is_whole(stranger: httpx.Client) -> None:
    """The page is well formed, its links lead within it or to this gateway, and it runs no scripts."""
    response = stranger.get("/docs")
    page = Page()
    page.feed(response.text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {link for link in page.links if not link.startswith("#")} == {"/docs.css", "/openapi.json"}
    assert "script" not in page.tags
    assert set(IDS) <= set(page.ids)
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert response.headers["x-content-type-options"] == "nosniff"


def test_page_shows_text_as_text() -> None:
    """Whatever stands in a contract is text on the page, never markup."""
    document = openapi.document(TABLE, Policy(1, 1))
    document["info"]["description"] = "<script>alert(1)</script> & `<b>`"
    document["paths"]["/v1/rules"]["get"]["summary"] = '"><img src=x>'
    page = docs.page(document).decode()
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>&lt;b&gt;</code>" in page


def test_document_is_served(stranger: httpx.Client) -> None:
    """The document and the style of the page are served to everybody."""
    assert stranger.get("/openapi.json").json()["openapi"] == "3.1.0"
    style = stranger.get("/docs.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text
    assert "@import" not in style.text
