"""Ends before their time, and what is given back after its end: by decision, to the unit, and repairable."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock, times
from services.ledger.decisions import giving
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_server import MICROSECOND, YEAR, assert_sound
from tests.support.harness import LedgerHarness
from tests.support.ledger import adjust, claw_back, confirm, earn, expire, hold, release, reverse, spend, unexpire
from tests.support.outcomes import happen, reasons, refused

CALLERS = 64
DAY = timedelta(days=1)


async def test_expire_ends_all_that_has_begun(ledger: LedgerHarness) -> None:
    """All lots that can be spent end now, whatever made them; what waits or begins later stays."""
    await happen(
        ledger,
        earn("e1", amount=10),
        earn("e2", amount=20, expires=START + YEAR),
        adjust("a1", change=5),
        earn("p1", amount=40, pending=True),
        earn("f1", amount=80, effective=START + DAY),
        spend("s1", amount=3),
        earn("other", amount=7, asset="credits"),
    )
    [posting] = await happen(ledger, expire("x1"))
    balance = await ledger.balance("m1")

    assert (posting.amount, posting.post_time) == (32, times.to_proto(START))
    assert (balance.available, balance.pending, balance.lifetime_expired) == (0, 120, 32)
    assert (await ledger.balance("m1", asset="credits")).available == 7
    assert [entry.amount for entry in await ledger.statement("m1")][:3] == [-5, -17, -10]
    await assert_sound(ledger)


async def test_expire_ends_the_lot_of_one_earn(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An earn that is named ends alone, at this instant and no earlier one."""
    await happen(ledger, earn("e1", amount=10), earn("e2", amount=20))
    time.value = START + DAY
    [posting] = await happen(ledger, expire("x1", earn_id="e1"))
    before = await ledger.balance("m1", START + DAY - MICROSECOND)
    after = await ledger.balance("m1")

    assert posting.amount == 10
    assert (before.available, after.available, after.lifetime_expired) == (30, 20, 10)
    [_, ended] = await ledger.lots("m1")
    assert (ended.state, times.from_proto(ended.expire_time)) == (ledger_pb2.LOT_STATE_EXPIRED, START + DAY)
    await assert_sound(ledger)


async def test_expire_names_an_earn_of_the_member(ledger: LedgerHarness) -> None:
    """What is no earn, or that of another member or asset, is not found; the earn of a spent lot has nothing to end."""
    await happen(ledger, earn("e1"), spend("s1"), earn("theirs", "m2"), earn("credits", asset="credits"))
    results = await ledger.post(
        *(expire(f"x-{name}", earn_id=name) for name in ("none", "s1", "theirs", "credits", "e1"))
    )

    assert reasons(results) == ["EARN_NOT_FOUND"] * 4 + [""]
    assert results[-1].posting.amount == 0
    await assert_sound(ledger)


async def test_expire_lets_holds_be_captured(ledger: LedgerHarness) -> None:
    """What a hold reserves stays reserved past the end; it expires only when it comes back."""
    await happen(ledger, earn("e1", amount=100), hold("h1", amount=60), hold("h2", amount=10), expire("x1"))
    held = await ledger.balance("m1")
    await happen(ledger, release("l1", "h1"))
    balance = await ledger.balance("m1")

    assert (held.available, held.held, held.lifetime_expired) == (0, 70, 30)
    assert (balance.available, balance.held, balance.lifetime_expired) == (0, 10, 90)
    await assert_sound(ledger)


async def test_expire_again_ends_nothing(ledger: LedgerHarness) -> None:
    """A second end finds nothing, and what is earned after it lives."""
    await happen(ledger, earn("e1", amount=10), expire("x1"))
    [again, _, later] = await happen(ledger, expire("x2"), earn("e2", amount=5), expire("x3", asset="credits"))

    assert (again.amount, later.amount) == (0, 0)
    assert (await ledger.balance("m1")).available == 5
    await assert_sound(ledger)


