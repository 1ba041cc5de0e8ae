"""Members are forgotten: nothing names them any more, and all that the ledger holds stays and adds up."""

import asyncio
from typing import Any

import asyncpg
from plaudit.feed.v1 import feed_service_pb2
from plaudit.ledger.v1 import events_pb2, ledger_service_pb2

from services.kernel import clock, errors
from services.ledger.model import Booking
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.histories import HOUR
from tests.ledger.test_server import assert_sound
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential, run_ledger
from tests.support.ledger import adjust, capture, earn, expire, hold, release, spend, unexpire
from tests.support.refusals import refusal

MEMBER = "ada-lovelace-42"


async def forget(
    ledger: LedgerHarness, member: str = MEMBER, request_id: str = "f1", *, program: str = "demo"
) -> ledger_service_pb2.ForgetMemberResponse:
    """Forgets a member."""
    request = ledger_service_pb2.ForgetMemberRequest(member_id=member, request_id=request_id)
    return await ledger.stub.ForgetMember(request, metadata=credential(program, LEDGER_SCOPES))


async def places(connection: "asyncpg.Connection[asyncpg.Record]", text: str) -> list[str]:
    """Searches every column of every table that can hold a text, whatever its type, and names those that do."""
    columns = await connection.fetch(
        """
        SELECT table_name, column_name, data_type
        FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type <> 'bigint'
        """
    )
    found = []
    for table, column, kind in columns:
        value = f"encode({column}, 'escape')" if kind == "bytea" else f"{column}::text"
        if await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {value} LIKE '%' || $1 || '%'", text):
            found.append(f"{table}.{column}")
    return found


async def live(ledger: LedgerHarness) -> None:
    """Lets a member do everything that leaves a trace, in two assets."""
    await ledger.post(
        earn("e1", MEMBER, 100, expires=START + 2 * HOUR),
        earn("e2", MEMBER, 7, asset="credits"),
        spend("s1", MEMBER, 10),
        spend("s-refused", MEMBER, 1000),
        hold("h1", MEMBER, 20, timeout_s=36_000),
        hold("h2", MEMBER, 5, timeout_s=3600),
        adjust("a1", MEMBER, 3),
    )


async def test_forgotten_member_is_nowhere(ledger: LedgerHarness, databases: Databases, ledger_database: str) -> None:
    """No column of any table has the member id afterwards, and balances, entries and checks are as they were."""
    await live(ledger)
    connection = await databases.admin(ledger_database)
    try:
        assert await places(connection, MEMBER) == ["wallets.member_id"]
        assert await places(connection, "INSUFFICIENT_BALANCE") == ["journal.refusal"]
        before = await connection.fetch("SELECT wallet_id, asset, balance, sequence FROM wallets ORDER BY wallet_id")
        answer = await forget(ledger)

        assert (answer.wallet_count, answer.replayed) == (2, False)
        assert await places(connection, MEMBER) == []
        after = await connection.fetch("SELECT wallet_id, asset, balance, sequence FROM wallets ORDER BY wallet_id")
        assert after == before
    finally:
        await connection.close()
    await assert_sound(ledger)


async def test_forget_again_gives_first_answer(ledger: LedgerHarness) -> None:
    """The same request gives the first answer for ever, though a new member of that id has come since."""
    await live(ledger)
    first = await forget(ledger)
    await ledger.post(earn("new", MEMBER, 1))
    again = await forget(ledger)

    assert (first.wallet_count, again.wallet_count, again.replayed) == (2, 2, True)
    assert (await ledger.balance(MEMBER)).available == 1


