"""Formats: which columns of a journal's row are sealed, in which order.

The number of the format is the first value of each leaf, so that nobody can say later that a row was sealed with other
columns. A column that the journal gets later makes a new format: all columns again, the new one at the end. Blocks that
were sealed before are verified with the columns of their time, which therefore stand here for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.ledger.seal.chain import Block
from services.ledger.seal.encoding import Value, encode_rows

COLUMNS: dict[int, tuple[str, ...]] = {
    1: (
        *("program_id", "partition", "position", "request_id", "leg", "kind", "posted_at", "occurred_at", "wallet_id"),
        *("amount", "sequence", "balance", "expires_at", "held_amount", "lot_number", "budget_amount", "debt_amount"),
        *("allocated_value", "target_id", "burn_order_version", "fingerprint", "cause_event_id", "cause_rule_id"),
        *("cause_rule_version", "cause_redemption_id", "cause_campaign_id", "budget_id", "refusal", "detail"),
    ),
}
# What is sealed now. Rows are read with these columns in this order.
FORMAT = max(COLUMNS)


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block, and the format that its rows were sealed in."""

    block: Block
    format: int


def leaf_contents(rows: Sequence[Mapping[str, Any]], number: int = FORMAT) -> list[bytes]:
    """Encodes rows as they stand in leaves; `leaf_values` says of what. Raises UNENCODABLE, for whichever row."""
    if number == FORMAT:
        return encode_rows([tuple(row.values()) for row in rows], before=(number,))
    return encode_rows([tuple(row[name] for name in COLUMNS[number]) for row in rows], before=(number,))


def leaf_values(row: Mapping[str, Any], number: int = FORMAT) -> Sequence[Value]:
    """Gives what is encoded of a row that was read with the columns of the newest format."""
    if number == FORMAT:
        return (number, *row.values())
    return (number, *(row[name] for name in COLUMNS[number]))
