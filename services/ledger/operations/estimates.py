"""Estimates of redemption: stored for ever, from now on or from later on, and listed."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.kernel import db, errors, ids, pages, requests, times
from services.kernel.errors import Violation
from services.ledger.operations.posting import Ledger
from services.ledger.revenue import Estimate
from services.ledger.store import liability as store
from services.ledger.store.liability import StoredEstimate

# Before every estimate, where listings begin.
PLACE_MIN = ("", "", times.EARLIEST, uuid.UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEstimate:
    """An estimate that is asked for under a request id; without `valid_from` it is in force from now on."""

    request_id: str
    asset: str
    campaign_id: str
    redemption_rate_bps: int
    valid_from: datetime | None

    @property
    def content(self) -> dict[str, Any]:
        """Gives what makes it the same request or another one."""
        return {
            "asset": self.asset,
            "campaignId": self.campaign_id,
            "redemptionRateBps": self.redemption_rate_bps,
            "validFromTime": self.valid_from,
        }


async def set_estimate(ledger: Ledger, program_id: str, new: NewEstimate) -> tuple[StoredEstimate, bool]:
    """Stores an estimate; tells whether it stood before.

    Raises REQUEST_ID_REUSED, and FIELD_INVALID for one that begins in the past, which is no outcome.
    """
    key = ids.request_key(new.request_id)

    async def work(connection: db.Connection) -> tuple[StoredEstimate, bool]:
        # A request that is repeated is told what it did, though what it asked for begins in the past by now.
        prior = await store.find_estimate(connection, program_id, key)
        if prior is None:
            wanted = _estimate(new, key, await ledger.time.now(connection))
            if await store.insert_estimate(connection, program_id, wanted):
                return wanted, False
            prior = await store.find_estimate(connection, program_id, key)
            assert prior is not None, "An estimate that conflicts is there."
        differing = requests.differing_fields(prior.fingerprint, new.content)
        if differing:
            raise errors.request_id_reused(differing)
        return prior, True

    return await db.transaction(ledger.pool, work)


def _estimate(new: NewEstimate, key: uuid.UUID, now: datetime) -> StoredEstimate:
    valid_from = new.valid_from or now
    if valid_from < now:
        message = f"must not lie in the past, where reports have been made; it is {times.to_text(now)} now"
        raise errors.field_invalid(Violation("validFromTime", message))
    estimate = Estimate(
        asset=new.asset,
        campaign_id=new.campaign_id,
        redemption_rate_bps=new.redemption_rate_bps,
        valid_from=valid_from,
    )
    return StoredEstimate(key, requests.fingerprint(new.content), estimate, set_at=now)


async def list_estimates(
    ledger: Ledger, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[StoredEstimate], str]:
    """Lists a page of estimates by asset, campaign and the instant from which they hold; and the token of the next."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "estimates", program_id, parse=_parse_place) or PLACE_MIN
    found = await db.read(
        ledger.pool, lambda connection: store.list_estimates(connection, program_id, after, limit + 1)
    )
    if len(found) <= limit:
        return found, ""
    asset, campaign_id, valid_from, request_id = found[limit - 1].place
    cursor = [asset, campaign_id, valid_from.isoformat(), str(request_id)]
    return found[:limit], pages.encode_token(cursor, "estimates", program_id)


def _parse_place(
    asset: Any, campaign_id: Any, valid_from: Any, request_id: Any
) -> tuple[str, str, datetime, uuid.UUID]:
    instant = datetime.fromisoformat(valid_from)
    if instant.tzinfo is None or not isinstance(request_id, str):
        raise ValueError("An instant has a zone, and a request an id.")
    return pages.parse_text(asset), pages.parse_text(campaign_id), instant.astimezone(UTC), uuid.UUID(request_id)
