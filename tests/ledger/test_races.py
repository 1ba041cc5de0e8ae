"""Many callers at once: what they are told adds up, and nothing happens twice."""

import asyncio
import random
from datetime import timedelta

from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger.operations import booking
from tests.conftest import START
from tests.ledger.test_server import YEAR, assert_sound
from tests.support.accounts import Account
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness, run_ledger
from tests.support.ledger import capture, earn, hold, release, reverse

CALLERS = 64
MEMBERS = ("m0", "m1", "m2")


async def assert_accounts(ledger: LedgerHarness, account: Account) -> None:
    """Compares what callers were told with what the ledger says, and lets it check itself."""
    account.assert_ends_once()
    for (member_id, _), standing in account.standings().items():
        balance = await ledger.balance(member_id)
        standing.assert_told(balance)
        assert balance.held == standing.held
    await assert_sound(ledger)


def choose(number: int, step: int, fate: random.Random) -> list[ledger_pb2.Operation]:
    """Chooses what a caller does next: ids are its own, targets are anybody's."""
    name = f"{number}.{step}"
    holds = [f"h{fate.randrange(CALLERS)}.{fate.randrange(step + 1)}" for _ in range(2)]
    captured = f"c{fate.randrange(CALLERS)}.{fate.randrange(step + 1)}"
    member_id = fate.choice(MEMBERS)
    choices = [
        [earn(f"e{name}", member_id, fate.randint(1, 20))],
        [hold(f"h{name}", member_id, fate.randint(1, 30)), capture(f"c{name}", f"h{name}")],
        [hold(f"h{name}", member_id, fate.randint(1, 30))],
        [capture(f"c{name}", holds[0]), release(f"l{name}", holds[1])],
        [reverse(f"r{name}", captured)],
    ]
    return fate.choice(choices)


async def test_mixed_operations_raced_add_up(ledger: LedgerHarness) -> None:
    """64 callers who earn, hold, capture, release and reverse in the same wallets are told what the ledger holds."""
    account = Account()
    first = [earn(f"first-{member_id}", member_id, 100) for member_id in MEMBERS]
    account.add(first, await ledger.post(*first))

    async def call(number: int) -> None:
        fate = random.Random(number)
        for step in range(10):
            operations = choose(number, step, fate)
            account.add(operations, await ledger.post(*operations))
            if fate.random() < 0.2:
                account.add(operations, await ledger.post(*operations))

    await asyncio.gather(*(call(number) for number in range(CALLERS)))
    assert min(len(account.happened(action)) for action in ("hold", "capture", "release", "reverse")) > 0
    await assert_accounts(ledger, account)


async def test_reversals_of_one_capture_raced_happen_once(ledger: LedgerHarness) -> None:
    """64 reversals of one capture under different ids: one happens, all others are refused as late."""
    await ledger.post(earn("e1", "m0"), hold("h1", "m0"), capture("c1", "h1"))
    results = await asyncio.gather(*(ledger.post(reverse(f"r{number}", "c1")) for number in range(CALLERS)))

    reasons = sorted(result.refusal.reason for [result] in results)
    assert reasons == ["", *["TARGET_REVERSED"] * (CALLERS - 1)]
    assert (await ledger.balance("m0")).available == 100
    await assert_sound(ledger)


async def test_one_id_raced_in_other_kinds_has_one_outcome(ledger: LedgerHarness) -> None:
    """One id raced as an earn, a hold, a capture and a reversal has one outcome, and the other kinds are refused."""
    await ledger.post(earn("e1", "m0", 500), hold("h1", "m0", 10), hold("h2", "m0", 10), capture("c2", "h2"))
    asked = [earn("x", "m0", 7), hold("x", "m0", 3), capture("x", "h1"), reverse("x", "c2")]
    results = await asyncio.gather(*(ledger.post(asked[number % 4]) for number in range(CALLERS)))

    winners = [number % 4 for number, [result] in enumerate(results) if result.HasField("posting")]
    assert len(set(winners)) == 1
    assert len(winners) == CALLERS // 4
    assert sum(not result.replayed for [result] in results if result.HasField("posting")) == 1
    assert {result.refusal.reason for [result] in results} == {"", "REQUEST_ID_REUSED"}
    await assert_sound(ledger)


