"""What `plaudit check` and `plaudit status` see of referrals: all that adds up, and each thing that does not."""

import pytest

from services.referral import checks
from tests.support.referral import ReferralHarness

AGES = "due work against ages"


async def refer(referral: ReferralHarness) -> None:
    """Lets Ann bring Bob, who is rewarded, and Cid, who has signed up."""
    await referral.create()
    code = (await referral.code("ann")).code
    for friend in ("bob", "cid"):
        await referral.sign_up(friend, referralCode=code)
    await referral.pay("bob")
    await referral.drain()


@pytest.mark.parametrize(
    ("subject", "breach"),
    [
        ("referrals against due work", "DELETE FROM due_work WHERE kind = 'expire_referral'"),
        ("decisions against assessments", "UPDATE referrals SET decision = 'HOLD' WHERE referee_id = 'cid'"),
        ("referrals against codes", "UPDATE referrals SET referrer_id = 'zoe' WHERE referee_id = 'bob'"),
        ("feed without gaps", "UPDATE feed_heads SET position = position + 1"),
    ],
)
async def test_check_sees_what_does_not_add_up(referral: ReferralHarness, subject: str, breach: str) -> None:
    """A sound database has no problem; each breach is a problem of its own subject, and of no other one."""
    await refer(referral)
    before = await checks.check(referral.context.pool)
    await referral.context.pool.execute(breach)
    rows = await checks.check(referral.context.pool)

    # By the clock of the database all that waits is long overdue: the test's own stands still in the past.
    assert [row.subject for row in before if row.problems] == [AGES]
    assert [row.subject for row in rows if row.problems and row.subject != AGES] == [subject]
    assert all(row.examined for row in rows if row.problems)


async def test_status_tells_where_referrals_stand(referral: ReferralHarness) -> None:
    """The status counts referrals by state, what is due, and how far the feed and the follower are."""
    await refer(referral)
    rows = {row.subject: row.value for row in await checks.status(referral.context.pool)}

    assert (rows["referrals rewarded"], rows["referrals signed_up"], rows["feed demo/0"]) == ("1", "1", "4")
    assert rows["due work expire_referral waiting"] == "1"
    assert int(rows["cursor referral-program demo/0"]) > 0
