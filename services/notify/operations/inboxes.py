"""The members' side: their inbox, and what they want."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from services.kernel import db, pages
from services.kernel import errors as kernel_errors
from services.notify import links, model
from services.notify.operations.context import Context
from services.notify.store import deliveries, inboxes, members, programs

POSITION_MAX = 2**63 - 1
STREAM_PAGE_MAX = 100
# A stream ends by itself well before the deadline of calls; whoever reads it goes on behind the last position.
STREAM_S = 20.0
# How often all inboxes that somebody looks at are looked at: the latency that polling adds.
POLL_S = 0.25
WATCHED_MAX = 10_000


async def list_messages(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.InboxMessage], str, int]:
    """Lists a page of messages, newest first, with the token of the next one and the number of unread ones."""
    limit = pages.page_size(page_size)
    below = pages.read_cursor(page_token, "messages", program_id, member_id, parse=_position) or POSITION_MAX

    async def work(connection: db.Connection) -> tuple[list[model.InboxMessage], inboxes.Head]:
        found = await inboxes.list_messages(connection, program_id, member_id, below, limit + 1)
        return found, await inboxes.get_head(connection, program_id, member_id)

    found, head = await db.read(context.pool, work)
    if len(found) <= limit:
        return found, "", head.unread_count
    token = pages.encode_token([found[limit - 1].position], "messages", program_id, member_id)
    return found[:limit], token, head.unread_count


def _position(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= POSITION_MAX:
        raise ValueError("A page ends at a position.")
    return value


async def mark_read(context: Context, program_id: str, member_id: str, position: int) -> int:
    """Marks messages up to a position as read, and counts the unread ones that are left."""

    async def work(connection: db.Connection) -> inboxes.Head:
        now = await context.time.now(connection)
        return await inboxes.mark_read(connection, program_id, member_id, position, now)

    return (await db.transaction(context.pool, work)).unread_count


class InboxWatch:
    """Lets any number of readers wait for their inbox with one look at all of them between them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watched: dict[str, dict[str, int]] = {}
        self._heads: dict[tuple[str, str], int] = {}
        self._look: asyncio.Task[None] | None = None

    async def wait(self, program_id: str, member_id: str, after: int, wait_s: float) -> None:
        """Returns when an inbox reaches beyond a position, or time is up."""
        if sum(map(len, self._watched.values())) >= WATCHED_MAX:
            raise kernel_errors.queue_full(WATCHED_MAX)
        watched = self._watched.setdefault(program_id, {})
        watched[member_id] = watched.get(member_id, 0) + 1
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(POLL_S, left))
                if self._look is None or self._look.done():
                    self._look = asyncio.create_task(self._look_at_all())
                await asyncio.shield(self._look)
                if self._heads.get((program_id, member_id), 0) > after:
                    return
        finally:
            watched[member_id] -= 1
            if not watched[member_id]:
                del watched[member_id]
            if not watched and self._watched.get(program_id) is watched:
                del self._watched[program_id]

    async def _look_at_all(self) -> None:
        heads: dict[tuple[str, str], int] = {}
        for program_id, watched in list(self._watched.items()):
            names = list(watched)
            found = await db.ask(
                self._context.pool,
                lambda c, p=program_id, n=names: inboxes.list_heads(c, p, n),  # type: ignore[misc]
            )
            heads |= {(program_id, name): position for name, position in found.items()}
        self._heads = heads


async def stream(
    context: Context, watch: InboxWatch, program_id: str, member_id: str, after_position: int
) -> AsyncIterator[tuple[model.InboxMessage | None, int]]:
    """Gives messages behind a position as they come, each with the position that is told with it, for some seconds.

    Where none is there at first it gives the position alone, so that the reader knows from where to go on.
    """
    position = after_position
    if position < 0:
        head = await db.ask(context.pool, lambda c: inboxes.get_head(c, program_id, member_id))
        position = head.position
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STREAM_S
    is_first = True
    while True:
        found = await db.ask(
            context.pool,
            lambda c, p=position: inboxes.list_messages_behind(c, program_id, member_id, p, STREAM_PAGE_MAX),  # type: ignore[misc]
        )
        for message in found:
            position = message.position
            yield message, position
        if is_first and not found:
            yield None, position
        is_first = False
        left_s = deadline - loop.time()
        if left_s <= 0:
            return
        if len(found) < STREAM_PAGE_MAX:
            await watch.wait(program_id, member_id, position, left_s)


async def get_preferences(context: Context, program_id: str, member_id: str) -> model.Preferences:
    """Tells what a member wants; nothing in particular where nothing was said."""
    found = await db.ask(context.pool, lambda c: members.read_preferences(c, program_id, [member_id]))
    return found.get(member_id) or model.Preferences(member_id)


async def update_preferences(
    context: Context, program_id: str, preferences: model.Preferences, expected: int | None
) -> model.Preferences:
    """Replaces what a member wants. Raises CONCURRENT_UPDATE where another version stands."""

    async def work(connection: db.Connection) -> model.Preferences:
        known = await members.read_preferences(connection, program_id, [preferences.member_id])
        if expected is not None and expected != (known[preferences.member_id].version if known else 0):
            raise kernel_errors.concurrent_update("preferences", preferences.member_id)
        return await _put(context, connection, program_id, preferences, "API")

    return await db.transaction(context.pool, work)


async def _put(
    context: Context, connection: db.Connection, program_id: str, preferences: model.Preferences, source: str
) -> model.Preferences:
    now = await context.time.now(connection)
    version = await members.put_preferences(connection, program_id, preferences, now=now, expected=None, source=source)
    assert version is not None, "Where no version is expected, none is missed."
    written = replace(preferences, version=version, updated_at=now)
    await context.publish(connection, program_id, model.PreferencesChanged(written))
    return written


async def read_link(context: Context, link: links.Link) -> tuple[model.Settings | None, model.Delivery, model.Mute]:
    """Tells what a link is about: who writes, the mail, and what it would mute. Raises CREDENTIAL_INVALID."""

    async def work(connection: db.Connection) -> tuple[model.Settings | None, model.Delivery | None]:
        program = await programs.get_program(connection, link.program_id)
        found = await deliveries.read_deliveries(connection, link.program_id, [link.delivery_id])
        return program.settings, found.get(link.delivery_id)

    settings, delivery = await db.read(context.pool, work)
    if delivery is None or not delivery.member_id:
        raise kernel_errors.credential_invalid("The link is of no mail that was sent.")
    return settings, delivery, model.Mute(delivery.topic, delivery.channel)


async def unsubscribe(context: Context, link: links.Link, *, from_all: bool, one_click: bool) -> model.Delivery:
    """Unsubscribes the member of a mail from its topic, or from all mail that is not needed. Idempotent.

    Raises CREDENTIAL_INVALID.
    """
    _, delivery, mute = await read_link(context, link)
    wanted = model.Mute("", mute.channel) if from_all else mute

    async def work(connection: db.Connection) -> None:
        await members.lock_members(connection, link.program_id, [delivery.member_id])
        known = await members.read_preferences(connection, link.program_id, [delivery.member_id])
        current = known.get(delivery.member_id) or model.Preferences(delivery.member_id)
        if wanted in current.muted:
            return
        changed = replace(current, muted=(*current.muted, wanted))
        await _put(context, connection, link.program_id, changed, "ONE_CLICK" if one_click else "LINK")

    await db.transaction(context.pool, work)
    return delivery
