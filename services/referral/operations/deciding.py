"""What is due for a referral: the fraud checks, the end of its hold, the end of its time to qualify.

Each can be done again: it looks at where the referral stands, under its lock, and does nothing where nothing is left.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.kernel import db, due, ids
from services.kernel import errors as kernel_errors
from services.referral import emails, fraud, model, ports
from services.referral.model import Decision, EndReason, Referral, ReferralChanged, State
from services.referral.operations.context import CHECK, SETTLE, Context
from services.referral.operations.following import of_email
from services.referral.signals import IDENTITY_KINDS, Kind, Signal
from services.referral.store import referrals
from services.referral.store import signals as signals_store

MEMBERS_SOURCE = "members"
# What one referral is compared with at most: beyond this the answer is clear, or the value says nothing.
COMPANIONS_MAX = 500
SAME_PERSONS_MAX = 200
# How often accounts of one person are looked for through other accounts of that person.
PERSON_ROUNDS_MAX = 3
SIGN_UPS_MAX = 100


@dataclass(frozen=True, slots=True)
class Addresses:
    """The e-mail addresses of both, as the program service has them now."""

    referrer: str
    referee: str


async def check(context: Context, members: ports.Members, item: due.DueItem) -> None:
    """Runs the fraud checks of a referral and decides; due work. Raises DEPENDENCY_UNAVAILABLE, having held it."""
    referral = await _read(context, item)
    if referral is None or referral.state not in model.PENDING_STATES:
        return
    await _assess(context, members, item.program_id, referral)


async def settle(context: Context, members: ports.Members, item: due.DueItem) -> None:
    """Releases a reward whose hold is over, checked once more unless a person decided; due work.

    One that waits for a reviewer stays held, for as long as that takes. Raises DEPENDENCY_UNAVAILABLE.
    """
    referral = await _read(context, item)
    if referral is None or referral.state not in model.PENDING_STATES or referral.awaits_review:
        return
    if await _is_reviewed(context, item.program_id, referral):
        await _release(context, item.program_id, referral.referral_id)
        return
    await _assess(context, members, item.program_id, referral)


async def expire(context: Context, item: due.DueItem) -> None:
    """Ends a referral that has not qualified in time; due work."""

    async def run(connection: db.Connection) -> None:
        locked = await referrals.lock_referral(connection, item.program_id, _referral_id(item))
        if locked is None or locked.state is not State.SIGNED_UP:
            return
        now = await context.time.now(connection)
        expired = locked.moved(State.EXPIRED, now, end_reason=EndReason.NOT_QUALIFIED)
        await write(context, connection, item.program_id, locked, expired)

    await db.transaction(context.pool, run)


async def write(
    context: Context, connection: db.Connection, program_id: str, before: Referral, after: Referral
) -> None:
    """Writes a referral, and tells the feed where its state has changed; the last thing of a transaction."""
    await referrals.update_referral(connection, program_id, after)
    if after.state not in model.PENDING_STATES:
        await due.complete(connection, program_id, SETTLE, after.referral_id)
    if after.state is not before.state:
        await context.publish(connection, program_id, ReferralChanged(after, before.state))


async def _read(context: Context, item: due.DueItem) -> Referral | None:
    return await db.read(context.pool, lambda c: referrals.get_referral(c, item.program_id, _referral_id(item)))


def _referral_id(item: due.DueItem) -> uuid.UUID:
    return uuid.UUID(item.payload["referral_id"])


async def _is_reviewed(context: Context, program_id: str, referral: Referral) -> bool:
    return bool(await db.read(context.pool, lambda c: referrals.find_reviews(c, program_id, [referral.referral_id])))


async def _release(context: Context, program_id: str, referral_id: uuid.UUID) -> None:
    async def run(connection: db.Connection) -> None:
        locked = await referrals.lock_referral(connection, program_id, referral_id)
        assert locked is not None, "A referral is never deleted."
        now = await context.time.now(connection)
        if locked.state in model.PENDING_STATES and locked.decision is Decision.ALLOW and locked.is_over(now):
            await write(context, connection, program_id, locked, locked.moved(State.REWARDED, now))

    await db.transaction(context.pool, run)


async def _assess(context: Context, members: ports.Members, program_id: str, referral: Referral) -> None:
    try:
        addresses = Addresses(
            await members.email(program_id, referral.referrer_id),
            await members.email(program_id, referral.referee_id),
        )
    except kernel_errors.DomainError:
        # Whatever the reason is, nobody has said that there is nothing to find.
        if referral.decision is Decision.PENDING:
            await db.transaction(context.pool, lambda c: _decide(context, c, program_id, referral, None))
        raise
    await db.transaction(context.pool, lambda c: _decide(context, c, program_id, referral, addresses))


async def _decide(
    context: Context,
    connection: db.Connection,
    program_id: str,
    referral: Referral,
    addresses: Addresses | None,
) -> None:
    """Assesses a referral and writes what came of it; without addresses as one whose members nobody could ask for."""
    now = await context.time.now(connection)
    if addresses is not None:
        # Before the referral is locked: the follower takes both in this order, too.
        await _remember(context, connection, program_id, referral, addresses, now=now)
    locked = await referrals.lock_referral(connection, program_id, referral.referral_id)
    assert locked is not None, "A referral is never deleted."
    is_reviewed = locked.referral_id in await referrals.find_reviews(connection, program_id, [locked.referral_id])
    if locked.state not in model.PENDING_STATES or is_reviewed:
        return
    facts = await _facts(connection, program_id, locked, addresses)
    assessed = locked.assessed(fraud.assess(facts), now)
    await referrals.insert_assessment(connection, program_id, assessed, now)
    if assessed.decision is Decision.REJECT:
        await _look_again(connection, program_id, locked, facts.graph, now)
    await write(context, connection, program_id, locked, assessed)


async def _remember(
    context: Context,
    connection: db.Connection,
    program_id: str,
    referral: Referral,
    addresses: Addresses,
    *,
    now: datetime,
) -> None:
    """Keeps what the addresses of both tell, as hashes."""
    key = context.program_key(program_id)
    pairs = ((referral.referrer_id, addresses.referrer), (referral.referee_id, addresses.referee))
    seen = [model.Observation(member_id, each, now) for member_id, text in pairs for each in of_email(key, text)]
    if seen:
        await signals_store.put_signals(connection, program_id, seen)


async def _facts(
    connection: db.Connection, program_id: str, referral: Referral, addresses: Addresses | None
) -> fraud.Facts:
    """Gathers what the checks look at."""
    referrer_id, referee_id = referral.referrer_id, referral.referee_id
    is_self = referrer_id == referee_id
    common = [] if is_self else await signals_store.find_shared(connection, program_id, referrer_id, referee_id)
    return fraud.Facts(
        referrer_id=referrer_id,
        referee_id=referee_id,
        signed_up_at=referral.signed_up_at,
        clicked_at=referral.clicked_at,
        referrer_email=emails.forms(addresses.referrer) if addresses else None,
        referee_email=emails.forms(addresses.referee) if addresses else None,
        common=frozenset(signal.kind for signal in common),
        members_on_ip=await _count_on_ip(connection, program_id, referral, common),
        companions=await signals_store.find_companions(connection, program_id, referrer_id, referee_id, COMPANIONS_MAX),
        sign_ups=await referrals.list_sign_ups(
            connection,
            program_id,
            referrer_id,
            referral.signed_up_at - max(period for period, _ in fraud.VELOCITY),
            referral.signed_up_at,
            limit=SIGN_UPS_MAX,
        ),
        graph=await _graph(connection, program_id, referral),
        unavailable=() if addresses else (MEMBERS_SOURCE,),
    )


async def _count_on_ip(connection: db.Connection, program_id: str, referral: Referral, common: Sequence[Signal]) -> int:
    """Counts the members on the address that both share, else on their network, else on the referee's own address."""
    since = referral.signed_up_at - timedelta(days=fraud.SHARED_IP_DAYS)
    for kind in (Kind.IP, Kind.SUBNET):
        shared = [signal for signal in common if signal.kind is kind]
        if shared:
            return await signals_store.count_members(connection, program_id, shared, since)
    own = await signals_store.list_signals(connection, program_id, referral.referee_id, [Kind.IP], since)
    return await signals_store.count_members(connection, program_id, own, since) if own else 0


