"""What the journal keeps of what was asked tells no member, and yet tells another member's request from the first."""

from collections.abc import Awaitable, Callable

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import requests
from services.ledger import convert, fingerprints, model
from tests.conftest import START
from tests.ledger.test_forgetting import forget
from tests.ledger.test_repeats import CASES
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.budgets import set_rate
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import adjust, earn, exchange, expire, hold, spend, unexpire
from tests.support.outcomes import happen, reasons
from tests.support.tables import dump

# Of every action that names a member: how it is asked of one, once the member has points and a lot that has ended.
OF_MEMBER: dict[str, Callable[[str], ledger_pb2.Operation]] = {
    "earn": lambda member: earn("earn", member, 50, cause=ledger_pb2.Cause(event_id="purchase")),
    "spend": lambda member: spend("spend", member, 5),
    "hold": lambda member: hold("hold", member, 5),
    "adjust": lambda member: adjust("adjust", member, 5),
    "exchange": lambda member: exchange("exchange", member, 10),
    "unexpire": lambda member: unexpire("unexpire", member, since=START, until=START + YEAR),
    "expire": lambda member: expire("expire", member),
}
CANDIDATES = [f"user-{number}" for number in range(1000)]
MEMBER, OTHER = "user-471", "user-815"
ACTIONS = pytest.mark.parametrize("action", OF_MEMBER)
Rewrite = Callable[..., Awaitable[None]]


async def prepare(ledger: LedgerHarness, member: str = MEMBER, *, program: str = "demo") -> None:
    """Gives a member what every operation of `OF_MEMBER` needs."""
    await set_rate(ledger, 1, 10, program=program)
    results = await ledger.post(
        earn("gone", member, 9), expire("end", member), earn("first", member, 100), program=program
    )
    assert set(reasons(results)) == {""}


def old_form(operation: ledger_pb2.Operation) -> bytes:
    """Makes the fingerprint that earlier versions stored: of all fields, the member's included."""
    item = convert.operation(operation)
    return requests.fingerprint({"kind": item.kind.value, **item.content})


@pytest.fixture
def make_old(databases: Databases, ledger_database: str) -> Rewrite:
    """Lets a test have operations in the journal as earlier versions wrote them."""

    async def rewrite(*operations: ledger_pb2.Operation) -> None:
        connection = await databases.admin(ledger_database)
        for operation in operations:
            done = await connection.execute(
                "UPDATE journal SET fingerprint = $1 WHERE request_id = $2 AND leg = 0",
                old_form(operation),
                convert.operation(operation).key,
            )
            assert done == "UPDATE 1"
        await connection.close()

    return rewrite


def test_every_action_of_a_member_is_here() -> None:
    """No kind of operation that names a member is left out."""
    naming = {
        field.name
        for field in ledger_pb2.Operation.DESCRIPTOR.oneofs_by_name["action"].fields
        if field.message_type is not None and "member_id" in field.message_type.fields_by_name
    }
    assert OF_MEMBER.keys() == naming


async def test_journal_tells_no_member(ledger: LedgerHarness) -> None:
    """Rows of two members who ask for the same are the same but for the wallet, down to the byte of each field."""
    rows = []
    for program, member in (("demo", MEMBER), ("other", OTHER)):
        await prepare(ledger, member, program=program)
        refused = [spend("poor", member, 10**9), spend("unknown", member, 1, asset="miles")]
        results = await ledger.post(*(ask(member) for ask in OF_MEMBER.values()), *refused, program=program)
        assert reasons(results) == [""] * len(OF_MEMBER) + ["INSUFFICIENT_BALANCE"] * 2
        query = """
            SELECT to_jsonb(line) - '{program_id, wallet_id}'::text[] AS line FROM journal AS line
            WHERE program_id = $1 AND fingerprint IS NOT NULL
            ORDER BY position
        """
        rows.append([row["line"] for row in await ledger.ledger.pool.fetch(query, program)])

    assert len(rows[0]) == len(OF_MEMBER) + 5
    assert rows[0] == rows[1]


