"""Fraud, from events to decision: who refers themselves is found out, and who shares an address is not."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from plaudit.referral.v1 import referral_pb2

from services.kernel import clock, db, due
from services.referral import worker
from services.referral.operations.context import CHECK, SETTLE
from tests.conftest import START
from tests.referral.conftest import NOBODY
from tests.support.databases import Databases
from tests.support.program import ProgramHarness, event
from tests.support.referral import ReferralHarness, decided, found, run_referral, told

HOLD_S = 86_400


async def bring(
    referral: ReferralHarness,
    referrer_id: str,
    referee_id: str,
    *,
    paid_with: dict[str, Any] | None = None,
    **seen: Any,
) -> None:
    """Lets one member bring another, who signs up seen with something, and pays with something."""
    code = await referral.code(referrer_id)
    await referral.sign_up(referee_id, referralCode=code.code, **seen)
    await referral.pay(referee_id, **(paid_with or {}))


async def test_self_referral_by_alias_and_card_is_rejected(referral: ReferralHarness) -> None:
    """Who brings a second account of the same mailbox and the same card is rejected, with evidence for both."""
    await referral.create(hold_seconds=HOLD_S)
    await referral.address("ann", "a.b+x@gmail.com")
    await referral.record(event("old", "payment.succeeded", "ann", at=START, payment_fingerprint="card-1"))
    await referral.address("ab", "ab@googlemail.com")
    await bring(referral, "ann", "ab", paid_with={"payment_fingerprint": "card-1"})
    await referral.drain()
    rejected = await referral.of("ab")

    assert (told(rejected), decided(rejected), rejected.score) == ("REJECTED", "REJECT", 200)
    assert rejected.end_reason == referral_pb2.REFERRAL_END_REASON_FRAUD
    assert found(rejected) == {"same_email": 100, "same_payment": 100}
    evidence = {finding.check: dict(finding.evidence) for finding in rejected.findings}
    assert evidence == {
        "same_email": {"compared": "canonical address"},
        "same_payment": {"members": "ann, ab"},
    }
    assert all(finding.identity for finding in rejected.findings)
    await referral.assert_sound()


@pytest.mark.parametrize(
    ("seen", "findings", "state"),
    [
        ({"ip": "203.0.113.5"}, {"same_ip": 10}, "REWARDED"),
        ({"ip": "203.0.113.9"}, {"same_subnet": 5}, "REWARDED"),
        ({"ip": "198.51.100.5"}, {}, "REWARDED"),
        ({"ip": "10.0.0.1"}, {}, "REWARDED"),
        ({"ip": "no address"}, {}, "REWARDED"),
        ({"device_id": "phone"}, {"same_device": 60}, "HELD"),
        ({"deviceId": "phone", "paymentFingerprint": "card"}, {"same_device": 60, "same_payment": 100}, "REJECTED"),
    ],
)
async def test_shared_signals_decide(
    referral: ReferralHarness, seen: dict[str, Any], findings: dict[str, int], state: str
) -> None:
    """An address on the internet in common is allowed, a device is held, a means of payment is rejected."""
    await referral.create()
    own: dict[str, Any] = {"ip": "203.0.113.5", "device_id": "phone", "payment_fingerprint": "card"}
    await referral.record(event("own", "app.opened", "ann", at=START, **own))
    await referral.record(event("lan", "app.opened", "ann", at=START, ip="10.0.0.1"))
    await bring(referral, "ann", "bob", **seen)
    await referral.drain()

    assert found(await referral.of("bob")) == findings
    assert await referral.state("bob") == state


async def test_office_address_says_nothing(referral: ReferralHarness) -> None:
    """An address that 20 members were seen with in a month is an office's: it is told, and has no points."""
    await referral.create()
    seen = [event(f"e{n}", "app.opened", f"m{n}", at=START, ip="203.0.113.5") for n in range(18)]
    await referral.record(*seen, event("own", "app.opened", "ann", at=START, ip="203.0.113.5"))
    await bring(referral, "ann", "bob", ip="203.0.113.5")
    await referral.drain()

    [finding] = (await referral.of("bob")).findings
    assert (finding.check, finding.points) == ("same_ip", 0)
    assert dict(finding.evidence) == {"membersSeen": "20", "days": "30", "exempt": "shared"}


