"""Events and what was decided about them."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from services.kernel import db
from services.program import model
from services.program.model import Settling
from services.program.store import QUERIES, rules


async def find_events(
    connection: db.Connection, program_id: str, event_ids: Sequence[str]
) -> dict[str, model.Recorded]:
    """Reads the events of some ids with their decisions."""
    rows = await connection.fetch(QUERIES["find_events"], program_id, event_ids)
    found = [row["event_id"] for row in rows]
    decisions = await find_decisions(connection, program_id, found) if rows else {}
    settlements = await find_settlements(connection, program_id, found) if rows else {}
    return {
        row["event_id"]: model.Recorded(
            event=model.Event(
                event_id=row["event_id"],
                type=row["type"],
                member_id=row["member_id"],
                org_id=row["org_id"],
                occurred_at=row["occurred_at"],
                properties=row["properties"],
                depth=row["depth"],
                utc_offset_minutes=row["utc_offset_minutes"],
            ),
            recorded_at=row["recorded_at"],
            decisions=tuple(decisions.get(row["event_id"], ())),
            is_pending=row["is_pending"],
            confirmed=settlements.get((row["event_id"], Settling.CONFIRM)),
            taken_back=settlements.get((row["event_id"], Settling.TAKE_BACK)),
        )
        for row in rows
    }


async def find_settlements(
    connection: db.Connection, program_id: str, event_ids: Sequence[str]
) -> dict[tuple[str, Settling], model.Settlement]:
    """Reads what became of what some events gave."""
    rows = await connection.fetch(QUERIES["find_settlements"], program_id, event_ids)
    return {
        (row["event_id"], Settling(row["settling"])): model.Settlement(
            Settling(row["settling"]), row["settled_at"], row["reason"]
        )
        for row in rows
    }


async def insert_settlement(
    connection: db.Connection, program_id: str, event_id: str, settlement: model.Settlement
) -> None:
    """Writes what becomes of what an event gave."""
    await connection.execute(
        QUERIES["insert_settlement"],
        program_id,
        event_id,
        settlement.settling.value,
        settlement.settled_at,
        settlement.reason,
    )


async def find_decisions(
    connection: db.Connection, program_id: str, event_ids: Sequence[str]
) -> dict[str, list[model.Decision]]:
    """Reads what rules decided on some events, by event."""
    found: dict[str, list[model.Decision]] = {}
    for row in await connection.fetch(QUERIES["find_decisions"], program_id, event_ids):
        found.setdefault(row["event_id"], []).append(_decision(row))
    return found


def _decision(row: Any) -> model.Decision:
    denial, terms, counted = row["denial"], row["terms"], row["counted"] or {}
    return model.Decision(
        **{
            **dict(row),
            "denial": model.Denial(**denial) if denial else None,
            "terms": _read_terms(terms) if terms else model.PLAIN,
            "counted": tuple((period, date.fromisoformat(start)) for period, start in counted.items()),
        }
    )


def _read_terms(values: dict[str, Any]) -> model.Terms:
    rolling = values["rolling"]
    return model.Terms(**{**values, "rolling": rules.read_expiry(rolling) if rolling else None})


def _write_terms(terms: model.Terms) -> dict[str, Any]:
    return {**asdict(terms), "rolling": rules.write_expiry(terms.rolling) if terms.rolling else None}


async def insert_events(
    connection: db.Connection,
    program_id: str,
    events: Sequence[tuple[model.Event, bool]],
    *,
    now: datetime,
    posting_id: uuid.UUID,
) -> None:
    """Writes events, each with whether it is paid for by the posting."""
    await connection.execute(
        QUERIES["insert_events"],
        program_id,
        now,
        posting_id,
        [event.event_id for event, _ in events],
        [event.type for event, _ in events],
        [event.member_id for event, _ in events],
        [event.org_id for event, _ in events],
        [event.occurred_at for event, _ in events],
        [event.properties for event, _ in events],
        [event.depth for event, _ in events],
        [is_paid for _, is_paid in events],
        [event.utc_offset_minutes for event, _ in events],
    )


async def insert_decisions(connection: db.Connection, program_id: str, decisions: Sequence[model.Decision]) -> None:
    """Writes what rules decided."""
    await connection.execute(
        QUERIES["insert_decisions"],
        program_id,
        [each.event_id for each in decisions],
        [each.place for each in decisions],
        [each.rule_id for each in decisions],
        [each.rule_version for each in decisions],
        [each.recipient_id for each in decisions],
        [each.asset for each in decisions],
        [each.amount for each in decisions],
        [each.expires_at for each in decisions],
        [asdict(each.denial) if each.denial else None for each in decisions],
        [each.member_seen for each in decisions],
        [None if each.terms == model.PLAIN else _write_terms(each.terms) for each in decisions],
        [{period: start.isoformat() for period, start in each.counted} or None for each in decisions],
    )


async def deny_decisions(
    connection: db.Connection, program_id: str, refused: Sequence[tuple[model.Decision, model.Denial]]
) -> list[model.Decision]:
    """Records what the ledger refused of what rules had decided; gives back what was not denied before."""
    rows = await connection.fetch(
        QUERIES["deny_decisions"],
        program_id,
        [decision.event_id for decision, _ in refused],
        [decision.place for decision, _ in refused],
        [asdict(denial) for _, denial in refused],
    )
    fresh = {(row["event_id"], row["place"]) for row in rows}
    return [decision for decision, _ in refused if (decision.event_id, decision.place) in fresh]