@ACTIONS
async def test_trying_members_finds_none(ledger: LedgerHarness, action: str) -> None:
    """Who has a copy of the journal and tries member ids finds as much for any of them as for the one who asked."""
    await prepare(ledger)
    await happen(ledger, OF_MEMBER[action](MEMBER))
    await forget(ledger, MEMBER)
    query = "SELECT fingerprint FROM journal WHERE request_id = $1 AND leg = 0"
    key = convert.operation(OF_MEMBER[action](MEMBER)).key
    stored = await ledger.ledger.pool.fetchval(query, key)

    found: dict[tuple[bool, bool], list[str]] = {}
    for candidate in CANDIDATES:
        tried = OF_MEMBER[action](candidate)
        is_same = convert.operation(tried).fingerprint == stored
        found.setdefault((is_same, old_form(tried)[:8] == stored[:8]), []).append(candidate)
    assert found == {(True, False): CANDIDATES}
    # A byte for each other field, and none for the member.
    content = {"kind": action.upper(), **convert.operation(OF_MEMBER[action](MEMBER)).content}
    del content["memberId"]
    assert stored[8:] == b"".join(requests.fingerprint({name: value})[8:] for name, value in content.items())


@ACTIONS
@pytest.mark.parametrize("is_old", [False, True], ids=["now", "as earlier versions wrote it"])
async def test_operation_asked_again_belongs_to_its_member(
    ledger: LedgerHarness, make_old: Rewrite, action: str, *, is_old: bool
) -> None:
    """Asked again it is a replay, and asked of another member a conflict which says so, whoever has a wallet."""
    ask = OF_MEMBER[action]
    await prepare(ledger)
    [first, repeated, other_at_once] = await ledger.post(ask(MEMBER), ask(MEMBER), ask(OTHER))
    if is_old:
        await make_old(ask(MEMBER))
    before = await dump(ledger.ledger.pool)
    because = ask(OTHER)
    because.cause.rule_id = "another"
    [again, other, other_because] = await ledger.post(ask(MEMBER), ask(OTHER), because)
    unchanged = await dump(ledger.ledger.pool) == before
    await happen(ledger, earn("makes a wallet", OTHER))
    [owner] = await ledger.post(ask(OTHER))

    assert (first.replayed, repeated.replayed, again.replayed) == (False, True, True)
    assert first.posting == repeated.posting == again.posting
    for result in (other_at_once, other, owner):
        assert (result.refusal.reason, list(result.refusal.fields)) == ("REQUEST_ID_REUSED", ["memberId"])
    assert list(other_because.refusal.fields) == ["memberId", "cause"]
    assert unchanged
    if not is_old:
        await assert_sound(ledger)


@ACTIONS
@pytest.mark.parametrize("is_old", [False, True], ids=["now", "as earlier versions wrote it"])
async def test_operation_of_a_forgotten_member_keeps_its_outcome(
    ledger: LedgerHarness, make_old: Rewrite, action: str, *, is_old: bool
) -> None:
    """Once the member is forgotten, who asks again is given the first outcome, also when one of that id has come."""
    ask = OF_MEMBER[action]
    await prepare(ledger)
    [first] = await ledger.post(ask(MEMBER))
    if is_old:
        await make_old(ask(MEMBER))
    await forget(ledger, MEMBER)
    because = ask(MEMBER)
    because.cause.rule_id = "another"
    results = await ledger.post(ask(MEMBER), because)
    await happen(ledger, earn("comes again", MEMBER, 1))
    results += await ledger.post(ask(MEMBER), because)

    for again, reused in (results[:2], results[2:]):
        assert (again.replayed, again.posting) == (True, first.posting)
        assert list(reused.refusal.fields) == ["cause"]
    assert (await ledger.balance(MEMBER)).available == 1