async def test_expiry_raced_with_spends_is_exact(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Spends on both sides of an expiry are judged by their own instant, and the sweep in between changes nothing."""
    end = START + YEAR
    await ledger.post(*(earn(f"e{number}", "m0", 10, expires=end) for number in range(20)), earn("rest", "m0", 35))
    time.value = end - timedelta(microseconds=1)

    async def spend(number: int) -> ledger_pb2.OperationResult:
        if number == CALLERS // 2:
            time.value = end
        if number % 8 == 0:
            await booking.book_due(ledger.ledger)
        [result] = await ledger.post(hold(f"h{number}", "m0", 7))
        return result

    results = await asyncio.gather(*(spend(number) for number in range(CALLERS)))
    held = [result.posting for result in results if result.HasField("posting")]
    for posting in held:
        is_late = posting.post_time.ToDatetime(START.tzinfo) >= end
        assert not (is_late and any(part.HasField("expire_time") for part in posting.allocations))
    await booking.book_due(ledger.ledger)
    balance = await ledger.balance("m0")
    taken = sum(posting.amount for posting in held)
    lost = sum(part.amount for posting in held for part in posting.allocations if part.HasField("expire_time"))
    assert (balance.held, balance.lifetime_expired, balance.available) == (taken, 200 - lost, 35 - (taken - lost))
    await assert_sound(ledger)


async def test_end_of_hold_raced_with_its_time(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Captures and releases around the end of holds happen before it and are refused from it on, each hold once."""
    await ledger.post(earn("e1", "m0", 640), *(hold(f"h{number}", "m0", 10, timeout_s=60) for number in range(CALLERS)))
    end = START + timedelta(seconds=60)

    async def finish(number: int) -> ledger_pb2.OperationResult:
        if number == CALLERS // 2:
            time.value = end
        operation = capture(f"c{number}", f"h{number}") if number % 2 else release(f"c{number}", f"h{number}")
        [result] = await ledger.post(operation)
        return result

    results = await asyncio.gather(*(finish(number) for number in range(CALLERS)))
    captured = 0
    for number, result in enumerate(results):
        if result.HasField("posting"):
            assert result.posting.post_time.ToDatetime(START.tzinfo) < end
            captured += number % 2
        else:
            assert dict(result.refusal.metadata) == {"holdRequestId": f"h{number}", "state": "TIMED_OUT"}
    balance = await ledger.balance("m0")
    assert (balance.available, balance.held, balance.lifetime_spent) == (640 - 10 * captured, 0, 10 * captured)
    await assert_sound(ledger)


async def test_two_servers_share_one_database(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock
) -> None:
    """Two servers over one database, asked the same at once, judge the same wallets and ids as one would."""
    account = Account()
    first = [earn(f"first-{member_id}", member_id, 200) for member_id in MEMBERS]
    account.add(first, await ledger.post(*first))

    async def call(server: LedgerHarness, number: int) -> None:
        fate = random.Random(number)
        for step in range(5):
            operations = choose(number, step, fate)
            account.add(operations, await server.post(*operations))

    async with run_ledger(databases.dsn(ledger_database, "ledger"), time) as other:
        await asyncio.gather(*(call(server, number) for number in range(CALLERS // 2) for server in (ledger, other)))
    assert account.standings().keys() == {(member_id, "points") for member_id in MEMBERS}
    await assert_accounts(ledger, account)


async def test_posted_times_follow_the_order_of_entries(databases: Databases, ledger_database: str) -> None:
    """Entries of one wallet, written by two servers at once, never have a time before that of an earlier one."""
    dsn, real = databases.dsn(ledger_database, "ledger"), clock.DatabaseClock()
    async with run_ledger(dsn, real) as one, run_ledger(dsn, real) as other:

        async def call(server: LedgerHarness, number: int) -> None:
            for step in range(8):
                await server.post(earn(f"e{number}.{step}", "m0", 1))

        await asyncio.gather(*(call((one, other)[number % 2], number) for number in range(24)))
        entries = await one.statement("m0")

    times = [(entry.post_time.seconds, entry.post_time.nanos) for entry in reversed(entries)]
    assert len(times) == 24 * 8
    assert times == sorted(times)