async def test_forget_reused_id_is_refused(ledger: LedgerHarness) -> None:
    """A request id that was used for another member, or for an operation, is refused and forgets nobody."""
    await ledger.post(earn("e1", MEMBER), earn("e2", "other"))
    await forget(ledger, "nobody", "f1")

    for request_id in ("f1", "e2"):
        found = await refusal(forget(ledger, MEMBER, request_id))
        assert (found.code, found.reason) == (errors.Code.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert (await ledger.balance(MEMBER)).available == 100
    [result] = await ledger.post(earn("f1", MEMBER))
    assert result.refusal.reason == "REQUEST_ID_REUSED"


async def test_forget_unknown_member_counts_none(ledger: LedgerHarness) -> None:
    """A member without wallets is forgotten too: nothing named them, and another program's member is not touched."""
    await ledger.post(earn("e1", MEMBER), program="other")

    assert (await forget(ledger)).wallet_count == 0
    assert (await ledger.balance(MEMBER, program="other")).available == 100


async def test_later_member_of_that_id_is_another_one(ledger: LedgerHarness) -> None:
    """Who comes later under the id begins with nothing: no balance, no lots, no statement."""
    await live(ledger)
    await forget(ledger)

    assert (await ledger.balance(MEMBER)).available == 0
    assert await ledger.statement(MEMBER) == await ledger.lots(MEMBER) == []
    [spent, earned] = await ledger.post(spend("s2", MEMBER, 1), earn("e3", MEMBER, 9))
    assert spent.refusal.metadata["available"] == "0"
    assert earned.HasField("posting")
    assert [line.amount for line in await ledger.statement(MEMBER)] == [9]
    await assert_sound(ledger)


async def test_what_was_begun_ends_without_a_name(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Holds of a forgotten member are captured, released and timed out as before, and the feed names the tombstone."""
    await live(ledger)
    await forget(ledger)
    [captured] = await ledger.post(capture("c1", "h1", 15))
    time.value = START + 3 * HOUR
    await booking.book_due(ledger.ledger)

    assert captured.posting.amount == 15
    [late] = await ledger.post(release("l2", "h2"))
    assert late.refusal.metadata["state"] == "TIMED_OUT"
    names = {event.member_id for event in await read_feed(ledger) if event.member_id}
    assert len(names) == 1
    assert names.pop().startswith("forgotten-")
    await assert_sound(ledger)


async def read_feed(ledger: LedgerHarness) -> list[Any]:
    """Reads all entries of the feed."""
    request = feed_service_pb2.ReadEventsRequest(max_events=1000)
    events = []
    async for response in ledger.feed.ReadEvents(request, metadata=credential("demo", LEDGER_SCOPES)):
        events += [
            events_pb2.EntryPosted.FromString(event.payload.value)
            for event in response.events
            if event.payload.type_url.endswith("EntryPosted")
        ]
    return events


async def test_other_server_learns_of_it(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """A server that knew the wallets of a member whom another one forgot gives the id a new wallet."""
    await live(ledger)
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await other.post(earn("known", MEMBER, 1))
        await forget(ledger)
        [spent, earned] = await other.post(spend("s2", MEMBER, 1), earn("e3", MEMBER, 9))

        assert spent.refusal.metadata["available"] == "0"
        assert earned.HasField("posting")
        assert (await ledger.balance(MEMBER)).available == 9
    await assert_sound(ledger)


async def test_forget_raced_with_earns_loses_nothing(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """Earns on two servers while the member is forgotten land before or after it, each in one wallet."""
    await ledger.post(earn("e0", MEMBER, 1))
    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:

        async def call(number: int) -> None:
            if number == 20:
                assert (await forget(ledger)).wallet_count == 1
            await (ledger, other)[number % 2].post(earn(f"e{number + 1}", MEMBER, 1))

        await asyncio.gather(*(call(number) for number in range(40)))
    rows = await ledger.ledger.pool.fetch("SELECT member_id, balance FROM wallets ORDER BY wallet_id")
    assert [row["member_id"] == MEMBER for row in rows] == [False, True]
    assert sum(row["balance"] for row in rows) == 41
    await assert_sound(ledger)


async def test_forget_raced_by_64_callers_happens_once(ledger: LedgerHarness) -> None:
    """64 callers with one request id cause one forgetting and are told the same."""
    await live(ledger)
    answers = await asyncio.gather(*(forget(ledger) for _ in range(64)))

    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.wallet_count for answer in answers} == {2}
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'FORGET'") == 1
    await assert_sound(ledger)


async def test_sweep_after_forgetting_makes_no_wallet(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A booking that was asked for under the id while the member was there does not bring the id back."""
    await live(ledger)
    await forget(ledger)
    time.value = START + 9 * HOUR
    await ledger.ledger.writes.submit("demo", [Booking((MEMBER, "points"))])

    members = await ledger.ledger.pool.fetch("SELECT member_id FROM wallets")
    assert MEMBER not in {row["member_id"] for row in members}


async def test_end_and_return_after_forgetting_make_no_wallet(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An early end and a return that come late find nothing and do not bring the id back."""
    await live(ledger)
    time.value = START + 3 * HOUR
    await booking.book_due(ledger.ledger)
    await forget(ledger)
    results = await ledger.post(expire("x1", MEMBER), unexpire("u1", MEMBER, since=START, until=START + 9 * HOUR))

    assert [(each.HasField("posting"), each.posting.amount) for each in results] == [(True, 0), (True, 0)]
    members = await ledger.ledger.pool.fetch("SELECT member_id FROM wallets")
    assert MEMBER not in {row["member_id"] for row in members}
    await assert_sound(ledger)
