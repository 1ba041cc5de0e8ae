"""Decisions, deliveries, what they tell of, and attempts."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.kernel import db
from services.notify import model
from services.notify.respect import Rival
from services.notify.store import QUERIES


@dataclass(frozen=True, slots=True)
class Start:
    """A delivery that is about to be sent, and the number of the attempt."""

    delivery_id: uuid.UUID
    number: int
    template_version: int | None
    day: date


@dataclass(frozen=True, slots=True)
class Change:
    """Where a delivery stands now. The day is that on which it was sent."""

    delivery_id: uuid.UUID
    state: model.State
    reason: str
    send_at: datetime
    day: date | None = None
    template_version: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended."""

    delivery_id: uuid.UUID
    outcome: model.AttemptOutcome
    code: int
    response: str


@dataclass(frozen=True, slots=True)
class OtherDelivery:
    """Another delivery to a member, sent or waiting."""

    member_id: str
    delivery_id: uuid.UUID
    channel: model.Channel
    rival: Rival
    send_at: datetime


async def find_decisions(
    connection: db.Connection, program_id: str, decision_ids: Sequence[uuid.UUID]
) -> set[uuid.UUID]:
    """Tells which of some decisions were made before."""
    rows = await connection.fetch(QUERIES["find_decisions"], program_id, decision_ids)
    return {row["decision_id"] for row in rows}


async def insert_decisions(connection: db.Connection, program_id: str, decisions: Sequence[model.Decision]) -> None:
    """Writes decisions."""
    await connection.execute(
        QUERIES["insert_decisions"],
        program_id,
        [each.decision_id for each in decisions],
        [each.trigger_id for each in decisions],
        [each.trigger_version for each in decisions],
        [each.member_id for each in decisions],
        [each.channel for each in decisions],
        [each.cause_type for each in decisions],
        [each.cause_id for each in decisions],
        [each.outcome for each in decisions],
        [each.reason for each in decisions],
        [each.delivery_id for each in decisions],
        [each.decided_at for each in decisions],
    )


async def find_gathering(connection: db.Connection, program_id: str, keys: Sequence[str]) -> dict[str, uuid.UUID]:
    """Finds and locks deliveries that gather still, by what they gather."""
    rows = await connection.fetch(QUERIES["find_gathering"], program_id, keys)
    return {row["gather_key"]: row["delivery_id"] for row in rows}


async def insert_deliveries(connection: db.Connection, program_id: str, deliveries: Sequence[model.Delivery]) -> None:
    """Writes deliveries that are not there yet."""
    await connection.execute(
        QUERIES["insert_deliveries"],
        program_id,
        [each.delivery_id for each in deliveries],
        [each.trigger_id for each in deliveries],
        [each.trigger_version for each in deliveries],
        [each.template_id for each in deliveries],
        [each.member_id for each in deliveries],
        [each.channel for each in deliveries],
        [each.topic for each in deliveries],
        [each.priority for each in deliveries],
        [each.is_transactional for each in deliveries],
        [each.reason for each in deliveries],
        [each.send_at for each in deliveries],
        [each.gather_key for each in deliveries],
        [each.address for each in deliveries],
        [each.locale for each in deliveries],
        [each.depth for each in deliveries],
        [each.created_at for each in deliveries],
    )


async def insert_causes(
    connection: db.Connection, program_id: str, causes: Sequence[tuple[uuid.UUID, model.Cause]]
) -> None:
    """Writes what deliveries tell of."""
    await connection.execute(
        QUERIES["insert_causes"],
        program_id,
        [delivery_id for delivery_id, _ in causes],
        [cause.cause_id for _, cause in causes],
        [cause.type for _, cause in causes],
        [cause.occurred_at for _, cause in causes],
        [cause.properties for _, cause in causes],
    )


async def insert_test(
    connection: db.Connection, program_id: str, test: model.Delivery, request_id: uuid.UUID, fingerprint: bytes
) -> None:
    """Writes the delivery of a test of a template."""
    await connection.execute(
        QUERIES["insert_test"],
        program_id,
        test.delivery_id,
        test.template_id,
        test.send_at,
        test.address,
        test.locale,
        request_id,
        fingerprint,
    )


