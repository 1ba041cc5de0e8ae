"""Sending: what is due is looked at once more, made, handed over, and what became of it is kept.

An attempt is written before it begins, together with others that begin then, and how it ended afterwards, likewise. So
whoever dies in between leaves an attempt that is under way: the next one finds it, and keeps that nobody knows.
"""

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.kernel import batcher, calendar, db, due, errors
from services.notify import model, ports, respect
from services.notify.model import AttemptOutcome, Channel, State
from services.notify.operations import deciding, making
from services.notify.operations.context import Config, Context
from services.notify.store import deliveries, endpoints, inboxes, members, programs

# Mails under way at once in one process; below the connections to the mail server.
LANES = 16
ATTEMPTS_MAX = 12
BACKOFF_BASE_S = 30.0
BACKOFF_MAX_S = 3600.0
# A drain begins no page after the first, and a page no message after the second, so that with the time that a message
# may take all is over before the job is cut off: what is cut off is an attempt that nobody knows of.
DRAIN_S = 15.0
PAGE_S = 40.0
# An endpoint that failed for so long is told no more.
DISABLED_AFTER = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Start:
    """A message that is made and about to be handed over."""

    item: due.DueItem
    made: making.Made
    number: int


@dataclass(frozen=True, slots=True)
class End:
    """A message that was handed over, and what became of it."""

    start: Start
    handover: ports.Handover


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery that comes to rest, or waits for another time."""

    item: due.DueItem
    delivery: model.Delivery
    change: deliveries.Change


class Sender:
    """Sends what is due."""

    def __init__(self, context: Context, outside: ports.Outside) -> None:
        self._context = context
        self._outside = outside
        self._lanes = asyncio.Semaphore(LANES)
        self._is_stopping = False
        self._starts: batcher.Batcher[Start, bool] = batcher.Batcher("starts", self._start)
        self._ends: batcher.Batcher[End, None] = batcher.Batcher("ends", self._end)

    async def send_page(self, program_id: str, items: Sequence[due.DueItem]) -> None:
        """Works a page of due deliveries. Raises DEPENDENCY_UNAVAILABLE; what is left comes again."""
        ends_at_s = asyncio.get_running_loop().time() + PAGE_S
        page = await making.look(self._context, self._outside, program_id, items)
        await db.transaction(self._context.pool, lambda connection: self._settle(connection, program_id, page))
        for_inboxes = [each for each in page.made if each.delivery.channel is Channel.INBOX]
        if for_inboxes:
            await db.transaction(self._context.pool, lambda connection: self._put(connection, program_id, for_inboxes))
        others = sorted(
            (each for each in page.made if each.delivery.channel is not Channel.INBOX),
            key=lambda each: -each.delivery.priority,
        )
        outcomes = await asyncio.gather(
            *(self._send(program_id, Start(each.item, each, each.attempts + 1), ends_at_s) for each in others),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def stop(self) -> None:
        """Begins nothing any more; what is under way ends."""
        self._is_stopping = True

    async def close(self) -> None:
        """Waits for what is under way."""
        await self._starts.close()
        await self._ends.close()

    async def _send(self, program_id: str, start: Start, ends_at_s: float) -> None:
        async with self._lanes:
            if self._is_stopping or asyncio.get_running_loop().time() >= ends_at_s:
                return  # It comes again when its lease ends.
            [ours] = await self._starts.submit(program_id, [start])
            if isinstance(ours, errors.DomainError):
                raise ours
            if not ours:
                return
            handover = await self._hand_over(start.made)
            [ended] = await self._ends.submit(program_id, [End(start, handover)])
            if isinstance(ended, errors.DomainError):
                raise ended

    async def _hand_over(self, made: making.Made) -> ports.Handover:
        if made.delivery.channel is Channel.EMAIL:
            return await self._outside.mailer.send(made.sender, made.recipient, made.content)
        return await self._outside.poster.post(made.recipient, made.headers, made.content)

    async def _settle(self, connection: db.Connection, program_id: str, page: making.Page) -> None:
        """Keeps what was found of a page: attempts that nobody knows of, ends, and other times."""
        now = await self._context.time.now(connection)
        if page.unknown:
            await deliveries.end_attempts(connection, program_id, page.unknown, now)
        settled = [Settled(item, delivery, change) for item, delivery, change in page.settled]
        await self._rest(connection, program_id, settled, now)
        await due.finish(connection, page.over)

    async def _rest(
        self, connection: db.Connection, program_id: str, settled: Sequence[Settled], now: datetime
    ) -> None:
        """Brings deliveries to rest, or to another time, with their due work, and publishes those that ended."""
        if not settled:
            return
        await deliveries.change(connection, program_id, [each.change for each in settled], now)
        waiting = [each for each in settled if each.change.state is State.WAITING]
        ended = [each for each in settled if each.change.state is not State.WAITING]
        await due.postpone(connection, [each.item for each in waiting], [each.change.send_at for each in waiting])
        await due.finish(connection, [each.item for each in ended])
        await self._context.publish(
            connection, program_id, *(model.Ended(making.ended(each.delivery, each.change, now)) for each in ended)
        )

    async def _put(self, connection: db.Connection, program_id: str, made: Sequence[making.Made]) -> None:
        """Puts messages into inboxes, which is all that there is to do for them."""
        config, now = await self._context.config(connection, program_id)
        ours, capped = await self._admit(connection, program_id, config, made, now)
        added = [
            (
                each.delivery.member_id,
                model.InboxMessage(
                    delivery_id=each.delivery.delivery_id,
                    position=0,
                    topic=each.delivery.topic,
                    title=each.shown.title,
                    body=each.shown.body,
                    action_url=each.shown.action_url,
                    action_label=each.shown.action_label,
                    created_at=now,
                ),
            )
            for each in ours
            if each.shown is not None
        ]
        if added:
            await inboxes.add_messages(connection, program_id, added, now)
        settled = [Settled(each.item, each.delivery, making.sent(each, now)) for each in ours]
        await self._rest(connection, program_id, [*settled, *capped], now)

    async def _start(self, program_id: str, starts: list[Start]) -> list[bool]:
        return await db.transaction(
            self._context.pool, lambda connection: self._start_all(connection, program_id, starts)
        )

    async def _start_all(self, connection: db.Connection, program_id: str, starts: list[Start]) -> list[bool]:
        """Writes the attempts of those messages that are ours still and that have room under caps."""
        config, now = await self._context.config(connection, program_id)
        ours, capped = await self._admit(connection, program_id, config, [each.made for each in starts], now)
        admitted = {each.delivery.delivery_id for each in ours}
        begun = [each for each in starts if each.made.delivery.delivery_id in admitted]
        started: set[uuid.UUID] = set()
        if begun:
            started = await deliveries.start(
                connection,
                program_id,
                [
                    deliveries.Start(
                        each.made.delivery.delivery_id,
                        each.number,
                        each.made.template_version,
                        making.today(each.made, now),
                    )
                    for each in begun
                ],
                now,
            )
        await self._rest(connection, program_id, capped, now)
        return [each.made.delivery.delivery_id in started for each in starts]

    async def _admit(
        self,
        connection: db.Connection,
        program_id: str,
        config: Config,
        made: Sequence[making.Made],
        now: datetime,
    ) -> tuple[list[making.Made], list[Settled]]:
        """Tells which messages are ours still and have room under caps, the first ones first, and which have none."""
        kept = await due.extend(connection, [each.item for each in made], now)
        mine = sorted(
            (each for each in made if each.delivery.delivery_id in kept), key=lambda each: -each.delivery.priority
        )
        caps = config.settings.caps if config.settings else ()
        bounded = [each for each in mine if caps and each.member is not None and not each.delivery.is_transactional]
        if not bounded:
            return mine, []
        names = sorted({each.delivery.member_id for each in bounded})
        await members.lock_members(connection, program_id, names)
        since = now.date() - timedelta(days=max(cap.days for cap in caps) + 1)
        others = await deliveries.list_others(connection, program_id, names, since, now + timedelta(days=1))
        admitted: list[making.Made] = []
        capped: list[Settled] = []
        for each in mine:
            if each in bounded and respect.is_capped(
                caps, each.delivery, making.today(each, now), _rivals(each, admitted, others, now)
            ):
                change = deliveries.Change(each.delivery.delivery_id, State.CANCELLED, "CAPPED", each.delivery.send_at)
                capped.append(Settled(each.item, each.delivery, change))
            else:
                admitted.append(each)
        return admitted, capped

    async def _end(self, program_id: str, ends: list[End]) -> list[None]:
        await db.transaction(self._context.pool, lambda connection: self._end_all(connection, program_id, ends))
        return [None for _ in ends]

    async def _end_all(self, connection: db.Connection, program_id: str, ends: list[End]) -> None:
        """Keeps what became of messages that were handed over."""
        now = await self._context.time.now(connection)
        attempts = [
            deliveries.AttemptEnd(
                each.start.made.delivery.delivery_id,
                each.handover.outcome,
                each.handover.code,
                each.handover.response,
            )
            for each in ends
        ]
        await deliveries.end_attempts(connection, program_id, attempts, now)
        await self._note_addresses(connection, program_id, ends, now)
        settled = [Settled(each.start.item, each.start.made.delivery, _after(each, now)) for each in ends]
        await self._rest(connection, program_id, settled, now)

    async def _note_addresses(
        self, connection: db.Connection, program_id: str, ends: Sequence[End], now: datetime
    ) -> None:
        """Keeps which addresses do not exist, and which endpoints fail."""
        gone = [
            deciding.address_hash(program_id, each.start.made.recipient)
            for each in ends
            if each.handover.is_gone and each.start.made.delivery.channel is Channel.EMAIL
        ]
        if gone:
            await members.add_suppressions(connection, program_id, gone, "BOUNCE", now)
        posted = {
            each.start.made.delivery.address: each.handover
            for each in sorted(ends, key=lambda each: each.start.made.delivery.address)
            if each.start.made.delivery.channel is Channel.WEBHOOK
        }
        for name, handover in posted.items():
            if handover.outcome is AttemptOutcome.ACCEPTED:
                await endpoints.note_success(connection, program_id, name)
                continue
            since = await endpoints.note_failure(connection, program_id, name, now)
            if handover.is_gone or (since is not None and now - since > DISABLED_AFTER):
                await endpoints.disable(connection, program_id, name, "GONE" if handover.is_gone else "FAILING")
                await programs.count_change(connection, program_id)


def _rivals(
    mine: making.Made, admitted: Sequence[making.Made], others: Sequence[deliveries.OtherDelivery], now: datetime
) -> list[respect.Rival]:
    """Lists what else goes to the member of a message by its channel: sent, admitted now, or waiting for today."""
    assert mine.member is not None, "Who is bounded is a member."
    day = making.today(mine, now)
    end = calendar.day_start(day + timedelta(days=1), mine.member.zone)
    taken = {each.delivery.delivery_id for each in admitted}
    found = [
        respect.Rival(each.delivery.topic, each.delivery.priority, day)
        for each in admitted
        if each.delivery.member_id == mine.delivery.member_id
        and each.delivery.channel is mine.delivery.channel
        and not each.delivery.is_transactional
    ]
    for other in others:
        is_mine = other.delivery_id == mine.delivery.delivery_id or other.delivery_id in taken
        if other.member_id != mine.delivery.member_id or other.channel is not mine.delivery.channel or is_mine:
            continue
        if other.rival.sent_day is not None or other.send_at < end:
            found.append(other.rival)
    return found


def _after(end: End, now: datetime) -> deliveries.Change:
    """Says where a delivery stands after an attempt."""
    made, handover = end.start.made, end.handover
    delivery = made.delivery
    again = deliveries.Change(
        delivery.delivery_id, State.WAITING, handover.outcome.value, _backoff(end.start.number, handover, now)
    )
    match handover.outcome:
        case AttemptOutcome.ACCEPTED:
            return making.sent(made, now)
        case AttemptOutcome.REFUSED:
            return deliveries.Change(delivery.delivery_id, State.FAILED, "REFUSED", delivery.send_at)
        case AttemptOutcome.UNKNOWN if not making.may_try_again(made.retries_unknown, made.unknown_count + 1):
            return deliveries.Change(
                delivery.delivery_id, State.UNKNOWN, "OUTCOME_UNKNOWN", delivery.send_at, making.today(made, now)
            )
    if end.start.number >= ATTEMPTS_MAX:
        return deliveries.Change(delivery.delivery_id, State.FAILED, "GAVE_UP", delivery.send_at)
    return again


def _backoff(number: int, handover: ports.Handover, now: datetime) -> datetime:
    wait_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (number - 1)) * random.uniform(0.5, 1.0)
    return now + timedelta(seconds=max(wait_s, handover.retry_after_s or 0.0))
