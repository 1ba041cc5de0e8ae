"""What people did for a project, as `activity.contributed`, each with what their own clock showed."""

import datetime
import re
from collections.abc import Sequence

from services.devstack.replay.purchases import named
from services.devstack.replay.rows import Event, Recording, RowError

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def event(row: Sequence[str]) -> Event:
    """Makes the event of one contribution. Raises RowError where a value is malformed."""
    event_id, actor_id, occurred_at = row
    at = instant("occurred_at", occurred_at)
    offset = at.utcoffset()
    assert offset is not None, "What matches has an offset."
    return {
        "eventId": named("event_id", event_id),
        "type": "activity.contributed",
        "memberId": named("actor_id", actor_id),
        "occurTime": occurred_at,
        "utcOffsetMinutes": int(offset.total_seconds()) // 60,
    }


def instant(column: str, value: str) -> datetime.datetime:
    """Takes an instant with its offset from UTC."""
    try:
        if INSTANT.fullmatch(value):
            return datetime.datetime.fromisoformat(value)
    except ValueError:
        pass  # it looks like an instant and is none, such as one on 30 February
    raise RowError(f'{column} is not an instant such as 2021-08-25T10:01:32+03:00: "{value}"')


ACTIVITY = Recording(
    name="activity",
    columns=("event_id", "actor_id", "occurred_at"),
    default_file=None,
    event=event,
)