async def find_test(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[uuid.UUID, bytes] | None:
    """Finds the delivery of a test by its request, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_test_request"], program_id, request_id)
    return (row["delivery_id"], row["fingerprint"]) if row else None


async def read_deliveries(
    connection: db.Connection, program_id: str, delivery_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, model.Delivery]:
    """Reads deliveries, by id."""
    rows = await connection.fetch(QUERIES["read_deliveries"], program_id, delivery_ids)
    return {row["delivery_id"]: _delivery(row) for row in rows}


async def list_deliveries(
    connection: db.Connection, program_id: str, member_id: str, before: tuple[datetime, uuid.UUID], limit: int
) -> list[model.Delivery]:
    """Lists the deliveries to a member before one, newest first."""
    rows = await connection.fetch(QUERIES["list_deliveries"], program_id, member_id, *before, limit)
    return [_delivery(row) for row in rows]


def _delivery(row: Any) -> model.Delivery:
    values = dict(row)
    return model.Delivery(
        **values | {"channel": model.Channel(values["channel"]), "state": model.State(values["state"])}
    )


async def list_decisions(
    connection: db.Connection, program_id: str, member_id: str, before: tuple[datetime, uuid.UUID], limit: int
) -> list[model.Decision]:
    """Lists what was decided for a member before one decision, newest first."""
    rows = await connection.fetch(QUERIES["list_decisions"], program_id, member_id, *before, limit)
    return [
        model.Decision(
            **dict(row) | {"channel": model.Channel(row["channel"]), "outcome": model.Outcome(row["outcome"])}
        )
        for row in rows
    ]


async def read_causes(
    connection: db.Connection, program_id: str, delivery_ids: Sequence[uuid.UUID], limit: int
) -> dict[uuid.UUID, list[model.Cause]]:
    """Reads the newest of what each of some deliveries tells of, oldest first."""
    found: dict[uuid.UUID, list[model.Cause]] = {}
    for row in await connection.fetch(QUERIES["read_causes"], program_id, delivery_ids, limit):
        cause = model.Cause(row["type"], row["cause_id"], "", row["occurred_at"], row["properties"])
        found.setdefault(row["delivery_id"], []).append(cause)
    return found


async def read_attempts(
    connection: db.Connection, program_id: str, delivery_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[model.Attempt]]:
    """Reads the attempts of deliveries, oldest first."""
    found: dict[uuid.UUID, list[model.Attempt]] = {}
    for row in await connection.fetch(QUERIES["read_attempts"], program_id, delivery_ids):
        values = dict(row)
        delivery_id = values.pop("delivery_id")
        values["outcome"] = model.AttemptOutcome(values["outcome"])
        found.setdefault(delivery_id, []).append(model.Attempt(**values))
    return found


# Rows one by one, in one round trip, as the kernel's due work: a plan for arrays of ids that was made while there were
# few deliveries goes through all of them.


async def start(connection: db.Connection, program_id: str, starts: Sequence[Start], now: datetime) -> set[uuid.UUID]:
    """Marks deliveries as being sent and writes their attempts; gives those that were not at their end already."""
    rows = await connection.fetchmany(
        QUERIES["start_delivery"],
        [(program_id, each.delivery_id, each.template_version, each.day) for each in starts],
    )
    started = {row["delivery_id"] for row in rows}
    attempts = [each for each in starts if each.delivery_id in started]
    await connection.execute(
        QUERIES["insert_attempts"],
        program_id,
        now,
        [each.delivery_id for each in attempts],
        [each.number for each in attempts],
    )
    return started


async def end_attempts(connection: db.Connection, program_id: str, ends: Sequence[AttemptEnd], now: datetime) -> None:
    """Writes how attempts ended that are under way."""
    await connection.executemany(
        QUERIES["end_attempt"],
        [(program_id, each.delivery_id, now, each.outcome, each.code, each.response) for each in ends],
    )


async def change(connection: db.Connection, program_id: str, changes: Sequence[Change], now: datetime) -> None:
    """Writes where deliveries stand that were not at their end already."""
    await connection.executemany(
        QUERIES["change_delivery"],
        [
            (
                program_id,
                each.delivery_id,
                now,
                each.state,
                each.reason,
                each.send_at,
                each.day,
                each.template_version,
            )
            for each in changes
        ],
    )


async def list_others(
    connection: db.Connection, program_id: str, member_ids: Sequence[str], since: date, until: datetime
) -> list[OtherDelivery]:
    """Lists what else members were sent since a day, or are to be sent before a time."""
    rows = await connection.fetch(QUERIES["list_rivals"], program_id, member_ids, since, until)
    return [
        OtherDelivery(
            row["member_id"],
            row["delivery_id"],
            model.Channel(row["channel"]),
            Rival(row["topic"], row["priority"], row["sent_day"]),
            row["send_at"],
        )
        for row in rows
    ]
