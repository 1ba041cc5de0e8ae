"""Observing: what feeds tell is kept, counted and made causes of, all in the transaction that moves the cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from services.kernel import calendar, db, ids
from services.notify import model, rules
from services.notify.operations import deciding
from services.notify.operations.context import Config, Context
from services.notify.operations.days import see_to_zones
from services.notify.store import members

REACHABLE = "member.reachable"
# Long enough for the transaction to be committed, so that the kick finds what it is for.
KICK_AFTER_S = 0.2


@dataclass(frozen=True, slots=True)
class Observed:
    """One thing that a feed told: of a member, to be counted, of an end of value, or a cause; in the feed's order."""

    profile: model.Profile | None = None
    count: model.Count | None = None
    expiry: model.Expiry | None = None
    cause: model.Cause | None = None


async def observe(context: Context, connection: db.Connection, program_id: str, told: Sequence[Observed]) -> None:
    """Keeps, counts and decides what a feed told, in the caller's transaction."""
    config, now = await context.config(connection, program_id)
    before = await _meet(connection, program_id, config, told, now)
    causes = [*told, *_made_reachable(told, before, now)]
    counts = [each.count for each in told if each.count is not None]
    found = await members.read_members(connection, program_id, list({each.member_id for each in _people(told)}))
    await see_to_zones(connection, program_id, {member.zone for member in found.values()}, now)
    matched = _match(config, causes, now)
    seen = await _Counts.read(connection, program_id, {each.cause.member_id for each in matched}, found, now)
    await _count(connection, program_id, counts, found)
    expiries = [each.expiry for each in told if each.expiry is not None and each.expiry.expires_at > now]
    if expiries:
        await members.add_expiries(connection, program_id, expiries)
    candidates = _evaluate(causes, matched, seen, found)
    made = await deciding.decide(connection, program_id, config, candidates, now) if candidates else 0
    made += await _tell_endpoints(connection, program_id, config, causes, now)
    if made:
        await context.kick(deciding.DELIVER, KICK_AFTER_S)


@dataclass(frozen=True, slots=True)
class _Person:
    member_id: str


def _people(told: Sequence[Observed]) -> list[_Person]:
    """Lists the members that something is told of."""
    named = [each.member_id for part in told for each in (part.profile, part.count, part.expiry, part.cause) if each]
    return [_Person(name) for name in dict.fromkeys(named) if name]


async def _meet(
    connection: db.Connection, program_id: str, config: Config, told: Sequence[Observed], now: datetime
) -> dict[str, model.Member]:
    """Makes members that are new, writes what is told of the others, and gives those as they were before."""
    profiles = {each.profile.member_id: each.profile for each in told if each.profile is not None}
    before = await members.read_members(connection, program_id, list(profiles)) if profiles else {}
    strangers = sorted({each.member_id for each in _people(told)} - profiles.keys())
    if strangers:
        await members.ensure_members(connection, program_id, strangers, config.zone, now)
    if profiles:
        await members.put_members(connection, program_id, list(profiles.values()), config.zone)
    return before


def _made_reachable(told: Sequence[Observed], before: dict[str, model.Member], now: datetime) -> list[Observed]:
    """Makes causes of members whose address is known from now on."""
    made = []
    for profile in {each.profile.member_id: each.profile for each in told if each.profile is not None}.values():
        known = before.get(profile.member_id)
        if profile.email and (known is None or not known.email):
            cause = model.Cause(REACHABLE, f"{REACHABLE}:{profile.member_id}", profile.member_id, now, {})
            made.append(Observed(cause=cause))
    return made


@dataclass(frozen=True, slots=True)
class _Match:
    cause: model.Cause
    compiled: list[rules.CompiledTrigger]


def _match(config: Config, causes: Sequence[Observed], now: datetime) -> list[_Match]:
    """Finds the causes that a trigger looks at; what is history or leads in circles sets nothing off."""
    found = []
    for each in causes:
        cause = each.cause
        if cause is None or not cause.member_id or cause.depth > model.DEPTH_MAX:
            continue
        compiled = config.by_type.get(cause.type)
        if compiled and cause.occurred_at > now - model.HISTORY_AFTER:
            found.append(_Match(cause, compiled))
    return found