async def test_expire_takes_so_many_lots_a_call(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wallet of more lots than one call ends is ended by further ones, and given back by further ones too."""
    monkeypatch.setattr(giving, "LOTS_MAX", 10)
    await happen(ledger, *(earn(f"e{number}", amount=1) for number in range(25)))
    ended = await happen(ledger, *(expire(f"x{number}") for number in range(4)))
    given = await happen(
        ledger, *(unexpire(f"u{number}", since=START, until=START + MICROSECOND) for number in range(4))
    )

    assert [posting.amount for posting in ended] == [10, 10, 5, 0]
    assert [posting.amount for posting in given] == [10, 10, 5, 0]
    assert (await ledger.balance("m1")).available == 25
    await assert_sound(ledger)


async def test_expire_ends_first_what_has_something_left(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends all, call by call until nothing was left, has ended all, however many lots were spent before."""
    monkeypatch.setattr(giving, "LOTS_MAX", 2)
    await happen(ledger, *(earn(f"e{number}", amount=10) for number in range(3)), spend("s1", amount=30))
    await happen(ledger, *(earn(f"f{number}", amount=10) for number in range(3)))
    ended = await happen(ledger, *(expire(f"x{number}") for number in range(3)))

    assert [posting.amount for posting in ended] == [20, 10, 0]
    assert (await ledger.balance("m1")).available == 0
    await assert_sound(ledger)


@pytest.mark.parametrize("name", ["expire", "unexpire"])
async def test_what_finds_nothing_makes_no_wallet(ledger: LedgerHarness, time: clock.ManualClock, name: str) -> None:
    """An end, or a return, for who holds nothing is answered with 0, later too, and leaves nobody in the ledger."""
    asked = expire("x1", "nobody") if name == "expire" else unexpire("x1", "nobody", since=START - DAY, until=START)
    [first] = await ledger.post(asked)
    time.value = START + DAY
    [again] = await ledger.post(asked)

    assert (first.HasField("posting"), first.posting.amount, again.replayed) == (True, 0, True)
    assert again.posting == first.posting
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM wallets") == 0
    await happen(ledger, earn("e1", "nobody", 5))
    [last] = await ledger.post(asked)
    assert last == again
    assert (await ledger.balance("nobody")).available == 5
    await assert_sound(ledger)


async def test_what_finds_nothing_leaves_others_their_wallet(ledger: LedgerHarness) -> None:
    """An end of nothing beside an earn of the same new member takes no wallet away, before it or behind it."""
    ended = await happen(ledger, expire("x1", "new"), earn("e1", "new", 5), expire("x2", "new"), expire("x3", "new"))

    assert [posting.amount for posting in ended] == [0, 5, 5, 0]
    assert (await ledger.balance("new")).lifetime_expired == 5
    await assert_sound(ledger)


async def expired(ledger: LedgerHarness, time: clock.ManualClock, sweeps: bool) -> None:
    """Lets lots of 10, 20 and 40 expire a day after each other, some of it spent; half a day has passed since."""
    await happen(
        ledger,
        earn("e1", amount=10, expires=START + 1 * DAY, priority=3),
        earn("e2", amount=20, expires=START + 2 * DAY, promotional=True),
        earn("e3", amount=40, expires=START + 3 * DAY),
        earn("e4", amount=80),
        spend("s1", amount=5),
    )
    time.value = START + 3 * DAY + DAY / 2
    if sweeps:
        await booking.book_due(ledger.ledger)


@pytest.mark.parametrize("sweeps", [True, False])
@pytest.mark.parametrize(
    ("since", "until", "amounts"),
    [
        (START, START + YEAR, [10, 15, 40]),
        (START + 1 * DAY, START + 3 * DAY, [10, 15]),
        (START + 1 * DAY + MICROSECOND, START + 3 * DAY + MICROSECOND, [15, 40]),
        (START - YEAR, START + 1 * DAY, []),
    ],
)
async def test_unexpire_gives_back_what_ended_within(
    ledger: LedgerHarness, time: clock.ManualClock, sweeps: bool, since: datetime, until: datetime, amounts: list[int]
) -> None:
    """Of the lots whose ends lie in the time, the first instant included, what expired is new lots, booked or not."""
    await expired(ledger, time, sweeps)
    end = time.value + YEAR
    [posting] = await happen(ledger, unexpire("u1", since=since, until=until, expires=end))
    balance = await ledger.balance("m1")

    assert (posting.amount, [part.amount for part in posting.allocations]) == (sum(amounts), amounts)
    assert times.from_proto(posting.expire_time) == end
    assert (balance.available, balance.lifetime_expired) == (80 + sum(amounts), 65 - sum(amounts))
    assert balance.lifetime_earned == 150
    assert (balance.next_expiry.amount, balance.HasField("next_expiry")) == (sum(amounts), bool(amounts))
    await assert_sound(ledger)


async def test_unexpire_keeps_priority_and_kind(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Each lot comes back as one of its own that is spent in its old place."""
    await expired(ledger, time, sweeps=False)
    await happen(ledger, unexpire("u1", since=START, until=START + YEAR))
    newest = (await ledger.lots("m1"))[:3]

    assert sorted((lot.amount, lot.priority, lot.promotional) for lot in newest) == [
        (10, 3, False),
        (15, 0, True),
        (40, 0, False),
    ]
    assert {lot.HasField("expire_time") for lot in newest} == {False}
    await assert_sound(ledger)


async def test_unexpire_gives_back_once(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What came back is not given back again, unless it expires again; a spend of it can be reversed."""
    await expired(ledger, time, sweeps=True)
    await happen(ledger, unexpire("u1", since=START, until=START + YEAR, expires=time.value + DAY))
    [again, _, _] = await happen(
        ledger, unexpire("u2", since=START, until=START + YEAR), spend("s2", amount=60), reverse("r2", "s2", 30)
    )
    time.value += 2 * DAY
    [later] = await happen(ledger, unexpire("u3", since=START, until=START + YEAR))

    assert again.amount == 0
    # 65 came back, of which 60 were spent, of which 30 were given back.
    assert later.amount == 35
    assert (await ledger.balance("m1")).available == 80 + 35
    await assert_sound(ledger)


async def test_unexpire_needs_an_end_after_now(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What is given back must not be over already, and the time it is about must not end before it begins."""
    await expired(ledger, time, sweeps=True)
    results = await ledger.post(
        unexpire("u1", since=START, until=START + YEAR, expires=time.value),
        unexpire("u2", since=START + DAY, until=START + DAY),
    )

    assert reasons(results) == ["LOT_LIFE_EMPTY", "FIELD_INVALID"]
    assert list(results[1].refusal.fields) == ["unexpire.expiredUntilTime"]
    await assert_sound(ledger)


async def test_unexpire_fills_a_wallet_to_its_limit(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What does not fit is not given back, in no part."""
    await happen(ledger, earn("e1", amount=10, expires=START + DAY))
    time.value = START + DAY
    await happen(ledger, *(adjust(f"a{number}", change=10**12) for number in range(999)), earn("e2", amount=10**12 - 9))
    reason, _ = await refused(ledger, unexpire("u1", since=START, until=START + YEAR))
    await happen(ledger, spend("s1", amount=1), unexpire("u2", since=START, until=START + YEAR))

    assert reason == "BALANCE_LIMIT"
    await assert_sound(ledger)


async def test_unexpire_repays_debt(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What is given back repays first what the member owes."""
    await happen(ledger, earn("e0", amount=30), spend("s0", amount=30), earn("e1", amount=50, expires=START + DAY))
    time.value = START + DAY
    await happen(ledger, claw_back("k0", "e0", policy=ledger_pb2.CLAW_BACK_POLICY_DEBT))
    await happen(ledger, unexpire("u1", since=START, until=START + YEAR))
    balance = await ledger.balance("m1")

    assert (balance.available, balance.debt) == (20, 0)
    await assert_sound(ledger)


async def test_expirings_raced_are_exact(ledger: LedgerHarness) -> None:
    """Ends, what is given back, spends and earns of 64 callers at once lose nothing and make nothing."""
    await happen(ledger, *(earn(f"e{number}", amount=10) for number in range(20)))

    async def call(number: int) -> int:
        asked = [
            expire(f"x{number}"),
            unexpire(f"u{number}", since=START, until=START + YEAR),
            spend(f"s{number}", amount=2),
            earn(f"n{number}", amount=1, pending=bool(number % 2)),
            *([confirm(f"c{number}", f"n{number}")] if number % 2 else []),
        ]
        spent = 0
        for operation in asked:
            [result] = await ledger.post(operation)
            spent += result.posting.amount if operation.HasField("spend") else 0
        return spent

    spent = sum(await asyncio.gather(*map(call, range(CALLERS))))
    balance = await ledger.balance("m1")
    assert balance.available + balance.lifetime_expired == 200 + CALLERS - spent
    await assert_sound(ledger)


async def test_rolling_lot_lives_on_in_a_wallet_that_had_none(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The first lot that rolls, earned into a wallet by a call of nothing but earns, lives on with each activity."""
    rolling = ledger_pb2.ExpiryPolicy(time_zone="UTC", days=2, rolling=True)
    await happen(ledger, earn("plain", amount=1))
    await happen(ledger, earn("rolling", amount=10, expiry=rolling))
    time.value = START + DAY
    await happen(ledger, earn("activity", amount=1))
    time.value = START + 2 * DAY

    assert (await ledger.balance("m1")).available == 12


async def test_activity_never_brings_an_end_nearer(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A month from 30 January at 13:00 ends later than one from 31 January at 12:00: the lot keeps its later end."""
    rolling = ledger_pb2.ExpiryPolicy(time_zone="UTC", months=1, rolling=True)
    time.value = datetime(2027, 1, 30, 13, tzinfo=UTC)
    await happen(ledger, earn("e1", amount=10, expiry=rolling))
    time.value = datetime(2027, 1, 31, 12, tzinfo=UTC)
    await happen(ledger, spend("s1", amount=1))
    [lot] = await ledger.lots("m1")

    assert times.from_proto(lot.expire_time) == datetime(2027, 2, 28, 13, tzinfo=UTC)
