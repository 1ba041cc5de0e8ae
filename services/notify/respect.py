"""Respect: whether a message may go to a member, and when. Pure; the order of the questions is the order of reasons."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from services.kernel import calendar
from services.notify import model
from services.notify.model import Channel

MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a member when a message is decided about."""

    member: model.Member
    preferences: model.Preferences
    is_suppressed: bool


def denial(channel: Channel, topic: str, *, is_transactional: bool, standing: Standing) -> str:
    """Says why a message may not go to a member at all; empty where it may."""
    if channel is Channel.EMAIL and not standing.member.email:
        return "NO_ADDRESS"
    if channel is Channel.EMAIL and standing.is_suppressed:
        return "SUPPRESSED"
    if not is_transactional and is_muted(standing.preferences, channel, topic):
        return "UNSUBSCRIBED"
    return ""


def is_muted(preferences: model.Preferences, channel: Channel, topic: str) -> bool:
    """Tells whether a member does not want messages of a topic by a channel."""
    return any(mute.topic in ("", topic) and mute.channel in (None, channel) for mute in preferences.muted)


def quiet_end(at: datetime, channel: Channel, standing: Standing, settings: model.Settings | None) -> datetime | None:
    """Tells when the quiet hours end that an instant falls in; None where it falls in none. An inbox makes no noise."""
    quiet = standing.preferences.quiet or (settings.quiet if settings else None)
    if quiet is None or channel is not Channel.EMAIL or quiet.from_minute == quiet.until_minute:
        return None
    local = at.astimezone(ZoneInfo(standing.member.zone))
    minute, day = local.hour * 60 + local.minute, local.date()
    wraps = quiet.from_minute > quiet.until_minute
    is_evening = minute >= quiet.from_minute and (wraps or minute < quiet.until_minute)
    is_morning = wraps and minute < quiet.until_minute
    if not is_evening and not is_morning:
        return None
    end_day = day + timedelta(days=1) if wraps and is_evening else day
    end = calendar.at_minute(end_day, quiet.until_minute, standing.member.zone)
    # Where a clock goes back over the end, it is over nevertheless.
    return end if end > at else None


def send_at(ready: datetime, minute: int | None, zone: str) -> datetime:
    """Gives the first instant from `ready` on at which the clocks of a zone show a minute of the day, if one is set."""
    if minute is None:
        return ready
    day = calendar.period_start(ready, calendar.Period.DAY, zone)
    at = calendar.at_minute(day, minute, zone)
    return at if at >= ready else calendar.at_minute(day + timedelta(days=1), minute, zone)


@dataclass(frozen=True, slots=True)
class Rival:
    """Another message to the same member by the same channel: sent on a day, or waiting for today."""

    topic: str
    priority: int
    sent_day: date | None


def is_capped(caps: Iterable[model.Cap], mine: model.Delivery, today: date, rivals: Iterable[Rival]) -> bool:
    """Tells whether a cap leaves no room for a message today.

    What was sent counts, and so does what waits for today with a higher priority: it has its room kept.
    """
    rivals = list(rivals)
    for cap in caps:
        if cap.channel is not mine.channel or cap.topic not in ("", mine.topic):
            continue
        first = today - timedelta(days=cap.days - 1)
        taken = sum(_counts(rival, cap, first, mine.priority) for rival in rivals)
        if taken >= cap.max_count:
            return True
    return False


def _counts(rival: Rival, cap: model.Cap, first: date, priority: int) -> bool:
    if cap.topic not in ("", rival.topic):
        return False
    if rival.sent_day is None:
        return rival.priority > priority
    return rival.sent_day >= first


def choose_locale(wanted: Iterable[str], offered: Iterable[str]) -> str:
    """Picks the offered language for the first wanted one that is there, as a whole or by its language alone."""
    offered = list(offered)
    by_name = {each.lower(): each for each in reversed(offered)}
    by_language = {each.lower().partition("-")[0]: each for each in reversed(offered)}
    for each in wanted:
        name = each.lower()
        found = by_name.get(name) or by_name.get(name.partition("-")[0]) or by_language.get(name.partition("-")[0])
        if each and found:
            return found
    return offered[0]
