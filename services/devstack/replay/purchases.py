"""Purchases of an online shop, as `purchase.completed`."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

from services.devstack.replay.rows import Event, Recording, RowError

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)  # 15 digits are exact in every JSON reader
TIME_OF_DAY = "T12:00:00Z"  # the recording knows days only


def event(row: Sequence[str]) -> Event:
    """Makes the event of one purchase. Raises RowError where a value is malformed."""
    purchase_id, customer_id, purchased_on, quantity, amount_cents = row
    return {
        "eventId": named("purchase_id", purchase_id),
        "type": "purchase.completed",
        "memberId": named("customer_id", customer_id),
        "occurTime": day("purchased_on", purchased_on) + TIME_OF_DAY,
        "properties": {
            "amount_cents": whole("amount_cents", amount_cents),
            "quantity": whole("quantity", quantity),
        },
    }


def named(column: str, value: str) -> str:
    """Takes an id."""
    if not value:
        raise RowError(f"{column} is empty")
    return value


def day(column: str, value: str) -> str:
    """Takes a day of the calendar."""
    try:
        if DAY.fullmatch(value):
            datetime.date.fromisoformat(value)
            return value
    except ValueError:
        pass  # it looks like a day and is none, such as 30 February
    raise RowError(f'{column} is not a day of the form YYYY-MM-DD: "{value}"')


def whole(column: str, value: str) -> int:
    """Takes a whole number."""
    if not WHOLE.fullmatch(value):
        raise RowError(f'{column} is not a whole number: "{value}"')
    return int(value)


PURCHASES = Recording(
    name="purchases",
    columns=("purchase_id", "customer_id", "purchased_on", "quantity", "amount_cents"),
    default_file=Path(__file__).resolve().parents[1] / "data" / "purchases.csv.gz",
    event=event,
)