async def test_click_tells_where_the_referee_is(referral: ReferralHarness) -> None:
    """Where somebody clicked is seen with the sign-up that it led to, also where that tells no address."""
    await referral.create()
    await referral.record(event("own", "app.opened", "ann", at=START, ip="203.0.113.5"))
    click = await referral.click(await referral.code("ann"), ip="203.0.113.5")
    await referral.sign_up("bob", at=START + timedelta(minutes=1), clickId=click)
    await referral.pay("bob", at=START + timedelta(minutes=2))
    await referral.drain(CHECK)

    assert found(await referral.of("bob")) == {"same_ip": 10}


async def test_disposable_address_is_held(referral: ReferralHarness) -> None:
    """Who signs up with an address to throw away is held for a person, and the domain is told."""
    await referral.create()
    await referral.address("bob", "bob@sub.mailinator.com")
    await bring(referral, "ann", "bob")
    await referral.drain()
    held = await referral.of("bob")

    assert (told(held), found(held)) == ("HELD", {"disposable_email": 40})
    assert held.findings[0].evidence["domain"] == "sub.mailinator.com"


async def test_ring_of_three_is_rejected(referral: ReferralHarness) -> None:
    """Three who brought each other in a circle are rejected, all of them, though the first two looked fine before."""
    await referral.create(hold_seconds=HOLD_S)
    await bring(referral, "ann", "bob")
    await bring(referral, "bob", "cid")
    await referral.drain(CHECK)
    before = [decided(await referral.of(each)) for each in ("bob", "cid")]
    await bring(referral, "cid", "ann")
    await referral.drain(CHECK)
    rejected = {each: await referral.of(each) for each in ("ann", "bob", "cid")}

    assert before == ["ALLOW", "ALLOW"]
    assert {each: told(one) for each, one in rejected.items()} == dict.fromkeys(rejected, "REJECTED")
    assert rejected["ann"].findings[0].evidence["path"] == "ann < cid < bob < ann"
    await referral.assert_sound()


async def test_ring_through_a_second_account_is_rejected(referral: ReferralHarness) -> None:
    """A ring is found where it closes through another account of the same person, known by its device."""
    await referral.create(hold_seconds=HOLD_S)
    await referral.record(event("own", "app.opened", "ann", at=START, device_id="phone"))
    await bring(referral, "ann", "bob")
    await bring(referral, "bob", "ann-2", device_id="phone")
    await referral.drain(CHECK)

    rejected = await referral.of("ann-2")
    assert (told(rejected), found(rejected)) == ("REJECTED", {"ring": 80})
    assert await referral.state("bob") == "REJECTED"


async def test_what_is_seen_in_the_hold_counts(referral: ReferralHarness) -> None:
    """A card that the referrer uses after the first check is found by the last one, before the reward is released."""
    await referral.create(hold_seconds=HOLD_S)
    await bring(referral, "ann", "bob", paid_with={"payment_fingerprint": "card-1"})
    await referral.drain(CHECK)
    assert decided(await referral.of("bob")) == "ALLOW"
    await referral.record(event("later", "payment.succeeded", "ann", at=START, payment_fingerprint="card-1"))
    referral.time.value += timedelta(seconds=HOLD_S)
    await referral.drain(SETTLE)

    assert await referral.state("bob") == "REJECTED"
    assert [told(each.referral) for each in await referral.published()] == ["SIGNED_UP", "QUALIFIED", "REJECTED"]
    await referral.assert_sound()


async def test_source_that_is_away_holds_until_it_is_back(
    referral: ReferralHarness, databases: Databases, referral_database: str, program: ProgramHarness
) -> None:
    """Without the program service a referral is held, never cleared; when it is back the referral goes on by itself."""
    await referral.create()
    await bring(referral, "ann", "bob")
    async with run_referral(databases.dsn(referral_database, "referral"), referral.time, program, NOBODY) as alone:
        await alone.drain(CHECK, SETTLE)
    held = await referral.of("bob")
    referral.time.value += timedelta(hours=1)
    await referral.drain()

    assert (told(held), decided(held), found(held)) == ("HELD", "HOLD", {"source_unavailable": 0})
    assert await referral.state("bob") == "REWARDED"
    await referral.assert_sound()