async def test_outcome_of_a_forgotten_member_is_nobodys(ledger: LedgerHarness, make_old: Rewrite) -> None:
    """Whose it was nobody knows any more, so it is the outcome of whoever asks; rows of earlier versions still know."""
    await happen(ledger, earn("new", MEMBER), earn("old", MEMBER), earn("theirs", OTHER))
    await make_old(earn("old", MEMBER))
    await forget(ledger, MEMBER)
    [new, old] = await ledger.post(earn("new", OTHER), earn("old", OTHER))

    assert (new.replayed, new.HasField("posting")) == (True, True)
    assert list(old.refusal.fields) == ["memberId"]
    assert (await ledger.balance(OTHER)).available == 100


async def test_member_who_is_called_like_a_forgotten_one_is_known(ledger: LedgerHarness) -> None:
    """A name that only begins as those of the forgotten do is a member's like any other."""
    await happen(ledger, earn("e1", "forgotten-password"))
    [result] = await ledger.post(earn("e1", OTHER))

    assert list(result.refusal.fields) == ["memberId"]


async def test_refusal_of_a_stranger_is_given_to_whoever_asks(ledger: LedgerHarness, make_old: Rewrite) -> None:
    """No wallet says whose it was: the refusal stays that of its id, also when the member or another one has points."""
    refused = spend("x", MEMBER, 7)
    # In the same batch, before and after the member has a wallet, and later, it is all the same.
    results = await ledger.post(refused, spend("x", OTHER, 7), earn("e1", MEMBER), spend("x", OTHER, 7), refused)
    results += await ledger.post(refused, spend("x", OTHER, 7))
    await happen(ledger, earn("e2", OTHER))
    results += await ledger.post(refused, spend("x", OTHER, 7))

    refusals = [result.refusal for result in results if result.request_id == "x"]
    assert [(each.reason, each.metadata["available"]) for each in refusals] == [("INSUFFICIENT_BALANCE", "0")] * 8
    assert [result.replayed for result in results if result.request_id == "x"] == [False] + [True] * 7
    [less] = await ledger.post(spend("x", OTHER, 6))
    assert list(less.refusal.fields) == ["amount"]
    await assert_sound(ledger)
    await make_old(refused)
    [again, other] = await ledger.post(refused, spend("x", OTHER, 7))
    assert (again.replayed, again.refusal) == (True, refusals[0])
    assert list(other.refusal.fields) == ["memberId"]


async def test_refusal_in_a_wallet_belongs_to_its_member(ledger: LedgerHarness) -> None:
    """Once something has happened in the wallet, a refusal is the member's."""
    results = await ledger.post(earn("e", MEMBER, 1), spend("x", MEMBER, 7), spend("x", OTHER, 7))
    results += await ledger.post(spend("x", MEMBER, 7), spend("x", OTHER, 7))

    assert [list(result.refusal.fields) for result in results[2:]] == [["memberId"], [], ["memberId"]]
    assert results[3].replayed
    await assert_sound(ledger)


@pytest.mark.parametrize("stored_is_old", [False, True])
def test_other_kind_is_told_whatever_version_wrote(*, stored_is_old: bool) -> None:
    """Of two operations of other kinds the kind is said to differ, though a longer one may be as long as an old one."""
    outcome = model.Outcome(replayed=True)
    operations = [first for first, _, _ in CASES.values()]
    for first in operations:
        item = convert.operation(first)
        stored = old_form(first) if stored_is_old else item.fingerprint
        for second in operations:
            for member_id in ("m1", "m2", None):
                prior = model.Prior(stored, outcome, member_id)
                differing = fingerprints.differing_fields(prior, convert.operation(second))
                assert ("kind" in differing) is (first is not second), f"{differing} of {first} and {second}"


def test_change_that_no_byte_tells_names_every_field() -> None:
    """Where the byte of a changed field is the same by accident, every field is named, the member too."""
    stored = convert.operation(spend("x", MEMBER, 1)).fingerprint
    prior = model.Prior(stored, model.Outcome(replayed=True), MEMBER)
    missed = [
        other
        for other in (convert.operation(spend("x", MEMBER, amount)) for amount in range(2, 3000))
        if other.fingerprint[8:] == stored[8:]
    ]

    assert missed
    for other in missed:
        assert fingerprints.differing_fields(prior, other) == ["kind", *other.content]
