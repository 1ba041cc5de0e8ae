"""Rules and their versions, claims and usage."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from services.kernel import db
from services.kernel.calendar import Period
from services.program import model
from services.program.rules import Claim, Usage, UsageKey
from services.program.store import QUERIES

OUTSIDE_DEFINITION = ("rule_id", "version", "created_at", "updated_at")
# What rules did not have from the beginning is kept only where it says something: the definition, and with it the
# fingerprint of the request, of a rule that says none of it stays what it was.
LATER = ("is_promotional", "campaign_id", "budget_id", "is_pending")


def to_definition(rule: model.Rule) -> dict[str, Any]:
    """Gives what a version keeps of a rule, as JSON."""
    values = {
        name: value
        for name, value in asdict(rule).items()
        if name not in OUTSIDE_DEFINITION and (value or name not in LATER)
    }
    values["expiry"] = write_expiry(rule.expiry) if rule.expiry else None
    for name in ("starts_at", "ends_at"):
        values[name] = values[name].isoformat() if values[name] else None
    return values


def write_expiry(expiry: model.Expiry) -> dict[str, Any]:
    """Gives what is kept of how long value lives, as JSON."""
    values: dict[str, Any] = {"months": expiry.months, "days": expiry.days}
    if expiry.end:
        values["end"] = expiry.end.value
    if expiry.is_rolling:
        values["is_rolling"] = True
    return values


def read_expiry(values: Mapping[str, Any]) -> model.Expiry:
    """Reads what `write_expiry` gave."""
    end = values.get("end")
    return model.Expiry(values["months"], values["days"], Period(end) if end else None, values.get("is_rolling", False))


def _rule(row: Any) -> model.Rule:
    values = dict(row["definition"])
    expiry = values.pop("expiry")
    return model.Rule(
        **{
            **values,
            "rule_id": row["rule_id"],
            "version": row["version"],
            "state": model.RuleState(values["state"]),
            "caps": tuple(
                model.Cap(Period(cap["period"]), cap["max_amount"], cap["max_count"]) for cap in values["caps"]
            ),
            "expiry": read_expiry(expiry) if expiry else None,
            "starts_at": _instant(values["starts_at"]),
            "ends_at": _instant(values["ends_at"]),
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


async def lock_program(connection: db.Connection, program_id: str) -> bool:
    """Locks a program while its rules change; False where there is none."""
    return await connection.fetchval(QUERIES["lock_program"], program_id) is not None


async def insert_rule(connection: db.Connection, program_id: str, rule_id: str, now: datetime) -> bool:
    """Makes a rule; tells whether there was none."""
    return await connection.fetchval(QUERIES["insert_rule"], program_id, rule_id, now) is not None


async def insert_rule_version(
    connection: db.Connection,
    program_id: str,
    rule: model.Rule,
    *,
    now: datetime,
    request_id: uuid.UUID,
    fingerprint: bytes,
) -> None:
    """Writes a version, makes it the newest, and tells every server that there is one."""
    definition = to_definition(rule)
    await connection.execute(
        QUERIES["insert_rule_version"],
        program_id,
        rule.rule_id,
        rule.version,
        definition,
        now,
        request_id,
        fingerprint,
    )
    await connection.execute(QUERIES["set_rule_version"], program_id, rule.rule_id, rule.version)
    await connection.execute(QUERIES["count_rule_change"], program_id)


async def find_rule_request(
    connection: db.Connection, program_id: str, request_id: uuid.UUID
) -> tuple[model.Rule, bytes] | None:
    """Finds the version that a request made, and the request's fingerprint."""
    row = await connection.fetchrow(QUERIES["find_rule_request"], program_id, request_id)
    return (_rule(row), row["fingerprint"]) if row else None


async def get_rule(
    connection: db.Connection, program_id: str, rule_id: str, version: int | None = None
) -> model.Rule | None:
    """Reads a rule, in its newest version where none is given."""
    row = await connection.fetchrow(QUERIES["get_rule"], program_id, rule_id, version)
    return _rule(row) if row else None


async def list_rules(connection: db.Connection, program_id: str, after: str, limit: int) -> list[model.Rule]:
    """Lists rules behind an id, in their newest versions."""
    return [_rule(row) for row in await connection.fetch(QUERIES["list_rules"], program_id, after, limit)]


async def read_rule_versions(
    connection: db.Connection, program_id: str, versions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], model.Rule]:
    """Reads some versions of some rules."""
    rows = await connection.fetch(
        QUERIES["read_rule_versions"],
        program_id,
        [rule_id for rule_id, _ in versions],
        [version for _, version in versions],
    )
    return {(row["rule_id"], row["version"]): _rule(row) for row in rows}


async def find_claims(connection: db.Connection, program_id: str, claims: Sequence[Claim]) -> set[Claim]:
    """Tells which claims were paid before."""
    rows = await connection.fetch(
        QUERIES["find_claims"],
        program_id,
        [claim[0] for claim in claims],
        [claim[1] for claim in claims],
        [claim[2] for claim in claims],
    )
    return {(row["rule_id"], row["member_id"], row["claim"]) for row in rows}


async def insert_claims(connection: db.Connection, program_id: str, claims: Mapping[Claim, str]) -> None:
    """Writes claims with the events that they were paid for."""
    await connection.execute(
        QUERIES["insert_claims"],
        program_id,
        [claim[0] for claim in claims],
        [claim[1] for claim in claims],
        [claim[2] for claim in claims],
        list(claims.values()),
    )


async def return_claims(connection: db.Connection, program_id: str, refused: Sequence[model.Decision]) -> None:
    """Takes back what was claimed by decisions that came to nothing."""
    await connection.execute(
        QUERIES["return_claims"],
        program_id,
        [each.rule_id for each in refused],
        [each.recipient_id for each in refused],
        [each.event_id for each in refused],
    )


async def find_usage(connection: db.Connection, program_id: str, keys: Sequence[UsageKey]) -> dict[UsageKey, Usage]:
    """Tells how much of some caps is used."""
    rows = await connection.fetch(
        QUERIES["find_usage"],
        program_id,
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
        [key[3] for key in keys],
    )
    return {
        (row["rule_id"], row["member_id"], row["period"], row["period_start"]): Usage(row["amount"], row["count"])
        for row in rows
    }


async def put_usage(connection: db.Connection, program_id: str, usage: Iterable[tuple[UsageKey, Usage]]) -> None:
    """Writes how much of some caps is used now."""
    await _write_usage(connection, "put_usage", program_id, list(usage))


async def return_usage(connection: db.Connection, program_id: str, returned: Mapping[UsageKey, Usage]) -> None:
    """Takes out of some caps what was not paid after all."""
    await _write_usage(connection, "return_usage", program_id, sorted(returned.items(), key=lambda pair: pair[0]))


async def _write_usage(
    connection: db.Connection, query: str, program_id: str, pairs: Sequence[tuple[UsageKey, Usage]]
) -> None:
    await connection.execute(
        QUERIES[query],
        program_id,
        [key[0] for key, _ in pairs],
        [key[1] for key, _ in pairs],
        [key[2] for key, _ in pairs],
        [key[3] for key, _ in pairs],
        [used.amount for _, used in pairs],
        [used.count for _, used in pairs],
    )
