"""Tallies: what events add to which values. Pure.

A count of days adds nothing where its day had an event before, which only the stored days can tell; so days are marked
first, and what follows for weeks, months and the whole is made of how these changed. Its time is the beginning of the
last day that counts, which is the same in whatever order the events of that day came.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime

from services.gamification.model import Addition, Change, Happening, Period, Subject

Counts = Callable[[str], bool]  # tells whether a metric counts days
LONGER = (Period.WEEK, Period.MONTH, Period.ALL_TIME)


def days(happenings: Iterable[Happening], counts_days: Counts) -> list[Addition]:
    """Gives the days to be marked for metrics that count them, each once."""
    found = {
        (each.metric_id, subject, subject_id, each.local_date)
        for each in happenings
        if counts_days(each.metric_id)
        for subject, subject_id in _subjects(each)
    }
    return [
        Addition(metric_id, subject, subject_id, Period.DAY, day, 1, _beginning(day))
        for metric_id, subject, subject_id, day in sorted(found)
    ]


def of_days(changes: Iterable[Change]) -> list[Addition]:
    """Gives what marked days add to longer periods: nothing where they had been marked before."""
    return _sum(
        Addition(
            each.metric_id,
            each.subject,
            each.subject_id,
            period,
            period.start(each.start),
            int(each.before is None),
            _beginning(each.start),
        )
        for each in changes
        for period in LONGER
    )


def sums(happenings: Iterable[Happening], counts_days: Counts) -> list[Addition]:
    """Gives what events add to all values of metrics that count or add them up."""
    return _sum(
        Addition(
            each.metric_id,
            subject,
            subject_id,
            period,
            period.start(each.local_date),
            each.amount,
            each.occurred_at,
        )
        for each in happenings
        if not counts_days(each.metric_id)
        for subject, subject_id in _subjects(each)
        for period in Period
    )


def _subjects(happening: Happening) -> list[tuple[Subject, str]]:
    member = (Subject.MEMBER, happening.member_id)
    return [member, (Subject.ORG, happening.org_id)] if happening.org_id else [member]


def _sum(additions: Iterable[Addition]) -> list[Addition]:
    """Joins what is added to the same value."""
    found: dict[tuple[str, Subject, str, Period, date], Addition] = {}
    for each in additions:
        key = (each.metric_id, each.subject, each.subject_id, each.period, each.start)
        known = found.get(key)
        if known is None:
            found[key] = each
        else:
            amount, reached_at = known.amount + each.amount, max(known.reached_at, each.reached_at)
            found[key] = replace(known, amount=amount, reached_at=reached_at)
    return list(found.values())


def _beginning(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