class _Counts:
    """How often things happened to members: ever, and in their current month; goes on while causes are looked at."""

    def __init__(self) -> None:
        self.totals: dict[str, dict[str, int]] = {}
        self.months: dict[str, dict[str, int]] = {}
        self._spans: dict[str, tuple[date, date]] = {}

    @classmethod
    async def read(
        cls,
        connection: db.Connection,
        program_id: str,
        member_ids: set[str],
        found: dict[str, model.Member],
        now: datetime,
    ) -> "_Counts":
        """Reads the counts of some members as they were before what is told now."""
        counts = cls()
        if member_ids:
            counts._spans = {name: month_of(now, found[name].zone) for name in sorted(member_ids)}
            counts.totals = await members.read_totals(connection, program_id, list(member_ids))
            sums = await members.sum_activity(connection, program_id, counts._spans)
            counts.months = {name: {kind: each[0] for kind, each in by_kind.items()} for name, by_kind in sums.items()}
        return counts

    def add(self, count: model.Count, zone: str) -> None:
        """Counts one thing more, of a member that is looked at."""
        span = self._spans.get(count.member_id)
        if span is None:
            return
        totals = self.totals.setdefault(count.member_id, {})
        totals[count.kind] = totals.get(count.kind, 0) + 1
        if span[0] <= calendar.period_start(count.occurred_at, calendar.Period.DAY, zone) < span[1]:
            month = self.months.setdefault(count.member_id, {})
            month[count.kind] = month.get(count.kind, 0) + 1


def month_of(now: datetime, zone: str) -> tuple[date, date]:
    """Gives the first day of the month that it is in a zone, and that of the next."""
    first = calendar.period_start(now, calendar.Period.MONTH, zone)
    return first, (first + timedelta(days=31)).replace(day=1)


def _evaluate(
    causes: Sequence[Observed], matched: Sequence[_Match], seen: _Counts, found: dict[str, model.Member]
) -> list[deciding.Candidate]:
    """Runs the triggers that look at causes, with the counts as they are at each cause."""
    by_cause = {id(each.cause): each.compiled for each in matched}
    candidates = []
    for each in causes:
        if each.count is not None:
            seen.add(each.count, found[each.count.member_id].zone)
        cause = each.cause
        if cause is None or id(cause) not in by_cause:
            continue
        name = cause.member_id
        member = found[name].visible(dict(seen.totals.get(name, {})), dict(seen.months.get(name, {})))
        for compiled in by_cause[id(cause)]:
            candidate = _candidate(compiled, cause, {"event": cause.visible(), "member": member})
            if candidate is not None:
                candidates.append(candidate)
    return candidates


def _candidate(
    compiled: rules.CompiledTrigger, cause: model.Cause, visible: dict[str, object]
) -> deciding.Candidate | None:
    if not rules.holds(compiled.condition, **visible):
        return None
    key: str | None = cause.cause_id
    if compiled.once_per is not None:
        key = rules.key(compiled.once_per, **visible)
        key = None if key is None else f"once:{key}"
    return None if key is None else deciding.Candidate(compiled, cause, key)


async def _count(
    connection: db.Connection, program_id: str, counts: Sequence[model.Count], found: dict[str, model.Member]
) -> None:
    done: dict[members.DayKey, members.Sums] = {}
    active: dict[str, datetime] = {}
    for count in counts:
        day = calendar.period_start(count.occurred_at, calendar.Period.DAY, found[count.member_id].zone)
        key = (count.member_id, count.kind, day)
        known = done.get(key, (0, 0))
        done[key] = (known[0] + 1, known[1] + count.amount)
        if count.is_activity:
            active[count.member_id] = max(count.occurred_at, active.get(count.member_id, count.occurred_at))
    if done:
        await members.add_activity(connection, program_id, done)
    if active:
        await members.touch_members(connection, program_id, dict(sorted(active.items())))


async def _tell_endpoints(
    connection: db.Connection, program_id: str, config: Config, causes: Sequence[Observed], now: datetime
) -> int:
    """Makes deliveries to the endpoints that want to know of causes; tells how many."""
    made, told = [], []
    for each in causes:
        cause = each.cause
        if cause is None or cause.occurred_at <= now - model.HISTORY_AFTER:
            continue
        for name, kept in config.endpoints.items():
            types = kept.endpoint.event_types
            if kept.endpoint.is_active and (cause.type in types or "*" in types):
                delivery = _to_endpoint(name, cause, now)
                made.append(delivery)
                told.append((delivery.delivery_id, cause))
    await deciding.write(connection, program_id, made, told)
    return len(made)


def _to_endpoint(endpoint_id: str, cause: model.Cause, now: datetime) -> model.Delivery:
    return model.Delivery(
        delivery_id=ids.derived_id("endpoint", endpoint_id, cause.cause_id),
        trigger_id="",
        trigger_version=0,
        template_id="",
        member_id=cause.member_id,
        channel=model.Channel.WEBHOOK,
        topic="",
        priority=model.PRIORITY_DEFAULT,
        is_transactional=True,
        send_at=now,
        depth=cause.depth,
        created_at=now,
        address=endpoint_id,
    )
