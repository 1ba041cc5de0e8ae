"""Giving back what expired, to every member of a program: page by page, each member's part an operation of its own."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.kernel import db, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.ledger import errors, fingerprints, model, refusals, views
from services.ledger.decisions import giving
from services.ledger.model import Kind, Operation
from services.ledger.operations.posting import Ledger
from services.ledger.store import members

# Wallets that one page looks through, so that it is answered in time however few of them have anything to give back.
EXAMINED_MAX = 10_000
# Members whose parts share a transaction: each may have as many lots as one operation gives back.
MEMBERS_AT_ONCE = 50
# With that, a million lots of one member.
ROUNDS_MAX = 100
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Unexpiry:
    """Asks for the lots of an asset that expired from an instant on and before another one, with a new end."""

    request_id: str
    asset: str
    expired_from: datetime
    expired_until: datetime
    expires_at: datetime | None
    reason: str
    actor: str

    @property
    def content(self) -> dict[str, Any]:
        """Says what makes it the same or another."""
        return {
            "kind": "UNEXPIRE_LOTS",
            "asset": self.asset,
            "expiredFromTime": self.expired_from,
            "expiredUntilTime": self.expired_until,
            "expireTime": self.expires_at,
            "reason": self.reason,
            "actor": self.actor,
        }


async def unexpire_lots(
    ledger: Ledger, program_id: str, asked: Unexpiry, *, page_size: int, page_token: str
) -> tuple[list[views.UnexpiredMember], str]:
    """Gives back to a page of members what had expired by the first call; tells what, and the token of the next page.

    Idempotent by request id, page by page. Raises FIELD_INVALID, REQUEST_ID_REUSED and LOT_LIFE_EMPTY.
    """
    if asked.expired_from >= asked.expired_until:
        raise kernel_errors.field_invalid(kernel_errors.Violation("expiredUntilTime", "must be after expiredFromTime"))
    limit = pages.page_size(page_size)
    arguments = ("unexpired", program_id, asked.request_id)
    after = pages.read_cursor(page_token, *arguments, parse=_parse_wallet) or 0
    begun_at = await _begin(ledger, program_id, asked)
    wallets, last = await _find_wallets(ledger, program_id, asked, begun_at=begun_at, after=after, limit=limit)
    given = []
    for start in range(0, len(wallets), MEMBERS_AT_ONCE):
        given += await _give_back(ledger, program_id, asked, begun_at, wallets[start : start + MEMBERS_AT_ONCE])
    return given, pages.encode_token([last], *arguments) if last is not None else ""


async def _begin(ledger: Ledger, program_id: str, asked: Unexpiry) -> datetime:
    """Tells when the request was first made, which is now unless it was made before."""
    key, content = ids.request_key(asked.request_id), asked.content

    async def work(connection: db.Connection) -> members.Stored:
        stored = await members.find_request(connection, program_id, key)
        if stored is not None:
            return stored
        now = await ledger.time.now(connection)
        refusal = None
        if asked.expires_at is not None and asked.expires_at <= now:
            refusal = refusals.to_stored(errors.lot_life_empty(now, asked.expires_at))
        fingerprint = requests.fingerprint(content)
        detail = {"reason": asked.reason, "actor": asked.actor}
        row = model.Row(
            request_id=key,
            leg=0,
            kind=Kind.UNEXPIRE,
            occurred_at=now,
            expires_at=asked.expires_at,
            fingerprint=fingerprint,
            refusal=refusal,
            detail=detail,
        )
        await members.insert_request(connection, program_id, now, row, "")
        return members.Stored(fingerprint, now, refusal, detail)

    stored = await db.transaction(ledger.pool, work)
    differing = requests.differing_fields(stored.fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)
    if stored.refusal is not None:
        raise refusals.from_stored(stored.refusal)
    return stored.posted_at


async def _find_wallets(
    ledger: Ledger, program_id: str, asked: Unexpiry, *, begun_at: datetime, after: int, limit: int
) -> tuple[list[members.Expired], int | None]:
    """Lists the wallets of a page, and the last one that was looked at; None where none is left."""

    async def work(connection: db.Connection) -> tuple[list[members.Expired], int | None]:
        last, count = await members.bound_wallets(connection, program_id, after, EXAMINED_MAX)
        wallets = await members.list_expired_wallets(
            connection,
            program_id,
            asked.asset,
            between=(after, last),
            # What ends later had not expired when this was asked for.
            expired=(asked.expired_from, min(asked.expired_until, begun_at + MICROSECOND)),
            known_at=begun_at,
            limit=limit + 1,
        )
        more = last if count == EXAMINED_MAX else None
        if len(wallets) > limit:
            more = wallets[limit - 1].wallet_id
        return [each for each in wallets[:limit] if each.amounts], more

    return await db.read(ledger.pool, work)


async def _give_back(
    ledger: Ledger, program_id: str, asked: Unexpiry, begun_at: datetime, wallets: Sequence[members.Expired]
) -> list[views.UnexpiredMember]:
    """Gives back to some members, in as many rounds as the one with the most lots needs."""
    amounts = {each.wallet_id: 0 for each in wallets}
    refused: dict[int, kernel_errors.DomainError] = {}
    left = list(wallets)
    for number in range(ROUNDS_MAX):
        outcomes = await ledger.post(program_id, [_operation(asked, begun_at, expired, number) for expired in left])
        more = []
        for expired, outcome in zip(left, outcomes, strict=True):
            posting = None if isinstance(outcome, kernel_errors.DomainError) else outcome.posting
            if posting is None:
                refused[expired.wallet_id] = _refusal(outcome)
                continue
            amounts[expired.wallet_id] += posting.amount
            if len(posting.parts) == giving.LOTS_MAX:
                more.append(expired)
        left = more
        if not left:
            break
    return [
        views.UnexpiredMember(each.owner[0], amounts[each.wallet_id], refused.get(each.wallet_id))
        for each in wallets
        if amounts[each.wallet_id] or each.wallet_id in refused
    ]


def _refusal(outcome: model.Outcome | kernel_errors.DomainError) -> kernel_errors.DomainError:
    refusal = outcome if isinstance(outcome, kernel_errors.DomainError) else outcome.refusal
    assert refusal is not None, "What is not posted is refused."
    return refusal


def _operation(asked: Unexpiry, begun_at: datetime, expired: members.Expired, number: int) -> Operation:
    """Makes one member's part; by the wallet, so that it is the same one whatever the member is called."""
    content = asked.content
    return Operation(
        request_id=asked.request_id,
        key=_key(asked, expired.wallet_id, number),
        kind=Kind.UNEXPIRE,
        occurred_at=None,
        cause=model.NO_CAUSE,
        content=content,
        fingerprint=fingerprints.fingerprint(Kind.UNEXPIRE, content),
        owner=expired.owner,
        expires_at=asked.expires_at,
        expired_from=asked.expired_from,
        expired_until=min(asked.expired_until, begun_at + MICROSECOND),
        expired_amounts=expired.amounts,
        reason=asked.reason,
        actor=asked.actor,
    )


def _key(asked: Unexpiry, wallet_id: int, number: int) -> uuid.UUID:
    return ids.derived_id("unexpire", str(ids.request_key(asked.request_id)), str(wallet_id), str(number))


def _parse_wallet(wallet_id: Any) -> int:
    if type(wallet_id) is not int or not 0 < wallet_id < 2**63:
        raise ValueError("A page ends at a wallet.")
    return wallet_id
