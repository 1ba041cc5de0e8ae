"""What the ledger refuses, each alone, with its neighbours accepted; and what expired counts for nothing."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, interceptors
from services.ledger import checks, model
from services.ledger.operations import booking
from services.ledger.operations.posting import Ledger
from services.ledger.store import reading
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.databases import Databases
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import capture, cashback, earn, hold, release, reverse, spend
from tests.support.outcomes import happen
from tests.support.waiting import PATIENCE_S

EARN_MAX = 10**12
HOUR = timedelta(hours=1)


def reasons(results: list[ledger_pb2.OperationResult]) -> list[str]:
    """Tells how each operation ended; empty where it happened."""
    return [result.refusal.reason for result in results]


def with_time(operation: ledger_pb2.Operation, seconds: int, nanos: int = 0) -> ledger_pb2.Operation:
    """Dates an operation."""
    operation.occur_time.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    return operation


MALFORMED: list[tuple[ledger_pb2.Operation, list[str]]] = [
    (ledger_pb2.Operation(request_id="x"), ["action"]),
    (earn(""), ["requestId"]),
    (earn("a/b"), ["requestId"]),
    (earn("x" * 129), ["requestId"]),
    (earn("x\0"), ["requestId"]),
    (earn("x", member_id=""), ["earn.memberId"]),
    (earn("x", member_id=" m"), ["earn.memberId"]),
    (earn("x", asset="Points"), ["earn.asset"]),
    (earn("x", asset=""), ["earn.asset"]),
    (earn("x", amount=-1), ["earn.amount"]),
    (earn("x", amount=EARN_MAX + 1), ["earn.amount"]),
    (earn("x", priority=101), ["earn.priority"]),
    (earn("x", priority=-1), ["earn.priority"]),
    (earn("x", cause=ledger_pb2.Cause(event_id="e" * 129)), ["cause.eventId"]),
    (earn("x", cause=ledger_pb2.Cause(rule_version=-1)), ["cause.ruleVersion"]),
    (with_time(earn("x"), 2**62), ["occurTime"]),
    (with_time(earn("x"), 0, -1), ["occurTime"]),
    (hold("x", member_id="", amount=-5), ["hold.memberId", "hold.amount"]),
    (hold("x", timeout_s=2592001), ["hold.timeoutS"]),
    (hold("x", timeout_s=-1), ["hold.timeoutS"]),
    (capture("x", ""), ["capture.holdRequestId"]),
    (release("x", "a\0"), ["release.holdRequestId"]),
    (reverse("x", "a" * 129), ["reverse.targetRequestId"]),
]


@pytest.mark.parametrize(
    ("broken", "fields"), MALFORMED, ids=lambda value: ",".join(value) if isinstance(value, list) else ""
)
async def test_malformed_operation_is_refused_alone(
    ledger: LedgerHarness, broken: ledger_pb2.Operation, fields: list[str]
) -> None:
    """A malformed operation is refused by its fields, in its place, and its neighbours happen."""
    results = await ledger.post(earn("before", amount=1), broken, earn("after", amount=2))

    assert reasons(results) == ["", "FIELD_INVALID", ""]
    assert list(results[1].refusal.fields) == fields
    assert results[1].refusal.field == fields[0]
    assert [result.request_id for result in results] == ["before", broken.request_id[:128], "after"]
    assert (await ledger.balance("m1")).available == 3


async def test_malformed_operation_is_no_outcome(ledger: LedgerHarness) -> None:
    """The id of a malformed operation is free still: mended, it happens."""
    [broken] = await ledger.post(earn("e1", amount=EARN_MAX + 1))
    [mended] = await ledger.post(earn("e1", amount=EARN_MAX))

    assert (broken.refusal.reason, mended.posting.amount) == ("FIELD_INVALID", EARN_MAX)
    assert not mended.replayed


@pytest.mark.parametrize("count", [0, 1001])
async def test_call_with_too_many_or_none_is_refused(ledger: LedgerHarness, count: int) -> None:
    """A call holds 1 to 1,000 operations, and outside of that nothing of it happens."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ledger.post(*(earn(f"e{number}") for number in range(count)))

    refusal = interceptors.from_error(caught.value, dependency="ledger")
    assert (refusal.code, refusal.reason) == (errors.Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert {each.field for each in refusal.violations} == {"operations"}
    assert (await ledger.balance("m1")).available == 0


async def test_largest_values_are_kept(ledger: LedgerHarness) -> None:
    """Every field may be as large as the contract says, at once, and comes back as it was."""
    [posted] = await ledger.post(
        with_time(
            earn(
                "é" * 128,
                "例" * 128,
                EARN_MAX,
                asset="a" * 32,
                priority=100,
                cause=ledger_pb2.Cause(
                    event_id="e" * 128, rule_id="r" * 128, rule_version=2**31 - 1, redemption_id="d" * 128
                ),
            ),
            -62135596800,
        )
    )
    balance = await ledger.balance("例" * 128, asset="a" * 32)

    assert posted.HasField("posting")
    assert (balance.available, balance.lifetime_earned) == (EARN_MAX, EARN_MAX)
    await assert_sound(ledger)


async def test_refusals_leave_neighbours_alone(ledger: LedgerHarness) -> None:
    """Each refusal that depends on what there is has its reason and its numbers, and its neighbours happen."""
    results = await ledger.post(
        earn("e1", amount=50),
        hold("h-too-much", amount=51),
        capture("c-none", "h-none"),
        release("l-none", "h-none"),
        reverse("r-none", "c-none"),
        earn("e-empty", expires=START),
        earn("e-negative", effective=START + YEAR, expires=START),
        hold("h1", amount=20),
        release("l1", "h1"),
        capture("c-released", "h1"),
        hold("h2", amount=50),
        capture("c2", "h2"),
        release("l-captured", "h2"),
        reverse("r-hold", "h2"),
        reverse("r2", "c2"),
        reverse("r-again", "c2"),
    )

    told = [(each.refusal.reason, dict(each.refusal.metadata)) for each in results if each.HasField("refusal")]
    assert told == [
        ("INSUFFICIENT_BALANCE", {"available": "50", "requested": "51"}),
        ("HOLD_NOT_FOUND", {"holdRequestId": "h-none"}),
        ("HOLD_NOT_FOUND", {"holdRequestId": "h-none"}),
        ("TARGET_NOT_FOUND", {"targetRequestId": "c-none"}),
        ("LOT_LIFE_EMPTY", {"effectiveTime": "2026-03-01T12:00:00Z", "expireTime": "2026-03-01T12:00:00Z"}),
        ("LOT_LIFE_EMPTY", {"effectiveTime": "2027-03-01T12:00:00Z", "expireTime": "2026-03-01T12:00:00Z"}),
        ("HOLD_ENDED", {"holdRequestId": "h1", "state": "RELEASED"}),
        ("HOLD_ENDED", {"holdRequestId": "h2", "state": "CAPTURED"}),
        ("TARGET_NOT_FOUND", {"targetRequestId": "h2"}),
        ("TARGET_REVERSED", {"targetRequestId": "c2"}),
    ]
    assert (await ledger.balance("m1")).available == 50
    await assert_sound(ledger)


async def fill(ledger: LedgerHarness, member_id: str = "m1", *, expires: Any = None) -> None:
    """Fills a wallet to its very limit."""
    results = await ledger.post(
        *(earn(f"{member_id}-{number}", member_id, EARN_MAX, expires=expires) for number in range(1000))
    )
    assert set(reasons(results)) == {""}


async def test_balance_limit_is_exact(ledger: LedgerHarness) -> None:
    """A wallet takes what fits to the last point and refuses what does not, for ever; others are not concerned."""
    await fill(ledger)
    over, other = await ledger.post(earn("one-more", amount=1), earn("elsewhere", "m2", 1))
    assert (over.refusal.reason, dict(over.refusal.metadata)) == ("BALANCE_LIMIT", {"limit": str(model.BALANCE_MAX)})
    assert other.HasField("posting")
    held, spent = await ledger.post(hold("h1", amount=7), capture("c1", "h1"))
    again, fits, not_now = await ledger.post(earn("one-more", amount=1), earn("fits", amount=7), reverse("r1", "c1"))

    assert held.HasField("posting")
    assert spent.HasField("posting")
    assert again.replayed
    assert reasons([again, fits, not_now]) == ["BALANCE_LIMIT", "", "BALANCE_LIMIT"]
    assert (await ledger.balance("m1")).available == model.BALANCE_MAX
    await assert_sound(ledger)


@pytest.mark.parametrize("sweeps", [True, False])
async def test_balance_limit_counts_nothing_that_is_over(
    ledger: LedgerHarness, time: clock.ManualClock, sweeps: bool
) -> None:
    """What has expired makes room at that instant, whether it is booked or not, for earns and for reversals."""
    await ledger.post(earn("first", amount=10), hold("h1", amount=10), capture("c1", "h1"))
    await fill(ledger, expires=START + YEAR)
    time.value = START + YEAR
    if sweeps:
        await booking.book_due(ledger.ledger)
    results = [*await ledger.post(earn("new", amount=5)), *await ledger.post(reverse("r1", "c1"))]

    assert reasons(results) == ["", ""]
    assert (await ledger.balance("m1")).available == 15
    await assert_sound(ledger)


async def test_sweep_books_wallets_of_any_size(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """A wallet with more due lots than a transaction takes is booked bit by bit, as are all that wait beside it."""
    many = 2 * booking.BOOKINGS_MAX + 200
    lots = [earn(f"e{number}", amount=1, expires=START + YEAR) for number in range(many)]
    for start in range(0, many, 500):
        await ledger.post(*lots[start : start + 500])
    await ledger.post(*(earn(f"o{number}", f"other{number}", 1, expires=START + YEAR) for number in range(5)))
    time.value = START + YEAR
    await booking.book_due(Ledger(ledger.ledger.pool, time, batch_max=booking.BOOKINGS_MAX))

    admin = await databases.admin(ledger_database)
    query = "SELECT count(*) FROM journal WHERE kind = 'EXPIRY' GROUP BY xmin::text ORDER BY 1 DESC"
    sizes = [row["count"] for row in await admin.fetch(query)]
    await admin.close()
    assert (sum(sizes), sizes[0]) == (many + 5, booking.BOOKINGS_MAX)
    assert (await ledger.balance("m1")).available == (await ledger.balance("other4")).available == 0
    await assert_sound(ledger)


async def test_what_another_worker_books_is_left_to_it(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Two workers never book in one program at once: the one that comes later neither waits nor does it again."""
    other = "other"
    for program in ("demo", other):
        await ledger.post(
            *(earn(f"e{number}", f"m{number}", 1, expires=START + YEAR) for number in range(5)), program=program
        )
    time.value = START + YEAR
    async with ledger.ledger.pool.acquire() as connection, connection.transaction():
        assert await reading.lock_booking(connection, "demo")
        assert await booking.book_due(ledger.ledger) == 5
        assert {await booking.book_due(ledger.ledger) for _ in range(3)} == {0}
        assert await expiries(ledger) == {other: 5}
    workers = [Ledger(ledger.ledger.pool, time, batch_max=booking.BOOKINGS_MAX) for _ in range(4)]
    booked = await asyncio.gather(*(booking.book_due(each) for each in workers))

    assert sum(booked) == 5
    assert await expiries(ledger) == {"demo": 5, other: 5}
    await assert_sound(ledger)


async def expiries(ledger: LedgerHarness) -> dict[str, int]:
    """Counts what is booked as expired, by program."""
    async with ledger.ledger.pool.acquire() as connection:
        query = "SELECT program_id, count(*) FROM journal WHERE kind = 'EXPIRY' GROUP BY program_id"
        return dict(await connection.fetch(query))


async def test_broken_wallet_does_not_stop_the_sweep(
    ledger: LedgerHarness,
    databases: Databases,
    ledger_database: str,
    time: clock.ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wallet that cannot be booked is left to the check, and the sweep books all others and ends."""
    monkeypatch.setattr(booking, "BOOKING_ROUNDS_MAX", 10**9)
    await ledger.post(*(earn(f"e{number}", f"m{number}", 10, expires=START + YEAR) for number in range(5)))
    admin = await databases.admin(ledger_database)
    await admin.execute("UPDATE wallets SET balance = 3, earned = 3 WHERE member_id = 'm2'")
    await admin.close()
    time.value = START + YEAR + YEAR

    async with asyncio.timeout(PATIENCE_S):
        assert await booking.book_due(ledger.ledger) == 4
        assert await booking.book_due(ledger.ledger) == 0
    rows = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    assert rows["expiries against time"] == ("1 lots have been over for more than an hour and are not booked",)
    assert len(rows["journal against balances"]) == len(rows["balances against lots and holds"]) == 1


async def test_burn_order_is_exact_in_far_years(ledger: LedgerHarness) -> None:
    """Lots are told apart by their ends to the microsecond in any year."""
    end = START.replace(year=9998)
    microsecond = timedelta(microseconds=1)
    await ledger.post(
        earn("later", amount=1, at=START - YEAR, expires=end + microsecond), earn("sooner", amount=2, expires=end)
    )
    [held] = await ledger.post(hold("h1", amount=2))

    assert [part.amount for part in held.posting.allocations] == [2]


async def test_unknown_member_has_nothing(ledger: LedgerHarness) -> None:
    """A member whom nobody earned for has one balance of no points, no statement and no lots."""
    metadata = credential("demo", LEDGER_SCOPES)
    request = ledger_service_pb2.GetBalancesRequest(member_id="nobody")
    balances = await ledger.stub.GetBalances(request, metadata=metadata)

    assert list(balances.balances) == [ledger_pb2.Balance(asset="points")]
    assert await ledger.statement("nobody") == []
    assert await ledger.lots("nobody") == []


async def test_assets_are_kept_apart(ledger: LedgerHarness) -> None:
    """Each asset of a member is told and spent by itself, in the order of their names."""
    await ledger.post(earn("e1", amount=5), earn("e2", amount=7, asset="credits"))
    [refused] = await ledger.post(hold("h1", amount=6))
    request = ledger_service_pb2.GetBalancesRequest(member_id="m1")
    balances = await ledger.stub.GetBalances(request, metadata=credential("demo", LEDGER_SCOPES))

    assert [(each.asset, each.available) for each in balances.balances] == [("credits", 7), ("points", 5)]
    assert refused.refusal.reason == "INSUFFICIENT_BALANCE"


async def test_many_members_are_told_at_one_instant(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The balances of many members are each what they are alone, in the order that was asked for, unknown ones too."""
    await ledger.post(*(earn(f"e{number}", f"m{number}", number + 1, expires=START + YEAR) for number in range(20)))
    await ledger.post(hold("h1", "m3", 2), earn("c", "m4", 9, asset="credits"))
    members = [f"m{number}" for number in (3, 19, 4)] + ["nobody", "m3"]
    for instant in (START, START + YEAR):
        time.value = instant
        request = ledger_service_pb2.BatchGetBalancesRequest(member_ids=members)
        response = await ledger.stub.BatchGetBalances(request, metadata=credential("demo", LEDGER_SCOPES))
        assert [each.member_id for each in response.members] == members
        for told in response.members:
            alone = await ledger.stub.GetBalances(
                ledger_service_pb2.GetBalancesRequest(member_id=told.member_id),
                metadata=credential("demo", LEDGER_SCOPES),
            )
            assert list(told.balances) == list(alone.balances)


async def test_hold_that_is_over_makes_room(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hold that is over reserved of a lot that is over makes room for an earn, booked or not."""
    monkeypatch.setattr(model, "BALANCE_MAX", 10)
    await happen(ledger, earn("e1", amount=10, expires=START + HOUR), hold("h1", amount=10, timeout_s=7200))
    time.value = START + 2 * HOUR
    await happen(ledger, earn("e2", amount=10))

    balance = await ledger.balance("m1")
    assert (balance.available, balance.lifetime_expired) == (10, 10)
    await assert_sound(ledger)


async def test_carried_unit_finds_room_where_something_is_over(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit that a cashback makes of what was carried fits into a wallet full of what is over."""
    monkeypatch.setattr(model, "BALANCE_MAX", 10)
    await happen(ledger, cashback("c1", 99, 100), earn("e1", amount=10, expires=START + HOUR))
    time.value = START + HOUR
    [posting] = await happen(ledger, cashback("c2", 1, 100))

    assert (posting.amount, (await ledger.balance("m1")).available) == (1, 1)
    await assert_sound(ledger)


async def test_who_was_only_refused_is_in_no_wallet(ledger: LedgerHarness) -> None:
    """The refusal of somebody without a wallet names none: every row of the journal with a wallet has one."""
    await ledger.post(spend("s1", "stranger", 5), earn("e1"))
    strays = "SELECT count(*) FROM journal LEFT JOIN wallets USING (program_id, wallet_id) WHERE member_id IS NULL"

    assert await ledger.ledger.pool.fetchval(f"{strays} AND wallet_id IS NOT NULL") == 0
