"""The check of the ledger: whatever is changed behind its back is found."""

from datetime import timedelta

import pytest
from plaudit.ledger.v1 import ledger_pb2

from services.kernel import clock
from services.ledger import checks
from tests.ledger.samples import every_kind, prepare
from tests.support.databases import Databases
from tests.support.harness import LedgerHarness
from tests.support.ledger import confirm, earn, unexpire
from tests.support.outcomes import happen

DAY = timedelta(days=1)

MINE = "WHERE member_id = 'm1' AND asset = 'points'"
JOURNAL, ALLOCATIONS = "journal against balances", "lots against allocations"
TAKEN, BUDGETS = "what was taken against allocations", "budgets against the journal"
USES, CASHBACKS = "what budgets gave against what was earned", "cashbacks against purchases"
ENDS = "ends of lots against what was told"
RATES = "exchanges against their rates"
HELD = "balances against lots and holds"
WRONG = [
    (JOURNAL, f"UPDATE wallets SET balance = balance + 1, earned = earned + 1 {MINE}"),
    (JOURNAL, f"UPDATE wallets SET sequence = sequence + 1 {MINE}"),
    (JOURNAL, f"UPDATE wallets SET debt = debt + 1 {MINE}"),
    (JOURNAL, f"UPDATE wallets SET earned = earned + 1, spent = spent + 1 {MINE}"),
    (JOURNAL, f"UPDATE wallets SET expired = expired + 1, adjusted = adjusted + 1 {MINE}"),
    (JOURNAL, f"UPDATE wallets SET clawed_back = clawed_back + 1, adjusted = adjusted + 1 {MINE}"),
    (JOURNAL, "UPDATE journal SET balance = balance + 1 WHERE kind = 'SPEND'"),
    (ALLOCATIONS, "UPDATE lots SET amount = amount + 1 WHERE number = 1"),
    (ALLOCATIONS, "DELETE FROM allocations WHERE kind = 'SPEND'"),
    (HELD, "UPDATE holds SET amount = amount + 1 WHERE state = 'ACTIVE'"),
    (HELD, "UPDATE lots SET is_open = NOT is_open WHERE remaining > 0"),
    (ENDS, "UPDATE lots SET expires_at = '2099-01-01' WHERE number = 1"),
    (ENDS, "UPDATE lots SET expires_at = expires_at + interval '1 second' WHERE expires_at IS NOT NULL"),
    (ENDS, "UPDATE journal SET posted_at = posted_at + interval '1 second' WHERE kind = 'EXPIRE'"),
    (TAKEN, "UPDATE holds SET captured = captured - 1 WHERE state = 'CAPTURED'"),
    (TAKEN, "UPDATE allocations SET root_id = gen_random_uuid() WHERE kind = 'SPEND'"),
    (BUDGETS, "UPDATE budget_shards SET remaining = remaining + 1 WHERE budget_id = 'b1' AND shard = 0"),
    (USES, "UPDATE budget_shards SET given = given + 1 WHERE budget_id = 'b1' AND shard = 0"),
    (USES, "UPDATE budget_shards SET held = held + 1, given = given - 1 WHERE budget_id = 'b1' AND shard = 0"),
    (RATES, "UPDATE journal SET detail = jsonb_set(detail, '{rounding}', '987654321') WHERE kind = 'EXCHANGE'"),
    (RATES, "DELETE FROM journal WHERE kind = 'EXCHANGE' AND leg > 0"),
    (CASHBACKS, f"UPDATE wallets SET remainder = remainder + 1 {MINE}"),
    (CASHBACKS, f"UPDATE wallets SET cashback_due = cashback_due + 1 {MINE}"),
]


@pytest.mark.parametrize(("subject", "change"), WRONG, ids=[str(place) for place in range(len(WRONG))])
async def test_check_finds_what_does_not_add_up(
    ledger: LedgerHarness,
    databases: Databases,
    ledger_database: str,
    time: clock.ManualClock,
    subject: str,
    change: str,
) -> None:
    """Whatever is changed behind the ledger's back is found by the comparison that knows better."""
    await prepare(ledger)
    await happen(ledger, *every_kind())
    before = await checks.check(ledger.ledger.pool, time)
    connection = await databases.admin(ledger_database)
    assert not (await connection.execute(change)).endswith(" 0")
    await connection.close()
    after = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}

    assert [row.problems for row in before if row.problems] == []
    assert after[subject]


@pytest.mark.parametrize("kind", ["CONFIRM", "UNEXPIRE"])
async def test_check_finds_end_that_nobody_told(
    ledger: LedgerHarness, databases: Databases, ledger_database: str, time: clock.ManualClock, kind: str
) -> None:
    """A lot that was confirmed, or given back, ends when that was told to end, and at no other time."""
    policy = ledger_pb2.ExpiryPolicy(months=1, time_zone="Europe/Berlin")
    await happen(ledger, earn("e", pending=True, expiry=policy), earn("over", "m2", expires=time.value + DAY))
    time.value += 3 * DAY
    given_back = unexpire("u", "m2", since=time.value - 3 * DAY, until=time.value, expires=time.value + 9 * DAY)
    await happen(ledger, confirm("c", "e"), given_back)
    before = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}
    connection = await databases.admin(ledger_database)
    change = "UPDATE journal SET expires_at = expires_at + interval '1 second' WHERE kind = $1"
    assert await connection.execute(change, kind) == "UPDATE 1"
    await connection.close()
    after = {row.subject: row.problems for row in await checks.check(ledger.ledger.pool, time)}

    assert before[ENDS] == ()
    assert len(after[ENDS]) == 1