async def test_database_keeps_no_personal_data(referral: ReferralHarness) -> None:
    """No table has an address, a device or a means of payment as it was told, and equal ones of two programs differ."""
    await referral.create()
    await referral.address("ann", "ann@acme.example")
    await bring(referral, "ann", "bob", ip="203.0.113.5", device_id="phone-7", payment_fingerprint="card-8")
    await referral.drain()
    tables = await referral.context.pool.fetch("SELECT relname FROM pg_stat_user_tables")
    secrets = ("ann@acme", "203.0.113", "phone-7", "card-8")
    for table in tables:
        rows = await referral.context.pool.fetch(f"SELECT t::text AS text FROM {table['relname']} AS t")
        text = " ".join(row["text"] for row in rows)
        assert not [word for word in secrets if word in text or word.encode().hex() in text], table["relname"]
    assert referral.context.program_key("demo") != referral.context.program_key("other")


async def test_worker_that_dies_leaves_nothing_undone(
    databases: Databases, referral_database: str, referral: ReferralHarness, program: ProgramHarness
) -> None:
    """A worker that is cut off at any step of 16 referrals leaves what the next one ends, each once."""
    await referral.create()
    code = await referral.code("ann")
    at = START
    for number in range(16):
        await referral.program.record(
            event(f"s{number}", "user.signed_up", f"m{number}", at=at - timedelta(days=number), referralCode=code.code),
            event(f"p{number}", "payment.succeeded", f"m{number}", at=at),
        )
    dsn = databases.dsn(referral_database, "referral")
    for steps in range(10):
        async with run_referral(dsn, referral.time, program) as dying:
            with_steps = _cut_after(dying, 5 * steps)
            with pytest.raises(asyncio.CancelledError):
                await with_steps
        referral.time.value += timedelta(seconds=2 * due.LEASE_S)
    await referral.catch_up()
    await referral.drain()

    states = [told(each) for each in await referral.listed()]
    assert states == ["REWARDED"] * 16
    published = [(each.referral.referee_id, told(each.referral)) for each in await referral.published()]
    assert len(published) == len(set(published)) == 3 * 16
    await referral.assert_sound()


async def _cut_after(dying: ReferralHarness, commits: int) -> None:
    """Works until so many transactions have committed, and is cut off before the next one does."""
    left = commits
    transaction = db.transaction

    async def counted(pool: db.Pool, work: Any) -> Any:
        nonlocal left

        async def cut(connection: db.Connection) -> Any:
            nonlocal left
            result = await work(connection)
            left -= 1
            if left < 0:
                raise asyncio.CancelledError
            return result

        return await transaction(pool, cut)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(db, "transaction", counted)
        await dying.catch_up()
        for kind, handler in worker.handlers(dying.context, dying.members).items():
            await due.drain(dying.context.pool, kind, handler, dying.context.time)
        raise asyncio.CancelledError


async def test_clock_is_not_asked_by_the_checks(referral: ReferralHarness) -> None:
    """The same facts are found the same a year later: an assessment that is kept can be come to again."""
    await referral.create(hold_seconds=365 * 86_400)
    await referral.address("bob", "bob@mailinator.com")
    await bring(referral, "ann", "bob")
    await referral.drain(CHECK)
    first = await referral.of("bob")
    referral.time.value += timedelta(days=300)
    item = due.DueItem("demo", CHECK, db.Uuid(first.referral_id), {"referral_id": first.referral_id}, START)
    await worker.handlers(referral.context, referral.members)[CHECK](item)
    again = await referral.of("bob")

    assert (again.findings, again.score, decided(again)) == (first.findings, first.score, decided(first))
    assert isinstance(referral.time, clock.ManualClock)