async def _graph(connection: db.Connection, program_id: str, referral: Referral) -> fraud.Graph:
    """Reads who referred those who lead to the referrer, accounts of one person taken together, as far as rings go."""
    same_as: dict[str, dict[str, Kind]] = {}
    referrer_of: dict[str, str] = {}
    known: set[str] = set()
    level = {referral.referrer_id, referral.referee_id}
    for _ in range(fraud.RING_HOPS_MAX + 1):
        level = await _persons(connection, program_id, level - known, same_as)
        known |= level
        above = await referrals.find_referrers(connection, program_id, sorted(level))
        referrer_of |= above
        if set(above.values()) <= known:
            break
        level = set(above.values())
    return fraud.Graph(referrer_of, same_as)


async def _persons(
    connection: db.Connection, program_id: str, members: set[str], same_as: dict[str, dict[str, Kind]]
) -> set[str]:
    """Gives members with the other accounts of the same persons, and notes how these are known."""
    found, fresh = set(members), members
    for _ in range(PERSON_ROUNDS_MAX):
        if not fresh:
            break
        pairs = await signals_store.find_same_persons(
            connection, program_id, sorted(fresh), IDENTITY_KINDS, SAME_PERSONS_MAX
        )
        for member, other, kind in pairs:
            same_as.setdefault(member, {}).setdefault(other, kind)
            same_as.setdefault(other, {}).setdefault(member, kind)
        fresh = {other for _, other, _ in pairs} - found
        found |= fresh
    return found


async def _look_again(
    connection: db.Connection, program_id: str, referral: Referral, graph: fraud.Graph, now: datetime
) -> None:
    """Makes due the checks of the pending referrals around one that is rejected: they may be of the same ring."""
    around = set(graph.referrer_of) | set(graph.referrer_of.values())
    pending = await referrals.list_pending(connection, program_id, sorted(around))
    items = [
        due.DueItem(
            program_id,
            CHECK,
            ids.derived_id(CHECK, str(each), str(referral.referral_id)),
            {"referral_id": str(each)},
            now,
        )
        for each in pending
        if each != referral.referral_id
    ]
    if items:
        await due.schedule(connection, items)
