"""What the program's feed tells: members are seen with things, sign up, qualify, and take their payment back.

All of it happens in the transaction that moves the cursor of the follower, event by event in their order.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.kernel import db, due, ids
from services.referral import codes as writing
from services.referral import emails, model, rules, signals
from services.referral.model import EndReason, Event, Observation, Referral, ReferralChanged, State
from services.referral.operations.context import CHECK, EXPIRE, SETTLE, Context, Version, work
from services.referral.signals import Kind
from services.referral.store import codes, programs, referrals
from services.referral.store import signals as signals_store

Told = Event | model.MemberSeen
# How long after its end a referral waits for events that come late.
LATE = timedelta(days=1)


async def take(
    context: Context, connection: db.Connection, program_id: str, told: Sequence[tuple[Told, datetime]]
) -> bool:
    """Takes in what happened, each with when it was told, in order; tells whether there is something to check now."""
    key = context.program_key(program_id)
    observed = [each for one, told_at in told for each in observations(key, one, told_at)]
    if observed:
        await signals_store.put_signals(connection, program_id, observed)
    events = [one for one, _ in told if isinstance(one, Event) and not one.is_own]
    if not events:
        return False
    book = Book(context, connection, program_id, await context.time.now(connection))
    await book.open(events)
    for event in events:
        await book.take(event)
    return await book.close()


def observations(key: bytes, told: Told, told_at: datetime) -> list[Observation]:
    """Lists what a member was seen with, as hashes."""
    if isinstance(told, Event):
        found, seen_at = signals.of_properties(key, told.properties), told.occurred_at
    else:
        found, seen_at = of_email(key, told.email), told_at
    return [Observation(told.member_id, signal, seen_at) for signal in found]


def of_email(key: bytes, address: str) -> list[signals.Signal]:
    """Gives the signals of an e-mail address; none for what is no address."""
    forms = emails.forms(address)
    if forms is None:
        return []
    values = ((Kind.EMAIL, forms.canonical), (Kind.EMAIL_LOOSE, forms.loose), (Kind.EMAIL_STEM, forms.stem))
    return [signals.hashed(key, kind, value) for kind, value in values if value]


class Book:
    """The referrals of the members of one page of events, as they change event by event in one transaction."""

    def __init__(self, context: Context, connection: db.Connection, program_id: str, now: datetime) -> None:
        self._context = context
        self._connection = connection
        self._program_id = program_id
        self._now = now
        self._by_referee: dict[str, Referral] = {}
        self._versions: dict[tuple[str, int], Version] = {}
        self._touches: dict[str, list[rules.Touch]] = {}
        self._codes: dict[str, model.Code] = {}
        self._newest: dict[str, model.ReferralProgram] = {}
        self._changes: list[ReferralChanged] = []

    async def open(self, events: Sequence[Event]) -> None:
        """Reads what the events are about, and locks who refers: first, all at once and in order."""
        await self._read_touches(events)
        members = sorted({event.member_id for event in events})
        known = await referrals.find_of_referees(self._connection, self._program_id, members)
        referrers = {each.referrer_id for each in known.values() if each.state is State.SIGNED_UP}
        referrers |= {code.member_id for code in self._codes.values()}
        if referrers:
            await referrals.lock_referrers(self._connection, self._program_id, sorted(referrers))
        self._by_referee = known
        await self._read_versions()

    async def close(self) -> bool:
        """Tells the feed what has changed, in order; tells whether something has qualified."""
        if self._changes:
            await self._context.publish(self._connection, self._program_id, *self._changes)
        return any(change.referral.state is State.QUALIFIED for change in self._changes)

    async def take(self, event: Event) -> None:
        """Takes in one event of a member."""
        referral = self._by_referee.get(event.member_id)
        if referral is None:
            await self._sign_up(event)
            return
        version = self._versions[referral.referral_program_id, referral.referral_program_version]
        if referral.state is State.SIGNED_UP:
            if rules.qualifies(referral, version.program, version.condition, event):
                await self._qualify(referral, version.program, event)
        elif rules.refunds(referral, version.program, event):
            await self._reverse(referral, event)

    async def _read_touches(self, events: Sequence[Event]) -> None:
        """Reads the codes and clicks that sign-ups name, and the referral programs that they belong to."""
        named = {event.event_id: rules.references(event) for event in events}
        if not any(named.values()):
            return
        connection, program_id = self._connection, self._program_id
        key, tag = self._context.program_key(program_id), await self._context.tag(connection, program_id)
        click_ids = {
            text: click_id
            for texts in named.values()
            for text in texts
            if (click_id := writing.read_click(key, text)) is not None
        }
        clicks = await codes.find_clicks(connection, program_id, set(click_ids.values()))
        for event in events:
            for text in named[event.event_id]:
                click = clicks.get(click_ids[text]) if text in click_ids else None
                if click is not None:
                    touch = rules.Touch(click.code_key, click.clicked_at, click)
                elif text not in click_ids:
                    touch = rules.Touch(writing.read_code(text, tag), event.occurred_at)
                else:
                    continue  # The click is so old that it is forgotten.
                self._touches.setdefault(event.event_id, []).append(touch)
        keys = sorted({touch.code_key for touches in self._touches.values() for touch in touches})
        self._codes = await codes.find_codes(connection, program_id, keys)
        for referral_program_id in sorted({code.referral_program_id for code in self._codes.values()}):
            newest = await programs.get_program(connection, program_id, referral_program_id)
            assert newest is not None, "A code belongs to a referral program that exists."
            self._newest[referral_program_id] = newest

    async def _read_versions(self) -> None:
        wanted = [(each.referral_program_id, each.referral_program_version) for each in self._by_referee.values()]
        wanted += [(each.referral_program_id, each.version) for each in self._newest.values()]
        self._versions = await self._context.versions(self._connection, self._program_id, wanted)

    async def _sign_up(self, event: Event) -> None:
        """Makes a referral of a sign-up that came by a link or a code."""
        of_codes = {key: self._newest[code.referral_program_id] for key, code in self._codes.items()}
        touch = rules.choose(self._touches.get(event.event_id, ()), of_codes, event)
        if touch is None:
            return
        code, program = self._codes[touch.code_key], of_codes[touch.code_key]
        referral = Referral(
            referral_id=ids.new_id(),
            referral_program_id=program.referral_program_id,
            referral_program_version=program.version,
            referrer_id=code.member_id,
            referee_id=event.member_id,
            code=code.code,
            clicked_at=touch.touched_at if touch.click else None,
            signed_up_at=event.occurred_at,
            expires_at=event.occurred_at + timedelta(days=program.qualification_days),
            created_at=self._now,
            updated_at=self._now,
            depth=event.depth,
        )
        if not await referrals.insert_referral(self._connection, self._program_id, referral):
            return  # Another partition of the feed has brought a sign-up of the same member; the first one counts.
        if touch.click is not None:
            seen = [Observation(event.member_id, each, touch.touched_at) for each in touch.click.signals()]
            if seen:
                await signals_store.put_signals(self._connection, self._program_id, seen)
        due_at = max(referral.expires_at, self._now + LATE)
        await due.schedule(self._connection, [work(self._program_id, EXPIRE, referral.referral_id, due_at)])
        self._by_referee[event.member_id] = referral
        self._changes.append(ReferralChanged(referral, None))

    async def _qualify(self, referral: Referral, program: model.ReferralProgram, event: Event) -> None:
        locked = await self._lock(referral)
        if locked.state is not State.SIGNED_UP:
            return
        await due.complete(self._connection, self._program_id, EXPIRE, locked.referral_id)
        if await self._is_capped(locked, program, event):
            await self._write(locked, locked.capped(event, self._now))
            return
        payment = rules.payment_of(event, program)
        qualified = locked.qualified(event, payment, program.hold_seconds, self._now)
        await self._write(locked, qualified)
        assert qualified.hold_ends_at is not None, "What has qualified is held for a time."
        duties = [(CHECK, self._now), (SETTLE, max(qualified.hold_ends_at, self._now))]
        await due.schedule(
            self._connection, [work(self._program_id, kind, locked.referral_id, at) for kind, at in duties]
        )

    async def _is_capped(self, referral: Referral, program: model.ReferralProgram, event: Event) -> bool:
        """Tells whether the referrer, whom this transaction has locked, has as many as a cap allows."""
        for cap in program.caps:
            window = rules.window(cap, event.occurred_at, program.time_zone)
            count = await referrals.count_qualified(
                self._connection, self._program_id, referral.referrer_id, program.referral_program_id, window
            )
            if count >= cap.max_count:
                return True
        return False

    async def _reverse(self, referral: Referral, event: Event) -> None:
        locked = await self._lock(referral)
        if State.REVERSED not in model.TRANSITIONS[locked.state]:
            return
        for kind in (CHECK, SETTLE):
            await due.complete(self._connection, self._program_id, kind, locked.referral_id)
        reversed_ = locked.moved(State.REVERSED, self._now, end_reason=EndReason.REFUND, depth=event.depth)
        await self._write(locked, reversed_)

    async def _lock(self, referral: Referral) -> Referral:
        locked = await referrals.lock_referral(self._connection, self._program_id, referral.referral_id)
        assert locked is not None, "A referral is never deleted."
        self._by_referee[locked.referee_id] = locked
        return locked

    async def _write(self, before: Referral, after: Referral) -> None:
        await referrals.update_referral(self._connection, self._program_id, after)
        self._by_referee[after.referee_id] = after
        self._changes.append(ReferralChanged(after, before.state))
